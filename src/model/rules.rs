//! What the configuration says of pools: who may join, and how quickly.

use std::collections::BTreeMap;
use std::fmt;

use super::names::PoolName;
use super::node::AddrBlock;

/// What the configuration says of pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What applies to a pool that is not declared.
    pub undeclared: PoolRules,
    /// The declared pools.
    pub declared: BTreeMap<PoolName, PoolRules>,
    /// Whether a node may announce a pool that is not declared.
    pub accept_undeclared: bool,
    /// How many undeclared pools there may be; counted from the start of the program, since a
    /// pool that was once created in Perlbal stays there.
    pub max_undeclared: usize,
}

/// What applies to one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRules {
    /// So many answers in a row let a failed node in.
    pub rise: u32,
    /// So many failures in a row put a member out.
    pub fall: u32,
    /// Failures do not take the pool below this.
    pub min_members: usize,
    /// So many nodes may be leaving at a time, of those that ask before they leave.
    pub max_leaving: usize,
    /// The nodes that may join; `None`: all.
    pub nodes: Option<Vec<AddrBlock>>,
}

/// Why a node may not join the pool that it announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The pool is not declared and `accept_undeclared_pools` is false.
    Undeclared(PoolName),
    /// There are `max_undeclared_pools` others already.
    TooMany(PoolName),
    /// The pool's `nodes` do not list the node.
    NotListed(PoolName),
}

impl Rules {
    /// What applies to `pool`.
    #[must_use]
    pub fn of(&self, pool: &PoolName) -> &PoolRules {
        self.declared.get(pool).unwrap_or(&self.undeclared)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undeclared(pool) => write!(
                f,
                "pool {pool} is not in `pools` and accept_undeclared_pools is false"
            ),
            Self::TooMany(pool) => write!(
                f,
                "pool {pool} would be one more than max_undeclared_pools; declare it in `pools`"
            ),
            Self::NotListed(pool) => {
                write!(f, "`pools.{pool}.nodes` does not list the node's address")
            }
        }
    }
}
