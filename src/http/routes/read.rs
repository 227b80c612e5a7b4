//! `GET` requests below `/v1/` that only read.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::join_all;
use futures_util::stream;
use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api;
use crate::api::event::event;
use crate::control::Summary;
use crate::drivers::{DriverHandle, PoolFilter};
use crate::http::AppState;
use crate::http::params::{HttpError, Json, Parameters, parse_pool};
use crate::http::view::explain::explanation;
use crate::http::view::load_balancer::DriverReport;
use crate::http::view::status::{Filter, status};
use crate::model::event::Event;
use crate::model::event_log::Part;
use crate::model::names::PoolName;
use crate::model::nearest::offer;
use crate::model::node::Node;
use crate::model::node_index::NotFound;
use crate::model::pools::Member;

/// Time for a driver to report its details; it is busy with its load balancer only for moments.
const DETAILS_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum number of events, unless `limit` gives another one; a follower gets all that came since.
const MAX_EVENTS: usize = 1_000;

/// Maximum number of events per chunk for a follower. So what waits for a client that does not read is
/// small, and quickly made.
const CHUNK: usize = 100;

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/status", get(get_status))
        .route("/v1/explain", get(explain))
        .route("/v1/members", get(members))
        .route("/v1/events", get(events))
}

async fn get_status(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let parameters = Parameters::read(query.as_deref(), &["node", "pool", "of"])?;
    let mut filter = Filter::default();
    for name in parameters.all("pool") {
        filter.pools.insert(parse_pool(name)?);
    }
    for word in parameters.all("node") {
        filter.nodes.extend(state.find_listed([word])?);
    }
    let view = state.full_state().await?;
    for word in parameters.all("of") {
        // A pool or a node, whichever exists.
        match word
            .parse::<PoolName>()
            .ok()
            .filter(|pool| view.summary.is_pool(pool))
        {
            Some(pool) => _ = filter.pools.insert(pool),
            None => match state.node_index.borrow().find(word) {
                Ok(_) => filter.nodes.extend(state.find_listed([word])?),
                Err(NotFound::Unknown(word, offer)) => {
                    return Err(neither(&view.summary, &word, &offer));
                }
                Err(ambiguous) => return Err(ambiguous.into()),
            },
        }
    }
    let mut pools = filter.pools.iter();
    if let Some(unknown) = pools.find(|pool| !view.summary.is_pool(pool)) {
        return Err(no_pool(&view.summary, unknown));
    }
    let drivers = query_drivers(&view.summary.handles, &filter.pools_there()).await;
    let make = move || Json(status(&view, &drivers, &filter)).into_response();
    Ok(state.budget.make(make).await?)
}

fn no_pool(whole: &Summary, pool: &PoolName) -> HttpError {
    let there_are = other_pools(whole, pool.as_str());
    HttpError::unknown(format!(
        "there is no pool {pool}: it is neither declared nor announced by a node{there_are}"
    ))
}

/// Nothing has this name; `nodes` suggests similar names of nodes.
fn neither(whole: &Summary, word: &str, nodes: &str) -> HttpError {
    let pools = other_pools(whole, word);
    HttpError::unknown(format!(
        "no listed node and no pool is called {word}{nodes}{pools}"
    ))
}

/// Suggests pools: all if there are few, otherwise those with similar names.
fn other_pools(whole: &Summary, word: &str) -> String {
    /// Maximum number of pools of which all are listed.
    const FEW: usize = 10;
    let names: Vec<_> = whole.counts.pools.keys().map(PoolName::as_str).collect();
    match names.len() {
        0 => "; there is no pool yet".to_owned(),
        1..=FEW => format!("; the pools are: {}", names.join(", ")),
        _ => offer(word, names),
    }
}

/// Queries all drivers at once.
pub(crate) async fn query_drivers(
    drivers: &[DriverHandle],
    pools: &PoolFilter,
) -> Vec<DriverReport> {
    let queries = drivers.iter().map(|driver| async {
        let details = timeout(DETAILS_TIMEOUT, driver.details(pools.clone())).await;
        DriverReport {
            id: driver.id.clone(),
            status: driver.status(),
            details: details.ok().flatten(),
        }
    });
    join_all(queries).await
}

