//! How far nodes have come on their way to being drained, or back to serving.

use crate::api::{NodeProgress, Progress, Until};
use crate::control::{NodeAtSerial, SelectedNodes};
use crate::model::node::NodeAddr;
use crate::model::node_view::{NodeState, Retention};
use crate::model::rollout_status::DriverStatuses;
use crate::model::time::Clock;

/// How far the nodes of these addresses have come.
pub(crate) fn progress(addrs: &[NodeAddr], nodes: &SelectedNodes, until: Until) -> Progress {
    let each = addrs.iter().zip(&nodes.nodes);
    let nodes: Vec<_> = each
        .map(|(addr, entry)| match entry {
            Some(entry) => of(entry, &nodes.drivers, &nodes.clock, until),
            None => gone(*addr),
        })
        .collect();
    Progress {
        done: nodes.iter().all(|node| node.done),
        nodes,
    }
}

fn of(entry: &NodeAtSerial, drivers: &DriverStatuses, clock: &Clock, until: Until) -> NodeProgress {
    let node = &entry.view.node;
    let missing = match until {
        Until::Drained => missing_to_drained(entry, drivers, clock),
        Until::Serving => missing_to_serving(entry, drivers),
        Until::FullWeight => missing_to_full_weight(entry, drivers, clock),
    };
    let reached = match until {
        Until::Drained => "drained",
        Until::Serving => "serving",
        Until::FullWeight => "at full weight",
    };
    NodeProgress {
        node: node.addr.to_string(),
        name: node.name.clone(),
        done: missing.is_none(),
        text: missing.unwrap_or_else(|| reached.to_owned()),
    }
}

/// What a node lacks to be drained everywhere.
fn missing_to_drained(
    entry: &NodeAtSerial,
    drivers: &DriverStatuses,
    clock: &Clock,
) -> Option<String> {
    match &entry.view.state {
        NodeState::Awaited => Some("not polled yet".to_owned()),
        NodeState::Member(place, _) => Some(format!("a member of {place}")),
        NodeState::Out(_) => drivers.why_not_drained(&entry.view, entry.serial, clock.now),
    }
}

/// What a node lacks to serve everywhere.
fn missing_to_serving(entry: &NodeAtSerial, drivers: &DriverStatuses) -> Option<String> {
    match &entry.view.state {
        NodeState::Awaited => Some("not polled yet".to_owned()),
        NodeState::Out(why) => Some(format!("out: {why}")),
        NodeState::Member(_, kept) if *kept != Retention::Serving => Some("failing".to_owned()),
        NodeState::Member(..) => drivers.why_not_applied(&entry.view, entry.serial),
    }
}

/// What a node lacks to serve with its full weight everywhere.
fn missing_to_full_weight(
    entry: &NodeAtSerial,
    drivers: &DriverStatuses,
    clock: &Clock,
) -> Option<String> {
    let view = &entry.view;
    missing_to_serving(entry, drivers).or_else(|| {
        let (ramp, weight) = view.ramp?;
        let remaining = ramp.end().saturating_duration_since(clock.now).as_secs() + 1;
        let (full, _) = view.weight;
        Some(format!(
            "has weight {weight} of {full}, for {remaining} s more"
        ))
    })
}

/// A node that was removed from the services file is out; more is not known of it.
fn gone(addr: NodeAddr) -> NodeProgress {
    NodeProgress {
        node: addr.to_string(),
        name: addr.to_string(),
        done: false,
        text: "not a listed node".to_owned(),
    }
}
