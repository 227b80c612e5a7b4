//! Nodes: as part of the state, and what `GET /v1/explain` and `GET /v1/members` tell of them.

use serde::{Deserialize, Serialize};

use super::{Event, NodeOnLoadBalancer, State};
use crate::model::health::Health;

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// `ip:port`.
    pub node: String,
    /// What people call it.
    pub name: String,
    /// `member`, `leaving`, `idle`, `failed`, `refused`, `disabled`, or `awaited`.
    pub state: State,
    /// The pool that it is in, or the one it last spoke of.
    pub pool: Option<String>,
    /// The version that it told there.
    pub version: Option<String>,
    /// For people, to stand beside its state: why it is out, or what is wrong though it is in.
    pub why: Option<String>,
    /// Since when it is where it is; of a member that fails, since its first failure in a row.
    pub since: Option<String>,
    /// Whether it fails, though it is a member.
    pub failing: bool,
    /// The reasons that people gave.
    pub reasons: Vec<Reason>,
    /// The leave that it was granted.
    pub grant: Option<Grant>,
    /// Whether no load balancer has it in a pool that a service uses, nor a busy connection to it; `null`
    /// for a member.
    pub drained: Option<bool>,
}

/// A reason that someone gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Its name.
    pub reason: String,
    /// What people should know of it.
    pub note: Option<String>,
    /// Who gave it.
    pub by: Option<String>,
    /// When.
    pub since: String,
    /// When it ends by itself.
    pub until: Option<String>,
}

/// A leave that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// When.
    pub since: String,
    /// When it ends by itself.
    pub until: String,
}

/// All about one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// When this was so.
    pub time: String,
    /// How well the node is; out by order is well.
    pub health: Health,
    /// The same in a line for people.
    pub verdict: String,
    /// The node.
    pub node: Node,
    /// What it last answered.
    pub answer: Option<Answer>,
    /// Failures in a row.
    pub failures: u32,
    /// Good answers in a row.
    pub answers: u32,
    /// What must happen for it to be a member; empty when it is one.
    pub comes_back: Vec<String>,
    /// What was decided of late, the oldest first.
    pub history: Vec<Event>,
    /// Where it is at each load balancer.
    pub load_balancers: Vec<NodeOnLoadBalancer>,
}

/// What a node answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// In words.
    pub text: String,
    /// When it was asked.
    pub time: String,
    /// How long the whole answer took, in milliseconds.
    pub took_ms: f64,
    /// How long until it is polled next at the latest, by the interval.
    pub interval_ms: u64,
    /// For people: when it is asked again.
    #[serde(default)]
    pub next: String,
}

/// The members of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The pool.
    pub pool: String,
    /// Its members, in the order of the services file.
    pub members: Vec<Member>,
}

/// A member of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `ip:port`.
    pub node: String,
    /// What people call it.
    pub name: String,
    /// The version that it told.
    pub version: Option<String>,
    /// Whether it is a sorry server.
    #[serde(default)]
    pub sorry: bool,
}
