//! Which changes are pending during an outage.

#![warn(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::notices::Notice;
use super::super::{Backend, Members};
use super::{Core, difference};
use crate::drivers::Snapshot;
use crate::drivers::outage::{PlaceChange, node_name};
use crate::model::driver_status::PendingChanges;
use crate::model::node::NodeAddr;

impl<B: Backend> Core<B> {
    /// When [`update_pending`](Self::update_pending) is due.
    pub(in super::super) fn pending_at(&self) -> Option<Instant> {
        self.pending_at
    }

    /// Finds, and logs, which changes are pending during an outage.
    pub(in super::super) fn update_pending(&mut self, now: Instant) {
        self.pending_at = None;
        // Of a load balancer that was never read it is not known what it has.
        if self.is_read() || self.counters.connections == 0 {
            return;
        }
        if let (Some(snapshot), Some(desired)) = (&self.snapshot, &self.desired) {
            let there = &self.expected_members;
            self.outage.set_pending(snapshot.serial, || {
                pending_changes(&desired.members, there, snapshot)
            });
        }
        self.notices
            .extend(self.outage.reminder(now).map(Notice::Pending));
    }
}

/// The changes that a load balancer needs that was last known to have these members.
fn pending_changes(desired: &Members, there: &Members, snapshot: &Snapshot) -> PendingChanges {
    // By node: a node's pool and its version pool change together.
    let mut nodes: BTreeMap<NodeAddr, PlaceChange> = BTreeMap::new();
    for (_, node) in difference(desired, there) {
        nodes.entry(node).or_default().joins = true;
    }
    let ours = there.iter().filter(|(pool, _)| desired.contains_key(*pool));
    let ours: Members = ours
        .map(|(pool, nodes)| (pool.clone(), nodes.clone()))
        .collect();
    for (_, node) in difference(&ours, desired) {
        nodes.entry(node).or_default().leaves = true;
    }
    let nodes = nodes.into_iter();
    PendingChanges::of(nodes.map(|(node, change)| (node_name(&snapshot.pools, node), change)))
}
