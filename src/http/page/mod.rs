//! The page of the status listener and the admin socket: the state of everything, for a person with a
//! browser.
//!
//! Everything is rendered on the server, so that the page is complete without JavaScript too; it then
//! reloads itself. With JavaScript it listens to [`sse`], and fetches and replaces its changing part
//! (`fragment=1`) when something has changed. Style and script are embedded in the page: it needs nothing
//! else, and [`csp`] lets it load nothing else.
//!
//! | request | page |
//! | --- | --- |
//! | `GET /` | verdict, pools, nodes not in full service, load balancers, recent events |
//! | `GET /?all=1` | the same, with all of these nodes, however many |
//! | `GET /?pool=P` | a pool and its nodes; with `&all=1` all of them, however many |
//! | `GET /?node=N` | a node: its last response, why it is in or out, and what brings it back |

mod build;
mod csp;
#[cfg(test)]
mod fixtures;
mod format;
mod render;
mod sse;
mod summary;
#[cfg(test)]
mod tests;
mod time;
mod versions;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use self::build::Pages;
use crate::http::AppState;
use crate::http::server::error::ErrorFormat;
use crate::http::server::service::ClientAddr;

/// The page, and the stream of events that keeps it up to date.
pub(super) fn router() -> Router<AppState> {
    let pages = Arc::new(Pages::default());
    let page = move |State(state): State<AppState>,
                     Extension(client): Extension<ClientAddr>,
                     RawQuery(query): RawQuery| async move {
        respond(&pages, &state, client, &query.unwrap_or_default()).await
    };
    Router::new()
        .route("/", get(page))
        .route("/stream", get(sse::changes))
}

async fn respond(
    pages: &Arc<Pages>,
    state: &AppState,
    client: ClientAddr,
    query: &str,
) -> Response {
    match pages.page(state, client, query).await {
        Ok(page) => page.into_response(),
        Err(error) => ErrorFormat::Plain.response(error.status, &error.error),
    }
}
