//! The one decision maker: who is in which pool.
//!
//! [`Membership`] takes observations and gives back what they changed; [`Membership::take_changed`]
//! is the whole wanted state. It does no I/O and reads no clock. The rules, by example with
//! `fall` 2 and `min_members` 1:
//!
//! ```text
//!   announces `api`                       → member of api
//!   fails once                            → still a member (1 of 2)
//!   fails again                           → out: failed; but held if api would have no member left
//!   announces `api leaving`               → out: leaving, whatever min_members says
//!   answers with an empty body            → out: idle
//!   announces what the rules do not allow → out: refused
//!   is disabled, or granted leave         → out, whatever it announces
//! ```

mod failing;
mod nodes;
pub mod obedience;
mod pool_state;
pub mod shortage;
mod snapshots;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use self::nodes::{Nodes, State};
use self::pool_state::PoolState;
use self::snapshots::Snapshots;

use super::announcement::{Announcement, Status};
use super::change::{Change, Out, Place};
use super::names::PoolName;
use super::node::{Node, NodeAddr};
use super::observation::{Observation, Poll};
use super::orders::Orders;
use super::pools::Pools;
use super::rules::{Refusal, Rules};

/// Who is in which pool, and why the others are in none.
#[derive(Debug)]
pub struct Membership {
    rules: Arc<Rules>,
    nodes: Nodes,
    /// Every pool that was ever announced.
    pools: BTreeMap<PoolName, PoolState>,
    /// How many nodes of the services file have neither answered nor failed yet.
    unheard: usize,
    first_round_done: bool,
    snapshots: Snapshots,
    orders: Orders,
    /// How often orders changed.
    orders_revision: u64,
    /// What [`Membership::take_levels_changed`] tells.
    levels_changed: bool,
    /// What [`Membership::take_kept_changed`] tells.
    kept_changed: bool,
}

impl Membership {
    /// Nobody is in a pool and nothing was heard; these orders are in force.
    #[must_use]
    pub fn new(rules: Rules, orders: Orders) -> Self {
        let mut membership = Self {
            orders,
            orders_revision: 0,
            levels_changed: false,
            kept_changed: false,
            rules: Arc::new(rules),
            nodes: Nodes::default(),
            pools: BTreeMap::new(),
            unheard: 0,
            first_round_done: false,
            snapshots: Snapshots::new(),
        };
        membership.own_pools_with_sorry();
        membership
    }

    /// Takes a new list of nodes. Those that stay keep their state. Those that are gone leave
    /// their pools as soon as each new one has answered or failed once.
    pub fn set_nodes(&mut self, nodes: Vec<Node>, now: Instant) -> Vec<Change> {
        self.nodes.list(nodes);
        let listed = self.nodes.listed().iter();
        self.unheard = listed.filter(|node| !node.heard).count();
        self.snapshots.all_changed();
        let mut changes = Vec::new();
        self.end_round(now, &mut changes);
        changes
    }

    /// Takes new rules. What they no longer allow ends with the node's next answer; failures count by
    /// them at once.
    pub fn set_rules(&mut self, rules: Rules, now: Instant) -> Vec<Change> {
        self.rules = Arc::new(rules);
        self.own_pools_with_sorry();
        self.levels_changed = true;
        self.snapshots.all_changed();
        let mut changes = Vec::new();
        self.settle_all(now, &mut changes);
        changes
    }

    /// Takes over a pool of an earlier run, so that a restart changes nothing by itself: pollbal
    /// owns the pool, and the nodes count as its members until they are heard.
    pub fn inherit(
        &mut self,
        pool: &PoolName,
        members: impl IntoIterator<Item = (NodeAddr, Place)>,
    ) {
        let mut members = members.into_iter().peekable();
        // A declared pool's file is there whether a node ever announced the pool or not.
        let proof = members.peek().is_some() || !self.rules.declared.contains_key(pool);
        if !proof || self.pool_refusal(pool).is_some() {
            return;
        }
        self.pools.entry(pool.clone()).or_default();
        self.snapshots.changed(pool);
        for (addr, place) in members {
            // It may be a node of another pool, but stood here as a sorry server.
            if self.rules.of(pool).is_sorry(addr) {
                continue;
            }
            let node = self.nodes.get_mut(addr);
            let unknown = node.is_some_and(|node| matches!(node.state, State::Out(None)));
            if unknown && !self.orders.bars(addr) && self.refusal(&place.pool, addr).is_none() {
                self.enter(addr, place);
            }
        }
    }

