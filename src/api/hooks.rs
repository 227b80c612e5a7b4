//! What hooks read from standard input: one line of JSON.

use serde::{Deserialize, Serialize};

use super::Event;
use crate::model::health::Severity;

/// For `node_hook`: a node has joined a pool, left one, or moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeChange {
    /// The event, as in `pollbal events`. Its `id` gives the order of changes, since hooks run in parallel.
    #[serde(flatten)]
    pub event: Event,
    /// Its state now.
    pub state: NodeState,
    /// Its version in `pool`, or the one that it had if it is out.
    pub version: Option<String>,
    /// Its previous pool, if it moved.
    pub from_pool: Option<String>,
    /// Its version there.
    pub from_version: Option<String>,
    /// Why it is out, as in the log; otherwise empty.
    pub reason: String,
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// In the pool, after being in none.
    In,
    /// Out of the pool.
    Out,
    /// In the pool, after being in another one or at another version.
    Moved,
}

/// For `alert_hook`: a problem that a person must know about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Alert {
    /// The kind of the problem.
    pub alert: String,
    /// `degraded` or `critical`: the severity of the kind, the same in each of its alerts, so that all of
    /// them are routed alike.
    pub severity: Severity,
    /// Whether the problem begins, lasts, or has ended.
    pub state: AlertState,
    /// What it is about: a pool, a load balancer's address, a file.
    pub subject: String,
    /// Description, for people.
    pub text: String,
    /// When the problem began.
    pub since: String,
    /// When the alert was sent.
    pub time: String,
    /// Number of alerts suppressed since the previous one, by `alert_limit`.
    pub left_out: usize,
}

/// Whether the problem of an alert begins, lasts, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It has not been reported before.
    Begin,
    /// It has been reported before.
    Still,
    /// It has ended.
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
