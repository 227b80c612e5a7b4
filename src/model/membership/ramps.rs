//! Which members ramp up to their weight, since when nodes are out, and with that which of them do when they return.
//!
//! A ramp begins when a node comes into a pool after it was out of all for `ramp_after`, and also when its last ramp
//! was cut short, or it has never been a member. What it says or does meanwhile changes nothing; going out ends it.

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

use super::Membership;
use super::nodes::{State, TrackedNode};
use super::weights::full_weight;
use crate::model::change::Change;
use crate::model::node::NodeAddr;
use crate::model::node_times::{SavedRamp, SavedRamps};
use crate::model::ramp::Ramp;
use crate::model::time::{Timestamp, millis};
use crate::model::weight::Weight;

/// Minimum delay between two steps of all ramps together: each is a snapshot for the drivers.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum duration of a ramp that is read from a file: `Instant` arithmetic must not overflow.
const MAX_LENGTH: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The ramps of members, and the absences of nodes.
#[derive(Debug, Default)]
pub(super) struct Ramps {
    rising: BTreeMap<NodeAddr, Rising>,
    /// Nodes that are in no pool, also some that are not listed any more. One without an entry has never been a member,
    /// as far as is known.
    absences: BTreeMap<NodeAddr, Absence>,
    /// When the next step of any ramp is due.
    next: Option<Instant>,
}

/// A member that has not reached its weight.
#[derive(Debug)]
struct Rising {
    ramp: Ramp,
    /// Number of steps that the snapshot shows as done.
    step: u32,
}

/// How cold a node is that is out.
#[derive(Clone, Copy, Debug)]
enum Absence {
    /// It had its full weight until then.
    Since(Instant),
    /// It had not reached its full weight when it went out.
    Cold,
}

impl Absence {
    /// Whether it calls for a ramp.
    fn is_at_least(self, time: Duration, now: Instant) -> bool {
        match self {
            Self::Since(since) => now.saturating_duration_since(since) >= time,
            Self::Cold => true,
        }
    }
}

impl Ramps {
    /// The weight at present of a member with this full weight.
    pub(super) fn weight(&self, addr: NodeAddr, full: Weight) -> Weight {
        let rising = self.rising.get(&addr);
        rising.map_or(full, |one| one.ramp.weight_after(one.step, full))
    }

    /// The member's ramp.
    pub(super) fn of(&self, addr: NodeAddr) -> Option<Ramp> {
        self.rising.get(&addr).map(|rising| rising.ramp)
    }

    /// A member goes out of its pool, into none.
    pub(super) fn goes_out(&mut self, addr: NodeAddr, now: Instant) {
        let absence = match self.rising.remove(&addr) {
            Some(_) => Absence::Cold,
            None => Absence::Since(now),
        };
        self.absences.insert(addr, absence);
    }

    fn begin(&mut self, addr: NodeAddr, ramp: Ramp) {
        let due = ramp.time_of(1);
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
        self.rising.insert(addr, Rising { ramp, step: 0 });
    }

    /// Takes what the run before knew; `at` tells when a time of day was.
    pub(super) fn restore(
        &mut self,
        saved: &SavedRamps,
        at: impl Fn(Timestamp) -> Instant,
        now: Instant,
    ) {
        for (addr, SavedRamp { since, length_ms }) in &saved.rising {
            let length = Duration::from_millis(*length_ms).min(MAX_LENGTH);
            if let Some(ramp) = Ramp::new(at(*since), length) {
                let step = ramp.step_at(now);
                self.rising.insert(*addr, Rising { ramp, step });
            }
        }
        let absences = saved.out.iter().map(|(addr, since)| {
            let since = since.map(|since| Absence::Since(at(since)));
            (*addr, since.unwrap_or(Absence::Cold))
        });
        self.absences.extend(absences);
        self.next = Some(now);
    }

    /// What the next run has to know; `time` tells the time of day.
    pub(super) fn saved(&self, time: impl Fn(Instant) -> Timestamp) -> SavedRamps {
        let rising = self.rising.iter().map(|(addr, Rising { ramp, .. })| {
            let (since, length_ms) = (time(ramp.start()), millis(ramp.length()));
            (*addr, SavedRamp { since, length_ms })
        });
        let out = self.absences.iter().map(|(addr, absence)| {
            let since = match absence {
                Absence::Since(since) => Some(time(*since)),
                Absence::Cold => None,
            };
            (*addr, since)
        });
        SavedRamps {
            rising: rising.collect(),
            out: out.collect(),
        }
    }
}

impl Membership {
    /// When to call [`Self::advance_ramps`].
    #[must_use]
    pub fn next_ramp_step(&self) -> Option<Instant> {
        self.ramps.next.filter(|_| self.first_round_done)
    }

