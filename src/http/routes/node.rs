//! The node listener: each node for itself alone. Responses are one line of text.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Router, response};

use crate::control::{Applied, OverrideError, OverrideRequest, SelectedNodes};
use crate::http::AppState;
use crate::http::long_poll::LongPoll;
use crate::http::params::{HttpError, Parameters};
use crate::http::server::error::ErrorFormat;
use crate::http::server::service::ClientAddr;
use crate::model::node::NodeAddr;
use crate::model::node_index::NotFound;
use crate::model::overrides::Note;

/// The address that a request comes from, which is a node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer(IpAddr);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Plain;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Plain> {
        let client = head.extensions.get::<ClientAddr>();
        let address = client.and_then(|client| client.0);
        let error = || HttpError::new(StatusCode::FORBIDDEN, "the client has no IP address");
        Ok(Self(address.ok_or_else(error)?.to_canonical()))
    }
}

/// Maximum time for which a response is delayed.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// The routes of the node listener.
pub(crate) fn router(state: AppState) -> Router {
    Router::new()
        .route("/nudge", post(nudge))
        .route("/leave", post(leave).delete(cancel_leave))
        .with_state(state)
}

/// How far the leave of a node has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leave {
    /// It may not leave yet, for this reason.
    Wait(String),
    /// It is out of its pool, but not drained, for this reason if one is known.
    Granted(Option<String>),
    /// It is drained.
    Stopped,
}

async fn nudge(
    State(state): State<AppState>,
    peer: Peer,
    RawQuery(query): RawQuery,
) -> Result<Response, Plain> {
    let parameters = Parameters::read(query.as_deref(), &["port", "node"])?;
    let addrs = own_nodes(&state, peer, &parameters)?;
    state.control.apply(OverrideRequest::Nudge(addrs)).await??;
    Ok(line("polled now"))
}

async fn leave(
    State(state): State<AppState>,
    peer: Peer,
    RawQuery(query): RawQuery,
) -> Result<Response, Plain> {
    let parameters = Parameters::read(query.as_deref(), &["port", "node", "wait"])?;
    let addr = only(&own_nodes(&state, peer, &parameters)?)?;
    let wait = parameters.duration("wait")?.unwrap_or_default();
    // If no more responses may be delayed, this one is sent at once: it is true all the same.
    let slot = (!wait.is_zero()).then(|| state.long_polls.acquire(Some(peer.0)));
    let wait = match &slot {
        Some(Ok(_)) => wait.min(MAX_WAIT),
        Some(Err(_)) | None => Duration::ZERO,
    };
    let mut long_poll = LongPoll::new(&state.control, wait);
    let had_leave = has_leave(&state.control.nodes(vec![addr]).await?);
    let mut granted = had_leave;
    loop {
        let now = if granted {
            check_leave(&state, addr).await?
        } else {
            request_leave(&state, addr).await?
        };
        let changed = match now {
            Leave::Wait(_) => granted,
            Leave::Granted(_) => !had_leave,
            Leave::Stopped => true,
        };
        granted = !matches!(now, Leave::Wait(_));
        if changed || !long_poll.changed().await {
            return Ok(line(&match now {
                Leave::Wait(why) => format!("wait {why}"),
                Leave::Granted(Some(why)) => format!("granted {why}"),
                Leave::Granted(None) => "granted".to_owned(),
                Leave::Stopped => "gone".to_owned(),
            }));
        }
    }
}

/// Requests a leave, and checks how far it has come.
async fn request_leave(state: &AppState, addr: NodeAddr) -> Result<Leave, HttpError> {
    match state.control.apply(OverrideRequest::Leave(addr)).await? {
        // Persisted before the node relies on it, so that a restart of pollbal does not forget it. The
        // log and an alert report a failure.
        Ok(Applied { revision, .. }) => _ = state.control.persisted().is_persisted(revision).await,
        Err(OverrideError::LeaveDenied(why)) => return Ok(Leave::Wait(why.to_string())),
        Err(rejected) => return Err(rejected.into()),
    }
    check_leave(state, addr).await
}

