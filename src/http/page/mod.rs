//! The page of the status door and the admin door: how all stands, for a person with a browser.
//!
//! Everything is rendered here, so that it is all there without JavaScript too; the page then loads
//! itself anew. With JavaScript it listens to [`stream`], fetches its changing part (`fragment=1`) when
//! something changed, and puts that in place. Style and script stand in the page itself: it needs
//! nothing else, and [`policy`] lets it have nothing else.
//!
//! | request | page |
//! | --- | --- |
//! | `GET /` | verdict, pools, nodes that do not simply serve, Perlbals, last events |
//! | `GET /?all=1` | the same with all these nodes, however many |
//! | `GET /?pool=P` | a pool and its nodes; with `&all=1` all of them, however many |
//! | `GET /?node=N` | a node: what it answered, why it is where it is, what brings it back |

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
use crate::http::Shared;
use crate::http::server::error::Form;
use crate::http::server::service::Asker;

/// The page, and the stream that keeps it up to date.
pub(super) fn router() -> Router<Shared> {
    let pages = Arc::new(Pages::default());
    let page = move |State(shared): State<Shared>,
                     Extension(asker): Extension<Asker>,
                     RawQuery(query): RawQuery| async move {
        tell(&pages, &shared, asker, &query.unwrap_or_default()).await
    };
    Router::new()
        .route("/", get(page))
        .route("/stream", get(sse::changes))
}

async fn tell(pages: &Arc<Pages>, shared: &Shared, asker: Asker, query: &str) -> Response {
    match pages.page(shared, asker, query).await {
        Ok(made) => made.into_response(),
        Err(problem) => Form::Plain.error(problem.status, &problem.error),
    }
}
