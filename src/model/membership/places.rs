//! How a node comes into a pool, and out of it.

use std::time::Instant;

use super::Membership;
use super::nodes::{LastMembership, State};
use crate::model::change::Assignment;
use crate::model::node::NodeAddr;

impl Membership {
    /// Makes the node a member, which it is not. The caller settles the pool. Returns the place with names whose texts
    /// are shared with the other members'.
    pub(super) fn enter(&mut self, addr: NodeAddr, place: Assignment) -> Assignment {
        let Some(node) = self.nodes.get_mut(addr) else {
            return place;
        };
        let pool = match self.pools.get_key_value(&place.pool) {
            Some((known, _)) => known.clone(),
            None => place.pool,
        };
        self.snapshots.changed(&pool);
        self.pool_health_changed = true;
        let state = self.pools.entry(pool.clone()).or_default();
        let version = state.enter(place.version);
        if let Some((place, _)) = node.draining() {
            self.snapshots.changed(&place.pool);
        }
        let place = Assignment { pool, version };
        node.enter(place.clone());
        place
    }

    /// Takes the node out of the pool that it is in, if any, into none. The caller settles the pool.
    pub(super) fn exit(&mut self, addr: NodeAddr, now: Instant) -> Option<Assignment> {
        let from = self.withdraw(addr, now)?;
        self.ramps.goes_out(addr, now);
        Some(from)
    }

    /// The same, but it may be a member of another one right after: that is no return, and ends no ramp.
    pub(super) fn withdraw(&mut self, addr: NodeAddr, now: Instant) -> Option<Assignment> {
        let node = self.nodes.get_mut(addr)?;
        if matches!(node.state, State::Out(_)) {
            return None;
        }
        node.kept_by = None;
        let State::Member { place, held_since } =
            std::mem::replace(&mut node.state, State::Out(None))
        else {
            return None;
        };
        node.last_membership = Some(Box::new(LastMembership {
            pool: Some(place.pool.clone()),
            place: Some(place.clone()),
            draining_since: Some(now),
            left: None,
        }));
        if let Some(pool) = self.pools.get_mut(&place.pool) {
            pool.exit(addr, place.version.as_ref(), held_since, now);
        }
        self.snapshots.changed(&place.pool);
        self.pool_health_changed = true;
        Some(place)
    }
}
