//! `GET /metrics` on the status listener and the admin socket: what pollbal and the load balancers do, in
//! numbers, for Prometheus.
//!
//! ```text
//!   daemon, drivers, listeners, /proc ──► Values ──► OpenMetrics ──► Prometheus' own format
//!                                     scrape     render          format
//! ```
//!
//! Nothing is counted or kept here: a scrape queries all numbers, and a pure function renders them.
//! Names and units follow the conventions of Prometheus. A scrape has a bounded number of versions and
//! reasons, the labels that nodes and scripts may invent; inventing others continually still makes new
//! series forever. Only `metrics_per_node` adds series for each node, which have no such label.

mod core;
mod drivers;
mod families;
mod format;
mod hooks;
mod http;
mod nodes;
mod process;
mod render;
mod scrape;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use self::format::Format;
use self::scrape::{ScrapeError, Scraper};
use crate::http::AppState;
use crate::http::server::error::ErrorFormat;

pub(super) fn router() -> Router<AppState> {
    let scraper = Arc::new(Scraper::default());
    let metrics = move |State(state): State<AppState>, headers: HeaderMap| async move {
        respond(&scraper, &state, &headers).await
    };
    Router::new().route("/metrics", get(metrics))
}

async fn respond(scraper: &Scraper, state: &AppState, headers: &HeaderMap) -> Response {
    let accepts = headers.get_all(ACCEPT).iter();
    let accepts: Vec<_> = accepts.filter_map(|accept| accept.to_str().ok()).collect();
    let format = Format::of_accept(&accepts.join(","));
    match scraper.texts(state).await {
        Ok(texts) => {
            let kind = [(CONTENT_TYPE, format.content_type())];
            (kind, texts.in_format(format)).into_response()
        }
        Err(error) => {
            let status = match error {
                ScrapeError::Stopped(_) => StatusCode::SERVICE_UNAVAILABLE,
                ScrapeError::Render => StatusCode::INTERNAL_SERVER_ERROR,
            };
            ErrorFormat::Plain.response(status, &error.to_string())
        }
    }
}
