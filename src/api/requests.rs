//! The bodies of requests to the admin socket.

use serde::{Deserialize, Serialize};

/// Puts nodes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// Which.
    pub nodes: Vec<String>,
    /// The name of the reason.
    pub reason: String,
    /// What people should know of it.
    #[serde(default)]
    pub note: Option<String>,
    /// Who gives it.
    #[serde(default)]
    pub by: Option<String>,
    /// For how long; without it, until it is taken back.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// Also when that takes a pool below its `min_members`.
    #[serde(default)]
    pub force: bool,
}

/// Takes a reason away from nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enable {
    /// Which.
    pub nodes: Vec<String>,
    /// The name of the reason.
    pub reason: String,
    /// Who takes it away.
    #[serde(default)]
    pub by: Option<String>,
}

/// Cancels the leaves that nodes were granted, where they do not do so themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelLeave {
    /// The nodes; one without a leave stays as it is.
    pub nodes: Vec<String>,
    /// Who cancels them.
    #[serde(default)]
    pub by: Option<String>,
}

/// Lets failures put nobody out, or ends that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The name of the reason.
    pub reason: String,
    /// What people should know of it.
    #[serde(default)]
    pub note: Option<String>,
    /// Who gives it.
    #[serde(default)]
    pub by: Option<String>,
}

/// Has nodes polled now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nudge {
    /// Which; none: all.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// What a reload may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Remove the nodes that the services file does not name any more, however many they are.
    #[serde(default)]
    pub accept_removals: bool,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Out, and drained at every load balancer.
    Rest,
    /// A member that serves, acknowledged by every load balancer.
    Serving,
}
