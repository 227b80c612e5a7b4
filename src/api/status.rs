//! The state of everything: `GET /v1/status`.

use serde::{Deserialize, Serialize};

use super::{Grant, LoadBalancer, Node, Reason};
use crate::model::health::{Health, Severity};

/// How all stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// pollbal's version.
    pub version: String,
    /// When this was so.
    pub time: String,
    /// Since when pollbal runs.
    pub started: String,
    /// How well it is: `ok`, `degraded` or `critical`. Of all, or of what was asked for: a node by itself,
    /// a pool with all that concerns it.
    pub health: Health,
    /// The same in a line for people, with the numbers: `DEGRADED: 5 of 12 nodes down (api 3/5, web 2/4)`.
    pub verdict: String,
    /// Why it is not `ok`, the worst first.
    pub problems: Vec<HealthProblem>,
    /// How well all is, whatever was asked for.
    pub site_health: Health,
    /// The same in a line for people.
    pub site_verdict: String,
    /// Whether `site_health` is `ok`.
    pub healthy: bool,
    /// All problems, whatever was asked for, the most severe first.
    pub site_problems: Vec<HealthProblem>,
    /// Whether each node was heard once.
    pub first_round_done: bool,
    /// Why failures put nobody out; empty when they do.
    pub frozen: Vec<Reason>,
    /// How many nodes are where.
    pub counts: Counts,
    /// The pools, by name.
    pub pools: Vec<Pool>,
    /// The nodes: all that were asked for; else those that are not simply serving.
    pub nodes: Vec<Node>,
    /// Orders for addresses that the services file does not list any more: they would hold again if it
    /// did. Not told where something else is asked for.
    #[serde(default)]
    pub gone: Vec<GoneOrders>,
    /// The pool files.
    pub files: Files,
    /// The load balancers.
    pub load_balancers: Vec<LoadBalancer>,
    /// The number of the last event.
    pub last_event: u64,
}

/// Something that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthProblem {
    /// What kind of thing it is, such as `pool_empty`; for what `alert_hook` is told, in its words.
    pub kind: String,
    /// How much it matters: `degraded` or `critical`.
    pub severity: Severity,
    /// What it is about: a pool, a node, a load balancer's address, a file; or `nodes` or `orders`, all of them.
    pub subject: String,
    /// What it is, for people.
    pub text: String,
    /// Since when, of one that `alert_hook` is told and that has held for some seconds.
    pub since: Option<String>,
}

/// The orders for an address that is no node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneOrders {
    /// `ip:port`.
    pub node: String,
    /// Why it is disabled.
    pub reasons: Vec<Reason>,
    /// The leave that it was granted.
    pub grant: Option<Grant>,
}

/// How many nodes are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Nodes of the services file.
    pub nodes: usize,
    /// In a pool.
    pub members: usize,
    /// Of these, failing: not yet often enough, or held by `min_members` or a freeze.
    pub failing: usize,
    /// Out: it said so, or was granted leave.
    pub leaving: usize,
    /// Out: it serves nothing.
    pub idle: usize,
    /// Out: it did not answer properly.
    pub failed: usize,
    /// Out: it announced a pool that it may not join.
    pub refused: usize,
    /// Out: for reasons that people gave.
    pub disabled: usize,
    /// Not heard yet, or enabled and not heard since.
    pub awaited: usize,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Whether the configuration declares it.
    pub declared: bool,
    /// How many members it has, sorry servers apart.
    pub members: usize,
    /// How many of them serve, as far as is known: that have not failed `fall` times in a row.
    pub serving: usize,
    /// Its `min_members`.
    pub min_members: usize,
    /// Whether fewer serve than `min_members`.
    pub short: bool,
    /// How many members are at which version.
    pub versions: Vec<VersionCount>,
    /// Who is leaving it.
    pub leaving: usize,
    /// The sorry servers that stand in now; empty else.
    pub sorry: Vec<String>,
}

/// How many members are at a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionCount {
    /// The version; none for members that told none.
    pub version: Option<String>,
    /// How many.
    pub members: usize,
}

/// The pool files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Whether they hold what is wanted.
    pub in_sync: bool,
}
