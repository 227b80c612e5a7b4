//! What a source says of nodes that are not polled: it counts as a poll would.

use std::time::Instant;

use super::Membership;
use super::nodes::State;
use crate::model::announcement::{Announcement, Status};
use crate::model::change::Change;
use crate::model::node::NodeAddr;
use crate::model::observation::{Observation, Poll};
use crate::model::report::{Report, Said};

impl Membership {
    /// Takes what its source says of a node, at `now`. Nothing if that node is polled.
    pub fn report(&mut self, report: Report, now: Instant) -> Vec<Change> {
        let Report {
            addr,
            said,
            asked_at,
            took,
        } = report;
        let node = self.nodes.get_listed(addr);
        if node.is_none_or(|node| node.node.is_polled()) {
            return Vec::new();
        }
        let observation = match said {
            Said::Observed(observation) => observation,
            Said::Leaves => self.leave_of(addr),
        };
        let poll = Poll {
            observation,
            asked_at,
            took,
        };
        self.take(addr, poll, now)
    }

    /// Stops waiting for the first word of a node for which its source speaks, but of which it says nothing: it stays
    /// where the previous run left it.
    pub fn excuse(&mut self, addr: NodeAddr, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(node) = self.nodes.listed_mut(addr)
            && !node.node.is_polled()
            && !std::mem::replace(&mut node.polled, true)
        {
            self.awaited -= 1;
            self.end_round(now, &mut changes);
        }
        changes
    }

    /// Whether its source speaks for a node that is in no pool, so that nothing is lost with it.
    #[must_use]
    pub fn is_reported_out(&self, addr: NodeAddr) -> bool {
        let node = self.nodes.get_listed(addr);
        node.is_some_and(|node| !node.node.is_polled() && matches!(node.state, State::Out(Some(_))))
    }

    /// The announcement of a node that leaves, in the place that it is in or last spoke of.
    fn leave_of(&self, addr: NodeAddr) -> Observation {
        let node = self.nodes.get_listed(addr);
        let Some(place) = node.and_then(|node| node.place()) else {
            return Observation::Nothing;
        };
        Observation::Announced(Announcement {
            pool: place.pool.clone(),
            status: Status::Leaving,
            version: place.version.clone(),
            weight: None,
        })
    }
}
