//! Load balancers, and where a node is at each.

use serde::{Deserialize, Serialize};

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoadBalancer {
    /// Its kind, as the configuration names it: `perlbal`.
    pub driver: String,
    /// Its management address.
    pub address: String,
    /// Whether there is a connection to it.
    pub connected: bool,
    /// For people: what it is and its version, or why it is not connected and which changes are pending.
    pub connection: String,
    /// Why, while it is not connected.
    #[serde(default)]
    pub away: Option<Away>,
    /// Whether everything there is as desired.
    pub in_sync: bool,
    /// Since when it is in sync, or is not.
    pub since: Option<String>,
    /// What is wrong there, one line each.
    pub problems: Vec<String>,
    /// Pools there as desired, sent and observed: those that were selected, else those in which these differ.
    pub pools: Vec<LoadBalancerPool>,
    /// Removed members that are not drained yet.
    pub draining: Vec<Draining>,
}

/// A load balancer that cannot be driven now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Away {
    /// Since when.
    pub since: String,
    /// How it is: `not answering`, `not reachable`, `closing connections`, `not a Perlbal`, `not usable`;
    /// empty before the first attempt has ended.
    pub state: String,
    /// What the last attempt showed, for people.
    pub cause: String,
    /// The first nodes whose changes wait to be applied: `+name` joins, `-name` is removed.
    pub not_applied: Vec<String>,
    /// How many there are in all.
    pub not_applied_count: usize,
}

/// A pool at a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoadBalancerPool {
    /// Its name there.
    pub name: String,
    /// Number of desired members.
    pub desired: usize,
    /// Number of members that were sent; none if the pool is not there.
    pub sent: Option<usize>,
    /// Number of members observed when it was last read.
    pub observed: Option<usize>,
    /// When that was.
    pub observed_at: Option<String>,
    /// Whether members were sent since, which `observed` therefore does not show.
    #[serde(default)]
    pub sent_since: bool,
    /// The services there that use it.
    pub services: Vec<String>,
    /// Whether desired, sent and observed members are the same; if the load balancer is in sync,
    /// disregarding those sent since it was read.
    pub same: bool,
}

/// A removed member that is not drained yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Draining {
    /// `ip:port`.
    pub node: String,
    /// The pools there that it left.
    pub pools: Vec<String>,
    /// Since when.
    pub since: String,
}

/// Where a node is at a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeOnLoadBalancer {
    /// The load balancer's kind: `perlbal`.
    pub driver: String,
    /// Its management address.
    pub address: String,
    /// For people, such as "removed, drained", or that it is not connected.
    pub text: String,
    /// Whether it has acknowledged where the node is now.
    pub acked: bool,
    /// Whether the node is drained there; `null` for a member.
    pub drained: Option<bool>,
    /// Why it is not known, while there is no connection.
    #[serde(default)]
    pub away: Option<Away>,
}