/// Checks how far the leave has come. One that has ended is not requested again: it may have been
/// canceled.
async fn check_leave(state: &AppState, addr: NodeAddr) -> Result<Leave, HttpError> {
    let nodes = state.control.nodes(vec![addr]).await?;
    if !has_leave(&nodes) {
        return Ok(Leave::Wait("the leave has ended".to_owned()));
    }
    let entry = nodes.nodes.first().and_then(Option::as_ref);
    if entry.is_some_and(|entry| nodes.drivers.is_drained(&entry.view, entry.serial) == Some(true))
    {
        return Ok(Leave::Stopped);
    }
    let now = Instant::now();
    let why = entry.and_then(|entry| {
        nodes
            .drivers
            .why_not_drained(&entry.view, entry.serial, now)
    });
    Ok(Leave::Granted(why))
}

fn has_leave(nodes: &SelectedNodes) -> bool {
    let entries = nodes.nodes.iter().flatten();
    entries.into_iter().any(|entry| entry.view.lease.is_some())
}

async fn cancel_leave(
    State(state): State<AppState>,
    peer: Peer,
    RawQuery(query): RawQuery,
) -> Result<Response, Plain> {
    let parameters = Parameters::read(query.as_deref(), &["port", "node"])?;
    let addr = only(&own_nodes(&state, peer, &parameters)?)?;
    let had_leave = has_leave(&state.control.nodes(vec![addr]).await?);
    let order = OverrideRequest::CancelLeave(vec![addr], Note::default());
    let Applied { revision, .. } = state.control.apply(order).await??;
    // Before the response, as for a leave.
    _ = state.control.persisted().is_persisted(revision).await;
    Ok(line(if had_leave { "stays" } else { "had no leave" }))
}

/// The nodes for which `peer` may send requests: those at its address, of which `port` or `node` may
/// select one.
fn own_nodes(
    state: &AppState,
    peer: Peer,
    parameters: &Parameters<'_>,
) -> Result<Vec<NodeAddr>, HttpError> {
    let mut addrs = state.node_index.borrow().nodes_at(peer.0).to_vec();
    if addrs.is_empty() {
        // Removed from the services file since the request was accepted.
        let error = format!("no node is listed at {}", peer.0);
        return Err(HttpError::new(StatusCode::FORBIDDEN, error));
    }
    if let Some(word) = parameters.one("node") {
        addrs = vec![own_node(state, peer, word, &addrs)?];
    }
    if let Some(port) = parameters.one("port") {
        addrs.retain(|addr| addr.port().to_string() == port);
        if addrs.is_empty() {
            let error = format!("no node is listed at {} with port {port}", peer.0);
            return Err(HttpError::unknown(error));
        }
    }
    Ok(addrs)
}

/// The node of this name among its own; nodes at other addresses may have the same name.
fn own_node(
    state: &AppState,
    peer: Peer,
    word: &str,
    own: &[NodeAddr],
) -> Result<NodeAddr, HttpError> {
    let addr = match state.node_index.borrow().find(word) {
        Err(NotFound::Ambiguous(word, several)) => {
            let mut ours = several.iter().filter(|addr| own.contains(addr));
            match (ours.next(), ours.next()) {
                (Some(addr), None) => *addr,
                _ => return Err(NotFound::Ambiguous(word, several).into()),
            }
        }
        // No names of other nodes are suggested.
        Err(NotFound::Unknown(word, _)) => {
            return Err(NotFound::Unknown(word, String::new()).into());
        }
        Ok(addr) => addr,
    };
    if own.contains(&addr) {
        return Ok(addr);
    }
    let error = format!(
        "{} may not send requests for {addr}: a node may do so only for itself",
        peer.0
    );
    Err(HttpError::new(StatusCode::FORBIDDEN, error))
}

/// The single node.
fn only(addrs: &[NodeAddr]) -> Result<NodeAddr, HttpError> {
    if let [addr] = addrs {
        return Ok(*addr);
    }
    let ports: Vec<_> = addrs.iter().map(|addr| addr.port().to_string()).collect();
    let ports = ports.join(", ");
    Err(HttpError::bad(format!(
        "there are several nodes at this address: select one with ?port=, of {ports}"
    )))
}

/// An error, as a line of text.
struct Plain(HttpError);

impl<E: Into<HttpError>> From<E> for Plain {
    fn from(problem: E) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        ErrorFormat::Plain.response(self.0.status, &self.0.error)
    }
}

fn line(text: &str) -> response::Response {
    let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (kind, format!("{text}\n")).into_response()
}
