//! The admin socket: everything, for operators on this host. What only reads is the same as on the
//! status listener.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::de::DeserializeOwned;

use crate::api::{self, Until};
use crate::control::OverrideRequest;
use crate::http::AppState;
use crate::http::long_poll::LongPoll;
use crate::http::params::{HttpError, Json, Parameters};
use crate::http::routes::probes;
use crate::http::server::peer::PeerUser;
use crate::http::view::node::node;
use crate::http::view::progress::progress;
use crate::model::membership::shortage::Shortage;
use crate::model::node::NodeAddr;
use crate::model::overrides::{Note, Reason, ReasonName, WeightOverride};
use crate::model::time::Clock;
use crate::model::weight::Weight;

/// Maximum time for which a response is delayed; a client that waits longer repeats its request.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Maximum duration of an override; a longer one is a typing error.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The routes of the admin socket.
pub(crate) fn router(state: AppState) -> Router {
    probes::routes()
        .route("/v1/wait", get(wait))
        .route("/v1/disable", post(disable))
        .route("/v1/enable", post(enable))
        .route("/v1/cancel-leave", post(cancel_leave))
        .route("/v1/weight", post(weigh))
        .route("/v1/freeze", post(freeze))
        .route("/v1/thaw", post(thaw))
        .route("/v1/nudge", post(nudge))
        .route("/v1/reload", post(reload))
        .with_state(state)
}

