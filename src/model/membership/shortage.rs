//! Whether a pool can do without some of its members, and which are asked to stay.

use std::collections::BTreeSet;
use std::fmt;

use super::Membership;
use super::nodes::TrackedNode;
use super::pool_state::PoolState;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::pools::Pools;
use crate::model::problems::PoolHealth;

/// Maximum number of nodes listed by name in one message; the others are counted.
const NAMED: usize = 10;

/// Minimum number of serving members that an override leaves, whatever `min_members` is: with none, clients are not
/// served.
const LAST: usize = 1;

/// A pool would have fewer members than it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The pool.
    pub pool: PoolName,
    /// All of its members.
    pub members: MemberCount,
    /// Those of them that would be removed.
    pub going: MemberCount,
    /// The names of those.
    pub names: Vec<String>,
    /// Its `min_members`.
    pub min_members: usize,
    /// Whether it has a sorry server, which answers while it has no member.
    pub has_sorry: bool,
}

/// Number of members, and of those that can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberCount {
    /// All members.
    pub all: usize,
    /// Those that serve as far as known: they have not failed `fall` times in a row. Removing one of them may remove
    /// what the pool lives on.
    pub serving: usize,
    /// Those whose last poll succeeded. The others are still members because of `fall`, `min_members` or a freeze, and
    /// cannot be relied on.
    pub answering: usize,
}

impl Membership {
    /// The pools that cannot do without these nodes.
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
                shortages.push(self.without_nobody(pool));
                shortages.len() - 1
            });
            shortages[at].add(node, self.rules.of(pool).fall);
        }
        shortages.retain(Shortage::would_fall_short);
        shortages
    }

    fn without_nobody(&self, pool: &PoolName) -> Shortage {
        let rules = self.rules.of(pool);
        let members = |pool: &PoolState| MemberCount {
            all: pool.members(),
            serving: pool.serving(rules.fall),
            answering: pool.answering(),
        };
        Shortage {
            pool: pool.clone(),
            members: self.pools.get(pool).map(members).unwrap_or_default(),
            going: MemberCount::default(),
            names: Vec::new(),
            min_members: rules.min_members,
            has_sorry: !rules.sorry.is_empty(),
        }
    }
}

/// The members of pools that can do without none of them: those are asked to stay (`pool_please_dont_go`).
#[must_use]
pub fn indispensable(health: &[PoolHealth], pools: &Pools) -> BTreeSet<NodeAddr> {
    let is_at_minimum =
        |pool: &&PoolHealth| pool.min_members > 0 && pool.serving <= pool.min_members;
    let at_minimum = health.iter().filter(is_at_minimum);
    let at_minimum = at_minimum.filter_map(|pool| pools.pools.get(&pool.pool));
    let members = at_minimum.flat_map(|pool| &pool.members);
    members.map(|member| member.node.addr).collect()
}

/// `web with 0 of 1 members (min_members 1)`.
impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, of) = (self.left(), self.members.all);
        write!(f, "{} with {left} of {of} members", self.pool)?;
        let answering = self.left_answering();
        if answering < left {
            write!(f, ", {answering} of them answering")?;
        }
        write!(f, " (min_members {}", self.min_members)?;
        if self.min_members == 0 {
            f.write_str(", ")?;
            f.write_str(if self.has_sorry {
                "its sorry server would serve"
            } else {
                "requests would wait"
            })?;
        }
        f.write_str(")")
    }
}

impl Shortage {
    /// The nodes that would be removed: `web-1, web-2`.
    #[must_use]
    pub fn who(&self) -> String {
        let mut names: Vec<_> = self.names.iter().take(NAMED).cloned().collect();
        if self.names.len() > NAMED {
            names.push(format!("{} more", self.names.len() - NAMED));
        }
        names.join(", ")
    }

    /// Describes the consequence if the override was forced.
    #[must_use]
    pub fn consequence(&self) -> String {
        let (pool, left, answering) = (&self.pool, self.left(), self.left_answering());
        match (left, self.has_sorry) {
            (0, true) => format!(
                "pool {pool} has no member any more: its sorry server answers until a node serves again"
            ),
            (0, false) => format!(
                "pool {pool} has no member any more: requests wait until a node serves again"
            ),
            (left, _) if answering == 0 => format!(
                "pool {pool} has no member any more that answers, of {left} that are left: \
                 requests fail or wait until a node serves again"
            ),
            (left, _) => format!(
                "pool {pool} is left with {left} of {} members, {answering} of them answering \
                 (min_members {})",
                self.members.all, self.min_members
            ),
        }
    }

    /// Number of members that would be left.
    fn left(&self) -> usize {
        self.members.all - self.going.all
    }

    fn left_answering(&self) -> usize {
        self.members.answering - self.going.answering
    }

    fn add(&mut self, node: &TrackedNode, fall: u32) {
        self.going.all += 1;
        self.going.serving += usize::from(node.failures < fall && !node.is_held());
        self.going.answering += usize::from(node.failures == 0);
        self.names.push(node.node.name.clone());
    }

    /// Decides by `min_members` whether too few members would be left. A failed member may go as long as enough members
    /// are left, since nothing is lost with it. One that failed once may be well, so it may not go as the last; nor is
    /// it relied on when another goes.
    fn would_fall_short(&self) -> bool {
        let short = |all, going, min| going > 0 && all < min + going;
        let needed = self.min_members.max(LAST);
        short(self.members.all, self.going.all, self.min_members)
            || short(self.members.serving, self.going.serving, needed)
            || short(self.members.answering, self.going.answering, needed)
    }
}
