//! The status door: read only, for browsers, Prometheus and probes. The admin door answers the same.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::awake::timeout;
use crate::http::params::Problem;
use crate::http::routes::read;
use crate::http::{Shared, metrics, page};

/// How long the loop that decides may take to answer; it takes a millisecond or so. Probes wait for a second and more.
const ALIVE: Duration = Duration::from_millis(900);

/// What is answered at the status door.
pub(crate) fn router(shared: Shared) -> Router {
    routes().with_state(shared)
}

/// All that only reads. What is kept of pages and metrics is the door's own.
pub(crate) fn routes() -> Router<Shared> {
    read::router()
        .merge(page::router())
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(metrics::router())
}

/// pollbal is alive: all its parts are there, else the process would have ended, and the loop that decides answers.
/// Whether all is well is another question.
async fn healthz(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    let answered = timeout(ALIVE, shared.alive()).await;
    let answered = answered.map_err(|_| {
        let why = format!("the loop that decides has not answered within {ALIVE:?}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    answered?;
    Ok("ok\n")
}

/// Whether each node was heard once and every Perlbal is in sync; else what is not so.
async fn readyz(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    let nodes = shared.control.nodes(Vec::new()).await?;
    let out_of_sync = nodes
        .perlbals
        .standings
        .iter()
        .filter(|(_, perlbal)| !perlbal.in_sync);
    let why = if nodes.first_round_done {
        let addresses: Vec<_> = out_of_sync.map(|(address, _)| address.as_str()).collect();
        if addresses.is_empty() {
            return Ok("ready\n");
        }
        format!("not in sync: Perlbal {}", addresses.join(", "))
    } else {
        "not every node was heard yet".to_owned()
    };
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why))
}
