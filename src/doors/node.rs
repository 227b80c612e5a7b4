//! The node door: each node for itself alone. Answers are one plain line.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::extract::{Extension, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Router, response};
use tokio::time::{Instant, sleep, timeout_at};

use super::Shared;
use super::ask::{Parameters, Problem};
use super::refusal::Form;
use crate::asks::{Nodes, Order, Refused};
use crate::model::node::NodeAddr;

/// Where a request at the node door comes from: an address of the services file. An extension of
/// each request there, `Extension<Peer>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub Ipv4Addr);

/// An answer is held no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Between two looks of one that waits.
const LOOKS: Duration = Duration::from_millis(2);

/// What is answered at the node door.
pub(super) fn router(shared: Shared) -> Router {
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
    /// It is out of its pool, but requests may be under way.
    Granted,
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
    shared.desk.order(Order::Nudge(addrs)).await??;
    Ok(line("polled now"))
}

async fn leave(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Plain> {
    let parameters = Parameters::read(query.as_deref(), &["port", "node", "wait"])?;
    let addr = only(&own(&shared, peer, &parameters)?)?;
    let limit = parameters.time("wait")?.unwrap_or_default();
    let deadline = Instant::now() + limit.min(LONGEST_WAIT);
    let mut pulse = shared.desk.pulse();
    let had_leave = has_leave(&shared.desk.nodes(vec![addr]).await?);
    loop {
        pulse.borrow_and_update();
        let now = ask(&shared, addr).await?;
        let changed = match now {
            Leave::Wait(_) => false,
            Leave::Granted => !had_leave,
            Leave::Gone => true,
        };
        if changed || timeout_at(deadline, pulse.changed()).await.is_err() {
            return Ok(line(&match now {
                Leave::Wait(why) => format!("wait {why}"),
                Leave::Granted => "granted".to_owned(),
                Leave::Gone => "gone".to_owned(),
            }));
        }
        sleep(LOOKS).await;
    }
}

/// Asks to leave, and looks how far that has come.
async fn ask(shared: &Shared, addr: NodeAddr) -> Result<Leave, Problem> {
    match shared.desk.order(Order::Leave(addr)).await? {
        Ok(_) => {}
        Err(Refused::Wait(why)) => return Ok(Leave::Wait(why.to_string())),
        Err(refused) => return Err(refused.into()),
    }
    let nodes = shared.desk.nodes(vec![addr]).await?;
    let rest = nodes.nodes.first().and_then(Option::as_ref);
    let gone = rest.is_some_and(|seen| nodes.perlbals.at_rest(seen) == Some(true));
    Ok(if gone { Leave::Gone } else { Leave::Granted })
}

fn has_leave(nodes: &Nodes) -> bool {
    let seen = nodes.nodes.iter().flatten();
    seen.into_iter().any(|seen| seen.view.grant.is_some())
}

async fn stay(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Plain> {
    let parameters = Parameters::read(query.as_deref(), &["port", "node"])?;
    let addr = only(&own(&shared, peer, &parameters)?)?;
    let had_leave = has_leave(&shared.desk.nodes(vec![addr]).await?);
    shared.desk.order(Order::Stay(addr)).await??;
    Ok(line(if had_leave { "stays" } else { "had no leave" }))
}

/// The nodes for which `peer` may speak: those at its address, of which `port` or `node` may name
/// one.
fn own(shared: &Shared, peer: Peer, parameters: &Parameters<'_>) -> Result<Vec<NodeAddr>, Problem> {
    let mut addrs = shared.book.borrow().at(peer.0).to_vec();
    if let Some(word) = parameters.one("node") {
        let addr = shared.find([word])?[0];
        if !addrs.contains(&addr) {
            let error = format!(
                "{} may not speak for {addr}: a node speaks for itself alone",
                peer.0
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, error));
        }
        addrs = vec![addr];
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
