//! What the configuration says of pools: who may join, and how quickly.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::names::PoolName;
use super::node::{AddrBlock, Node, NodeAddr};

/// What people call a sorry server, as the comment in a pool file does.
const SORRY_SERVER: &str = "sorry server";

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
    /// Its sorry servers: they serve while it has no member. They are no nodes: nobody polls them.
    pub sorry: Vec<Arc<Node>>,
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

    /// Whether any pool has a `min_members`.
    #[must_use]
    pub fn need_members(&self) -> bool {
        let mut rules = self.declared.values().chain([&self.undeclared]);
        rules.any(|rules| rules.min_members > 0)
    }
}

impl PoolRules {
    /// A sorry server at that address.
    #[must_use]
    pub fn sorry_server(addr: NodeAddr) -> Arc<Node> {
        let name = SORRY_SERVER.to_owned();
        Arc::new(Node { addr, name })
    }

    /// Whether a sorry server has this address.
    #[must_use]
    pub fn is_sorry(&self, addr: NodeAddr) -> bool {
        self.sorry.iter().any(|sorry| sorry.addr == addr)
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
