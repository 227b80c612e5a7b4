//! Since when nodes are where they are, over a restart: what the previous run knew applies to a node that is found
//! where it was. So do ramps.

use std::collections::HashMap;
use std::time::Instant;

use super::Membership;
use super::nodes::State;
use crate::model::change::Assignment;
use crate::model::node::NodeAddr;
use crate::model::node_times::{NodeTime, NodeTimes};
use crate::model::node_view::NodeStatus;
use crate::model::time::Timestamp;

/// What the run before knew of nodes that were not polled since.
pub(super) type Before = HashMap<NodeAddr, Was>;

/// Where a node was in the run before.
#[derive(Debug)]
pub(super) struct Was {
    state: NodeStatus,
    /// Where it was a member.
    place: Option<Assignment>,
    since: Instant,
    failing: Option<Instant>,
}

impl Was {
    /// Whether it was a member.
    pub(super) fn is_member(&self) -> bool {
        self.place.is_some()
    }
}

impl Membership {
    /// Takes what the run before knew, before any node is polled.
    pub fn remember(&mut self, times: &NodeTimes, (now, today): (Instant, Timestamp)) {
        // What seems to lie ahead, since the clock was put back, began now.
        let at = |time| now.checked_sub(today.since(time)).unwrap_or(now);
        let was = |(addr, state, place, since)| {
            let was = Was {
                state,
                place,
                since: at(since),
                failing: times.failing(addr).map(at),
            };
            (addr, was)
        };
        self.before = times.nodes().map(was).collect();
        self.ramps.restore(&times.ramps, at, now);
    }

    /// Since when nodes are where they are; nothing before the first round is done, when that is not known of all.
    #[must_use]
    pub fn times(&self, (now, today): (Instant, Timestamp)) -> Option<NodeTimes> {
        if !self.first_round_done {
            return None;
        }
        let time = |since| today.before(now.saturating_duration_since(since));
        let nodes = self.nodes.listed().iter().filter_map(|node| {
            let (state, place) = match &node.state {
                State::Out(why) => (NodeStatus::of(why.as_ref()?), None),
                State::Member { place, .. } => (NodeStatus::Member, Some(place)),
            };
            let fails = place.is_some() && node.failures > 0;
            let of_node = NodeTime {
                state,
                place,
                since: time(node.since?),
                failing: node.failing_since.filter(|_| fails).map(time),
            };
            Some((node.node.addr, of_node))
        });
        let mut times = NodeTimes::of(nodes);
        times.ramps = self.ramps.saved(time);
        Some(times)
    }

    /// A node was polled for the first time: if it is where it was in the run before, it is so since then.
    pub(super) fn begin_time(&mut self, addr: NodeAddr, now: Instant) {
        let (Some(was), Some(node)) = (self.before.remove(&addr), self.nodes.get_mut(addr)) else {
            return;
        };
        match &node.state {
            State::Member { place, .. } if was.place.as_ref() == Some(place) => {
                node.since = Some(was.since);
                if node.failures > 0 {
                    node.failing_since = was.failing.or(node.failing_since);
                }
            }
            // Taken over where the run before had left it for another place.
            State::Member { .. } => node.since = node.since.or(Some(now)),
            State::Out(Some(why)) if NodeStatus::of(why) == was.state => {
                node.since = Some(was.since);
            }
            State::Out(_) => {}
        }
    }
}
