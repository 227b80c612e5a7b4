//! The responses to requests that change something or wait for something.

use serde::{Deserialize, Serialize};

use super::Node;

/// An order is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ordered {
    /// The nodes that it is about, as they are now.
    pub nodes: Vec<Node>,
    /// What should be known though it was done, a line each.
    pub warnings: Vec<String>,
}

/// A reload is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// How many nodes there are now.
    pub nodes: usize,
    /// Whether all is in force that was read, and that is the newest there is; left out when it is.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub applied: bool,
    /// The names of the nodes that stay although the services file does not name them: it would remove
    /// too much at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

fn yes() -> bool {
    true
}

/// How far nodes have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whether all have reached it.
    pub done: bool,
    /// Each of them.
    pub nodes: Vec<NodeProgress>,
}

/// How far a node has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProgress {
    /// `ip:port`.
    pub node: String,
    /// What people call it.
    pub name: String,
    /// Whether it has reached what is waited for.
    pub done: bool,
    /// For people: where it is now.
    pub text: String,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// For people, perhaps of several lines.
    pub error: String,
    /// Whether the same order with `force` would be carried out; only there when it would.
    #[serde(default, skip_serializing_if = "is_false")]
    pub can_be_forced: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}
