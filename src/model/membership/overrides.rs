//! The consequences of overrides: which nodes are excluded, which may leave, whether failures count.
//!
//! An override is active at once. When the last one that excludes a node ends, only a poll that began after that lets
//! the node in again.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Membership;
use super::nodes::{State, TrackedNode};
use super::shortage::Shortage;
use crate::model::change::{Change, Ending, OutReason};
use crate::model::names::PoolName;
use crate::model::node::{Node, NodeAddr};
use crate::model::observation::Observation;
use crate::model::overrides::{LeaveLease, Note, Overrides, Reason, ReasonName, Reasons};
use crate::model::time::Timestamp;
use crate::model::words::Word;

/// Why a node is not granted leave yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaveDenied {
    /// Not every node has been polled yet, so it is not known whether its pool can do without it.
    FirstRound,
    /// Its pool cannot do without it.
    Short(Shortage),
    /// These `max_leaving` nodes of its pool are leaving already.
    Others(PoolName, Vec<Arc<Node>>),
}

/// What an override, or its end, changed.
#[derive(Debug, Default)]
pub struct Effect {
    /// The changes.
    pub changes: Vec<Change>,
    /// The nodes that nothing excludes any more: they are to be polled at once.
    pub poll_now: Vec<NodeAddr>,
}

impl fmt::Display for LeaveDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstRound => f.write_str("not every node has been polled yet"),
            Self::Short(shortage) => write!(f, "it would leave {shortage}"),
            Self::Others(pool, nodes) => {
                let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
                let names = names.join(", ");
                write!(f, "others of pool {pool} are leaving already: {names}")
            }
        }
    }
}

impl Membership {
    /// All active overrides.
    #[must_use]
    pub fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Counts up whenever overrides change.
    #[must_use]
    pub fn overrides_revision(&self) -> u64 {
        self.overrides_revision
    }

    /// Disables nodes for a reason, in addition to reasons that they have already.
    pub fn disable(
        &mut self,
        addrs: &[NodeAddr],
        name: &ReasonName,
        reason: &Reason,
        now: Instant,
    ) -> Effect {
        let mut effect = Effect::default();
        for addr in addrs {
            let Some(node) = self.node(*addr) else {
                continue;
            };
            let reasons = self.overrides.disabled.entry(*addr).or_default();
            reasons.insert(name.clone(), reason.clone());
            let change = Change::Disabled(node, name.clone(), reason.clone());
            effect.changes.push(change);
            self.exclude(*addr, now, &mut effect.changes);
        }
        self.overrides_revision += 1;
        effect
    }

    /// Removes a reason from nodes, including nodes that are no longer in the services file.
    pub fn enable(
        &mut self,
        addrs: &[NodeAddr],
        name: &ReasonName,
        by: &Note,
        now: Instant,
    ) -> Effect {
        let mut effect = Effect::default();
        for addr in addrs {
            if self.overrides.remove_reason(*addr, name) {
                self.overrides_revision += 1;
                let how = Ending::Removed(by.clone());
                self.enabled(*addr, name, how, now, &mut effect);
            }
        }
        effect
    }

    /// Grants a node leave unless its pool needs it; a node that has leave keeps it. The leave expires `timeout` after
    /// `today`, which is `now`.
    pub fn leave(
        &mut self,
        addr: NodeAddr,
        timeout: Duration,
        (now, today): (Instant, Timestamp),
    ) -> Result<Effect, LeaveDenied> {
        let mut effect = Effect::default();
        if self.overrides.leases.contains_key(&addr) {
            return Ok(effect);
        }
        if !self.first_round_done {
            return Err(LeaveDenied::FirstRound);
        }
        if let Some(shortage) = self.shortages(&[addr]).pop() {
            return Err(LeaveDenied::Short(shortage));
        }
        let pool = self.nodes.get(addr).and_then(TrackedNode::pool).cloned();
        if let Some(pool) = &pool
            && let Some(leaving) = self.leaving(pool, timeout, now)
        {
            return Err(LeaveDenied::Others(pool.clone(), leaving));
        }
        let Some(node) = self.nodes.get(addr) else {
            return Ok(effect);
        };
        let place = node.place().cloned();
        let left = node.leaves().map(|(pool, _)| pool);
        let left = pool.as_ref().or(left).cloned();
        let node = node.node.clone();
        let lease = LeaveLease {
            left,
            pool: place.as_ref().map(|place| place.pool.clone()),
            version: place.and_then(|place| place.version),
            since: today,
            until: today.after(timeout),
            was_away: false,
        };
        self.overrides.leases.insert(addr, lease);
        self.overrides_revision += 1;
        if let Some(node) = self.nodes.get_mut(addr) {
            // Polls that began before say nothing about its return.
            (node.fresh_from, node.failures) = (Some(now), 0);
        }
        effect.changes.push(Change::LeaveGranted(node, pool));
        self.exclude(addr, now, &mut effect.changes);
        Ok(effect)
    }