async fn explain(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<api::Explanation>, HttpError> {
    let parameters = Parameters::read(query.as_deref(), &["node"])?;
    let explained = explanation_of(&state, parameters.required("node")?).await?;
    Ok(Json(explained))
}

/// All about the node of this name.
pub(crate) async fn explanation_of(
    state: &AppState,
    word: &str,
) -> Result<api::Explanation, HttpError> {
    let addr = state.find([word])?[0];
    let nodes = state.control.nodes(vec![addr]).await?;
    let history = state.control.history(addr).await?;
    match nodes.nodes.first() {
        Some(Some(entry)) => {
            let word = state.shell_word(&entry.view.node);
            Ok(explanation(&nodes, entry, &word, &history))
        }
        _ => Err(state.unlisted(addr)),
    }
}

async fn members(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<api::Members>, HttpError> {
    let parameters = Parameters::read(query.as_deref(), &["pool"])?;
    let name = parse_pool(parameters.required("pool")?)?;
    let whole = state.summary().await?;
    if !whole.is_pool(&name) {
        return Err(no_pool(&whole, &name));
    }
    let member = |member: &Member| api::Member {
        node: member.node.addr.to_string(),
        name: member.node.name.clone(),
        version: member.version.as_ref().map(ToString::to_string),
        weight: Some(member.weight.get()),
        sorry: false,
    };
    let sorry = |node: &Arc<Node>| api::Member {
        node: node.addr.to_string(),
        name: node.name.clone(),
        version: None,
        weight: None,
        sorry: true,
    };
    let pool = whole.pool(&name);
    let members = pool.iter().flat_map(|pool| pool.members.iter().map(member));
    let sorry = pool.iter().flat_map(|pool| pool.sorry.iter().map(sorry));
    Ok(Json(api::Members {
        pool: name.to_string(),
        members: members.chain(sorry).collect(),
    }))
}

async fn events(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Response, HttpError> {
    let parameters = Parameters::read(query.as_deref(), &["after", "limit", "follow"])?;
    let after = parameters.number("after", 0)?;
    // A follower that continues after an event must not miss any.
    let continues = after > 0 && parameters.one("follow") == Some("true");
    let most = if continues {
        u64::MAX
    } else {
        MAX_EVENTS as u64
    };
    let limit = parameters.number("limit", most)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match parameters.one("follow") {
        None | Some("false") => {
            let events = state.control.events(after, Part::Last(limit)).await?;
            let response = move || {
                let events = events.iter().map(|happened| event(happened)).collect();
                Json(api::Events { events }).into_response()
            };
            Ok(state.budget.make(response).await?)
        }
        Some("true") => Ok(follow(state, after, limit)),
        Some(other) => Err(HttpError::bad(format!(
            "follow: expected true or false, found {other:?}"
        ))),
    }
}

/// Events without end, one line of JSON each. It ends with the daemon, or when the client stops reading.
fn follow(state: AppState, after: u64, limit: usize) -> Response {
    let follower = Follower {
        pulse: state.control.changed(),
        state,
        after,
        limit: (limit < usize::MAX).then_some(limit),
    };
    let lines = stream::unfold(follower, |mut follower| async {
        let lines = follower.next().await?;
        Some((Ok::<_, Infallible>(lines), follower))
    });
    let kind = [(CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(lines)).into_response()
}

/// A client that follows events.
struct Follower {
    state: AppState,
    pulse: watch::Receiver<u64>,
    after: u64,
    /// Maximum number of earlier events, until the first of them has been found; none for all.
    limit: Option<usize>,
}

impl Follower {
    /// The next lines, as soon as there are any.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(limit) = self.limit.take() {
            self.skip_to_last(limit).await?;
        }
        loop {
            self.pulse.borrow_and_update();
            let chunk = self.state.control.events(self.after, Part::First(CHUNK));
            let events = chunk.await.ok()?;
            if let Some(last) = events.last() {
                self.after = last.id;
                return Some(lines(&events));
            }
            self.pulse.changed().await.ok()?;
        }
    }

    /// Skips all but the last `limit` events.
    async fn skip_to_last(&mut self, limit: usize) -> Option<()> {
        // With a limit of 0, it starts after the last one.
        let offset = usize::from(limit > 0);
        let events = self
            .state
            .control
            .events(self.after, Part::Last(limit.max(1)));
        if let Some(first) = events.await.ok()?.first() {
            self.after = first.id - offset as u64;
        }
        Some(())
    }
}

fn lines(events: &[Arc<Event>]) -> Bytes {
    let mut text = Vec::new();
    for happened in events {
        // Texts and numbers can always be serialized.
        _ = serde_json::to_writer(&mut text, &event(happened));
        text.push(b'\n');
    }
    text.into()
}
