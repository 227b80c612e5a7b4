//! The nodes and where each of them is, in the order of the services file.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::admission::NewNames;
use crate::model::announcement::Status;
use crate::model::bucket::Bucket;
use crate::model::change::{Assignment, OutReason};
use crate::model::names::PoolName;
use crate::model::node::{Node, NodeAddr};
use crate::model::node_view::Retention;
use crate::model::observation::{Observation, Poll};
use crate::model::rules::JoinDenied;
use crate::model::weight::Weight;
use crate::model::words::Word;

/// A node that has a leave, and only does not answer in time, is away after this many
/// consecutive failures. One alone happens to any node; were it taken for a stop, the next answer would be taken for
/// the return, and end the leave of a node that was notified that it may stop.
const SILENCES: u32 = 3;

/// All nodes. One is found by its address in the time of a hash, since each poll of each node asks
/// for it.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// As the services file lists them; behind them those that are gone from it.
    states: Vec<TrackedNode>,
    index: HashMap<NodeAddr, usize>,
    /// How many the services file lists.
    listed: usize,
}

#[derive(Debug)]
pub(super) struct TrackedNode {
    pub(super) node: Arc<Node>,
    pub(super) state: State,
    /// It answered or failed once.
    pub(super) polled: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Allowed announcements in a row.
    pub(super) answers: u32,
    /// It failed, and did not answer often enough since.
    pub(super) failed: bool,
    /// What it said last.
    pub(super) last: Option<Poll>,
    /// The place that it last spoke of, whatever it said or failed to say since.
    pub(super) last_assignment: Option<Assignment>,
    /// Only an answer that was asked for after this lets it in.
    pub(super) fresh_from: Option<Instant>,
    /// Since when it is where it is.
    pub(super) since: Option<Instant>,
    /// What it was reported to be kept in by, though it fails.
    pub(super) kept_by: Option<Retention>,
    /// When the first of its failures in a row came, if there are any.
    pub(super) failing_since: Option<Instant>,
    /// What is known of its last membership while it is no member. Boxed like what follows, since most nodes have none.
    pub(super) last_membership: Option<Box<LastMembership>>,
    /// What it let be known last of where it serves.
    pub(super) word: Option<Word>,
    /// Why a member is in no version pool, though it announces a version.
    pub(super) unversioned: Option<Box<JoinDenied>>,
    /// The weight that it announced last.
    pub(super) announced_weight: Option<Weight>,
    /// What counts towards its limits, once anything did.
    limits: Option<Box<Limits>>,
}

/// The last membership of a node that is no member.
#[derive(Debug, Default)]
pub(super) struct LastMembership {
    /// The pool, in this run or, by the state file, in one before.
    pub(super) pool: Option<PoolName>,
    /// The place, in this run.
    pub(super) place: Option<Assignment>,
    /// Since when the node drains there, if it does.
    pub(super) draining_since: Option<Instant>,
    /// The pool of which it was a member when it said that it leaves, and when that was.
    pub(super) left: Option<(PoolName, Instant)>,
}

/// How often a node may do what is limited.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// How often it may change.
    pub(super) changes: Bucket,
    /// How many new names it may announce.
    pub(super) new_names: NewNames,
}

#[derive(Debug)]
pub(super) enum State {
    /// In no pool; `None` when not polled yet.
    Out(Option<OutReason>),
    /// In a pool; `held_since` when failures would have put it out but for `min_members`.
    Member {
        place: Assignment,
        held_since: Option<Instant>,
    },
}

impl Nodes {
    /// Takes a new list. Those that stay keep their state; those that are not on it are gone, and
    /// stay where they are until [`remove_gone`](Self::remove_gone), so that a reload never leaves
    /// a pool empty for a moment.
    pub(super) fn list(&mut self, nodes: Vec<Node>) {
        let before = std::mem::take(&mut self.states).into_iter();
        let mut before: BTreeMap<_, _> = before.map(|state| (state.node.addr, state)).collect();
        self.states.reserve_exact(nodes.len());
        for node in nodes {
            let known = before.remove(&node.addr);
            let node = Arc::new(node);
            self.states.push(match known {
                Some(known) => TrackedNode { node, ..known },
                None => TrackedNode::new(node),
            });
        }
        self.listed = self.states.len();
        self.states.extend(before.into_values());
        let addrs = self.states.iter().map(|state| state.node.addr);
        self.index = addrs.zip(0..).collect();
    }

    /// A node, gone or not.
    pub(super) fn get_mut(&mut self, addr: NodeAddr) -> Option<&mut TrackedNode> {
        self.states.get_mut(*self.index.get(&addr)?)
    }

    /// A node, gone or not.
    pub(super) fn get(&self, addr: NodeAddr) -> Option<&TrackedNode> {
        self.states.get(*self.index.get(&addr)?)
    }

    /// A node, if the services file lists it.
    pub(super) fn get_listed(&self, addr: NodeAddr) -> Option<&TrackedNode> {
        self.listed().get(*self.index.get(&addr)?)
    }

    /// The same, to change it.
    pub(super) fn listed_mut(&mut self, addr: NodeAddr) -> Option<&mut TrackedNode> {
        self.states[..self.listed].get_mut(*self.index.get(&addr)?)
    }

    /// Those that the services file lists, in its order.
    pub(super) fn listed(&self) -> &[TrackedNode] {
        &self.states[..self.listed]
    }

    /// Those that are gone from it, by address.
    pub(super) fn gone(&self) -> &[TrackedNode] {
        &self.states[self.listed..]
    }

