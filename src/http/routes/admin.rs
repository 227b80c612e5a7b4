//! The admin door: everything, for operators on this host. What only reads is the same as at the status
//! door.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::de::DeserializeOwned;

use crate::api::{self, Until};
use crate::control::OverrideRequest;
use crate::http::Shared;
use crate::http::long_poll::Looks;
use crate::http::params::{Json, Parameters, Problem};
use crate::http::routes::probes;
use crate::http::server::user::User;
use crate::http::view::node::node;
use crate::http::view::progress::progress;
use crate::model::membership::shortage::Shortage;
use crate::model::node::NodeAddr;
use crate::model::overrides::{Note, Reason, ReasonName};
use crate::model::time::Clock;

/// A wait is held no longer than this; whoever waits longer asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// An order for a longer time is a typing error.
const LONGEST_ORDER: Duration = Duration::from_secs(366 * 24 * 3_600);

/// What is answered at the admin door.
pub(crate) fn router(shared: Shared) -> Router {
    probes::routes()
        .route("/v1/wait", get(wait))
        .route("/v1/disable", post(disable))
        .route("/v1/enable", post(enable))
        .route("/v1/stay", post(stay))
        .route("/v1/freeze", post(freeze))
        .route("/v1/thaw", post(thaw))
        .route("/v1/nudge", post(nudge))
        .route("/v1/reload", post(reload))
        .with_state(shared)
}