    /// Takes what a poll of `addr` gave, at `now`.
    pub fn observe(&mut self, addr: NodeAddr, poll: Poll, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(node) = self.nodes.listed_mut(addr) else {
            // A poll that was under way when its node went.
            return changes;
        };
        if !node.heard {
            node.heard = true;
            self.unheard -= 1;
        }
        let (observation, asked_at) = (poll.observation.clone(), poll.asked_at);
        node.remember(poll);
        if self.is_kept_out(addr, &observation, (asked_at, now), &mut changes) {
            self.end_round(now, &mut changes);
            return changes;
        }
        match observation {
            Observation::Failed(failure) => self.fail(addr, failure, now, &mut changes),
            Observation::Nothing => self.put_out(addr, Out::Idle, now, &mut changes),
            Observation::Announced(announcement) => match announcement.status {
                Status::Leaving => self.put_out(addr, Out::Leaving, now, &mut changes),
                Status::Serving => self.serve(addr, announcement, (asked_at, now), &mut changes),
            },
        }
        self.end_round(now, &mut changes);
        changes
    }

    /// Whether to ask the node again soon gives a decision sooner: it failed or came back, and has
    /// yet to do so as often in a row as the rules ask for; or it was granted leave, and may be away
    /// for less than an interval.
    #[must_use]
    pub fn is_undecided(&self, addr: NodeAddr) -> bool {
        if self.orders.granted.contains_key(&addr) {
            return true;
        }
        let Some(node) = self.nodes.get(addr) else {
            return false;
        };
        match &node.state {
            State::Member { place, .. } => {
                node.failures > 0 && node.failures < self.rules.of(&place.pool).fall
            }
            // Whatever is decided of one that orders keep out, it stays out.
            State::Out(_) => node.failed && node.answers > 0 && !self.orders.bars(addr),
        }
    }

