//! What hooks get on their standard input: one line of JSON.

use serde::{Deserialize, Serialize};

use super::Event;
use crate::model::health::Severity;

/// For `node_hook`: a node went into a pool, out of one, or from one to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeChange {
    /// The event, as `pollbal events` has it. Its `id` tells the order of changes: hooks run beside
    /// each other.
    #[serde(flatten)]
    pub event: Event,
    /// Where it is now.
    pub state: NodeState,
    /// The version that it has in `pool`, or had if it is out.
    pub version: Option<String>,
    /// Where it was before, if it moved.
    pub from_pool: Option<String>,
    /// The version that it had there.
    pub from_version: Option<String>,
    /// Why it is out, in the words of the log; empty else.
    pub reason: String,
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// In the pool, and was in none before.
    In,
    /// Out of the pool.
    Out,
    /// In the pool, and was in another before or at another version.
    Moved,
}

/// For `alert_hook`: what a person must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What kind of thing it is, in one word.
    pub alert: String,
    /// How much that kind matters: `degraded` or `critical`. The same in each alert of it, so that all of
    /// them are routed alike.
    pub severity: Severity,
    /// Whether it begins, still holds, or is over.
    pub state: AlertState,
    /// What it is about: a pool, a load balancer's address, a file.
    pub subject: String,
    /// What it is, for people.
    pub text: String,
    /// Since when it holds or, when it is over, held.
    pub since: String,
    /// When this is told.
    pub time: String,
    /// How many were left out since the one before, as `alert_limit` asks.
    pub left_out: usize,
}

/// Whether what an alert tells begins, still holds, or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It was not told yet.
    Begin,
    /// It was told before.
    Still,
    /// It does not hold any more.
    Over,
}

impl NodeState {
    /// Its word, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Moved => "moved",
        }
    }
}

impl AlertState {
    /// Its word, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Still => "still",
            Self::Over => "over",
        }
    }
}
