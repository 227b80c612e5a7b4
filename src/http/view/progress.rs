//! How far nodes have come on their way to rest, or back to serving.

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
        .map(|(addr, seen)| match seen {
            Some(seen) => of(seen, &nodes.drivers, &nodes.clock, until),
            None => gone(*addr),
        })
        .collect();
    Progress {
        done: nodes.iter().all(|node| node.done),
        nodes,
    }
}

fn of(seen: &NodeAtSerial, drivers: &DriverStatuses, clock: &Clock, until: Until) -> NodeProgress {
    let node = &seen.view.node;
    let lacks = match until {
        Until::Drained => lacks_rest(seen, drivers, clock),
        Until::Serving => lacks_service(seen, drivers),
    };
    let reached = match until {
        Until::Drained => "drained",
        Until::Serving => "serving",
    };
    NodeProgress {
        node: node.addr.to_string(),
        name: node.name.clone(),
        done: lacks.is_none(),
        text: lacks.unwrap_or_else(|| reached.to_owned()),
    }
}

/// What a node lacks to be at rest everywhere.
fn lacks_rest(seen: &NodeAtSerial, drivers: &DriverStatuses, clock: &Clock) -> Option<String> {
    match &seen.view.state {
        NodeState::Unheard => Some("not polled yet".to_owned()),
        NodeState::Member(place, _) => Some(format!("a member of {place}")),
        NodeState::Out(_) => drivers.why_not_drained(&seen.view, seen.serial, clock.now),
    }
}

/// What a node lacks to serve everywhere.
fn lacks_service(seen: &NodeAtSerial, drivers: &DriverStatuses) -> Option<String> {
    match &seen.view.state {
        NodeState::Unheard => Some("not polled yet".to_owned()),
        NodeState::Out(why) => Some(format!("out: {why}")),
        NodeState::Member(_, kept) if *kept != Retention::Serving => Some("failing".to_owned()),
        NodeState::Member(..) => drivers.why_not_applied(seen.serial),
    }
}

/// A node that was taken from the services file is out; more cannot be told of it.
fn gone(addr: NodeAddr) -> NodeProgress {
    NodeProgress {
        node: addr.to_string(),
        name: addr.to_string(),
        done: false,
        text: "not in the services file".to_owned(),
    }
}
