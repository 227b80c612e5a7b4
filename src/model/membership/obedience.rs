//! What follows from orders: who is kept out, who may leave, what failures count for.
//!
//! An order is in force at once. When the last one that keeps a node out is gone, only an answer
//! that was asked for after that lets the node in again.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Membership;
use super::nodes::{NodeState, State};
use super::shortage::Shortage;
use crate::model::change::{Change, Ending, OutReason};
use crate::model::names::PoolName;
use crate::model::node::{Node, NodeAddr};
use crate::model::observation::Observation;
use crate::model::orders::{Grant, Note, Orders, Reason, ReasonWord};
use crate::model::time::Timestamp;
use crate::model::words::Word;

/// Why a node may not leave yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not every node was heard once: nobody knows who could do without it.
    FirstRound,
    /// Its pool needs it.
    Short(Shortage),
    /// `max_leaving` of its pool are leaving already: these.
    Others(PoolName, Vec<Arc<Node>>),
}

/// What an order did.
#[derive(Debug, Default)]
pub struct Effect {
    /// What it changed.
    pub changes: Vec<Change>,
    /// Whom nothing keeps out any more: they are to be polled at once.
    pub freed: Vec<NodeAddr>,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstRound => f.write_str("not every node was heard yet"),
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
    /// All orders in force.
    #[must_use]
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Counts up whenever orders change.
    #[must_use]
    pub fn orders_revision(&self) -> u64 {
        self.orders_revision
    }

    /// Puts nodes out for a reason, beside those for which they are out already.
    pub fn disable(
        &mut self,
        addrs: &[NodeAddr],
        word: &ReasonWord,
        reason: &Reason,
        now: Instant,
    ) -> Effect {
        let mut effect = Effect::default();
        for addr in addrs {
            let Some(node) = self.node(*addr) else {
                continue;
            };
            let reasons = self.orders.disabled.entry(*addr).or_default();
            reasons.insert(word.clone(), reason.clone());
            let change = Change::Disabled(node, word.clone(), reason.clone());
            effect.changes.push(change);
            self.keep_out(*addr, now, &mut effect.changes);
        }
        self.orders_revision += 1;
        effect
    }

    /// Takes a reason away from nodes. Also such as are gone from the services file lose it.
    pub fn enable(
        &mut self,
        addrs: &[NodeAddr],
        word: &ReasonWord,
        by: &Note,
        now: Instant,
    ) -> Effect {
        let mut effect = Effect::default();
        for addr in addrs {
            if self.orders.remove_reason(*addr, word) {
                self.orders_revision += 1;
                let how = Ending::TakenBack(by.clone());
                self.enabled(*addr, word, how, now, &mut effect);
            }
        }
        effect
    }

    /// Lets a node leave, unless it is needed; asked again, says the same again. A grant ends
    /// `timeout` after `today`, which is `now`.
    pub fn leave(
        &mut self,
        addr: NodeAddr,
        timeout: Duration,
        (now, today): (Instant, Timestamp),
    ) -> Result<Effect, Wait> {
        let mut effect = Effect::default();
        if self.orders.granted.contains_key(&addr) {
            return Ok(effect);
        }
        if !self.first_round_done {
            return Err(Wait::FirstRound);
        }
        if let Some(shortage) = self.shortages(&[addr]).pop() {
            return Err(Wait::Short(shortage));
        }
        let pool = self.nodes.get(addr).and_then(NodeState::pool).cloned();
        if let Some(pool) = &pool
            && let Some(leaving) = self.leaving(pool, timeout, now)
        {
            return Err(Wait::Others(pool.clone(), leaving));
        }
        let Some(node) = self.nodes.get(addr) else {
            return Ok(effect);
        };
        let place = node.place().cloned();
        let left = node.leaves().map(|(pool, _)| pool);
        let left = pool.as_ref().or(left).cloned();
        let node = node.node.clone();
        let grant = Grant {
            left,
            pool: place.as_ref().map(|place| place.pool.clone()),
            version: place.and_then(|place| place.version),
            since: today,
            until: today.after(timeout),
            was_away: false,
        };
        self.orders.granted.insert(addr, grant);
        self.orders_revision += 1;
        if let Some(node) = self.nodes.get_mut(addr) {
            // What it answered before says nothing of its return.
            (node.fresh_from, node.failures) = (Some(now), 0);
        }
        effect.changes.push(Change::LeaveGranted(node, pool));
        self.keep_out(addr, now, &mut effect.changes);
        Ok(effect)
    }

    /// Takes the leaves of nodes back, of those that have one.
    pub fn take_back(&mut self, addrs: &[NodeAddr], by: &Note, now: Instant) -> Effect {
        let mut effect = Effect::default();
        for addr in addrs {
            let how = Ending::TakenBack(by.clone());
            self.end_leave(*addr, how, now, &mut effect);
        }
        effect
    }

    /// Remembers who is asked to stay.
    pub fn set_pleaded(&mut self, addrs: &BTreeSet<NodeAddr>) {
        if self.orders.pleaded != *addrs {
            self.orders.pleaded.clone_from(addrs);
            self.orders_revision += 1;
        }
    }

    /// From now on failures put nobody out.
    pub fn freeze(&mut self, word: &ReasonWord, reason: &Reason) -> Effect {
        self.orders.frozen.insert(word.clone(), reason.clone());
        self.orders_revision += 1;
        let change = Change::Frozen(word.clone(), reason.clone());
        Effect {
            changes: vec![change],
            freed: Vec::new(),
        }
    }

