//! The status listener: read-only, for browsers, Prometheus and probes. The admin socket serves the same.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::awake::timeout;
use crate::http::params::HttpError;
use crate::http::routes::read;
use crate::http::{AppState, metrics, page};
use crate::model::problems::why_not_ready;

/// Time for the event loop to respond; it usually takes a millisecond. Probes wait for at least a second.
const ALIVE_TIMEOUT: Duration = Duration::from_millis(900);

/// The routes of the status listener.
pub(crate) fn router(state: AppState) -> Router {
    routes().with_state(state)
}

/// Everything that only reads. Each listener has its own cache of pages and metrics.
pub(crate) fn routes() -> Router<AppState> {
    read::router()
        .merge(page::router())
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(metrics::router())
}

/// pollbal is alive: all its tasks are running, otherwise the process would have ended, and the event loop
/// responds. Whether all is well is another question.
async fn healthz(State(state): State<AppState>) -> Result<&'static str, HttpError> {
    let answered = timeout(ALIVE_TIMEOUT, state.alive()).await;
    let answered = answered.map_err(|_| {
        let why = format!("the event loop has not responded within {ALIVE_TIMEOUT:?}");
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    answered?;
    Ok("ok\n")
}

/// Whether each node has been polled once and every required load balancer is in sync; otherwise the problems that this
/// waits for.
async fn readyz(State(state): State<AppState>) -> Result<&'static str, HttpError> {
    let problems = state.control.problems().await?;
    match why_not_ready(&problems) {
        None => Ok("ready\n"),
        Some(why) => Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}
