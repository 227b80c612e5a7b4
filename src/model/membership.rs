//! The one decision maker: who is in which pool.
//!
//! [`Membership`] takes observations and gives back what they changed; [`Membership::take_changed`]
//! is the whole desired state. It does no I/O and reads no clock. The rules, by example with
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

mod admission;
mod draining;
mod earlier_names;
mod failing;
mod names;
mod new_rules;
mod nodes;
pub mod overrides;
mod pauses;
mod places;
mod pool_state;
mod ramps;
mod reports;
pub mod requests;
pub mod shortage;
mod snapshots;
mod standing;
mod times;
mod views;
mod weights;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use self::names::Names;
use self::nodes::{Nodes, State};
use self::pool_state::PoolState;
use self::ramps::Ramps;
use self::snapshots::Snapshots;
use self::times::Before;
use self::weights::Weights;

use super::announcement::{Announcement, Status};
use super::change::{Change, OutReason};
use super::names::PoolName;
use super::node::{Node, NodeAddr};
use super::observation::{Observation, Poll};
use super::overrides::Overrides;
use super::pools::Pools;
use super::rules::Rules;
use super::words::Word;

/// Who is in which pool, and why the others are in none.
#[derive(Debug)]
pub struct Membership {
    rules: Arc<Rules>,
    nodes: Nodes,
    /// Every pool that is ours: those that are declared, and with the announced ones also some that are
    /// not in use any more.
    pools: BTreeMap<PoolName, PoolState>,
    /// How many nodes of the services file have neither answered nor failed yet.
    awaited: usize,
    first_round_done: bool,
    names: Names,
    snapshots: Snapshots,
    overrides: Overrides,
    /// How often orders changed.
    overrides_revision: u64,
    /// What [`Membership::take_pool_health_changed`] tells.
    pool_health_changed: bool,
    /// What [`Membership::take_kept_changed`] tells.
    kept_changed: bool,
    /// What the run before knew of nodes that were not polled yet.
    before: Before,
    ramps: Ramps,
}

impl Membership {
    /// Nobody is in a pool and no node was polled; these orders are active.
    #[must_use]
    pub fn new(rules: Rules, overrides: Overrides) -> Self {
        let mut membership = Self {
            overrides,
            overrides_revision: 0,
            pool_health_changed: false,
            kept_changed: false,
            before: Before::new(),
            ramps: Ramps::default(),
            names: Names::new(&rules),
            rules: Arc::new(rules),
            nodes: Nodes::default(),
            pools: BTreeMap::new(),
            awaited: 0,
            first_round_done: false,
            snapshots: Snapshots::new(),
        };
        membership.own_declared_pools();
        membership
    }

    /// Takes a new list of nodes. Those that stay keep their state. Those that are gone leave
    /// their pools as soon as each new one has answered or failed once.
    pub fn set_nodes(&mut self, nodes: Vec<Node>, now: Instant) -> Vec<Change> {
        self.nodes.list(nodes);
        let listed = self.nodes.listed().iter();
        self.awaited = listed.filter(|node| !node.polled).count();
        self.snapshots.all_changed();
        let mut changes = Vec::new();
        self.end_round(now, &mut changes);
        changes
    }

    /// Takes new rules. What they no longer allow ends with the node's next answer; failures count by
    /// them at once, and a name is at once whose it is by them.
    pub fn set_rules(&mut self, rules: Rules, now: Instant) -> Vec<Change> {
        self.rules = Arc::new(rules);
        self.own_declared_pools();
        self.pool_health_changed = true;
        self.snapshots.all_changed();
        let mut changes = Vec::new();
        self.share_names(now, &mut changes);
        self.enforce_all_min_members(now, &mut changes);
        changes
    }

    /// Takes what a poll of `addr` gave, at `now`.
    pub fn observe(&mut self, addr: NodeAddr, poll: Poll, now: Instant) -> Vec<Change> {
        match self.nodes.get_listed(addr) {
            Some(node) if node.node.is_polled() => self.take(addr, poll, now),
            // A poll that was under way when its node went, or when its source began to speak for it.
            _ => Vec::new(),
        }
    }

    fn take(&mut self, addr: NodeAddr, poll: Poll, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(node) = self.nodes.listed_mut(addr) else {
            return changes;
        };
        let is_first = !std::mem::replace(&mut node.polled, true);
        let (observation, asked_at) = (poll.observation.clone(), poll.asked_at);
        node.remember(poll);
        self.decide(addr, observation, (asked_at, now), &mut changes);
        if is_first {
            self.awaited -= 1;
            self.begin_time(addr, now);
        }
        self.end_round(now, &mut changes);
        changes
    }

    fn decide(
        &mut self,
        addr: NodeAddr,
        observation: Observation,
        (asked_at, now): (Instant, Instant),
        changes: &mut Vec<Change>,
    ) {
        self.claim(addr, &observation, now, changes);
        if self.is_excluded(addr, &observation, (asked_at, now), changes) {
            return;
        }
        match observation {
            Observation::Failed(failure) => self.fail(addr, failure, now, changes),
            Observation::Nothing => self.remove_from_pool(addr, OutReason::Idle, now, changes),
            Observation::Announced(announcement) => match announcement.status {
                Status::Leaving => self.remove_from_pool(addr, OutReason::Leaving, now, changes),
                Status::Serving => self.serve(addr, announcement, (asked_at, now), changes),
            },
        }
    }

