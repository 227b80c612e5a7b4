//! What handlers have in common: parameters of a request, nodes as people name them, and errors.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};

use serde::Serialize;

use crate::api;
use crate::control::{OverrideError, Stopped};
use crate::http::AppState;
use crate::http::server::response_budget::ShuttingDown;
use crate::model::names::PoolName;
use crate::model::node::{Node, NodeAddr};
use crate::model::node_index::{NodeIndex, NotFound};

/// Why a handler rejects a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpError {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    /// Whether the same request with `force` would be carried out.
    pub(crate) can_be_forced: bool,
}

impl HttpError {
    pub(crate) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(crate) fn unknown(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            can_be_forced: false,
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let problem = api::Problem {
            error: self.error,
            can_be_forced: self.can_be_forced,
        };
        // The error may repeat a part of the request.
        let headers = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
        (self.status, headers, Json(problem)).into_response()
    }
}

impl From<Stopped> for HttpError {
    fn from(gone: Stopped) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, gone.to_string())
    }
}

impl From<ShuttingDown> for HttpError {
    fn from(_: ShuttingDown) -> Self {
        Stopped.into()
    }
}

impl From<NotFound> for HttpError {
    fn from(not_found: NotFound) -> Self {
        Self::unknown(not_found.to_string())
    }
}

impl From<OverrideError> for HttpError {
    fn from(rejected: OverrideError) -> Self {
        let status = match rejected {
            OverrideError::UnknownNode(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::CONFLICT,
        };
        Self {
            can_be_forced: rejected.can_be_forced(),
            ..Self::new(status, rejected.to_string())
        }
    }
}

/// A response: a line of JSON.
#[derive(Clone, Debug)]
pub(crate) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut line = Vec::new();
        // This fails only for a map whose keys are not strings; there is none.
        if let Err(error) = serde_json::to_writer(&mut line, &self.0) {
            let error = format!("failed to write the response: {error}");
            return HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response();
        }
        line.push(b'\n');
        ([(CONTENT_TYPE, "application/json")], line).into_response()
    }
}

/// The query parameters, each of which the handler has to know.
pub(crate) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// Reads them; any but `known` is an error.
    pub(crate) fn read(query: Option<&'a str>, known: &[&str]) -> Result<Self, HttpError> {
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or("").as_bytes()).collect();
        match pairs.iter().find(|(key, _)| !known.contains(&key.as_ref())) {
            Some((key, _)) => Err(HttpError::bad(format!(
                "unknown parameter {key:?}; known are: {}",
                known.join(", ")
            ))),
            None => Ok(Self(pairs)),
        }
    }

    /// All values of a key.
    pub(crate) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        let pairs = self.0.iter().filter(move |(name, _)| name == key);
        pairs.map(|(_, value)| value.as_ref())
    }

    /// The last value of a key.
    pub(crate) fn one(&self, key: &str) -> Option<&str> {
        self.all(key).last()
    }

    /// The value of a required key.
    pub(crate) fn required(&self, key: &str) -> Result<&str, HttpError> {
        self.one(key)
            .ok_or_else(|| HttpError::bad(format!("missing parameter {key}")))
    }

    /// A whole number.
    pub(crate) fn number(&self, key: &str, default: u64) -> Result<u64, HttpError> {
        let Some(text) = self.one(key) else {
            return Ok(default);
        };
        let wrong = |_| HttpError::bad(format!("{key}: expected a whole number, found {text:?}"));
        text.parse().map_err(wrong)
    }

    /// A duration such as `30s`. A bare number would be ambiguous.
    pub(crate) fn duration(&self, key: &str) -> Result<Option<Duration>, HttpError> {
        let Some(text) = self.one(key) else {
            return Ok(None);
        };
        let wrong = |_| {
            HttpError::bad(format!(
                "{key}: expected a duration such as 30s, found {text:?}"
            ))
        };
        humantime::parse_duration(text).map(Some).map_err(wrong)
    }
}

impl AppState {
    /// Nodes as people name them; at least one.
    pub(crate) fn find<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<NodeAddr>, HttpError> {
        let node_index = self.node_index.borrow();
        let mut addrs = Vec::new();
        for name in names {
            let addr = node_index.find(name)?;
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        if addrs.is_empty() {
            return Err(HttpError::bad("no node given"));
        }
        Ok(addrs)
    }

    /// The same, but each must be in the services file.
    pub(crate) fn find_listed<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<NodeAddr>, HttpError> {
        let addrs = self.find(names)?;
        let node_index = self.node_index.borrow();
        match addrs.iter().find(|addr| !node_index.contains(**addr)) {
            Some(unlisted) => Err(unlisted_in(&node_index, *unlisted)),
            None => Ok(addrs),
        }
    }

    /// The error for an address that no node has.
    pub(crate) fn unlisted(&self, addr: NodeAddr) -> HttpError {
        unlisted_in(&self.node_index.borrow(), addr)
    }

    /// How to name a node on a command line.
    pub(crate) fn shell_word(&self, node: &Node) -> String {
        let node_index = self.node_index.borrow();
        if node_index.is_unique_shell_word(&node.name, node.addr) {
            node.name.clone()
        } else {
            node.addr.to_string()
        }
    }
}

fn unlisted_in(node_index: &NodeIndex, addr: NodeAddr) -> HttpError {
    let others: Vec<_> = node_index
        .nodes_at(addr.ip())
        .iter()
        .map(NodeAddr::to_string)
        .collect();
    // For a mistyped port. Other machines are not offered.
    let offer = match others[..] {
        [] => String::new(),
        _ => format!("; at that address there are: {}", others.join(", ")),
    };
    HttpError::unknown(format!("{addr} is not a listed node{offer}"))
}

/// Parses the name of a pool.
pub(crate) fn parse_pool(name: &str) -> Result<PoolName, HttpError> {
    name.parse()
        .map_err(|error| HttpError::bad(format!("{name:?}: {error}")))
}
