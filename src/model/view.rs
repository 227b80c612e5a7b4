//! What is so, for people: copies of what [`Membership`](super::membership::Membership) knows.

use std::sync::Arc;
use std::time::Instant;

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
    /// Since when; nothing before it is heard.
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
    /// Whether it counts for its pool's `min_members`: it serves, or has not failed often enough to
    /// be taken for one that does not.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Serving | Self::Failing)
    }
}
