//! Changes: what a decision about the membership changed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::names::{PoolName, Version};
use super::node::Node;
use super::node_view::Retention;
use super::observation::Failure;
use super::overrides::{Note, Reason, ReasonName, WeightOverride, words};
use super::pools::Pools;
use super::rules::JoinDenied;
use super::weight::Weight;

/// Why a node is in no pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutReason {
    /// It announced that it leaves.
    Leaving,
    /// It answered with an empty body: it serves no pool.
    Idle,
    /// Its polls failed, or have not succeeded often enough since.
    Failed(Failure),
    /// It announced a pool that it may not join.
    Refused(JoinDenied),
    /// It is disabled for these reasons, whatever it answers.
    Disabled(Vec<ReasonName>),
    /// It asked to leave and was granted it.
    Granted,
    /// Nothing keeps it out any longer; its next poll decides.
    Awaited,
}

/// A pool, and the version in it, that a node is assigned to or announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The pool's name.
    pub pool: PoolName,
    /// The version that the node serves there, if it announces one.
    pub version: Option<Version>,
}

/// Something that an observation or a reload changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node became a member.
    Joined(Arc<Node>, Assignment),
    /// A member moved from one pool or version to another.
    Moved(Arc<Node>, Assignment, Assignment),
    /// A member is in no version pool, though it announces a version, for this reason.
    Unversioned(Arc<Node>, Assignment, JoinDenied),
    /// A member is no longer in its pool, for this reason.
    Left(Arc<Node>, Assignment, OutReason),
    /// A node is in no pool, and this is its first poll result or a different reason than before.
    RemainsOut(Arc<Node>, OutReason),
    /// A member is no longer in the services file.
    Removed(Arc<Node>, Assignment),
    /// Failures would take the pool below this `min_members`: it keeps its last members.
    Held(PoolName, usize),
    /// The pool no longer keeps failed members in.
    Released(PoolName),
    /// A member failed often enough to be removed, and this keeps it in.
    Kept(Arc<Node>, Assignment, Retention, Failure),
    /// A member that this kept in answers properly again.
    Recovered(Arc<Node>, Assignment, Retention),
    /// A node is disabled for this reason, from now on or as it was before.
    Disabled(Arc<Node>, ReasonName, Reason),
    /// A node is no longer disabled for this reason; the reasons that remain.
    Enabled(Arc<Node>, ReasonName, Ending, Vec<ReasonName>),
    /// A node asked to leave and was granted it; the pool is the one that it is in, if any.
    LeaveGranted(Arc<Node>, Option<PoolName>),
    /// A node's leave has ended.
    LeaveOver(Arc<Node>, Ending),
    /// A member announces another weight, or none; the weight that it has now.
    Reweighted(Arc<Node>, Assignment, Weight),
    /// A member that came back ramps up to that weight for that time.
    RampStarted(Arc<Node>, Assignment, Weight, Duration),
    /// A member has reached that weight: its ramp is over.
    RampOver(Arc<Node>, Assignment, Weight),
    /// An operator gives a node a weight.
    WeightSet(Arc<Node>, WeightOverride),
    /// An operator's weight has ended; the one that it was, and the one that the node has without it.
    WeightReset(Arc<Node>, WeightOverride, Ending, Weight),
    /// A freeze began, for this reason: failures no longer remove nodes.
    Frozen(ReasonName, Reason),
    /// The freeze for this reason ended: this person removed the reason.
    Thawed(ReasonName, Note),
    /// The pool has no members: these sorry servers take over.
    SorryOn(PoolName, Vec<Arc<Node>>),
    /// The pool's sorry servers no longer serve: the pool has this number of members. With 0, the configuration no
    /// longer names a sorry server.
    SorryOff(PoolName, usize),
}

/// The pools whose sorry servers take over or stop serving between the snapshots `before` and `now`. Compares what the
/// drivers get, so a pool that was empty only between two snapshots is not reported.
#[must_use]
pub fn sorry_changes(before: Option<&Pools>, now: &Pools) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, pool) in &now.pools {
        let before = before.and_then(|before| before.pools.get(name));
        let before = before.map_or(&[][..], |before| &before.sorry);
        if before == pool.sorry {
            continue;
        }
        changes.push(if pool.sorry.is_empty() {
            Change::SorryOff(name.clone(), pool.members.len())
        } else {
            Change::SorryOn(name.clone(), pool.sorry.clone())
        });
    }
    changes
}

/// How an override or a leave ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was removed, by this person if known.
    Removed(Note),
    /// It expired.
    Expired,
    /// The node was away and serves again.
    Returned,
}

impl OutReason {
    /// Whether `other` is the same problem: the log reports only changes.
    #[must_use]
    pub fn same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failed(a), Self::Failed(b)) => a.same_kind(b),
            // A node that makes up names must not cause a log line for each.
            (Self::Refused(a), Self::Refused(b)) => {
                std::mem::discriminant(a) == std::mem::discriminant(b)
            }
            (Self::Disabled(_), Self::Disabled(_)) => true,
            _ => self == other,
        }
    }
}

impl fmt::Display for OutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaving => f.write_str("leaving"),
            Self::Idle => f.write_str("idle: it answered with an empty body"),
            Self::Failed(failure) => write!(f, "failed: {failure}"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Disabled(reasons) => write!(f, "disabled: {}", words(reasons)),
            Self::Granted => f.write_str("leaving: granted leave"),
            Self::Awaited => f.write_str("enabled, its next answer decides"),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed(by) if by.as_str().is_empty() => "removed",
            Self::Removed(by) => return write!(f, "removed by {}", by.as_str()),
            Self::Expired => "expired",
            Self::Returned => "the node has returned",
        })
    }
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{} ({version})", self.pool),
            None => self.pool.fmt(f),
        }
    }
}
