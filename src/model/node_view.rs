//! Read-only views of what [`Membership`](super::membership::Membership) knows of each node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::change::{Assignment, OutReason};
use super::names::PoolName;
use super::node::Node;
use super::observation::Poll;
use super::overrides::{LeaveLease, Reasons, WeightOverride};
use super::ramp::Ramp;
use super::rules::JoinDenied;
use super::weight::{Weight, WeightSource};

/// A node's current state; a copy.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The node's address and name.
    pub node: Arc<Node>,
    /// Whether it is a member or out, and why.
    pub state: NodeState,
    /// When the state began; for a failing member, when its current run of failures began. None before its first
    /// poll result.
    pub since: Option<Instant>,
    /// The last poll.
    pub last: Option<Poll>,
    /// The pool and version that it announced last, whatever its later polls found.
    pub last_assignment: Option<Assignment>,
    /// The pool that it left, by announcing it or by a granted leave, unless it has returned since.
    pub left: Option<PoolName>,
    /// The pool that it is in, or of which it was a member last, as far as known.
    pub was_in: Option<PoolName>,
    /// For a member that announces a version and is in no version pool: the reason.
    pub unversioned: Option<JoinDenied>,
    /// Number of consecutive failures.
    pub failures: u32,
    /// Number of consecutive announcements that were allowed.
    pub answers: u32,
    /// The reasons for which it is disabled.
    pub reasons: Reasons,
    /// The leave that it was granted, if any.
    pub lease: Option<LeaveLease>,
    /// Its full weight, and who gives it.
    pub weight: (Weight, WeightSource),
    /// The ramp by which it rises to that, if it does, and its weight at present.
    pub ramp: Option<(Ramp, Weight)>,
    /// For how long it ramps up when it returns, if an operator has ordered that.
    pub next_ramp: Option<Duration>,
    /// The weight that an operator gave it, if any.
    pub weight_override: Option<WeightOverride>,
}

/// Whether a node is a member or out, with details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// No poll of it has succeeded or failed yet.
    Awaited,
    /// In a pool; until its first poll result, in its pool of the previous run.
    Member(Assignment, Retention),
    /// In no pool, for this reason.
    Out(OutReason),
}

impl NodeState {
    /// The status without its details.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        match self {
            Self::Awaited => NodeStatus::Awaited,
            Self::Member(..) => NodeStatus::Member,
            Self::Out(why) => NodeStatus::of(why),
        }
    }
}

/// The status of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// In a pool.
    Member,
    /// Out: it announced that it leaves, or was granted leave.
    Leaving,
    /// Out: it answers that it serves no pool.
    Idle,
    /// Out: its polls failed.
    Failed,
    /// Out: it announced a pool that it may not join.
    Refused,
    /// Out: disabled by an operator.
    Disabled,
    /// No poll result yet, or none since it was enabled.
    Awaited,
}

impl NodeStatus {
    /// The status of a node that is out for this reason.
    #[must_use]
    pub fn of(why: &OutReason) -> Self {
        match why {
            OutReason::Leaving | OutReason::Granted => Self::Leaving,
            OutReason::Idle => Self::Idle,
            OutReason::Failed(_) => Self::Failed,
            OutReason::Refused(_) => Self::Refused,
            OutReason::Disabled(_) => Self::Disabled,
            OutReason::Awaited => Self::Awaited,
        }
    }

    /// All statuses, in the order of their discriminants.
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

/// Why a member is in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// It serves, as far as known.
    Serving,
    /// It fails, but not yet often enough to be removed.
    Failing,
    /// It fails, and `min_members` keeps it in.
    Held,
    /// It fails, and a freeze keeps it in.
    Frozen,
}

impl Retention {
    /// All variants, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Serving, Self::Failing, Self::Held, Self::Frozen];

    /// Whether the member counts towards its pool's `min_members`: it serves, or has not failed often enough
    /// to be removed.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Serving | Self::Failing)
    }
}