    /// Cancels the leaves of nodes, where they have one.
    pub fn cancel_leaves(&mut self, addrs: &[NodeAddr], by: &Note, now: Instant) -> Effect {
        let mut effect = Effect::default();
        for addr in addrs {
            let how = Ending::Removed(by.clone());
            self.end_leave(*addr, how, now, &mut effect);
        }
        effect
    }

    /// Records which nodes are asked to stay.
    pub fn set_asked_to_stay(&mut self, addrs: &BTreeSet<NodeAddr>) {
        if self.overrides.asked_to_stay != *addrs {
            self.overrides.asked_to_stay.clone_from(addrs);
            self.overrides_revision += 1;
        }
    }

    /// Keeps failed nodes in their pools from now on.
    pub fn freeze(&mut self, name: &ReasonName, reason: &Reason) -> Effect {
        self.overrides.frozen.insert(name.clone(), reason.clone());
        self.overrides_revision += 1;
        let change = Change::Frozen(name.clone(), reason.clone());
        Effect {
            changes: vec![change],
            poll_now: Vec::new(),
        }
    }

    /// Lifts a freeze; failures count again when none is left. `None` if there is no freeze of that name.
    pub fn thaw(&mut self, name: &ReasonName, by: &Note, now: Instant) -> Option<Effect> {
        self.overrides.frozen.remove(name)?;
        self.overrides_revision += 1;
        let mut effect = Effect::default();
        effect
            .changes
            .push(Change::Thawed(name.clone(), by.clone()));
        self.enforce_all_min_members(now, &mut effect.changes);
        Some(effect)
    }

    /// Ends the overrides that have expired by `today`, which is `now`.
    pub fn expire(&mut self, (now, today): (Instant, Timestamp)) -> Effect {
        let mut effect = Effect::default();
        let expired = self.overrides.expire(today);
        if !expired.is_empty() {
            self.overrides_revision += 1;
        }
        for (addr, name) in expired.reasons {
            self.enabled(addr, &name, Ending::Expired, now, &mut effect);
        }
        for addr in expired.leases {
            self.leave_over(addr, Ending::Expired, now, &mut effect);
        }
        for addr in expired.weights {
            let change = self.reset_weight(addr, Ending::Expired);
            effect.changes.extend(change);
        }
        effect
    }

    /// Whether overrides exclude the node, whatever `observation` is; if so, the observation is dealt with here. Ends
    /// the leave of a node that has returned.
    pub(super) fn is_excluded(
        &mut self,
        addr: NodeAddr,
        observation: &Observation,
        (asked_at, now): (Instant, Instant),
        changes: &mut Vec<Change>,
    ) -> bool {
        if !self.overrides.excludes(addr) {
            return false;
        }
        let serving = observation.is_serving();
        let node = self.nodes.get(addr);
        let is_fresh = node.is_some_and(|node| node.fresh_from.is_none_or(|from| asked_at >= from));
        let lease = self.overrides.leases.get(&addr);
        let returned =
            |lease: &LeaveLease| lease.was_away || (is_fresh && lease.is_other(observation));
        if serving && lease.is_some_and(returned) {
            let mut effect = Effect::default();
            self.end_leave(addr, Ending::Returned, now, &mut effect);
            changes.append(&mut effect.changes);
            if let Some(node) = self.nodes.get_mut(addr) {
                // This observation itself lets it in.
                node.fresh_from = None;
            }
            return self.overrides.excludes(addr);
        }
        self.exclude(addr, now, changes);
        let Some(node) = self.nodes.get_mut(addr) else {
            return true;
        };
        if !is_fresh {
            return true;
        }
        node.count_excluded(observation);
        let is_away = node.is_away(observation);
        self.end_drain_of_failed(addr);
        if let Some(lease) = self.overrides.leases.get_mut(&addr)
            && !lease.was_away
            && is_away
        {
            lease.was_away = true;
            self.overrides_revision += 1;
        }
        true
    }

