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

use crate::api;
use crate::api::event::event;
use crate::control::Summary;
use crate::drivers::PerlbalHandle;
use crate::http::Shared;
use crate::http::params::{Json, Parameters, Problem, pool};
use crate::http::view::explain::explanation;
use crate::http::view::perlbal::Asked;
use crate::http::view::status::{Filter, status};
use crate::model::event::Event;
use crate::model::event_log::Part;
use crate::model::names::{PoolName, Version};
use crate::model::nearest::offer;
use crate::model::node::Node;
use crate::model::node_index::NotFound;

/// So long a manager has to say what it knows; it is busy with Perlbal at most for moments.
const MANAGER: Duration = Duration::from_secs(1);

/// So many events are told, unless fewer are asked for; who follows is told all that came since.
const EVENTS: usize = 1_000;

/// Who follows events gets them in pieces of so many: what waits to be read by somebody who does not read
/// is short, and so is the time that making it takes.
const PIECE: usize = 100;

pub(crate) fn router() -> Router<Shared> {
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
            .filter(|pool| view.summary.is_pool(pool))
        {
            Some(pool) => _ = filter.pools.insert(pool),
            None => match shared.node_index.borrow().find(word) {
                Ok(_) => filter.nodes.extend(shared.find_listed([word])?),
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
    let perlbals = ask_perlbals(&view.summary.managers).await;
    let made = shared
        .long
        .make(move || Json(status(&view, &perlbals, &filter)).into_response());
    made.await
}

fn no_pool(whole: &Summary, pool: &PoolName) -> Problem {
    let there_are = other_pools(whole, pool.as_str());
    Problem::unknown(format!(
        "there is no pool {pool}: nobody declared or announced it{there_are}"
    ))
}

/// Nothing is called so, and `nodes` tells which nodes nearly are.
fn neither(whole: &Summary, word: &str, nodes: &str) -> Problem {
    let pools = other_pools(whole, word);
    Problem::unknown(format!(
        "no node of the services file and no pool is called {word}{nodes}{pools}"
    ))
}

/// Of few pools all are named; of more those that are called nearly so.
fn other_pools(whole: &Summary, word: &str) -> String {
    /// Maximum number of pools that are named without being asked for.
    const FEW: usize = 10;
    let names: Vec<_> = whole.counts.pools.keys().map(PoolName::as_str).collect();
    match names.len() {
        0 => "; there is no pool yet".to_owned(),
        1..=FEW => format!("; the pools are: {}", names.join(", ")),
        _ => offer(word, names),
    }
}

/// Asks each manager what it knows, all at once.
pub(crate) async fn ask_perlbals(managers: &[PerlbalHandle]) -> Vec<Asked> {
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
pub(crate) async fn explanation_of(
    shared: &Shared,
    word: &str,
) -> Result<api::Explanation, Problem> {
    let addr = shared.find([word])?[0];
    let nodes = shared.control.nodes(vec![addr]).await?;
    let history = shared.control.history(addr).await?;
    match nodes.nodes.first() {
        Some(Some(seen)) => {
            let word = shared.word(&seen.view.node);
            Ok(explanation(&nodes, seen, &word, &history))
        }
        _ => Err(shared.unlisted(addr)),
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
        return Err(no_pool(&whole, &name));
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
            let events = shared.control.events(after, Part::Last(limit)).await?;
            let told = move || {
                let events = events.iter().map(|happened| event(happened)).collect();
                Json(api::Events { events }).into_response()
            };
            shared.long.make(told).await
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
        pulse: shared.control.changed(),
        shared,
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

/// Someone who reads on and on.
struct Follower {
    shared: Shared,
    pulse: watch::Receiver<u64>,
    after: u64,
    /// So many of what was there before, until these are found; otherwise all.
    limit: Option<usize>,
}

impl Follower {
    /// The next lines, as soon as there are some.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(limit) = self.limit.take() {
            self.begin(limit).await?;
        }
        loop {
            self.pulse.borrow_and_update();
            let piece = self.shared.control.events(self.after, Part::First(PIECE));
            let events = piece.await.ok()?;
            if let Some(last) = events.last() {
                self.after = last.id;
                return Some(lines(&events));
            }
            self.pulse.changed().await.ok()?;
        }
    }

    /// Goes to the first event that is told.
    async fn begin(&mut self, limit: usize) -> Option<()> {
        // Who wants nothing of what was there before begins behind the last of it.
        let behind = usize::from(limit > 0);
        let told = self
            .shared
            .control
            .events(self.after, Part::Last(limit.max(1)));
        if let Some(first) = told.await.ok()?.first() {
            self.after = first.id - behind as u64;
        }
        Some(())
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
