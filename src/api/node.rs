//! Nodes: as part of the state, and what `GET /v1/explain` and `GET /v1/members` return of them.

use serde::{Deserialize, Serialize};

use super::{Event, NodeOnLoadBalancer, State};
use crate::model::health::Health;
use crate::model::node::Origin;
use crate::model::weight::WeightSource;

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Node {
    /// `ip:port`.
    pub node: String,
    /// Its name.
    pub name: String,
    /// `member`, `leaving`, `idle`, `failed`, `refused`, `disabled`, or `awaited`.
    pub state: State,
    /// Its pool, or the one that it last mentioned.
    pub pool: Option<String>,
    /// The version that it announced there.
    pub version: Option<String>,
    /// Why it is out, or what is wrong although it is in; for people, to be shown beside the state.
    pub why: Option<String>,
    /// Since when it is where it is; for a failing member, since its first failure in a row.
    pub since: Option<String>,
    /// Whether it fails although it is a member.
    pub failing: bool,
    /// The reasons that people gave.
    pub reasons: Vec<Reason>,
    /// The leave that it was granted.
    pub grant: Option<Grant>,
    /// Its share of the requests of its pool, from 1 to 256, while it is a member.
    pub weight: u16,
    /// Who gives it that weight.
    pub weight_source: WeightSource,
    /// The reason for the weight that an operator gave it.
    pub weight_reason: Option<Reason>,
    /// For a member that has not reached its weight since it came back.
    pub ramp: Option<Ramp>,
    /// For how long its weight rises when it returns, in milliseconds, if an operator has ordered that.
    pub next_ramp_ms: Option<u64>,
    /// Whether no load balancer has it in a pool that a service uses, nor a busy connection to it; `null`
    /// for a member.
    pub drained: Option<bool>,
}

/// A reason that somebody gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reason {
    /// Its name.
    pub reason: String,
    /// What people should know about it.
    pub note: Option<String>,
    /// Who gave it.
    pub by: Option<String>,
    /// When it was given.
    pub since: String,
    /// When it expires.
    pub until: Option<String>,
}

/// How a member rises to its weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ramp {
    /// Its weight at present.
    pub weight: u16,
    /// When it came back.
    pub since: String,
    /// When it has its full weight.
    pub until: String,
}

/// A leave that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Grant {
    /// When it was given.
    pub since: String,
    /// When it expires.
    pub until: String,
}

/// All about one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Explanation {
    /// When this was the case.
    pub time: String,
    /// Health of the node; one that is out by order is healthy.
    pub health: Health,
    /// The same in a line for people.
    pub verdict: String,
    /// The node.
    pub node: Node,
    /// Where it comes from: `services_file`, `serf`, or `serf_reported` if it is not polled because Serf says how it is.
    #[serde(default)]
    pub origin: Origin,
    /// Its last response.
    pub answer: Option<Answer>,
    /// Failures in a row.
    pub failures: u32,
    /// Good responses in a row.
    pub answers: u32,
    /// What must happen for it to become a member; empty if it is one.
    pub comes_back: Vec<String>,
    /// Recent events, the oldest first.
    pub history: Vec<Event>,
    /// Where it is at each load balancer.
    pub load_balancers: Vec<NodeOnLoadBalancer>,
}

/// A response of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Answer {
    /// Description, for people.
    pub text: String,
    /// When it was polled.
    pub time: String,
    /// Duration of the whole response, in milliseconds.
    pub took_ms: f64,
    /// Longest time until the next poll, by the interval, in milliseconds.
    pub interval_ms: u64,
    /// When it is polled next, for people.
    #[serde(default)]
    pub next: String,
}

/// The members of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Members {
    /// The pool.
    pub pool: String,
    /// Its members, in the order of the services file.
    pub members: Vec<Member>,
}

/// A member of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Member {
    /// `ip:port`.
    pub node: String,
    /// Its name.
    pub name: String,
    /// The version that it announced.
    pub version: Option<String>,
    /// Its share of the requests, from 1 to 256; none for a sorry server.
    pub weight: Option<u16>,
    /// Whether it is a sorry server.
    #[serde(default)]
    pub sorry: bool,
}
