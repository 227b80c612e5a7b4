//! The responses to requests that change something or wait for something.

use serde::{Deserialize, Serialize};

use super::Node;

/// An order is active.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ordered {
    /// The nodes concerned, as they are now.
    pub nodes: Vec<Node>,
    /// What a person should know although it was done, one line each.
    pub warnings: Vec<String>,
}

/// A reload has been applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reloaded {
    /// Number of nodes there are now.
    pub nodes: usize,
    /// False if not everything that was read is active, or it is not the latest; otherwise omitted.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub applied: bool,
    /// Names of nodes that stay although they are not listed any more, since that would remove too
    /// much at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

fn yes() -> bool {
    true
}

/// How far nodes have got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Progress {
    /// Whether all have got there.
    pub done: bool,
    /// Each of them.
    pub nodes: Vec<NodeProgress>,
}

/// How far a node has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeProgress {
    /// `ip:port`.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Whether it has got there.
    pub done: bool,
    /// Where it is now, for people.
    pub text: String,
}

/// Why a request was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    /// Description for people, perhaps of several lines.
    pub error: String,
    /// Whether the same request with `force` would be carried out; otherwise omitted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub can_be_forced: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires it")]
fn is_false(value: &bool) -> bool {
    !value
}