async fn wait(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<api::Progress>, Problem> {
    let known = ["node", "until", "timeout_ms", "again"];
    let parameters = Parameters::read(query.as_deref(), &known)?;
    let nodes = parameters.all("node");
    // One that goes from the services file while it is waited for is told as such.
    let addrs = match parameters.one("again") {
        Some("true") => shared.find(nodes)?,
        None | Some("false") => shared.find_listed(nodes)?,
        Some(other) => {
            return Err(Problem::bad(format!(
                "again: expected true or false, found {other:?}"
            )));
        }
    };
    let until = match parameters.needed("until")? {
        "rest" => Until::Rest,
        "serving" => Until::Serving,
        other => {
            return Err(Problem::bad(format!(
                "until: expected rest or serving, found {other:?}"
            )));
        }
    };
    let limit = Duration::from_millis(parameters.number("timeout_ms", 0)?);
    let mut looks = Looks::new(&shared.control, limit.min(LONGEST_WAIT));
    loop {
        let nodes = shared.control.nodes(addrs.clone()).await?;
        let progress = progress(&addrs, &nodes, until);
        if progress.done || !looks.again().await {
            return Ok(Json(progress));
        }
    }
}

async fn disable(
    State(shared): State<Shared>,
    user: Option<Extension<User>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, Problem> {
    let disable: api::Disable = read(&body)?;
    let addrs = shared.find_listed(disable.nodes.iter().map(String::as_str))?;
    let time = disable.for_ms.map(Duration::from_millis);
    if time.is_some_and(|time| time > LONGEST_ORDER) {
        return Err(Problem::bad(
            "for_ms: more than a year; leave it out instead",
        ));
    }
    let order = OverrideRequest::Disable {
        nodes: addrs.clone(),
        word: parse_reason(&disable.reason)?,
        reason: reason(
            disable.note.as_deref(),
            by(disable.by.as_deref(), user),
            time,
        ),
        force: disable.force,
    };
    obeyed(&shared, addrs, order).await
}

async fn enable(
    State(shared): State<Shared>,
    user: Option<Extension<User>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, Problem> {
    let enable: api::Enable = read(&body)?;
    let addrs = shared.find(enable.nodes.iter().map(String::as_str))?;
    let order = OverrideRequest::Enable {
        nodes: addrs.clone(),
        word: parse_reason(&enable.reason)?,
        by: by(enable.by.as_deref(), user),
    };
    obeyed(&shared, addrs, order).await
}

async fn stay(
    State(shared): State<Shared>,
    user: Option<Extension<User>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, Problem> {
    let stay: api::Stay = read(&body)?;
    let addrs = shared.find(stay.nodes.iter().map(String::as_str))?;
    let by = by(stay.by.as_deref(), user);
    obeyed(
        &shared,
        addrs.clone(),
        OverrideRequest::CancelLeave(addrs, by),
    )
    .await
}

async fn freeze(
    State(shared): State<Shared>,
    user: Option<Extension<User>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, Problem> {
    let freeze: api::Freeze = read(&body)?;
    let reason = reason(freeze.note.as_deref(), by(freeze.by.as_deref(), user), None);
    let order = OverrideRequest::Freeze(parse_reason(&freeze.reason)?, reason);
    obeyed(&shared, Vec::new(), order).await
}

async fn thaw(
    State(shared): State<Shared>,
    user: Option<Extension<User>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, Problem> {
    let thaw: api::Freeze = read(&body)?;
    let by = by(thaw.by.as_deref(), user);
    let order = OverrideRequest::Thaw(parse_reason(&thaw.reason)?, by);
    obeyed(&shared, Vec::new(), order).await
}

async fn nudge(State(shared): State<Shared>, body: Bytes) -> Result<Json<api::Ordered>, Problem> {
    let nudge: api::Nudge = if body.is_empty() {
        api::Nudge::default()
    } else {
        read(&body)?
    };
    let addrs = if nudge.nodes.is_empty() {
        shared.node_index.borrow().addrs()
    } else {
        shared.find_listed(nudge.nodes.iter().map(String::as_str))?
    };
    let named = if nudge.nodes.is_empty() {
        Vec::new()
    } else {
        addrs.clone()
    };
    obeyed(&shared, named, OverrideRequest::Nudge(addrs)).await
}

async fn reload(State(shared): State<Shared>, body: Bytes) -> Result<Json<api::Reloaded>, Problem> {
    let reload: Option<api::Reload> = if body.is_empty() { None } else { read(&body)? };
    let accept_removals = reload.unwrap_or_default().accept_removals;
    match shared.control.reload(accept_removals).await? {
        Ok(reloaded) => Ok(Json(api::Reloaded {
            nodes: reloaded.nodes,
            applied: reloaded.applied,
            withheld: reloaded.withheld,
            warnings: reloaded.warnings,
        })),
        Err(wrong) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, wrong)),
    }
}

/// Has an order carried out, and tells how the nodes are then.
async fn obeyed(
    shared: &Shared,
    addrs: Vec<NodeAddr>,
    order: OverrideRequest,
) -> Result<Json<api::Ordered>, Problem> {
    let done = shared.control.apply(order).await??;
    let mut warnings: Vec<_> = done.shortages.iter().map(Shortage::consequence).collect();
    let revision = done.revision;
    if !shared.control.is_persisted(revision).await {
        warnings.push(
            "it is in force, but the state file could not be written: a restart of pollbal would \
             forget it; see the log"
                .to_owned(),
        );
    }
    let nodes = shared.control.nodes(addrs).await?;
    let told = nodes.nodes.iter().flatten();
    Ok(Json(api::Ordered {
        nodes: told
            .map(|seen| node(&nodes.clock, &nodes.perlbals, seen))
            .collect(),
        warnings,
    }))
}

/// Reads a body, whatever its `Content-Type` says.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad(format!("the body is wrong: {error}")))
}

fn parse_reason(text: &str) -> Result<ReasonName, Problem> {
    text.parse()
        .map_err(|error| Problem::bad(format!("{text:?}: {error}")))
}

fn note(text: Option<&str>) -> Note {
    Note::new(text.unwrap_or_default())
}

/// Who gives an order: as the client says, who may know that better (behind sudo), or else the user
/// whose process it is.
fn by(said: Option<&str>, user: Option<Extension<User>>) -> Note {
    match (said.filter(|said| !said.trim().is_empty()), user) {
        (Some(said), _) => Note::new(said),
        (None, Some(Extension(user))) => Note::new(&user.name()),
        (None, None) => Note::default(),
    }
}

fn reason(text: Option<&str>, by: Note, time: Option<Duration>) -> Reason {
    let today = Clock::now().today;
    Reason {
        note: note(text),
        by,
        since: today,
        until: time.map(|time| today.after(time)),
    }
}