    /// How many nodes the services file names.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.listed().len()
    }

    /// The wanted state, when it changed since it was last taken. Nothing before the first round
    /// is done.
    pub fn take_changed(&mut self) -> Option<Pools> {
        if !self.first_round_done {
            return None;
        }
        self.snapshots.take(&self.rules, &self.pools, &self.nodes)
    }

    fn serve(
        &mut self,
        addr: NodeAddr,
        announcement: Announcement,
        (asked_at, now): (Instant, Instant),
        changes: &mut Vec<Change>,
    ) {
        if let Some(refusal) = self.refusal(&announcement.pool, addr) {
            return self.put_out(addr, Out::Refused(refusal), now, changes);
        }
        let Some(node) = self.nodes.get_mut(addr) else {
            return;
        };
        let failures = std::mem::take(&mut node.failures);
        self.kept_changed |= failures > 0;
        if failures > 0
            && let State::Member { place, .. } = &node.state
            && let Some(pool) = self.pools.get_mut(&place.pool)
        {
            pool.answers(addr);
            self.levels_changed = true;
            let recovered = |by| Change::Recovered(node.node.clone(), place.clone(), by);
            changes.extend(node.kept_by.take().map(recovered));
        }
        node.answers = node.answers.saturating_add(1);
        let place = Place {
            pool: announcement.pool,
            version: announcement.version,
        };
        let from = match &node.state {
            State::Member {
                place: old,
                held_since: None,
            } if *old == place => return,
            State::Member { place: old, .. } => Some(old.clone()),
            State::Out(_) if node.fresh_from.is_some_and(|from| asked_at < from) => return,
            State::Out(_) if node.failed && node.answers < self.rules.of(&place.pool).rise => {
                return;
            }
            State::Out(_) => None,
        };
        node.since = Some(now);
        node.fresh_from = None;
        node.failed = false;
        let node = node.node.clone();
        self.exit(addr);
        self.enter(addr, place.clone());
        match from {
            Some(from) if from == place => self.settle(&place.pool, now, changes),
            Some(from) => {
                changes.push(Change::Moved(node, from.clone(), place.clone()));
                self.settle(&from.pool, now, changes);
                self.settle(&place.pool, now, changes);
            }
            None => {
                changes.push(Change::Joined(node, place.clone()));
                self.settle(&place.pool, now, changes);
            }
        }
    }

    fn put_out(&mut self, addr: NodeAddr, why: Out, now: Instant, changes: &mut Vec<Change>) {
        let from = self.exit(addr);
        let Some(node) = self.nodes.get_mut(addr) else {
            return;
        };
        node.answers = 0;
        node.failed = matches!(why, Out::Failed(_));
        if !node.failed {
            node.failures = 0;
        }
        let before = std::mem::replace(&mut node.state, State::Out(Some(why.clone())));
        let same = matches!(&before, State::Out(Some(before)) if before.same_kind(&why));
        if from.is_some() || !same {
            node.since = Some(now);
        }
        match from {
            Some(from) => {
                let pool = from.pool.clone();
                changes.push(Change::Left(node.node.clone(), from, why));
                self.settle(&pool, now, changes);
            }
            None if same => {}
            None => changes.push(Change::StaysOut(node.node.clone(), why)),
        }
    }

    /// Makes the node a member, which it is not. The caller settles the pool.
    fn enter(&mut self, addr: NodeAddr, place: Place) {
        let Some(node) = self.nodes.get_mut(addr) else {
            return;
        };
        let pool = match self.pools.get_key_value(&place.pool) {
            // Its text is shared with the other members'.
            Some((known, _)) => known.clone(),
            None => place.pool,
        };
        self.snapshots.changed(&pool);
        self.levels_changed = true;
        let state = self.pools.entry(pool.clone()).or_default();
        let version = state.enter(place.version);
        node.state = State::Member {
            place: Place { pool, version },
            held_since: None,
        };
    }

    /// Takes the node out of the pool that it is in, if any. The caller settles the pool.
    fn exit(&mut self, addr: NodeAddr) -> Option<Place> {
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
        if let Some(pool) = self.pools.get_mut(&place.pool) {
            pool.exit(addr, place.version.as_ref(), held_since);
        }
        self.snapshots.changed(&place.pool);
        self.levels_changed = true;
        Some(place)
    }

    /// When every node is heard: those that are gone from the services file leave their pools.
    fn end_round(&mut self, now: Instant, changes: &mut Vec<Change>) {
        if self.unheard > 0 || self.nodes.listed().is_empty() {
            return;
        }
        self.levels_changed |= !std::mem::replace(&mut self.first_round_done, true);
        let gone = self.nodes.gone().iter().map(|node| node.node.clone());
        for node in gone.collect::<Vec<_>>() {
            if let Some(from) = self.exit(node.addr) {
                let pool = from.pool.clone();
                changes.push(Change::Removed(node, from));
                self.settle(&pool, now, changes);
            }
        }
        self.nodes.remove_gone();
    }

    /// A pool that is given a sorry server is pollbal's from then on, whether a node announces it
    /// or not: also when it is to go again.
    fn own_pools_with_sorry(&mut self) {
        let declared = self.rules.declared.iter();
        for (pool, _) in declared.filter(|(_, rules)| !rules.sorry.is_empty()) {
            self.pools.entry(pool.clone()).or_default();
        }
    }

    fn refusal(&self, pool: &PoolName, addr: NodeAddr) -> Option<Refusal> {
        if let Some(blocks) = &self.rules.of(pool).nodes
            && !blocks.iter().any(|block| block.contains(addr.ip()))
        {
            return Some(Refusal::NotListed(pool.clone()));
        }
        self.pool_refusal(pool)
    }

    fn pool_refusal(&self, pool: &PoolName) -> Option<Refusal> {
        if self.rules.declared.contains_key(pool) {
            return None;
        }
        if !self.rules.accept_undeclared {
            return Some(Refusal::Undeclared(pool.clone()));
        }
        if self.pools.contains_key(pool) {
            return None;
        }
        let undeclared = self
            .pools
            .keys()
            .filter(|pool| !self.rules.declared.contains_key(*pool))
            .count();
        (undeclared >= self.rules.max_undeclared).then(|| Refusal::TooMany(pool.clone()))
    }
}

#[cfg(test)]
mod tests;