    /// Whether to ask the node again soon gives a decision sooner: it failed or came back, and has
    /// yet to do so as often in a row as the rules ask for; or it was granted leave, and may be away
    /// for less than an interval.
    #[must_use]
    pub fn is_undecided(&self, addr: NodeAddr) -> bool {
        if self.overrides.leases.contains_key(&addr) {
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
            State::Out(_) => node.failed && node.answers > 0 && !self.overrides.excludes(addr),
        }
    }

    /// The desired state, when it changed since it was last taken. Nothing before the first round
    /// is done.
    pub fn take_changed(&mut self) -> Option<Pools> {
        if !self.first_round_done {
            return None;
        }
        let weights = Weights {
            rules: &self.rules,
            overrides: &self.overrides,
            ramps: &self.ramps,
        };
        self.snapshots.take(weights, &self.pools, &self.nodes)
    }

    fn serve(
        &mut self,
        addr: NodeAddr,
        announcement: Announcement,
        (asked_at, now): (Instant, Instant),
        changes: &mut Vec<Change>,
    ) {
        let weight = announcement.weight;
        let admitted = match self.admit(addr, announcement, now) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                return self.remove_from_pool(addr, OutReason::Refused(refusal), now, changes);
            }
        };
        self.set_word(addr, Word::Serves(admitted.place.clone()));
        self.set_announced_weight(addr, weight, changes);
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
            self.pool_health_changed = true;
            let recovered = |by| Change::Recovered(node.node.clone(), place.clone(), by);
            changes.extend(node.kept_by.take().map(recovered));
        }
        node.answers = node.answers.saturating_add(1);
        let place = admitted.place.clone();
        let from = match &node.state {
            State::Member {
                place: old,
                held_since: None,
            } if *old == place => return self.set_unversioned(addr, admitted.unversioned, changes),
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
        self.withdraw(addr, now);
        self.introduce(addr, &admitted, now, changes);
        let place = self.enter(addr, place);
        match from {
            Some(from) if from == place => self.enforce_min_members(&place.pool, now, changes),
            Some(from) => {
                changes.push(Change::Moved(node, from.clone(), place.clone()));
                self.enforce_min_members(&from.pool, now, changes);
                self.enforce_min_members(&place.pool, now, changes);
            }
            None => {
                changes.push(Change::Joined(node, place.clone()));
                self.begin_ramp(addr, now, changes);
                self.enforce_min_members(&place.pool, now, changes);
            }
        }
        self.set_unversioned(addr, admitted.unversioned, changes);
    }

    fn remove_from_pool(
        &mut self,
        addr: NodeAddr,
        why: OutReason,
        now: Instant,
        changes: &mut Vec<Change>,
    ) {
        let from = self.exit(addr, now);
        if !matches!(why, OutReason::Failed(_)) {
            self.set_word(addr, Word::Out);
        }
        let Some(node) = self.nodes.get_mut(addr) else {
            return;
        };
        node.answers = 0;
        node.failed = matches!(why, OutReason::Failed(_));
        if !node.failed {
            node.failures = 0;
        }
        match (&why, &from) {
            (OutReason::Leaving, Some(from)) => {
                let last = node.last_membership.get_or_insert_default();
                last.left = Some((from.pool.clone(), now));
            }
            // It may only have been silent for a moment, or say it again.
            (OutReason::Leaving | OutReason::Failed(_), _) => {}
            _ => {
                if let Some(last) = &mut node.last_membership {
                    last.left = None;
                }
            }
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
                self.enforce_min_members(&pool, now, changes);
            }
            None if same => {}
            None => changes.push(Change::RemainsOut(node.node.clone(), why)),
        }
    }

    /// Takes note of what a node let be known of where it serves.
    fn set_word(&mut self, addr: NodeAddr, word: Word) {
        if let Some(node) = self.nodes.get_mut(addr)
            && node.word.as_ref() != Some(&word)
        {
            node.word = Some(word);
            self.snapshots.words_changed();
        }
    }

    /// When every node is polled: those that are gone from the services file leave their pools.
    fn end_round(&mut self, now: Instant, changes: &mut Vec<Change>) {
        // At the start, an empty list says nothing; later it is one that was accepted.
        let is_unknown = self.nodes.listed().is_empty() && !self.first_round_done;
        if self.awaited > 0 || is_unknown {
            return;
        }
        if !std::mem::replace(&mut self.first_round_done, true) {
            self.pool_health_changed = true;
            self.end_first_round(now, changes);
        }
        // What is left is of nodes that nobody lists any more.
        self.before.clear();
        let gone = self.nodes.gone().iter().map(|node| node.node.clone());
        for node in gone.collect::<Vec<_>>() {
            if let Some(from) = self.exit(node.addr, now) {
                let pool = from.pool.clone();
                changes.push(Change::Removed(node, from));
                self.enforce_min_members(&pool, now, changes);
            }
        }
        self.forget_gone_ramps(now);
        self.nodes.remove_gone();
    }
}

#[cfg(test)]
pub(crate) mod tests;