    /// Takes the node out of its pool because of its overrides.
    fn exclude(&mut self, addr: NodeAddr, now: Instant, changes: &mut Vec<Change>) {
        let why = match self.overrides.reasons(addr) {
            Some(reasons) => OutReason::Disabled(reasons.keys().cloned().collect()),
            None => OutReason::Granted,
        };
        let from = self.exit(addr, now);
        self.set_word(addr, Word::Out);
        let Some(node) = self.nodes.get_mut(addr) else {
            return;
        };
        let same = matches!(&node.state, State::Out(Some(before)) if before.same_kind(&why));
        if from.is_some() || !same {
            node.since = Some(now);
        }
        node.state = State::Out(Some(why.clone()));
        if let Some(from) = from {
            let pool = from.pool.clone();
            changes.push(Change::Left(node.node.clone(), from, why));
            self.end_drain_of_failed(addr);
            self.enforce_min_members(&pool, now, changes);
        }
    }

    fn enabled(
        &mut self,
        addr: NodeAddr,
        name: &ReasonName,
        how: Ending,
        now: Instant,
        effect: &mut Effect,
    ) {
        let node = self.node_or_gone(addr);
        let remaining = self.overrides.reasons(addr).into_iter();
        let remaining = remaining.flat_map(Reasons::keys).cloned().collect();
        let change = Change::Enabled(node, name.clone(), how, remaining);
        effect.changes.push(change);
        self.release(addr, now, effect);
    }

    fn end_leave(&mut self, addr: NodeAddr, how: Ending, now: Instant, effect: &mut Effect) {
        if self.overrides.leases.remove(&addr).is_some() {
            self.overrides_revision += 1;
            self.leave_over(addr, how, now, effect);
        }
    }

    fn leave_over(&mut self, addr: NodeAddr, how: Ending, now: Instant, effect: &mut Effect) {
        let node = self.node_or_gone(addr);
        effect.changes.push(Change::LeaveOver(node, how));
        self.release(addr, now, effect);
    }

    /// Handles the end of an override that excluded the node, possibly the last one.
    fn release(&mut self, addr: NodeAddr, now: Instant, effect: &mut Effect) {
        if self.overrides.excludes(addr) {
            return self.exclude(addr, now, &mut effect.changes);
        }
        if let Some(node) = self.nodes.get_mut(addr) {
            node.state = State::Out(Some(OutReason::Awaited));
            node.since = Some(now);
            node.fresh_from = Some(now);
            effect.poll_now.push(addr);
        }
    }

    /// The nodes that left a pool and have not returned, if they have reached `max_leaving`: with granted leave or,
    /// where those are fewer, by their announcement, which counts for as long as a lease would.
    fn leaving(&self, pool: &PoolName, timeout: Duration, now: Instant) -> Option<Vec<Arc<Node>>> {
        let limit = self.rules.of(pool).max_leaving;
        let granted = self.overrides.leases.iter();
        let granted = granted.filter(|(_, lease)| lease.left.as_ref() == Some(pool));
        let mut leaving: Vec<_> = granted.filter_map(|(addr, _)| self.node(*addr)).collect();
        if leaving.len() < limit {
            let left = |(left, since): &(PoolName, Instant)| left == pool && now < *since + timeout;
            // This visits every node, so only now: hundreds may ask at every change.
            let others = self.nodes.listed().iter().filter(|node| {
                node.leaves().is_some_and(left)
                    && !self.overrides.leases.contains_key(&node.node.addr)
            });
            leaving.extend(others.map(|node| node.node.clone()));
        }
        (leaving.len() >= limit).then_some(leaving)
    }

    /// The node; one that is no longer listed goes by its address.
    pub(super) fn node_or_gone(&self, addr: NodeAddr) -> Arc<Node> {
        let gone = || {
            let name = addr.to_string();
            Arc::new(Node::new(addr, name))
        };
        self.node(addr).unwrap_or_else(gone)
    }

    fn node(&self, addr: NodeAddr) -> Option<Arc<Node>> {
        self.nodes.get(addr).map(|node| node.node.clone())
    }
}