    /// Takes a freeze back; failures count again when none is left. Nothing when there was none of
    /// that word.
    pub fn thaw(&mut self, word: &ReasonWord, by: &Note, now: Instant) -> Option<Effect> {
        self.orders.frozen.remove(word)?;
        self.orders_revision += 1;
        let mut effect = Effect::default();
        effect
            .changes
            .push(Change::Thawed(word.clone(), by.clone()));
        self.settle_all(now, &mut effect.changes);
        Some(effect)
    }

    /// Ends the orders whose time is over, when `today` is `now`.
    pub fn expire(&mut self, (now, today): (Instant, Timestamp)) -> Effect {
        let mut effect = Effect::default();
        let expired = self.orders.expire(today);
        if !expired.reasons.is_empty() || !expired.grants.is_empty() {
            self.orders_revision += 1;
        }
        for (addr, word) in expired.reasons {
            self.enabled(addr, &word, Ending::TimeOver, now, &mut effect);
        }
        for addr in expired.grants {
            self.leave_over(addr, Ending::TimeOver, now, &mut effect);
        }
        effect
    }

    /// Whether orders keep the node out, whatever `observation` says; then its consequences are
    /// drawn here. A leave ends here when the node is back.
    pub(super) fn is_kept_out(
        &mut self,
        addr: NodeAddr,
        observation: &Observation,
        (asked_at, now): (Instant, Instant),
        changes: &mut Vec<Change>,
    ) -> bool {
        if !self.orders.bars(addr) {
            return false;
        }
        let serving = observation.is_serving();
        let node = self.nodes.get(addr);
        let is_fresh = node.is_some_and(|node| node.fresh_from.is_none_or(|from| asked_at >= from));
        let grant = self.orders.granted.get(&addr);
        let returned = |grant: &Grant| grant.was_away || (is_fresh && grant.is_other(observation));
        if serving && grant.is_some_and(returned) {
            let mut effect = Effect::default();
            self.end_leave(addr, Ending::Returned, now, &mut effect);
            changes.append(&mut effect.changes);
            if let Some(node) = self.nodes.get_mut(addr) {
                // This very answer lets it in.
                node.fresh_from = None;
            }
            return self.orders.bars(addr);
        }
        self.keep_out(addr, now, changes);
        let Some(node) = self.nodes.get_mut(addr) else {
            return true;
        };
        if !is_fresh {
            return true;
        }
        node.count_kept_out(observation);
        if let Some(grant) = self.orders.granted.get_mut(&addr)
            && !grant.was_away
            && node.is_away(observation)
        {
            grant.was_away = true;
            self.orders_revision += 1;
        }
        true
    }

    /// Takes the node out of its pool because orders say so.
    fn keep_out(&mut self, addr: NodeAddr, now: Instant, changes: &mut Vec<Change>) {
        let why = match self.orders.reasons(addr) {
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
            self.settle(&pool, now, changes);
        }
    }

    fn enabled(
        &mut self,
        addr: NodeAddr,
        word: &ReasonWord,
        how: Ending,
        now: Instant,
        effect: &mut Effect,
    ) {
        let node = self.node_or_gone(addr);
        effect
            .changes
            .push(Change::Enabled(node, word.clone(), how));
        self.let_go(addr, now, effect);
    }

    fn end_leave(&mut self, addr: NodeAddr, how: Ending, now: Instant, effect: &mut Effect) {
        if self.orders.granted.remove(&addr).is_some() {
            self.orders_revision += 1;
            self.leave_over(addr, how, now, effect);
        }
    }

    fn leave_over(&mut self, addr: NodeAddr, how: Ending, now: Instant, effect: &mut Effect) {
        let node = self.node_or_gone(addr);
        effect.changes.push(Change::LeaveOver(node, how));
        self.let_go(addr, now, effect);
    }

    /// An order that kept the node out is gone; perhaps it was the last.
    fn let_go(&mut self, addr: NodeAddr, now: Instant, effect: &mut Effect) {
        if self.orders.bars(addr) {
            return self.keep_out(addr, now, &mut effect.changes);
        }
        if let Some(node) = self.nodes.get_mut(addr) {
            node.state = State::Out(Some(OutReason::Awaited));
            node.since = Some(now);
            node.fresh_from = Some(now);
            effect.freed.push(addr);
        }
    }

    /// Those that left a pool and are not back, if they are as many as may: by a grant, or, where
    /// those are not enough, because they say so, which counts for as long as a grant would.
    fn leaving(&self, pool: &PoolName, timeout: Duration, now: Instant) -> Option<Vec<Arc<Node>>> {
        let limit = self.rules.of(pool).max_leaving;
        let granted = self.orders.granted.iter();
        let granted = granted.filter(|(_, grant)| grant.left.as_ref() == Some(pool));
        let mut leaving: Vec<_> = granted.filter_map(|(addr, _)| self.node(*addr)).collect();
        if leaving.len() < limit {
            let left = |(left, since): &(PoolName, Instant)| left == pool && now < *since + timeout;
            // Looks at every node, so only now: hundreds may ask at every change.
            let others = self.nodes.listed().iter().filter(|node| {
                node.leaves().is_some_and(left)
                    && !self.orders.granted.contains_key(&node.node.addr)
            });
            leaving.extend(others.map(|node| node.node.clone()));
        }
        (leaving.len() >= limit).then_some(leaving)
    }

    /// The node; one that is gone is called by its address.
    fn node_or_gone(&self, addr: NodeAddr) -> Arc<Node> {
        let gone = || {
            let name = addr.to_string();
            Arc::new(Node { addr, name })
        };
        self.node(addr).unwrap_or_else(gone)
    }

    fn node(&self, addr: NodeAddr) -> Option<Arc<Node>> {
        self.nodes.get(addr).map(|node| node.node.clone())
    }
}
