//! `GET /metrics` at the status door and the admin door: what pollbal and the Perlbals do, in numbers, for Prometheus.
//!
//! ```text
//!   daemon (an overview), managers, doors, /proc ──► Values ──► OpenMetrics ──► Prometheus' own format
//!                    scrape                        rendering            format
//! ```
//!
//! Nothing is counted here and nothing kept: all numbers are asked for when someone scrapes, and
//! the text is made from them by a pure function. Names and units follow Prometheus' conventions.
//! Of labels that nodes or scripts may invent, which are versions and reasons, a scrape has a bounded
//! number; who invents others all the time makes new series for ever all the same. Series for each
//! node are there only with `metrics_per_node`, and have no such label.

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
use self::scrape::Scraper;
use crate::http::Shared;
use crate::http::server::error::Form;

pub(super) fn router() -> Router<Shared> {
    let scraper = Arc::new(Scraper::default());
    let metrics = move |State(shared): State<Shared>, headers: HeaderMap| async move {
        tell(&scraper, &shared, &headers).await
    };
    Router::new().route("/metrics", get(metrics))
}

async fn tell(scraper: &Scraper, shared: &Shared, headers: &HeaderMap) -> Response {
    let accepts = headers.get_all(ACCEPT).iter();
    let accepts: Vec<_> = accepts.filter_map(|accept| accept.to_str().ok()).collect();
    let format = Format::asked(&accepts.join(","));
    match scraper.texts(shared).await {
        Ok(Some(texts)) => {
            let kind = [(CONTENT_TYPE, format.content_type())];
            (kind, texts.in_format(format)).into_response()
        }
        Ok(None) => {
            let error = "failed to write the metrics";
            Form::Plain.error(StatusCode::INTERNAL_SERVER_ERROR, error)
        }
        Err(gone) => Form::Plain.error(StatusCode::SERVICE_UNAVAILABLE, &gone.to_string()),
    }
}
