//! One node.

use super::{earlier, reason, time};
use crate::api::{self, State};
use crate::control::NodeAtSerial;
use crate::model::change::{Assignment, OutReason};
use crate::model::node_view::{NodeState, NodeView, Retention};
use crate::model::observation::Observation;
use crate::model::overrides;
use crate::model::overrides::words;
use crate::model::rollout_status::DriverStatuses;
use crate::model::time::{Clock, millis};

/// A leave.
pub(super) fn grant(grant: &overrides::LeaveLease) -> api::Grant {
    api::Grant {
        since: time(grant.since),
        until: time(grant.until),
    }
}

/// The reason for a weight.
fn weight_reason(given: &overrides::WeightOverride) -> api::Reason {
    reason((&given.name, &given.reason))
}

/// A weight.
pub(super) fn given_weight(given: &overrides::WeightOverride) -> api::GivenWeight {
    api::GivenWeight {
        weight: given.weight.get(),
        reason: weight_reason(given),
    }
}

pub(crate) fn node(clock: &Clock, drivers: &DriverStatuses, entry: &NodeAtSerial) -> api::Node {
    let view = &entry.view;
    let place = place(view);
    api::Node {
        node: view.node.addr.to_string(),
        name: view.node.name.clone(),
        state: state(view),
        pool: place.as_ref().map(|place| place.pool.to_string()),
        version: place
            .and_then(|place| place.version)
            .map(|version| version.to_string()),
        why: why(view),
        since: view.since.map(|since| earlier(clock, since)),
        failing: is_failing(view),
        reasons: view.reasons.iter().map(reason).collect(),
        grant: view.lease.as_ref().map(grant),
        weight: view.weight.0.get(),
        weight_source: view.weight.1,
        weight_reason: view.weight_override.as_ref().map(weight_reason),
        ramp: view.ramp.map(|(ramp, weight)| api::Ramp {
            weight: weight.get(),
            since: earlier(clock, ramp.start()),
            until: time(clock.of(ramp.end())),
        }),
        next_ramp_ms: view.next_ramp.map(millis),
        drained: drivers.is_drained(view, entry.serial),
    }
}

/// A node's state.
pub(crate) fn state(view: &NodeView) -> State {
    view.state.status()
}

/// Whether it fails, though it is a member.
pub(crate) fn is_failing(view: &NodeView) -> bool {
    matches!(&view.state, NodeState::Member(_, kept) if *kept != Retention::Serving)
}

/// Its place, or the one that its last announcement named.
pub(crate) fn place(view: &NodeView) -> Option<Assignment> {
    match &view.state {
        NodeState::Member(place, _) => Some(place.clone()),
        _ => view.last_assignment.clone(),
    }
}

/// Why it is out, as text that does not repeat its state.
fn reason_text(reason: &OutReason, view: &NodeView) -> String {
    match reason {
        OutReason::Leaving if !view.node.is_polled() => "announced in Serf".to_owned(),
        OutReason::Leaving => "announced by the node".to_owned(),
        OutReason::Idle if !view.node.is_polled() => "in Serf without a pool".to_owned(),
        OutReason::Idle => "responded with an empty body".to_owned(),
        OutReason::Failed(failure) => failure.to_string(),
        OutReason::Refused(refusal) => refusal.to_string(),
        OutReason::Disabled(_) => words(view.reasons.keys()),
        OutReason::Granted => "granted leave".to_owned(),
        OutReason::Awaited => "enabled, waiting for the next poll".to_owned(),
    }
}

/// Why it is out, or what is wrong although it is in; its place has fields of its own.
fn why(view: &NodeView) -> Option<String> {
    match &view.state {
        NodeState::Awaited => Some("not polled yet".to_owned()),
        NodeState::Out(reason) => Some(reason_text(reason, view)),
        NodeState::Member(_, kept) => {
            let failure = match view.last.as_ref().map(|poll| &poll.observation) {
                Some(Observation::Failed(failure)) => failure.to_string(),
                _ => String::new(),
            };
            match kept {
                Retention::Serving => {
                    let refusal = view.unversioned.as_ref();
                    refusal.map(|refusal| format!("in no version pool: {refusal}"))
                }
                Retention::Failing => Some(format!(
                    "failing, fewer than `fall` times in a row: {failure}"
                )),
                Retention::Held => Some(format!("failing, kept in by min_members: {failure}")),
                Retention::Frozen => Some(format!("failing, kept in by a freeze: {failure}")),
            }
        }
    }
}
