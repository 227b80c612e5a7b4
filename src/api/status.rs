//! The state of everything: `GET /v1/status`.

use serde::{Deserialize, Serialize};

use super::{Grant, LoadBalancer, Node, Reason};
use crate::model::health::{Health, Severity};

/// The overall state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// pollbal's version.
    pub version: String,
    /// When this was the case.
    pub time: String,
    /// When pollbal was started.
    pub started: String,
    /// `ok`, `degraded` or `critical`: of everything, or of what was selected (a node alone, a pool with all
    /// that concerns it).
    pub health: Health,
    /// The same in a line for people, with numbers: `DEGRADED: 5 of 12 nodes down (api 3/5, web 2/4)`.
    pub verdict: String,
    /// Why `health` is not `ok`, the worst first.
    pub problems: Vec<HealthProblem>,
    /// Health of everything, whatever was selected.
    pub site_health: Health,
    /// The same in a line for people.
    pub site_verdict: String,
    /// Whether `site_health` is `ok`.
    pub healthy: bool,
    /// All problems, whatever was selected, the most severe first.
    pub site_problems: Vec<HealthProblem>,
    /// Whether every node has been polled once.
    pub first_round_done: bool,
    /// Active freezes: failures remove no node.
    pub frozen: Vec<Reason>,
    /// Number of nodes by state.
    pub counts: Counts,
    /// The pools, by name.
    pub pools: Vec<Pool>,
    /// The nodes that were selected; otherwise all that are not simply serving.
    pub nodes: Vec<Node>,
    /// Orders for addresses that are no longer listed, which would be active again if they were.
    /// Empty if something else was selected.
    #[serde(default)]
    pub gone: Vec<GoneOrders>,
    /// The pool files.
    pub files: Files,
    /// The load balancers.
    pub load_balancers: Vec<LoadBalancer>,
    /// The id of the last event.
    pub last_event: u64,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HealthProblem {
    /// Its kind, such as `pool_empty`, the same as in alerts.
    pub kind: String,
    /// `degraded` or `critical`.
    pub severity: Severity,
    /// What it is about: a pool, a node, a load balancer's address, a file; or `nodes` or `orders`, all of them.
    pub subject: String,
    /// Description, for people.
    pub text: String,
    /// Since when, for problems that `alert_hook` reports and that have lasted some seconds.
    pub since: Option<String>,
}

/// The orders for an address that is not a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GoneOrders {
    /// `ip:port`.
    pub node: String,
    /// The reasons for which it is disabled.
    pub reasons: Vec<Reason>,
    /// The leave that it was granted.
    pub grant: Option<Grant>,
    /// The weight that an operator gave it.
    pub weight: Option<GivenWeight>,
}

/// A weight that an operator gave a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GivenWeight {
    /// From 1 to 256.
    pub weight: u16,
    /// Who gave it, and why.
    pub reason: Reason,
}

/// Number of nodes by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counts {
    /// Nodes in the services file.
    pub nodes: usize,
    /// In a pool.
    pub members: usize,
    /// Of these, failing: not often enough yet, or kept in by `min_members` or a freeze.
    pub failing: usize,
    /// Out: announced it, or was granted leave.
    pub leaving: usize,
    /// Out: serves nothing.
    pub idle: usize,
    /// Out: did not respond properly.
    pub failed: usize,
    /// Out: announced a pool that it may not join.
    pub refused: usize,
    /// Out: for reasons that people gave.
    pub disabled: usize,
    /// Not polled yet, or enabled and not polled since.
    pub awaited: usize,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Whether the configuration declares it.
    pub declared: bool,
    /// Number of members, without sorry servers.
    pub members: usize,
    /// Number of those that, as far as known, have not failed `fall` times in a row.
    pub serving: usize,
    /// Its `min_members`.
    pub min_members: usize,
    /// Whether fewer serve than `min_members`.
    pub short: bool,
    /// Number of members at each version.
    pub versions: Vec<VersionCount>,
    /// Number of nodes that are leaving it.
    pub leaving: usize,
    /// Sorry servers that are serving now.
    pub sorry: Vec<String>,
}

/// Number of members at a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VersionCount {
    /// The version; none for members without one.
    pub version: Option<String>,
    /// Number of members.
    pub members: usize,
}

/// The pool files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Files {
    /// Whether they have the desired content.
    pub in_sync: bool,
}