    /// All, those that are gone too.
    pub(super) fn all_mut(&mut self) -> &mut [TrackedNode] {
        &mut self.states
    }

    /// Forgets those that are gone.
    pub(super) fn remove_gone(&mut self) {
        for gone in self.states.drain(self.listed..) {
            self.index.remove(&gone.node.addr);
        }
    }
}

impl TrackedNode {
    /// Remembers what a poll gave. What was said before already keeps its place in memory.
    pub(super) fn remember(&mut self, poll: Poll) {
        match &mut self.last {
            Some(last) if last.observation == poll.observation => {
                last.asked_at = poll.asked_at;
                last.took = poll.took;
            }
            last => {
                if let Observation::Announced(announcement) = &poll.observation {
                    self.last_assignment = Some(Assignment {
                        pool: announcement.pool.clone(),
                        version: announcement.version.clone(),
                    });
                }
                *last = Some(poll);
            }
        }
    }

    /// Makes it a member. What it said is kept with the names of the place, so that their texts are in memory once.
    pub(super) fn enter(&mut self, place: Assignment) {
        if self.last_assignment.as_ref() == Some(&place) {
            self.last_assignment = Some(place.clone());
            let last = self.last.as_mut().map(|last| &mut last.observation);
            if let Some(Observation::Announced(announcement)) = last {
                announcement.pool = place.pool.clone();
                announcement.version.clone_from(&place.version);
            }
        }
        let word = Word::Serves(place.clone());
        if self.word.as_ref() == Some(&word) {
            self.word = Some(word);
        }
        self.last_membership = None;
        self.state = State::Member {
            place,
            held_since: None,
        };
    }

    /// Whether it fails, and `min_members` keeps it in.
    pub(super) fn is_held(&self) -> bool {
        matches!(&self.state, State::Member { held_since, .. } if held_since.is_some())
    }

    /// The pool that it is a member of.
    pub(super) fn pool(&self) -> Option<&PoolName> {
        match &self.state {
            State::Member { place, .. } => Some(&place.pool),
            State::Out(_) => None,
        }
    }

    /// Where it is, or the place it last announced.
    pub(super) fn place(&self) -> Option<&Assignment> {
        match &self.state {
            State::Member { place, .. } => Some(place),
            State::Out(_) => self.last_assignment.as_ref(),
        }
    }

    /// Where it drains, and since when.
    pub(super) fn draining(&self) -> Option<(&Assignment, Instant)> {
        let last = self.last_membership.as_ref()?;
        last.place.as_ref().zip(last.draining_since)
    }

    /// It does not drain any more.
    pub(super) fn end_drain(&mut self) {
        if let Some(last) = &mut self.last_membership {
            last.draining_since = None;
        }
    }

    /// Where it was a member last in this run, if it is none.
    pub(super) fn was_in(&self) -> Option<&Assignment> {
        self.last_membership.as_ref()?.place.as_ref()
    }

    /// The pool of which it was a member last, in this run or, by the state file, in one before, if it is none.
    pub(super) fn last_in(&self) -> Option<&PoolName> {
        self.last_membership.as_ref()?.pool.as_ref()
    }

    /// How often it may do what is limited.
    pub(super) fn limits(&self) -> Limits {
        self.limits.as_deref().copied().unwrap_or_default()
    }

    /// The same, to count.
    pub(super) fn limits_mut(&mut self) -> &mut Limits {
        self.limits.get_or_insert_default()
    }

    /// The pool of which it is a member, or was last, in this run or an earlier one.
    pub(super) fn member_of(&self) -> Option<&PoolName> {
        let place = match &self.state {
            State::Member { place, .. } => Some(place),
            State::Out(_) => self.was_in(),
        };
        let pool = place.map(|place| &place.pool);
        pool.or(self.last_in())
    }

    /// The pool that it counts for: that it is in, or last spoke of; or, where it has not spoken in this
    /// run, that it was in last.
    pub(super) fn belongs_to(&self) -> Option<&PoolName> {
        let place = self.place().map(|place| &place.pool);
        place.or(self.last_in())
    }

    /// The pool that it left by saying so, as it still does, and when. One that was no member left
    /// nothing, whatever it says.
    pub(super) fn leaves(&self) -> Option<&(PoolName, Instant)> {
        let last = self.last.as_ref().map(|poll| &poll.observation);
        let leaves = matches!(last, Some(Observation::Announced(announcement))
            if announcement.status == Status::Leaving);
        let left = self.last_membership.as_ref()?.left.as_ref();
        left.filter(|_| leaves)
    }

    /// Counts what it said while orders keep it out.
    pub(super) fn count_excluded(&mut self, observation: &Observation) {
        let failed = matches!(observation, Observation::Failed(_));
        let serving = observation.is_serving();
        self.failed = failed || (self.failed && serving);
        self.failures = if failed {
            self.failures.saturating_add(1)
        } else {
            0
        };
        self.answers = if serving {
            self.answers.saturating_add(1)
        } else {
            0
        };
    }

    /// Whether what it said shows, after it was counted, that it does not serve any more.
    pub(super) fn is_away(&self, observation: &Observation) -> bool {
        match observation {
            Observation::Failed(failure) if failure.is_silence() => self.failures >= SILENCES,
            other => !other.is_serving(),
        }
    }

    fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            state: State::Out(None),
            polled: false,
            failures: 0,
            answers: 0,
            failed: false,
            last: None,
            last_assignment: None,
            fresh_from: None,
            since: None,
            kept_by: None,
            failing_since: None,
            last_membership: None,
            word: None,
            unversioned: None,
            announced_weight: None,
            limits: None,
        }
    }
}
