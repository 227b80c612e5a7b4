//! The pools snapshot: the whole wanted state, as the drivers get it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::names::{PoolName, Version};
use super::node::Node;

/// Who is in which pool now. Drivers make the world look like this, whatever it was before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// Every pool that is declared or that a node ever announced, empty ones too.
    pub pools: BTreeMap<PoolName, Pool>,
    /// The nodes of the services file that are in no pool, in its order.
    pub disabled: Vec<Arc<Node>>,
}

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// The configuration names it in `pools`: its file always exists.
    pub declared: bool,
    /// A node announced it, in this run or (as its file says) in the one before. pollbal owns it.
    pub announced: bool,
    /// Its members, in the order of the services file.
    pub members: Vec<Member>,
}

/// A node that is in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: Arc<Node>,
    /// The version at which it serves.
    pub version: Option<Version>,
}

impl Pool {
    /// The version pools: the members at each version, in the order of the services file.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<&Version, Vec<&Member>> {
        let mut versions: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for member in &self.members {
            if let Some(version) = &member.version {
                versions.entry(version).or_default().push(member);
            }
        }
        versions
    }
}
