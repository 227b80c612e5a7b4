//! What the configuration says of pools: who may join, and how quickly.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::addr_block::AddrBlock;
use super::bucket::Rate;
use super::change::Assignment;
use super::names::PoolName;
use super::naming::{CanonicalName, Namings};
use super::node::{Node, NodeAddr};
use super::ramp::RampRules;
use super::weight::Weight;

/// What people call a sorry server, as the comment in a pool file does.
pub const SORRY_SERVER: &str = "sorry server";

/// How often a node may come into a pool or version pool after it left one by its own word. A deploy
/// takes one or two.
pub const CHANGES: Rate = Rate {
    burst: 30,
    every: Duration::from_secs(6),
};

/// Maximum number of new names of undeclared pools. A load balancer may keep each pool that it ever had.
const NEW_POOLS: NameLimits = NameLimits {
    of_node: Rate {
        burst: 8,
        every: Duration::from_secs(600),
    },
    of_address: Rate {
        burst: 64,
        every: Duration::from_secs(600),
    },
};

/// How many new versions may come. Each has a file.
const NEW_VERSIONS: NameLimits = NameLimits {
    of_node: Rate {
        burst: 16,
        every: Duration::from_secs(30),
    },
    of_address: Rate {
        burst: 128,
        every: Duration::from_secs(5),
    },
};

/// How many new names may come from a node, and from all nodes at one address.
#[derive(Clone, Copy, Debug)]
pub struct NameLimits {
    /// From a node.
    pub of_node: Rate,
    /// From an address.
    pub of_address: Rate,
}

impl NameLimits {
    /// Those for names of this kind: undeclared pools, or versions.
    #[must_use]
    pub fn of(place: &Assignment) -> Self {
        match place.version {
            Some(_) => NEW_VERSIONS,
            None => NEW_POOLS,
        }
    }
}

/// What the configuration says of pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What applies to a pool that is not declared.
    pub undeclared: PoolRules,
    /// The declared pools.
    pub declared: BTreeMap<PoolName, PoolRules>,
    /// Whether a node may announce a pool that is not declared.
    pub accept_undeclared: bool,
    /// How many undeclared pools may be in use.
    pub max_undeclared: usize,
    /// How long the name of a pool or version stays in use after its last member went.
    pub grace: Duration,
    /// What pools and version pools are called at the load balancers.
    pub namings: Namings,
}

/// What applies to one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRules {
    /// Number of good responses in a row after which a failed node is a member again.
    pub rise: u32,
    /// Number of failures in a row after which a member is removed.
    pub fall: u32,
    /// Failures do not take the pool below this.
    pub min_members: usize,
    /// Maximum number of nodes that may be leaving at a time, of those that request leave.
    pub max_leaving: usize,
    /// How many of its versions may have a version pool.
    pub max_versions: usize,
    /// The nodes that may join; `None`: all.
    pub nodes: Option<Vec<AddrBlock>>,
    /// The weight of members to which nothing else gives one.
    pub weight: Weight,
    /// How members that come back ramp up to their weight.
    pub ramp: RampRules,
    /// Its sorry servers: they serve while it has no member. They are no nodes: nobody polls them.
    pub sorry: Vec<Arc<Node>>,
}

/// Why a node may not join the pool that it announced, or has no version pool there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinDenied {
    /// The pool is not declared and `accept_undeclared_pools` is false.
    Undeclared(PoolName),
    /// There are `max_undeclared_pools` others already; of a version, `max_versions`.
    TooMany(Assignment),
    /// The pool's `nodes` do not list the node.
    NotListed(PoolName),
    /// Another pool or version pool has its name, and goes before it.
    NameTaken(Box<NameTaken>),
    /// Nodes at its address announced half of those that there may be.
    TooManyOfAddress(Assignment),
    /// It or nodes at its address announced many new ones recently.
    TooManyNew(Assignment),
    /// It changed its pool, its version or its status too often recently.
    TooOften(Assignment),
}

/// Two pools or version pools have one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTaken {
    /// Who may not have it.
    pub place: Assignment,
    /// Who has it.
    pub by: Assignment,
    /// The name.
    pub name: CanonicalName,
    /// Where that is its name.
    pub at: &'static str,
}

impl JoinDenied {
    /// The pool that it is about.
    #[must_use]
    pub fn pool(&self) -> &PoolName {
        match self {
            Self::Undeclared(pool) | Self::NotListed(pool) => pool,
            Self::NameTaken(taken) => &taken.place.pool,
            Self::TooMany(place)
            | Self::TooManyOfAddress(place)
            | Self::TooManyNew(place)
            | Self::TooOften(place) => &place.pool,
        }
    }
}

impl Rules {
    /// What applies to `pool`.
    #[must_use]
    pub fn of(&self, pool: &PoolName) -> &PoolRules {
        self.declared.get(pool).unwrap_or(&self.undeclared)
    }
}

impl PoolRules {
    /// A sorry server at that address.
    #[must_use]
    pub fn sorry_server(addr: NodeAddr) -> Arc<Node> {
        let name = SORRY_SERVER.to_owned();
        Arc::new(Node::new(addr, name))
    }

    /// Whether a sorry server has this address.
    #[must_use]
    pub fn is_sorry(&self, addr: NodeAddr) -> bool {
        self.sorry.iter().any(|sorry| sorry.addr == addr)
    }
}

/// `pool api`, or `version v1 of pool api`.
fn named(Assignment { pool, version }: &Assignment) -> String {
    match version {
        Some(version) => format!("version {version} of pool {pool}"),
        None => format!("pool {pool}"),
    }
}

/// The key that limits how many there are.
fn limit(place: &Assignment) -> &'static str {
    match place.version {
        Some(_) => "max_versions",
        None => "max_undeclared_pools",
    }
}

/// What makes room for a pool.
fn remedy(place: &Assignment) -> &'static str {
    match place.version {
        Some(_) => "",
        None => "; declare it in `pools`",
    }
}

impl fmt::Display for JoinDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undeclared(pool) => write!(
                f,
                "pool {pool} is not in `pools` and accept_undeclared_pools is false"
            ),
            Self::TooMany(place) => write!(
                f,
                "{} would be one more than {}{}",
                named(place),
                limit(place),
                remedy(place)
            ),
            Self::NotListed(pool) => {
                write!(f, "`pools.{pool}.nodes` does not list the node's address")
            }
            Self::NameTaken(taken) => write!(
                f,
                "{} has the same name in {}, `{}`, as {}, which goes before it; \
                 `perlbal_pool` gives a pool another",
                named(&taken.place),
                taken.at,
                taken.name,
                named(&taken.by)
            ),
            Self::TooManyOfAddress(place) => write!(
                f,
                "{} would be one more than nodes at one address may announce, half of {}{}",
                named(place),
                limit(place),
                remedy(place)
            ),
            Self::TooManyNew(place) => write!(
                f,
                "{} is new, and the node or others at its address announced many new names \
                 lately; a later announcement is accepted{}",
                named(place),
                remedy(place)
            ),
            Self::TooOften(place) => write!(
                f,
                "it changed its pool, version or status too often: {} has to wait, {} s at most",
                named(place),
                CHANGES.every.as_secs()
            ),
        }
    }
}
