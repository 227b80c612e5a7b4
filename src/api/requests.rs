//! The bodies of requests to the admin socket.

use serde::{Deserialize, Serialize};

/// Takes nodes out of their pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// The nodes.
    pub nodes: Vec<String>,
    /// The name of the reason.
    pub reason: String,
    /// What people should know about it.
    #[serde(default)]
    pub note: Option<String>,
    /// Who gives it.
    #[serde(default)]
    pub by: Option<String>,
    /// Duration in milliseconds; without it, until the reason is removed.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// Even if a pool then drops below its `min_members`.
    #[serde(default)]
    pub force: bool,
}

/// Removes a reason from nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Enable {
    /// The nodes.
    pub nodes: Vec<String>,
    /// The name of the reason.
    pub reason: String,
    /// Who removes it.
    #[serde(default)]
    pub by: Option<String>,
    /// Duration in milliseconds for which the weights of the nodes rise when they return; 0: they have them at once.
    /// Without it, the configuration decides.
    #[serde(default)]
    pub ramp_ms: Option<u64>,
}

/// Gives nodes a weight, or ends that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Weigh {
    /// The nodes.
    pub nodes: Vec<String>,
    /// From 1 to 256; without it, the weight that an operator gave ends.
    #[serde(default)]
    pub weight: Option<u16>,
    /// The name of the reason; required with a weight.
    #[serde(default)]
    pub reason: Option<String>,
    /// What people should know about it.
    #[serde(default)]
    pub note: Option<String>,
    /// Who gives or ends it.
    #[serde(default)]
    pub by: Option<String>,
    /// Duration in milliseconds; without it, until it is ended.
    #[serde(default)]
    pub for_ms: Option<u64>,
}

/// Cancels the leaves that nodes were granted, where they do not do so themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CancelLeave {
    /// The nodes; one without a leave stays as it is.
    pub nodes: Vec<String>,
    /// Who cancels them.
    #[serde(default)]
    pub by: Option<String>,
}

/// Stops failures from removing nodes, or ends that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The name of the reason.
    pub reason: String,
    /// What people should know about it.
    #[serde(default)]
    pub note: Option<String>,
    /// Who gives it.
    #[serde(default)]
    pub by: Option<String>,
}

/// Polls nodes now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Nudge {
    /// The nodes; without any, all of them.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// What a reload may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Remove the nodes that are no longer listed, however many there are.
    #[serde(default)]
    pub accept_removals: bool,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Out, and drained at every load balancer.
    Drained,
    /// A member that serves, acknowledged by every load balancer.
    Serving,
    /// The same, and its weight has risen to its full weight.
    #[serde(rename = "full-weight")]
    FullWeight,
}
