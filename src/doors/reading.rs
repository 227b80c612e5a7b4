//! `GET`s below `/v1/` that only read.

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

use super::Shared;
use super::ask::{Json, Parameters, Problem, pool};
use super::tell::explain::explanation;
use super::tell::perlbal::Asked;
use super::tell::status::{Filter, status};
use crate::api;
use crate::api::event::event;
use crate::drivers::PerlbalHandle;
use crate::model::journal::Event;
use crate::model::names::{PoolName, Version};
use crate::model::node::Node;

/// So long a manager has to say what it knows; it is busy with Perlbal at most for moments.
const MANAGER: Duration = Duration::from_secs(1);

/// So many events are told, unless fewer are asked for; who follows is told all that came since.
const EVENTS: usize = 1_000;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/v1/status", get(tell_status))
        .route("/v1/explain", get(explain))
        .route("/v1/members", get(members))
        .route("/v1/events", get(events))
}

async fn tell_status(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["node", "pool", "of"])?;
    let mut filter = Filter::default();
    for name in parameters.all("pool") {
        filter.pools.insert(pool(name)?);
    }
    for word in parameters.all("node") {
        filter.nodes.extend(shared.find_listed([word])?);
    }
    let view = shared.view().await?;
    for word in parameters.all("of") {
        // A pool or a node, whichever there is.
        match word
            .parse::<PoolName>()
            .ok()
            .filter(|pool| view.overview.is_pool(pool))
        {
            Some(pool) => _ = filter.pools.insert(pool),
            None => filter.nodes.extend(shared.find_listed([word])?),
        }
    }
    let mut pools = filter.pools.iter();
    if let Some(unknown) = pools.find(|pool| !view.overview.is_pool(pool)) {
        return Err(no_pool(unknown));
    }
    let perlbals = ask_perlbals(&view.overview.managers).await;
    let made = shared
        .long
        .make(move || Json(status(&view, &perlbals, &filter)).into_response());
    made.await
}

fn no_pool(pool: &PoolName) -> Problem {
    Problem::unknown(format!(
        "there is no pool {pool}: nobody declared or announced it"
    ))
}

/// Asks each manager what it knows, all at once.
pub(super) async fn ask_perlbals(managers: &[PerlbalHandle]) -> Vec<Asked> {
    let asks = managers.iter().map(|manager| async {
        let known = timeout(MANAGER, manager.view()).await;
        Asked {
            address: manager.address.clone(),
            standing: manager.standing(),
            view: known.ok().flatten(),
        }
    });
    join_all(asks).await
}

async fn explain(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<api::Explanation>, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["node"])?;
    let explained = explanation_of(&shared, parameters.needed("node")?).await?;
    Ok(Json(explained))
}

/// All about the node that goes by this word.
pub(super) async fn explanation_of(
    shared: &Shared,
    word: &str,
) -> Result<api::Explanation, Problem> {
    let addr = shared.find([word])?[0];
    let nodes = shared.desk.nodes(vec![addr]).await?;
    let history = shared.desk.history(addr).await?;
    match nodes.nodes.first() {
        Some(Some(seen)) => {
            let word = shared.word(&seen.view.node);
            Ok(explanation(&nodes, seen, &word, &history))
        }
        _ => Err(Problem::unlisted(addr)),
    }
}

async fn members(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<api::Members>, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["pool"])?;
    let name = pool(parameters.needed("pool")?)?;
    let whole = shared.overview().await?;
    if !whole.is_pool(&name) {
        return Err(no_pool(&name));
    }
    let pool = whole.pool(&name);
    let sorry = pool.is_some_and(|pool| !pool.sorry.is_empty());
    let member = |(node, version): (&Arc<Node>, Option<&Version>)| api::Member {
        node: node.addr.to_string(),
        name: node.name.clone(),
        version: version.map(ToString::to_string),
        sorry,
    };
    let members = pool.iter().flat_map(|pool| pool.recipients());
    Ok(Json(api::Members {
        pool: name.to_string(),
        members: members.map(member).collect(),
    }))
}

async fn events(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["after", "limit", "follow"])?;
    let after = parameters.number("after", 0)?;
    // Who goes on behind an event is left none out of either.
    let goes_on = after > 0 && parameters.one("follow") == Some("true");
    let most = if goes_on { u64::MAX } else { EVENTS as u64 };
    let limit = parameters.number("limit", most)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match parameters.one("follow") {
        None | Some("false") => {
            let events = shared.desk.events(after, limit).await?;
            let events = events.iter().map(|happened| event(happened)).collect();
            Ok(Json(api::Events { events }).into_response())
        }
        Some("true") => Ok(follow(shared, after, limit)),
        Some(other) => Err(Problem::bad(format!(
            "follow: expected true or false, found {other:?}"
        ))),
    }
}

/// Events for ever, a line of JSON each. It ends with the daemon, or when nobody reads any more.
fn follow(shared: Shared, after: u64, limit: usize) -> Response {
    let follower = Follower {
        pulse: shared.desk.pulse(),
        shared,
        after,
        limit,
    };
    let lines = stream::unfold(follower, |mut follower| async {
        let lines = follower.next().await?;
        Some((Ok::<_, Infallible>(lines), follower))
    });
    let kind = [(CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(lines)).into_response()
}

/// Someone who reads on and on.
struct Follower {
    shared: Shared,
    pulse: watch::Receiver<u64>,
    after: u64,
    /// So many of what was there before; then all.
    limit: usize,
}

impl Follower {
    /// The next lines, as soon as there are some.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.pulse.borrow_and_update();
            // Who wants nothing of what was there before begins behind the last of it.
            let silent = self.limit == 0;
            let limit = self.limit.max(1);
            let events = self.shared.desk.events(self.after, limit).await.ok()?;
            // From here on none is left out; the journal keeps a bounded number.
            self.limit = usize::MAX;
            if let Some(last) = events.last() {
                self.after = last.id;
                if silent {
                    continue;
                }
                return Some(lines(&events));
            }
            self.pulse.changed().await.ok()?;
        }
    }
}

fn lines(events: &[Arc<Event>]) -> Bytes {
    let mut text = Vec::new();
    for happened in events {
        // Texts and numbers can always be written.
        _ = serde_json::to_writer(&mut text, &event(happened));
        text.push(b'\n');
    }
    text.into()
}
