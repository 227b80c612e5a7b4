//! Names of pools and version pools of an earlier run, which are pollbal's as long as nobody else has them.

use super::Membership;
use super::nodes::State;
use super::pool_state::{PoolState, Tenure};
use crate::model::change::Assignment;
use crate::model::names::{PoolName, Version};
use crate::model::node::NodeAddr;
use crate::model::pools::{LastIn, Pool};

impl Membership {
    /// A pool that is declared is pollbal's from then on, whether a node announces it or not.
    pub(super) fn own_declared_pools(&mut self) {
        for pool in self.rules.declared.keys() {
            self.pools.entry(pool.clone()).or_default();
        }
    }

    /// Takes a pool, and versions of it, of an earlier run for pollbal's, unless the rules no longer
    /// allow it or another has the name. Whether the pool is pollbal's.
    pub fn own(&mut self, pool: &PoolName, versions: impl IntoIterator<Item = Version>) -> bool {
        let whole = Assignment {
            pool: pool.clone(),
            version: None,
        };
        if !self.bring_earlier(&whole) {
            return false;
        }
        self.mark_served(&whole);
        for version in versions {
            let place = Assignment {
                pool: pool.clone(),
                version: Some(version),
            };
            if self.bring_earlier(&place) {
                self.mark_served(&place);
            }
        }
        self.snapshots.changed(pool);
        true
    }

    fn mark_served(&mut self, place: &Assignment) {
        if let Some(state) = self.pools.get_mut(&place.pool) {
            state.has_served(place.version.as_ref());
        }
    }

    /// Takes over a pool of an earlier run, so that a restart changes nothing by itself: pollbal
    /// owns the pool, and the nodes count as its members until they are polled. Declared pools come
    /// first: of two with one name it is the first that is taken over. A declared pool without members
    /// need never have had any: it has a file from the start.
    pub fn adopt_previous(
        &mut self,
        pool: &PoolName,
        members: impl IntoIterator<Item = (NodeAddr, Assignment)>,
    ) {
        let whole = Assignment {
            pool: pool.clone(),
            version: None,
        };
        if !self.bring_earlier(&whole) {
            return;
        }
        self.snapshots.changed(pool);
        let rules = self.rules.clone();
        // It may be a node of another pool, but stood here as a sorry server.
        let is_member = |(addr, _): &(NodeAddr, Assignment)| !rules.of(pool).is_sorry(*addr);
        let mut members = members.into_iter().filter(is_member).peekable();
        if members.peek().is_some() || !rules.declared.contains_key(pool) {
            self.mark_served(&whole);
        }
        for (addr, mut place) in members {
            let node = self.nodes.get_mut(addr);
            let unknown = node.is_some_and(|node| matches!(node.state, State::Out(None)));
            if unknown
                && !self.overrides.excludes(addr)
                && self.refusal(&place.pool, addr).is_none()
            {
                if !self.bring_earlier(&place) {
                    place.version = None;
                }
                self.enter(addr, place);
            }
        }
    }

    /// Remembers in which pools of ours nodes were last in an earlier run: while they are out and have not
    /// spoken yet, they count there.
    pub fn remember_pools(&mut self, last_in: &LastIn) {
        for (pool, addrs) in last_in {
            let Some((pool, _)) = self.pools.get_key_value(pool) else {
                continue;
            };
            for addr in addrs {
                if let Some(node) = self.nodes.get_mut(*addr) {
                    node.last_membership.get_or_insert_default().pool = Some(pool.clone());
                }
            }
        }
        self.pool_health_changed = true;
    }

    /// Brings a name of an earlier run into use, if nobody has it and there is room.
    fn bring_earlier(&mut self, place: &Assignment) -> bool {
        if self.holders_of(place).any(|(_, holder)| holder != place) {
            return false;
        }
        let is_held = self.holders_of(place).next().is_some();
        let state = self.pools.get(&place.pool);
        let (is_known, known, max) = match &place.version {
            None if self.rules.declared.contains_key(&place.pool) => (true, 0, 0),
            None if !self.rules.accept_undeclared => return false,
            None => {
                let known = self.pools.keys();
                let known = known.filter(|pool| !self.rules.declared.contains_key(*pool));
                // In use, and not any more.
                let max = 2 * self.rules.max_undeclared;
                (state.is_some(), known.count(), max)
            }
            Some(_) => {
                let known = state.map_or(0, PoolState::version_count);
                let max = match self.rules.of(&place.pool).max_versions {
                    0 => 0,
                    max => max.max(Pool::MAX_VERSIONS),
                };
                (is_held, known, max)
            }
        };
        if is_known && state.is_some() {
            return true;
        }
        if !is_known && known >= max {
            return false;
        }
        // Nobody has the name, so that nobody goes out.
        self.names.take(&self.rules, place);
        self.names.introduced += 1;
        let tenure = Tenure {
            first: self.names.introduced,
            ..Tenure::default()
        };
        self.pool_health_changed = true;
        let state = self.pools.entry(place.pool.clone()).or_default();
        match &place.version {
            Some(version) => state.remember(version, tenure),
            None => state.tenure = tenure,
        }
        true
    }
}
