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
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::announcement::{Announcement, Status};
use super::change::{Change, Out, Place};
use super::names::{PoolName, Version};
use super::node::{Node, NodeAddr};
use super::observation::{Failure, Observation};
use super::pools::{Member, Pool, Pools};
use super::rules::{Refusal, Rules};

/// Who is in which pool, and why the others are in none.
#[derive(Debug)]
pub struct Membership {
    rules: Rules,
    nodes: BTreeMap<NodeAddr, NodeState>,
    /// The services file's order.
    order: Vec<NodeAddr>,
    /// Every pool that was ever announced.
    pools: BTreeMap<PoolName, PoolState>,
    /// How many nodes of the services file have neither answered nor failed yet.
    unheard: usize,
    first_round_done: bool,
    changed: bool,
}

#[derive(Debug)]
struct NodeState {
    node: Arc<Node>,
    state: State,
    heard: bool,
    /// Gone from the services file; stays where it is until the nodes that came are heard, so
    /// that a reload never leaves a pool empty for a moment.
    gone: bool,
    /// Failures in a row.
    failures: u32,
    /// Allowed announcements in a row.
    answers: u32,
}

#[derive(Debug)]
enum State {
    /// In no pool; `None` when not heard yet.
    Out(Option<Out>),
    /// In a pool; `held_since` when failures would have put it out but for `min_members`.
    Member {
        place: Place,
        held_since: Option<Instant>,
    },
}

/// What its nodes together make of a pool.
#[derive(Debug, Default)]
struct PoolState {
    /// What [`Pool::versions`] tells.
    versions: VecDeque<Version>,
    /// Members that are not held.
    serving: usize,
    /// Members that are held, the longest failing first.
    held: BTreeMap<(Instant, NodeAddr), Failure>,
    /// Whether the log was told that members are held.
    told_held: bool,
}

