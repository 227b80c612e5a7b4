//! What is so, for people: copies of what [`Membership`](super::membership::Membership) knows.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::change::{Out, Place};
use super::node::Node;
use super::observation::Poll;
use super::orders::{Grant, Reasons};

/// One node.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Which.
    pub node: Arc<Node>,
    /// Where it is.
    pub state: NodeState,
    /// Since when, of a member that fails since its first failure in a row; nothing before it is
    /// heard.
    pub since: Option<Instant>,
    /// What it said last, and when.
    pub last: Option<Poll>,
    /// The place that it last spoke of, whatever it said or failed to say since.
    pub spoke_of: Option<Place>,
    /// Failures in a row.
    pub failures: u32,
    /// Allowed announcements in a row.
    pub answers: u32,
    /// Why it is disabled.
    pub reasons: Reasons,
    /// The leave that it was granted.
    pub grant: Option<Grant>,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It has neither answered nor failed yet.
    Unheard,
    /// In a pool, or still in the pool of the last run until it is heard.
    Member(Place, Kept),
    /// In no pool.
    Out(Out),
}

impl NodeState {
    /// In one word.
    #[must_use]
    pub fn whereabouts(&self) -> Whereabouts {
        match self {
            Self::Unheard => Whereabouts::Awaited,
            Self::Member(..) => Whereabouts::Member,
            Self::Out(why) => match why {
                Out::Leaving | Out::Granted => Whereabouts::Leaving,
                Out::Idle => Whereabouts::Idle,
                Out::Failed(_) => Whereabouts::Failed,
                Out::Refused(_) => Whereabouts::Refused,
                Out::Disabled(_) => Whereabouts::Disabled,
                Out::Awaited => Whereabouts::Awaited,
            },
        }
    }
}

/// Where a node is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whereabouts {
    /// In a pool.
    Member,
    /// Out: it said so, or was granted leave.
    Leaving,
    /// Out: it serves nothing.
    Idle,
    /// Out: it did not answer properly.
    Failed,
    /// Out: it announced a pool that it may not join.
    Refused,
    /// Out: for reasons that people gave.
    Disabled,
    /// Not heard yet, or enabled and not heard since.
    Awaited,
}

impl Whereabouts {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Member,
        Self::Leaving,
        Self::Idle,
        Self::Failed,
        Self::Refused,
        Self::Disabled,
        Self::Awaited,
    ];
}

/// What keeps a member in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It serves, as far as is known.
    Serving,
    /// It fails, but not yet often enough to be put out.
    Failing,
    /// It fails, and `min_members` holds it.
    Held,
    /// It fails, and a freeze keeps it.
    Frozen,
}

impl Kept {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Serving, Self::Failing, Self::Held, Self::Frozen];

    /// Whether it counts for its pool's `min_members`: it serves, or has not failed often enough to
    /// be taken for one that does not.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Serving | Self::Failing)
    }
}
