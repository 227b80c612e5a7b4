//! Load balancers, and where a node stands in each.

use serde::{Deserialize, Serialize};

/// One Perlbal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perlbal {
    /// Its management address.
    pub address: String,
    /// Whether there is a connection to it.
    pub connected: bool,
    /// For people: which version it is, or why it is not connected and what waits to be applied there.
    pub connection: String,
    /// Why, while it is not connected.
    #[serde(default)]
    pub away: Option<Away>,
    /// Whether all is there as it is wanted.
    pub in_sync: bool,
    /// Since when that is so, or not.
    pub since: Option<String>,
    /// What is wrong there, a line each.
    pub problems: Vec<String>,
    /// Each pool as it is wanted, told and seen; those that were asked for, else those in which these
    /// differ.
    pub pools: Vec<PerlbalPool>,
    /// Removed members that are not at rest yet.
    pub unrest: Vec<Unrest>,
}

/// A load balancer that cannot be driven now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// A pool in a Perlbal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerlbalPool {
    /// Its name there.
    pub name: String,
    /// How many members are wanted.
    pub wanted: usize,
    /// How many Perlbal was told of; none when the pool is not there.
    pub told: Option<usize>,
    /// How many were seen there when it was last read.
    pub seen: Option<usize>,
    /// When that was.
    pub seen_at: Option<String>,
    /// Whether members were told since, which `seen` therefore does not show.
    #[serde(default)]
    pub told_since: bool,
    /// The services that use it.
    pub services: Vec<String>,
    /// Whether wanted, told and seen are the same members; while this Perlbal is in sync, but for those
    /// that were told since it was seen.
    pub same: bool,
}

/// A removed member that is not at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrest {
    /// `ip:port`.
    pub node: String,
    /// The pools there that it left.
    pub pools: Vec<String>,
    /// Since when.
    pub since: String,
}

/// Where a node stands in a Perlbal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInPerlbal {
    /// Its management address.
    pub address: String,
    /// For people, such as "told, at rest", or that there is no connection.
    pub text: String,
    /// Whether Perlbal was told where the node is now.
    pub told: bool,
    /// Whether no service there has it in its pool, and no connection to it is busy; `null` for a member.
    pub at_rest: Option<bool>,
    /// Why it is not known, while there is no connection.
    #[serde(default)]
    pub away: Option<Away>,
}
