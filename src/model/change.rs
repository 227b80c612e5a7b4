//! What a decision changed, as the log tells it.

use std::fmt;
use std::sync::Arc;

use super::names::{PoolName, Version};
use super::node::Node;
use super::observation::Failure;
use super::orders::{Note, Reason, ReasonWord, words};
use super::pools::Pools;
use super::rules::Refusal;
use super::view::Kept;

/// Why a node is in no pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// It said that it leaves.
    Leaving,
    /// It serves nothing.
    Idle,
    /// It did not answer properly, or not often enough since.
    Failed(Failure),
    /// It announced a pool that it may not join.
    Refused(Refusal),
    /// It is kept out for these reasons, whatever it answers.
    Disabled(Vec<ReasonWord>),
    /// It asked to leave, and may.
    Granted,
    /// Nothing keeps it out any more; its next answer decides.
    Awaited,
}

/// Where a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The pool.
    pub pool: PoolName,
    /// The version at which it serves there.
    pub version: Option<Version>,
}

/// Something that an observation or a reload changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node became a member.
    Joined(Arc<Node>, Place),
    /// A member moved from one pool or version to another.
    Moved(Arc<Node>, Place, Place),
    /// A member is out of its pool.
    Left(Arc<Node>, Place, Out),
    /// A node is in no pool and was never heard before, or is so for another reason than before.
    StaysOut(Arc<Node>, Out),
    /// A member is gone from the services file.
    Removed(Arc<Node>, Place),
    /// Failures would take the pool below this `min_members`: the members that it last had stay.
    Held(PoolName, usize),
    /// No failed member is held in the pool any more.
    Released(PoolName),
    /// A member failed often enough to be put out, and this keeps it in.
    Kept(Arc<Node>, Place, Kept, Failure),
    /// A member that this kept in answers again.
    Recovered(Arc<Node>, Place, Kept),
    /// A node is to be out for this reason, from now on or as it was before.
    Disabled(Arc<Node>, ReasonWord, Reason),
    /// A node is not to be out for this reason any more.
    Enabled(Arc<Node>, ReasonWord, Ending),
    /// A node asked to leave, this pool if it is in one, and may.
    LeaveGranted(Arc<Node>, Option<PoolName>),
    /// A node's leave is over.
    LeaveOver(Arc<Node>, Ending),
    /// Failures put nobody out from now on, for this reason.
    Frozen(ReasonWord, Reason),
    /// This reason does not freeze anything any more: he took it back.
    Thawed(ReasonWord, Note),
    /// The pool has no member: these sorry servers serve from now on.
    SorryOn(PoolName, Vec<Arc<Node>>),
    /// The pool's sorry servers serve no longer: it has so many members, or none but the
    /// configuration names no sorry server any more.
    SorryOff(PoolName, usize),
}

/// Which sorry servers serve in `now` that did not `before`, and the other way round: said of what
/// the drivers get, so that a pool that is empty for a moment between two snapshots is not told.
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

/// How an order came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was taken back, by him if that is known.
    TakenBack(Note),
    /// Its time was over.
    TimeOver,
    /// The node was away and serves again.
    Returned,
}

impl Out {
    /// Whether `other` is the same trouble, for a log that speaks only of changes.
    #[must_use]
    pub fn same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failed(a), Self::Failed(b)) => a.same_kind(b),
            // A node that invents names must not get a log line for each.
            (Self::Refused(a), Self::Refused(b)) => {
                std::mem::discriminant(a) == std::mem::discriminant(b)
            }
            (Self::Disabled(_), Self::Disabled(_)) => true,
            _ => self == other,
        }
    }
}

impl fmt::Display for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaving => f.write_str("leaving"),
            Self::Idle => f.write_str("idle: it answered with an empty body"),
            Self::Failed(failure) => write!(f, "failed: {failure}"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Disabled(reasons) => write!(f, "disabled: {}", words(reasons)),
            Self::Granted => f.write_str("leaving: it asked to leave, and may"),
            Self::Awaited => f.write_str("enabled, its next answer decides"),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TakenBack(by) if by.as_str().is_empty() => "it was taken back",
            Self::TakenBack(by) => return write!(f, "{} took it back", by.as_str()),
            Self::TimeOver => "its time is over",
            Self::Returned => "the node is back",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{} at {version}", self.pool),
            None => self.pool.fmt(f),
        }
    }
}