impl Membership {
    /// Nobody is in a pool and nothing was heard.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            nodes: BTreeMap::new(),
            order: Vec::new(),
            pools: BTreeMap::new(),
            unheard: 0,
            first_round_done: false,
            changed: true,
        }
    }

    /// Takes a new list of nodes. Those that stay keep their state. Those that are gone leave
    /// their pools as soon as each new one has answered or failed once.
    pub fn set_nodes(&mut self, nodes: Vec<Node>) -> Vec<Change> {
        for state in self.nodes.values_mut() {
            state.gone = true;
        }
        self.order = nodes.iter().map(|node| node.addr).collect();
        for node in nodes {
            let node = Arc::new(node);
            let state = self
                .nodes
                .entry(node.addr)
                .or_insert_with(|| NodeState::new(node.clone()));
            state.node = node;
            state.gone = false;
        }
        self.unheard = self
            .nodes
            .values()
            .filter(|node| !node.gone && !node.heard)
            .count();
        self.changed = true;
        let mut changes = Vec::new();
        self.end_round(&mut changes);
        changes
    }

    /// Takes new rules. What they no longer allow ends with the node's next answer.
    pub fn set_rules(&mut self, rules: Rules) -> Vec<Change> {
        self.rules = rules;
        self.changed = true;
        let mut changes = Vec::new();
        for pool in self.pools.keys().cloned().collect::<Vec<_>>() {
            self.settle(&pool, &mut changes);
        }
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
        for (addr, place) in members {
            let Some(node) = self.nodes.get(&addr) else {
                continue;
            };
            if matches!(node.state, State::Out(None)) && self.refusal(&place.pool, addr).is_none() {
                self.enter(addr, place);
            }
        }
    }

    /// Takes what a poll of `addr` gave at `now`.
    pub fn observe(
        &mut self,
        addr: NodeAddr,
        observation: Observation,
        now: Instant,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(node) = self.nodes.get_mut(&addr).filter(|node| !node.gone) else {
            // A poll that was under way when its node went.
            return changes;
        };
        if !node.heard {
            node.heard = true;
            self.unheard -= 1;
        }
        match observation {
            Observation::Failed(failure) => self.fail(addr, failure, now, &mut changes),
            Observation::Nothing => self.put_out(addr, Out::Idle, &mut changes),
            Observation::Announced(announcement) => match announcement.status {
                Status::Leaving => self.put_out(addr, Out::Leaving, &mut changes),
                Status::Serving => self.serve(addr, announcement, &mut changes),
            },
        }
        self.end_round(&mut changes);
        changes
    }

    /// How many nodes the services file names.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.order.len()
    }

    /// The wanted state, when it changed since it was last taken. Nothing before the first round
    /// is done.
    pub fn take_changed(&mut self) -> Option<Pools> {
        if !self.first_round_done || !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut pools: BTreeMap<PoolName, Pool> = BTreeMap::new();
        for name in self.rules.declared.keys() {
            pools.entry(name.clone()).or_default().declared = true;
        }
        for (name, state) in &self.pools {
            let pool = pools.entry(name.clone()).or_default();
            pool.announced = true;
            pool.versions = state.versions.iter().cloned().collect();
        }
        let mut disabled = Vec::new();
        let gone = self.nodes.values().filter(|node| node.gone);
        for node in self.order.iter().map(|addr| &self.nodes[addr]).chain(gone) {
            match &node.state {
                State::Member { place, .. } => {
                    let version = place.version.clone();
                    let pool = pools.entry(place.pool.clone()).or_default();
                    pool.members.push(Member {
                        node: node.node.clone(),
                        version,
                    });
                }
                State::Out(_) if node.gone => {}
                State::Out(_) => disabled.push(node.node.clone()),
            }
        }
        Some(Pools { pools, disabled })
    }

    fn fail(&mut self, addr: NodeAddr, failure: Failure, now: Instant, changes: &mut Vec<Change>) {
        let Some(node) = self.nodes.get_mut(&addr) else {
            return;
        };
        node.answers = 0;
        node.failures = node.failures.saturating_add(1);
        let State::Member { place, held_since } = &mut node.state else {
            return self.put_out(addr, Out::Failed(failure), changes);
        };
        if node.failures < self.rules.of(&place.pool).fall {
            return;
        }
        let pool = self.pools.entry(place.pool.clone()).or_default();
        if held_since.is_none() {
            pool.serving -= 1;
        }
        pool.held
            .insert((*held_since.get_or_insert(now), addr), failure);
        let pool = place.pool.clone();
        self.settle(&pool, changes);
    }

    fn serve(&mut self, addr: NodeAddr, announcement: Announcement, changes: &mut Vec<Change>) {
        if let Some(refusal) = self.refusal(&announcement.pool, addr) {
            return self.put_out(addr, Out::Refused(refusal), changes);
        }
        let Some(node) = self.nodes.get_mut(&addr) else {
            return;
        };
        node.failures = 0;
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
            State::Out(Some(Out::Failed(_))) if node.answers < self.rules.of(&place.pool).rise => {
                return;
            }
            State::Out(_) => None,
        };
        let node = node.node.clone();
        self.exit(addr);
        self.enter(addr, place.clone());
        match from {
            Some(from) if from == place => self.settle(&place.pool, changes),
            Some(from) => {
                changes.push(Change::Moved(node, from.clone(), place.clone()));
                self.settle(&from.pool, changes);
                self.settle(&place.pool, changes);
            }
            None => {
                changes.push(Change::Joined(node, place.clone()));
                self.settle(&place.pool, changes);
            }
        }
    }

    fn put_out(&mut self, addr: NodeAddr, why: Out, changes: &mut Vec<Change>) {
        let from = self.exit(addr);
        let Some(node) = self.nodes.get_mut(&addr) else {
            return;
        };
        node.answers = 0;
        if !matches!(why, Out::Failed(_)) {
            node.failures = 0;
        }
        let before = std::mem::replace(&mut node.state, State::Out(Some(why.clone())));
        match (from, before) {
            (Some(from), _) => {
                let pool = from.pool.clone();
                changes.push(Change::Left(node.node.clone(), from, why));
                self.settle(&pool, changes);
            }
            (None, State::Out(Some(before))) if before.same_kind(&why) => {}
            (None, _) => changes.push(Change::StaysOut(node.node.clone(), why)),
        }
    }

    /// Makes the node a member, which it is not. The caller settles the pool.
    fn enter(&mut self, addr: NodeAddr, place: Place) {
        if let Some(node) = self.nodes.get_mut(&addr) {
            let pool = self.pools.entry(place.pool.clone()).or_default();
            pool.serving += 1;
            node.state = State::Member {
                place,
                held_since: None,
            };
            self.changed = true;
            self.remember(addr);
        }
    }

    /// Remembers the version that a member serves; of too many, forgets the oldest that no member
    /// serves.
    fn remember(&mut self, addr: NodeAddr) {
        let Some(Place {
            pool: name,
            version: Some(version),
        }) = self.nodes[&addr].place().cloned()
        else {
            return;
        };
        let pool = self.pools.entry(name.clone()).or_default();
        if pool.versions.contains(&version) {
            return;
        }
        pool.versions.push_back(version);
        if pool.versions.len() > Pool::MAX_VERSIONS {
            let places = self.nodes.values().filter_map(NodeState::place);
            let here = places.filter(|place| place.pool == name);
            let served: BTreeSet<_> = here.filter_map(|place| place.version.as_ref()).collect();
            let idle = pool
                .versions
                .iter()
                .position(|version| !served.contains(version));
            idle.and_then(|index| pool.versions.remove(index));
        }
    }

    /// Takes the node out of the pool that it is in, if any. The caller settles the pool.
    fn exit(&mut self, addr: NodeAddr) -> Option<Place> {
        let node = self.nodes.get_mut(&addr)?;
        if matches!(node.state, State::Out(_)) {
            return None;
        }
        let State::Member { place, held_since } =
            std::mem::replace(&mut node.state, State::Out(None))
        else {
            return None;
        };
        let pool = self.pools.entry(place.pool.clone()).or_default();
        match held_since {
            Some(since) => _ = pool.held.remove(&(since, addr)),
            None => pool.serving -= 1,
        }
        self.changed = true;
        Some(place)
    }

    /// Puts out the failed members that `min_members` does not hold, the longest failing first,
    /// and tells when holding begins or ends.
    fn settle(&mut self, name: &PoolName, changes: &mut Vec<Change>) {
        let min_members = self.rules.of(name).min_members;
        loop {
            let Some(pool) = self.pools.get_mut(name) else {
                return;
            };
            let surplus = pool.serving + pool.held.len() > min_members;
            let Some(longest) = pool.held.first_entry().filter(|_| surplus) else {
                break;
            };
            let ((_, addr), failure) = (*longest.key(), longest.get().clone());
            let from = self.exit(addr);
            if let (Some(from), Some(node)) = (from, self.nodes.get_mut(&addr)) {
                let why = Out::Failed(failure);
                node.state = State::Out(Some(why.clone()));
                changes.push(Change::Left(node.node.clone(), from, why));
            }
        }
        let Some(pool) = self.pools.get_mut(name) else {
            return;
        };
        let holds = !pool.held.is_empty();
        if std::mem::replace(&mut pool.told_held, holds) != holds {
            changes.push(if holds {
                Change::Held(name.clone(), min_members)
            } else {
                Change::Released(name.clone())
            });
        }
    }

    /// When every node is heard: those that are gone from the services file leave their pools.
    fn end_round(&mut self, changes: &mut Vec<Change>) {
        if self.unheard > 0 || self.order.is_empty() {
            return;
        }
        self.first_round_done = true;
        if self.nodes.len() == self.order.len() {
            return;
        }
        let gone: Vec<_> = self
            .nodes
            .values()
            .filter(|node| node.gone)
            .map(|node| node.node.clone())
            .collect();
        for node in gone {
            if let Some(from) = self.exit(node.addr) {
                let pool = from.pool.clone();
                changes.push(Change::Removed(node.clone(), from));
                self.settle(&pool, changes);
            }
            self.nodes.remove(&node.addr);
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

impl NodeState {
    fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            state: State::Out(None),
            heard: false,
            gone: false,
            failures: 0,
            answers: 0,
        }
    }

    /// Where it is a member.
    fn place(&self) -> Option<&Place> {
        match &self.state {
            State::Member { place, .. } => Some(place),
            State::Out(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