    /// Takes the steps of ramps that are due.
    pub fn advance_ramps(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.next_ramp_step().is_none_or(|next| now < next) {
            return changes;
        }
        let mut over = Vec::new();
        for (addr, rising) in &mut self.ramps.rising {
            let before = mem::replace(&mut rising.step, rising.ramp.step_at(now));
            let is_over = rising.step == rising.ramp.steps();
            let (ramp, step) = (rising.ramp, rising.step);
            let Some(node) = self.nodes.get(*addr) else {
                continue;
            };
            let State::Member { place, .. } = &node.state else {
                continue;
            };
            let (full, _) = full_weight(node, &self.rules, &self.overrides);
            if ramp.weight_after(before, full) != ramp.weight_after(step, full) {
                self.snapshots.changed(&place.pool);
            }
            if is_over {
                over.push(*addr);
                changes.push(Change::RampOver(node.node.clone(), place.clone(), full));
            }
        }
        for addr in over {
            self.ramps.rising.remove(&addr);
        }
        let steps = self.ramps.rising.values();
        let steps = steps.map(|rising| rising.ramp.time_of(rising.step + 1));
        self.ramps.next = steps.min().map(|next| next.max(now + MIN_INTERVAL));
        changes
    }

    /// Has nodes that are out ramp up for this time when they return, whatever the rules say; zero: not at all.
    pub(super) fn order_ramps(&mut self, addrs: &[NodeAddr], length: Duration) {
        for addr in addrs {
            let node = self.nodes.get_listed(*addr);
            if node.is_some_and(|node| matches!(node.state, State::Out(_))) {
                self.overrides.ramps_ms.insert(*addr, millis(length));
                self.overrides_revision += 1;
            }
        }
    }

    /// A node has just come into a pool and was in none.
    pub(super) fn begin_ramp(&mut self, addr: NodeAddr, now: Instant, changes: &mut Vec<Change>) {
        let absence = self.ramps.absences.remove(&addr).unwrap_or(Absence::Cold);
        let ordered = self.overrides.ramps_ms.remove(&addr);
        self.overrides_revision += u64::from(ordered.is_some());
        let Some(node) = self.nodes.get(addr) else {
            return;
        };
        let State::Member { place, .. } = &node.state else {
            return;
        };
        let rules = self.rules.of(&place.pool).ramp;
        let length = match ordered {
            Some(length_ms) => Duration::from_millis(length_ms).min(MAX_LENGTH),
            None if self.first_round_done && absence.is_at_least(rules.after, now) => rules.length,
            None => return,
        };
        if let Some(ramp) = Ramp::new(now, length) {
            self.ramps.begin(addr, ramp);
            let (full, _) = full_weight(node, &self.rules, &self.overrides);
            let (node, place) = (node.node.clone(), place.clone());
            changes.push(Change::RampStarted(node, place, full, length));
        }
    }

    /// Every node has been polled for the first time: what the run before knew applies to those that are where it left
    /// them, and the others have been out since now.
    pub(super) fn end_first_round(&mut self, now: Instant, changes: &mut Vec<Change>) {
        let Ramps {
            rising, absences, ..
        } = &mut self.ramps;
        for node in self.nodes.listed() {
            let addr = node.node.addr;
            if node.pool().is_some() {
                absences.remove(&addr);
            } else if rising.contains_key(&addr) {
                absences.insert(addr, Absence::Cold);
            } else {
                absences.entry(addr).or_insert(Absence::Since(now));
            }
        }
        // Members that are not listed yet, as their source may be away or their host name not resolved: they are not new.
        let unlisted = |addr: &NodeAddr| self.nodes.get_listed(*addr).is_none();
        let members = self.before.iter().filter(|(_, was)| was.is_member());
        for (addr, _) in members.filter(|(addr, _)| unlisted(addr)) {
            absences.entry(*addr).or_insert(Absence::Since(now));
        }
        let nodes = &self.nodes;
        let is_member = |addr: &NodeAddr| nodes.get(*addr).and_then(TrackedNode::pool).is_some();
        rising.retain(|addr, _| is_member(addr));
        let ordered = self.overrides.ramps_ms.len();
        let ramps = &mut self.overrides.ramps_ms;
        ramps.retain(|addr, _| nodes.get_listed(*addr).is_some());
        self.overrides_revision += u64::from(ramps.len() != ordered);
        changes.extend(self.advance_ramps(now));
    }

    /// Nodes that are gone from the list are forgotten. When they went is kept for as long as it may matter: a line may
    /// only be missing for a moment.
    pub(super) fn forget_gone_ramps(&mut self, now: Instant) {
        if self.nodes.gone().is_empty() {
            return;
        }
        for gone in self.nodes.gone() {
            let ordered = self.overrides.ramps_ms.remove(&gone.node.addr);
            self.overrides_revision += u64::from(ordered.is_some());
        }
        let pools = self.rules.declared.values().chain([&self.rules.undeclared]);
        let longest = pools.map(|pool| pool.ramp.after).max().unwrap_or_default();
        let nodes = &self.nodes;
        self.ramps.absences.retain(|addr, absence| {
            nodes.get_listed(*addr).is_some() || !absence.is_at_least(longest, now)
        });
    }
}
