//! The node door: each node for itself alone. Answers are one plain line.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use axum::extract::{Extension, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Router, response};

use crate::control::{Applied, OverrideError, OverrideRequest, SelectedNodes};
use crate::http::Shared;
use crate::http::long_poll::Looks;
use crate::http::params::{Parameters, Problem};
use crate::http::server::error::Form;
use crate::model::node::NodeAddr;
use crate::model::node_index::NotFound;
use crate::model::overrides::Note;

/// Where a request at the node door comes from: an address of the services file. An extension of
/// each request there, `Extension<Peer>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) Ipv4Addr);

/// An answer is held no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What is answered at the node door.
pub(crate) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/nudge", post(nudge))
        .route("/leave", post(leave).delete(stay))
        .with_state(shared)
}

/// Where a node is on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leave {
    /// It may not leave yet, for this reason.
    Wait(String),
    /// It is out of its pool, but not gone; for this reason, as far as one is known.
    Granted(Option<String>),
    /// Nothing comes to it any more.
    Gone,
}

async fn nudge(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Plain> {
    let parameters = Parameters::read(query.as_deref(), &["port", "node"])?;
    let addrs = own(&shared, peer, &parameters)?;
    shared
        .control
        .apply(OverrideRequest::Nudge(addrs))
        .await??;
    Ok(line("polled now"))
}

async fn leave(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Plain> {
    let parameters = Parameters::read(query.as_deref(), &["port", "node", "wait"])?;
    let addr = only(&own(&shared, peer, &parameters)?)?;
    let wait = parameters.time("wait")?.unwrap_or_default();
    // Answered at once where there is no place to hold it: the answer is true all the same.
    let place = (!wait.is_zero()).then(|| shared.held.take(Some(peer.0.into())));
    let wait = match &place {
        Some(Ok(_)) => wait.min(LONGEST_WAIT),
        Some(Err(_)) | None => Duration::ZERO,
    };
    let mut looks = Looks::new(&shared.control, wait);
    let had_leave = has_leave(&shared.control.nodes(vec![addr]).await?);
    let mut holds = had_leave;
    loop {
        let now = if holds {
            look(&shared, addr).await?
        } else {
            ask(&shared, addr).await?
        };
        let changed = match now {
            Leave::Wait(_) => holds,
            Leave::Granted(_) => !had_leave,
            Leave::Gone => true,
        };
        holds = !matches!(now, Leave::Wait(_));
        if changed || !looks.again().await {
            return Ok(line(&match now {
                Leave::Wait(why) => format!("wait {why}"),
                Leave::Granted(Some(why)) => format!("granted {why}"),
                Leave::Granted(None) => "granted".to_owned(),
                Leave::Gone => "gone".to_owned(),
            }));
        }
    }
}

/// Asks to leave, and looks how far that has come.
async fn ask(shared: &Shared, addr: NodeAddr) -> Result<Leave, Problem> {
    match shared.control.apply(OverrideRequest::Leave(addr)).await? {
        // Before it is told, so that no restart of ours forgets what the node relies on. Where that
        // fails, the log and an alert tell it.
        Ok(Applied { revision, .. }) => _ = shared.control.is_persisted(revision).await,
        Err(OverrideError::LeaveDenied(why)) => return Ok(Leave::Wait(why.to_string())),
        Err(refused) => return Err(refused.into()),
    }
    look(shared, addr).await
}

/// Looks how far the leave has come. One that is over is not asked for anew: it may have been taken
/// back.
async fn look(shared: &Shared, addr: NodeAddr) -> Result<Leave, Problem> {
    let nodes = shared.control.nodes(vec![addr]).await?;
    if !has_leave(&nodes) {
        return Ok(Leave::Wait("the leave is over".to_owned()));
    }
    let seen = nodes.nodes.first().and_then(Option::as_ref);
    if seen.is_some_and(|seen| nodes.perlbals.at_rest(seen) == Some(true)) {
        return Ok(Leave::Gone);
    }
    let why = seen.and_then(|seen| nodes.perlbals.unrest(seen, Instant::now()));
    Ok(Leave::Granted(why))
}

fn has_leave(nodes: &SelectedNodes) -> bool {
    let seen = nodes.nodes.iter().flatten();
    seen.into_iter().any(|seen| seen.view.lease.is_some())
}

async fn stay(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Plain> {
    let parameters = Parameters::read(query.as_deref(), &["port", "node"])?;
    let addr = only(&own(&shared, peer, &parameters)?)?;
    let had_leave = has_leave(&shared.control.nodes(vec![addr]).await?);
    let order = OverrideRequest::CancelLeave(vec![addr], Note::default());
    let Applied { revision, .. } = shared.control.apply(order).await??;
    // Before it is told, as a leave is.
    _ = shared.control.is_persisted(revision).await;
    Ok(line(if had_leave { "stays" } else { "had no leave" }))
}

/// The nodes for which `peer` may speak: those at its address, of which `port` or `node` may name
/// one.
fn own(shared: &Shared, peer: Peer, parameters: &Parameters<'_>) -> Result<Vec<NodeAddr>, Problem> {
    let mut addrs = shared.node_index.borrow().nodes_at(peer.0).to_vec();
    if addrs.is_empty() {
        // Gone from the services file since its request was let in.
        let error = format!("the services file lists no node at {}", peer.0);
        return Err(Problem::new(StatusCode::FORBIDDEN, error));
    }
    if let Some(word) = parameters.one("node") {
        addrs = vec![named(shared, peer, word, &addrs)?];
    }
    if let Some(port) = parameters.one("port") {
        addrs.retain(|addr| addr.port().to_string() == port);
        if addrs.is_empty() {
            let error = format!(
                "the services file lists no node at {} with port {port}",
                peer.0
            );
            return Err(Problem::unknown(error));
        }
    }
    Ok(addrs)
}

/// The node of this name among its own; those at other addresses may be called the same.
fn named(shared: &Shared, peer: Peer, word: &str, own: &[NodeAddr]) -> Result<NodeAddr, Problem> {
    let addr = match shared.node_index.borrow().find(word) {
        Err(NotFound::Ambiguous(word, several)) => {
            let mut ours = several.iter().filter(|addr| own.contains(addr));
            match (ours.next(), ours.next()) {
                (Some(addr), None) => *addr,
                _ => return Err(NotFound::Ambiguous(word, several).into()),
            }
        }
        // A node is offered no names of others.
        Err(NotFound::Unknown(word, _)) => {
            return Err(NotFound::Unknown(word, String::new()).into());
        }
        Ok(addr) => addr,
    };
    if own.contains(&addr) {
        return Ok(addr);
    }
    let error = format!(
        "{} may not speak for {addr}: a node speaks for itself alone",
        peer.0
    );
    Err(Problem::new(StatusCode::FORBIDDEN, error))
}

/// The one node that is meant.
fn only(addrs: &[NodeAddr]) -> Result<NodeAddr, Problem> {
    if let [addr] = addrs {
        return Ok(*addr);
    }
    let ports: Vec<_> = addrs.iter().map(|addr| addr.port().to_string()).collect();
    let ports = ports.join(", ");
    Err(Problem::bad(format!(
        "there are several nodes at this address: say which by ?port= and one of {ports}"
    )))
}

/// A problem, told in a plain line.
struct Plain(Problem);

impl<E: Into<Problem>> From<E> for Plain {
    fn from(problem: E) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        Form::Plain.error(self.0.status, &self.0.error)
    }
}

fn line(text: &str) -> response::Response {
    let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (kind, format!("{text}\n")).into_response()
}
