//! Whether a pool can do without some of its members.

use std::fmt;

use super::Membership;
use super::nodes::NodeState;
use super::pool_state::PoolState;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;

/// A pool would have fewer members than it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The pool.
    pub pool: PoolName,
    /// Its members.
    pub members: Headcount,
    /// Those of them that would go.
    pub going: Headcount,
    /// Its `min_members`.
    pub min_members: usize,
}

/// How many members there are, and of them how many can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headcount {
    /// All.
    pub all: usize,
    /// Those that answered when they were last asked. The others are members still because of
    /// `fall`, `min_members` or a freeze.
    pub answering: usize,
}

impl Membership {
    /// What keeps pools from doing without these nodes, one for each pool that cannot.
    #[must_use]
    pub fn shortages(&self, addrs: &[NodeAddr]) -> Vec<Shortage> {
        let mut shortages: Vec<Shortage> = Vec::new();
        for addr in addrs {
            let Some(node) = self.nodes.get(*addr) else {
                continue;
            };
            let Some(pool) = node.pool() else {
                continue;
            };
            let known = shortages.iter().position(|known| known.pool == *pool);
            let at = known.unwrap_or_else(|| {
                shortages.push(Shortage {
                    pool: pool.clone(),
                    members: self.headcount(pool),
                    going: Headcount::default(),
                    min_members: self.rules.of(pool).min_members,
                });
                shortages.len() - 1
            });
            shortages[at].going.add(node);
        }
        shortages.retain(Shortage::is_one);
        shortages
    }

    fn headcount(&self, pool: &PoolName) -> Headcount {
        let members = |pool: &PoolState| Headcount {
            all: pool.members(),
            answering: pool.answering(),
        };
        self.pools.get(pool).map(members).unwrap_or_default()
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pool, of, min) = (&self.pool, self.members.all, self.min_members);
        let left = of - self.going.all;
        let answering = self.members.answering - self.going.answering;
        write!(f, "pool {pool} would have {left} of {of} members left")?;
        if answering < left {
            write!(f, ", {answering} of them answering")?;
        }
        write!(f, ", and its min_members is {min}")
    }
}

impl Headcount {
    fn add(&mut self, node: &NodeState) {
        self.all += 1;
        self.answering += usize::from(node.failures == 0);
    }
}

impl Shortage {
    /// Who does not answer may go as long as the pool has enough members: with it goes nothing.
    fn is_one(&self) -> bool {
        let short = |all, going| going > 0 && all < self.min_members + going;
        short(self.members.all, self.going.all)
            || short(self.members.answering, self.going.answering)
    }
}
