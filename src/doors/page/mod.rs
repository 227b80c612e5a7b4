//! The status door's page: how all stands, for a person with a browser.
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
//! | `GET /?pool=P` | a pool and all its nodes |
//! | `GET /?node=N` | a node: what it answered, why it is where it is, what brings it back |

mod policy;
mod reasons;
mod render;
#[cfg(test)]
mod sample;
mod stream;
#[cfg(test)]
mod tests;
mod versions;
mod when;
mod words;

use std::sync::LazyLock;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use rustix::system::uname;

use self::render::{About, Page};
use super::Shared;
use super::ask::{Parameters, Problem, pool};
use super::reading::{explanation_of, status_of};
use super::tell::status::Filter;
use crate::api::event::event;
use crate::api::{self, State as NodeState};

/// So many events are shown.
const EVENTS: usize = 50;

/// Among so many last events those of a pool are looked for.
const EVENTS_LOOKED_AT: usize = 1_000;

/// This machine's name: people have the pages of several load balancers open.
static HOST: LazyLock<String> = LazyLock::new(|| uname().nodename().to_string_lossy().into_owned());

/// The page, and the stream that keeps it up to date.
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(page))
        .route("/v1/stream", get(stream::changes))
}

async fn page(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["pool", "node", "all", "fragment"])?;
    let shown = match Shown::find(&shared, &parameters).await {
        Ok(shown) => shown,
        // What has no answer because pollbal ends is no page.
        Err(problem) if problem.status == StatusCode::SERVICE_UNAVAILABLE => return Err(problem),
        Err(problem) => Shown::nothing(&shared, problem).await?,
    };
    let page = shown.page(parameters.one("all").is_some());
    let text = match parameters.one("fragment") {
        None => page.document(),
        Some(_) => page.fragment(),
    };
    let failed = |why: askama::Error| {
        let why = format!("failed to write the page: {why}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    };
    let text = text.map_err(failed)?;
    Ok((shown.code, policy::headers(), Html(text)).into_response())
}

/// All that a page shows.
struct Shown {
    code: StatusCode,
    status: api::Status,
    events: Vec<api::Event>,
    about: Subject,
}

enum Subject {
    Site,
    Pool(String),
    Node(Box<api::Explanation>),
    Nothing(String),
}

impl Shown {
    async fn find(shared: &Shared, parameters: &Parameters<'_>) -> Result<Self, Problem> {
        // The search field sends what was typed, with the blanks around it.
        if let Some(word) = parameters.one("node") {
            return Self::node(shared, word.trim()).await;
        }
        match parameters.one("pool") {
            Some(name) => Self::pool(shared, name).await,
            None => Self::site(shared).await,
        }
    }

    async fn site(shared: &Shared) -> Result<Self, Problem> {
        let events = shared.desk.events(0, EVENTS).await?;
        Ok(Self {
            code: StatusCode::OK,
            status: status_of(shared, &Filter::default()).await?,
            events: events.iter().map(|happened| event(happened)).collect(),
            about: Subject::Site,
        })
    }

    async fn pool(shared: &Shared, name: &str) -> Result<Self, Problem> {
        let name = pool(name)?;
        let mut filter = Filter::default();
        filter.pools.insert(name.clone());
        let mut status = status_of(shared, &filter).await?;
        if status.pools.is_empty() && status.nodes.is_empty() {
            return Err(Problem::unknown(format!("there is no pool {name}")));
        }
        // What may need a person stands first.
        status
            .nodes
            .sort_by_key(|node| node.state == NodeState::Member && !node.failing);
        let events = shared.desk.events(0, EVENTS_LOOKED_AT).await?;
        let its_own = events
            .iter()
            .filter(|event| event.pool.as_ref() == Some(&name));
        let skipped = its_own.clone().count().saturating_sub(EVENTS);
        Ok(Self {
            code: StatusCode::OK,
            status,
            events: its_own
                .skip(skipped)
                .map(|happened| event(happened))
                .collect(),
            about: Subject::Pool(name.to_string()),
        })
    }

    async fn node(shared: &Shared, word: &str) -> Result<Self, Problem> {
        let explained = explanation_of(shared, word).await?;
        Self::apart(shared, StatusCode::OK, Subject::Node(Box::new(explained))).await
    }

    async fn nothing(shared: &Shared, problem: Problem) -> Result<Self, Problem> {
        Self::apart(shared, problem.status, Subject::Nothing(problem.error)).await
    }

    /// A page of its own below the verdict.
    async fn apart(shared: &Shared, code: StatusCode, about: Subject) -> Result<Self, Problem> {
        Ok(Self {
            code,
            status: status_of(shared, &Filter::default()).await?,
            events: Vec::new(),
            about,
        })
    }

    fn page(&self, all: bool) -> Page<'_> {
        let about = match &self.about {
            Subject::Site => About::Site { all },
            Subject::Pool(name) => About::Pool(name),
            Subject::Node(explained) => About::Node(explained),
            Subject::Nothing(why) => About::Nothing(why),
        };
        Page {
            host: &HOST,
            status: &self.status,
            about,
            events: &self.events,
        }
    }
}
