//! The problem of a single node.

use super::{Kind, Problem};
use crate::model::change::OutReason;
use crate::model::node_view::{NodeState, NodeStatus, NodeView, Retention};
use crate::model::observation::Observation;

impl Problem {
    /// The node's problem, if any. A node that serves, or is out by an override or its own announcement, has none.
    #[must_use]
    pub fn of_node(view: &NodeView) -> Option<Self> {
        let name = &view.node.name;
        let failure = || match view.last.as_ref().map(|poll| &poll.observation) {
            Some(Observation::Failed(failure)) => failure.to_string(),
            _ => "it failed".to_owned(),
        };
        let (kind, text) = match &view.state {
            NodeState::Awaited => (Kind::Starting, format!("{name} has not been polled yet")),
            NodeState::Out(OutReason::Failed(failure)) => {
                (Kind::NodesDown, format!("{name} is down: {failure}"))
            }
            NodeState::Out(OutReason::Refused(refusal)) => {
                (Kind::NodesRefused, format!("{name} is refused: {refusal}"))
            }
            NodeState::Member(place, kept @ (Retention::Held | Retention::Frozen)) => {
                let by = if *kept == Retention::Held {
                    "min_members"
                } else {
                    "a freeze"
                };
                let (pool, failure) = (&place.pool, failure());
                let text = format!("{name} fails, kept in {pool} by {by}: {failure}");
                (Kind::MembersKept, text)
            }
            NodeState::Member(_, Retention::Serving | Retention::Failing)
            | NodeState::Out(
                OutReason::Leaving
                | OutReason::Granted
                | OutReason::Idle
                | OutReason::Disabled(_)
                | OutReason::Awaited,
            ) => return None,
        };
        let subject = view.node.addr.to_string();
        Some(Self::new(kind, &subject, &text, &text))
    }
}

/// Describes a node that has no problem, in a few words.
#[must_use]
pub fn well(view: &NodeView) -> String {
    let name = &view.node.name;
    match &view.state {
        NodeState::Member(place, Retention::Failing) => {
            format!(
                "{name} is in {}, and failed less often than fall",
                place.pool
            )
        }
        NodeState::Member(place, _) => format!("{name} serves in {}", place.pool),
        NodeState::Awaited | NodeState::Out(_) => {
            let state = match view.state.status() {
                NodeStatus::Disabled => "disabled",
                NodeStatus::Leaving => "leaving",
                NodeStatus::Idle => "idle",
                _ => "awaited",
            };
            format!("{name} is {state}")
        }
    }
}
