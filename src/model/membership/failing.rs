//! The consequences of failures: a member that failed `fall` times in a row is removed, or kept in by `min_members` or
//! a freeze.

use std::time::Instant;

use super::Membership;
use super::nodes::{State, TrackedNode};
use crate::model::change::{Change, OutReason};
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::node_view::Retention;
use crate::model::observation::{Failure, Observation};

impl Membership {
    pub(super) fn fail(
        &mut self,
        addr: NodeAddr,
        failure: Failure,
        now: Instant,
        changes: &mut Vec<Change>,
    ) {
        let Some(node) = self.nodes.get_mut(addr) else {
            return;
        };
        node.answers = 0;
        node.failures = node.failures.saturating_add(1);
        if node.failures == 1 {
            node.failing_since = Some(now);
        }
        let State::Member { place, .. } = &node.state else {
            self.remove_from_pool(addr, OutReason::Failed(failure), now, changes);
            return self.end_drain_of_failed(addr);
        };
        let fall = self.rules.of(&place.pool).fall;
        // From then on the member does not count as serving.
        self.pool_health_changed |= node.failures == fall;
        self.kept_changed |= node.failures == 1 || node.failures == fall;
        let Some(state) = self.pools.get_mut(&place.pool) else {
            return;
        };
        state.fails(addr, node.failures);
        if node.failures < fall {
            return;
        }
        if !self.overrides.is_frozen() {
            return self.retain(addr, failure, (now, now), changes);
        }
        if node.kept_by.is_none() {
            let (kept, place) = (node.node.clone(), place.clone());
            node.kept_by = Some(Retention::Frozen);
            changes.push(Change::Kept(kept, place, Retention::Frozen, failure));
        }
    }

    /// Marks a member that failed often enough, since that time, as kept in by `min_members`; then removes it, or the
    /// one that has been failing longest, if the pool has more members than that.
    fn retain(
        &mut self,
        addr: NodeAddr,
        failure: Failure,
        (since, now): (Instant, Instant),
        changes: &mut Vec<Change>,
    ) {
        let Some(state) = self.nodes.get_mut(addr) else {
            return;
        };
        let State::Member { place, held_since } = &mut state.state else {
            return;
        };
        let (node, place, is_news) = (state.node.clone(), place.clone(), held_since.is_none());
        let Some(pool) = self.pools.get_mut(&place.pool) else {
            return;
        };
        self.pool_health_changed |= is_news;
        self.kept_changed |= is_news;
        pool.retain(addr, held_since, failure.clone(), since);
        self.enforce_min_members(&place.pool, now, changes);
        let held = self.nodes.get_mut(addr).filter(|node| node.is_held());
        if let Some(state) = held.filter(|_| is_news) {
            state.kept_by = Some(Retention::Held);
            changes.push(Change::Kept(node, place, Retention::Held, failure));
        }
    }

    /// Decides by `min_members` whether failed members are kept in. Removes the others, the longest failing first, and
    /// reports when keeping members in begins or ends.
    pub(super) fn enforce_min_members(
        &mut self,
        name: &PoolName,
        now: Instant,
        changes: &mut Vec<Change>,
    ) {
        let min_members = self.rules.of(name).min_members;
        let frozen = self.overrides.is_frozen();
        loop {
            let Some(pool) = self.pools.get_mut(name) else {
                return;
            };
            let surplus = pool.members() > min_members && !frozen;
            let Some(longest) = pool.held.first_entry().filter(|_| surplus) else {
                break;
            };
            let ((_, addr), failure) = (*longest.key(), longest.get().clone());
            let from = self.exit(addr, now);
            if let (Some(from), Some(node)) = (from, self.nodes.get_mut(addr)) {
                let why = OutReason::Failed(failure);
                node.state = State::Out(Some(why.clone()));
                (node.failed, node.since) = (true, Some(now));
                node.end_drain();
                changes.push(Change::Left(node.node.clone(), from, why));
            }
        }
        let Some(pool) = self.pools.get_mut(name) else {
            return;
        };
        let are_held = !pool.held.is_empty();
        if std::mem::replace(&mut pool.logged_held, are_held) != are_held {
            changes.push(if are_held {
                Change::Held(name.clone(), min_members)
            } else {
                Change::Released(name.clone())
            });
        }
    }

    /// Does so for all pools, when `fall` or freezes have changed.
    pub(super) fn enforce_all_min_members(&mut self, now: Instant, changes: &mut Vec<Change>) {
        if !self.overrides.is_frozen() {
            for (since, addr, failure) in self.failed_members() {
                self.retain(addr, failure, (since, now), changes);
            }
        }
        for pool in self.pools.keys().cloned().collect::<Vec<_>>() {
            self.enforce_min_members(&pool, now, changes);
        }
    }

    /// Members that failed often enough and are not marked as kept in yet, the longest failing first.
    fn failed_members(&self) -> Vec<(Instant, NodeAddr, Failure)> {
        let failed = |node: &&TrackedNode| {
            let fall = node.pool().map(|pool| self.rules.of(pool).fall);
            fall.is_some_and(|fall| node.failures >= fall) && !node.is_held()
        };
        let mut failed: Vec<_> = self.nodes.listed().iter().filter(failed).collect();
        failed.sort_by_key(|node| node.failing_since);
        let why = failed
            .into_iter()
            .filter_map(|node| match &node.last.as_ref()?.observation {
                Observation::Failed(failure) => {
                    Some((node.failing_since?, node.node.addr, failure.clone()))
                }
                _ => None,
            });
        why.collect()
    }
}