async fn wait(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<api::Progress>, HttpError> {
    let known = ["node", "until", "timeout_ms", "again"];
    let parameters = Parameters::read(query.as_deref(), &known)?;
    let nodes = parameters.all("node");
    // One that is removed from the services file meanwhile is reported as such.
    let addrs = match parameters.one("again") {
        Some("true") => state.find(nodes)?,
        None | Some("false") => state.find_listed(nodes)?,
        Some(other) => {
            return Err(HttpError::bad(format!(
                "again: expected true or false, found {other:?}"
            )));
        }
    };
    let until = match parameters.required("until")? {
        "drained" => Until::Drained,
        "serving" => Until::Serving,
        "full-weight" => Until::FullWeight,
        other => {
            return Err(HttpError::bad(format!(
                "until: expected drained, serving or full-weight, found {other:?}"
            )));
        }
    };
    let limit = Duration::from_millis(parameters.number("timeout_ms", 0)?);
    let mut long_poll = LongPoll::new(&state.control, limit.min(MAX_WAIT));
    loop {
        let nodes = state.control.nodes(addrs.clone()).await?;
        let progress = progress(&addrs, &nodes, until);
        if progress.done || !long_poll.changed().await {
            return Ok(Json(progress));
        }
    }
}

async fn disable(
    State(state): State<AppState>,
    user: Option<Extension<PeerUser>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, HttpError> {
    let disable: api::Disable = read(&body)?;
    let addrs = state.find_listed(disable.nodes.iter().map(String::as_str))?;
    let time = parse_duration("for_ms", disable.for_ms)?;
    let order = OverrideRequest::Disable {
        nodes: addrs.clone(),
        name: parse_reason(&disable.reason)?,
        reason: reason(
            disable.note.as_deref(),
            by(disable.by.as_deref(), user),
            time,
        ),
        force: disable.force,
    };
    apply(&state, addrs, order).await
}

async fn enable(
    State(state): State<AppState>,
    user: Option<Extension<PeerUser>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, HttpError> {
    let enable: api::Enable = read(&body)?;
    let addrs = state.find(enable.nodes.iter().map(String::as_str))?;
    let order = OverrideRequest::Enable {
        nodes: addrs.clone(),
        name: parse_reason(&enable.reason)?,
        by: by(enable.by.as_deref(), user),
        ramp: parse_duration("ramp_ms", enable.ramp_ms)?,
    };
    apply(&state, addrs, order).await
}

async fn cancel_leave(
    State(state): State<AppState>,
    user: Option<Extension<PeerUser>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, HttpError> {
    let cancel: api::CancelLeave = read(&body)?;
    let addrs = state.find(cancel.nodes.iter().map(String::as_str))?;
    let by = by(cancel.by.as_deref(), user);
    apply(
        &state,
        addrs.clone(),
        OverrideRequest::CancelLeave(addrs, by),
    )
    .await
}

async fn weigh(
    State(state): State<AppState>,
    user: Option<Extension<PeerUser>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, HttpError> {
    let weigh: api::Weigh = read(&body)?;
    let nodes = weigh.nodes.iter().map(String::as_str);
    let by = by(weigh.by.as_deref(), user);
    let Some(weight) = weigh.weight else {
        let addrs = state.find(nodes)?;
        let order = OverrideRequest::ResetWeight(addrs.clone(), by);
        return apply(&state, addrs, order).await;
    };
    let addrs = state.find_listed(nodes)?;
    let weight: Weight = weight
        .try_into()
        .map_err(|error| HttpError::bad(format!("weight: {error}, found {weight}")))?;
    let name = weigh.reason.as_deref();
    let name = name.ok_or_else(|| HttpError::bad("reason: required with a weight"))?;
    let time = parse_duration("for_ms", weigh.for_ms)?;
    let given = WeightOverride {
        weight,
        name: parse_reason(name)?,
        reason: reason(weigh.note.as_deref(), by, time),
    };
    let nodes = addrs.clone();
    apply(&state, addrs, OverrideRequest::SetWeight { nodes, given }).await
}

async fn freeze(
    State(state): State<AppState>,
    user: Option<Extension<PeerUser>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, HttpError> {
    let freeze: api::Freeze = read(&body)?;
    let reason = reason(freeze.note.as_deref(), by(freeze.by.as_deref(), user), None);
    let order = OverrideRequest::Freeze(parse_reason(&freeze.reason)?, reason);
    apply(&state, Vec::new(), order).await
}

async fn thaw(
    State(state): State<AppState>,
    user: Option<Extension<PeerUser>>,
    body: Bytes,
) -> Result<Json<api::Ordered>, HttpError> {
    let thaw: api::Freeze = read(&body)?;
    let by = by(thaw.by.as_deref(), user);
    let order = OverrideRequest::Thaw(parse_reason(&thaw.reason)?, by);
    apply(&state, Vec::new(), order).await
}

async fn nudge(
    State(state): State<AppState>,
    body: Bytes,
) -> Result<Json<api::Ordered>, HttpError> {
    let nudge: api::Nudge = if body.is_empty() {
        api::Nudge::default()
    } else {
        read(&body)?
    };
    let addrs = if nudge.nodes.is_empty() {
        state.node_index.borrow().addrs().to_vec()
    } else {
        state.find_listed(nudge.nodes.iter().map(String::as_str))?
    };
    let named = if nudge.nodes.is_empty() {
        Vec::new()
    } else {
        addrs.clone()
    };
    apply(&state, named, OverrideRequest::Nudge(addrs)).await
}

async fn reload(
    State(state): State<AppState>,
    body: Bytes,
) -> Result<Json<api::Reloaded>, HttpError> {
    let reload: Option<api::Reload> = if body.is_empty() { None } else { read(&body)? };
    let accept_removals = reload.unwrap_or_default().accept_removals;
    match state.control.reload(accept_removals).await? {
        Ok(reloaded) => Ok(Json(api::Reloaded {
            nodes: reloaded.nodes,
            applied: reloaded.applied,
            withheld: reloaded.withheld,
            warnings: reloaded.warnings,
        })),
        Err(wrong) => Err(HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, wrong)),
    }
}

/// Applies an override, and responds with the state of its nodes after it.
async fn apply(
    state: &AppState,
    addrs: Vec<NodeAddr>,
    order: OverrideRequest,
) -> Result<Json<api::Ordered>, HttpError> {
    let done = state.control.apply(order).await??;
    let mut warnings: Vec<_> = done.shortages.iter().map(Shortage::consequence).collect();
    let revision = done.revision;
    if !state.control.persisted().is_persisted(revision).await {
        warnings.push(
            "applied, but not saved (state file not writable, see the log): lost if pollbal \
             restarts"
                .to_owned(),
        );
    }
    let nodes = state.control.nodes(addrs).await?;
    let reported = nodes.nodes.iter().flatten();
    Ok(Json(api::Ordered {
        nodes: reported
            .map(|entry| node(&nodes.clock, &nodes.drivers, entry))
            .collect(),
        warnings,
    }))
}

/// Parses a body, whatever its `Content-Type`.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(body).map_err(|error| HttpError::bad(format!("invalid body: {error}")))
}

fn parse_reason(text: &str) -> Result<ReasonName, HttpError> {
    text.parse()
        .map_err(|error| HttpError::bad(format!("{text:?}: {error}")))
}

/// Parses how long an override is active, or a ramp takes; `field` has it.
fn parse_duration(field: &str, millis: Option<u64>) -> Result<Option<Duration>, HttpError> {
    let time = millis.map(Duration::from_millis);
    if time.is_some_and(|time| time > MAX_DURATION) {
        let why = format!("{field}: more than a year; omit it instead");
        return Err(HttpError::bad(why));
    }
    Ok(time)
}

fn note(text: Option<&str>) -> Note {
    Note::new(text.unwrap_or_default())
}

/// Who gives an order: as the client states it, which may know better (behind sudo), otherwise the user whose
/// process it is.
fn by(stated: Option<&str>, user: Option<Extension<PeerUser>>) -> Note {
    match (stated.filter(|stated| !stated.trim().is_empty()), user) {
        (Some(stated), _) => Note::new(stated),
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
