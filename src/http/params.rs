//! What handlers share: parameters of a request, nodes by their words, and reasons to refuse.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};

use serde::Serialize;

use crate::api;
use crate::control::{OverrideError, Stopped};
use crate::http::Shared;
use crate::model::names::PoolName;
use crate::model::node::{Node, NodeAddr};
use crate::model::node_index::{NodeIndex, NotFound};

/// Why a handler has no answer: status and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    /// Whether the same order with `force` would be carried out.
    pub(crate) can_be_forced: bool,
}

impl Problem {
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

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let problem = api::Problem {
            error: self.error,
            can_be_forced: self.can_be_forced,
        };
        // The reason may repeat what was asked for.
        let headers = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
        (self.status, headers, Json(problem)).into_response()
    }
}

impl From<Stopped> for Problem {
    fn from(gone: Stopped) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, gone.to_string())
    }
}

impl From<NotFound> for Problem {
    fn from(not_found: NotFound) -> Self {
        Self::unknown(not_found.to_string())
    }
}

impl From<OverrideError> for Problem {
    fn from(refused: OverrideError) -> Self {
        let status = match refused {
            OverrideError::UnknownNode(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::CONFLICT,
        };
        Self {
            can_be_forced: refused.can_be_forced(),
            ..Self::new(status, refused.to_string())
        }
    }
}

/// An answer: a line of JSON.
#[derive(Clone, Debug)]
pub(crate) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut line = Vec::new();
        // Only a map whose keys are no texts cannot be told as JSON; there is none.
        if let Err(error) = serde_json::to_writer(&mut line, &self.0) {
            let error = format!("failed to write the answer: {error}");
            return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response();
        }
        line.push(b'\n');
        ([(CONTENT_TYPE, "application/json")], line).into_response()
    }
}

/// The parameters behind the `?`, each of which the handler has to know.
pub(crate) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// Reads them; any but `known` is an error.
    pub(crate) fn read(query: Option<&'a str>, known: &[&str]) -> Result<Self, Problem> {
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or("").as_bytes()).collect();
        match pairs.iter().find(|(key, _)| !known.contains(&key.as_ref())) {
            Some((key, _)) => Err(Problem::bad(format!(
                "the parameter {key:?} is not known; known are: {}",
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

    /// The value of a key that has to be there.
    pub(crate) fn needed(&self, key: &str) -> Result<&str, Problem> {
        self.one(key)
            .ok_or_else(|| Problem::bad(format!("the parameter {key} is missing")))
    }

    /// A whole number.
    pub(crate) fn number(&self, key: &str, default: u64) -> Result<u64, Problem> {
        let Some(text) = self.one(key) else {
            return Ok(default);
        };
        let wrong = |_| Problem::bad(format!("{key}: expected a whole number, found {text:?}"));
        text.parse().map_err(wrong)
    }

    /// A time such as `30s`. A bare number would be seconds for one and milliseconds for another.
    pub(crate) fn time(&self, key: &str) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.one(key) else {
            return Ok(None);
        };
        let wrong = |_| {
            Problem::bad(format!(
                "{key}: expected a time such as 30s, found {text:?}"
            ))
        };
        humantime::parse_duration(text).map(Some).map_err(wrong)
    }
}

impl Shared {
    /// Nodes by their words; at least one.
    pub(crate) fn find<'a>(
        &self,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<NodeAddr>, Problem> {
        let node_index = self.node_index.borrow();
        let mut addrs = Vec::new();
        for word in words {
            let addr = node_index.find(word)?;
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        if addrs.is_empty() {
            return Err(Problem::bad("no node is named"));
        }
        Ok(addrs)
    }

    /// The same, but each is in the services file.
    pub(crate) fn find_listed<'a>(
        &self,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<NodeAddr>, Problem> {
        let addrs = self.find(words)?;
        let node_index = self.node_index.borrow();
        match addrs.iter().find(|addr| !node_index.contains(**addr)) {
            Some(unlisted) => Err(unlisted_in(&node_index, *unlisted)),
            None => Ok(addrs),
        }
    }

    /// No node has this address.
    pub(crate) fn unlisted(&self, addr: NodeAddr) -> Problem {
        unlisted_in(&self.node_index.borrow(), addr)
    }

    /// The word that names a node in a command line.
    pub(crate) fn word(&self, node: &Node) -> String {
        let node_index = self.node_index.borrow();
        if node_index.is_unique_shell_word(&node.name, node.addr) {
            node.name.clone()
        } else {
            node.addr.to_string()
        }
    }
}

fn unlisted_in(node_index: &NodeIndex, addr: NodeAddr) -> Problem {
    let others: Vec<_> = node_index
        .nodes_at(addr.ip())
        .iter()
        .map(NodeAddr::to_string)
        .collect();
    // A port that was mistyped; another machine is another matter.
    let offer = match others[..] {
        [] => String::new(),
        _ => format!("; at that address there is: {}", others.join(", ")),
    };
    Problem::unknown(format!("{addr} is not in the services file{offer}"))
}

/// A pool by its name.
pub(crate) fn pool(name: &str) -> Result<PoolName, Problem> {
    name.parse()
        .map_err(|error| Problem::bad(format!("{name:?}: {error}")))
}
