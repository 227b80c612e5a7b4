//! The pools snapshot: the whole desired state, as the drivers get it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::names::{PoolName, Version};
use super::node::{Node, NodeAddr};
use super::weight::Weight;
use super::words::Words;

/// Who is in which pool now. Drivers make the world look like this, whatever it was before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// Every pool that is declared or that a node ever announced, empty ones too. One that did not
    /// change is the same in the next snapshot.
    pub pools: BTreeMap<PoolName, Arc<Pool>>,
    /// The nodes of the services file that are in no pool, in its order.
    pub disabled: Arc<[Arc<Node>]>,
    /// Where they were last.
    pub last_in: Arc<LastIn>,
    /// What nodes let be known of where they serve; empty where each pool and version has served.
    pub words: Arc<Words>,
}

/// Nodes that are in no pool, by the pool of which they were members last.
pub type LastIn = BTreeMap<PoolName, BTreeSet<NodeAddr>>;

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// The configuration names it in `pools`: its file always exists.
    pub declared: bool,
    /// It is or was declared, or a node announced it, in this run or in one before, as its file or
    /// the state file says. pollbal owns it.
    pub announced: bool,
    /// Its members, in the order of the services file.
    pub members: Vec<Member>,
    /// Nodes that left it and may still have requests in progress, in the order of the services file: a load balancer
    /// that can drain in place keeps them without new requests; others remove them, as they are no members.
    pub draining: Vec<DrainingMember>,
    /// Its sorry servers while they serve, which is while it has no member.
    pub sorry: Vec<Arc<Node>>,
    /// Its sorry servers, whether or not they serve: for load balancers that can have them stand by, and turn to them
    /// without pollbal.
    pub standby: Vec<Arc<Node>>,
    /// The versions that its nodes announced, the last [`Pool::MAX_VERSIONS`] of them, whether
    /// anyone serves them now or not: so that a driver knows which version pools are ours.
    pub versions: Vec<Version>,
    /// The versions, and the pool itself as `None`, in which no node has served yet, in this run or an
    /// earlier one that is known of: who is there in a load balancer was not put there by pollbal.
    pub unserved: BTreeSet<Option<Version>>,
    /// While the pool itself is one of them: the nodes that its rules keep out and another pool's list.
    pub barred: BTreeSet<NodeAddr>,
}

/// A node that is in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: Arc<Node>,
    /// The version at which it serves.
    pub version: Option<Version>,
    /// Its share of the requests.
    pub weight: Weight,
}

/// A node that was a member of a pool and is in none now. It left by its own announcement or by an order, not by
/// failures, and is still in the services file. This ends when it is a member again, of whichever pool, or fails `fall`
/// times in a row. A node that moves from pool to pool is a member all the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainingMember {
    /// The node.
    pub node: Arc<Node>,
    /// The version at which it served.
    pub version: Option<Version>,
    /// When it left. Pauses of pollbal count: load balancers go on meanwhile.
    pub since: Instant,
}

impl Member {
    /// A member with the default weight.
    #[must_use]
    pub fn new(node: Arc<Node>, version: Option<Version>) -> Self {
        Self {
            node,
            version,
            weight: Weight::default(),
        }
    }
}

impl Pools {
    /// How many nodes are in a pool.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.pools.values().map(|pool| pool.members.len()).sum()
    }

    /// How many pools and versions there are, those without members too.
    #[must_use]
    pub fn name_count(&self) -> usize {
        let pools = self.pools.values();
        pools.map(|pool| 1 + pool.versions.len()).sum()
    }

    /// How many members have the pools that are not just as they were before.
    #[must_use]
    pub fn members_of_changed(&self, before: &Self) -> usize {
        let same = |(name, pool): &(&PoolName, &Arc<Pool>)| {
            let before = before.pools.get(*name);
            before.is_some_and(|before| Arc::ptr_eq(before, pool))
        };
        let changed = self.pools.iter().filter(|pool| !same(pool));
        changed.map(|(_, pool)| pool.members.len()).sum()
    }
}

impl Pool {
    /// Maximum number of versions of a pool that are remembered: a node that invents versions must not fill memory.
    pub const MAX_VERSIONS: usize = 256;

    /// Who gets the pool's requests: its members, or while it has none its sorry servers, which
    /// have no version.
    pub fn recipients(&self) -> impl Iterator<Item = (&Arc<Node>, Option<&Version>)> {
        let members = self.members.iter();
        let members = members.map(|member| (&member.node, member.version.as_ref()));
        members.chain(self.sorry.iter().map(|sorry| (sorry, None)))
    }

    /// The version pools: the members at each version, in the order of the services file.
    #[must_use]
    pub fn by_version(&self) -> BTreeMap<&Version, Vec<&Member>> {
        let mut versions: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for member in &self.members {
            if let Some(version) = &member.version {
                versions.entry(version).or_default().push(member);
            }
        }
        versions
    }
}
