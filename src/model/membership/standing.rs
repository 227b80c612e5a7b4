//! What there is to lose.

use std::collections::BTreeMap;

use super::Membership;
use super::nodes::State;
use crate::model::removals::{PoolStanding, Standing};

impl Membership {
    /// The active nodes and the members of pools, `listed` of which the last list named that was
    /// taken as a whole.
    #[must_use]
    pub fn standing(&self, listed: usize) -> Standing {
        let mut pools: BTreeMap<_, PoolStanding> = BTreeMap::new();
        for node in self.nodes.listed() {
            let State::Member { place, .. } = &node.state else {
                continue;
            };
            let rules = self.rules.of(&place.pool);
            if !pools.contains_key(&place.pool) {
                let pool = PoolStanding {
                    min_members: rules.min_members,
                    ..PoolStanding::default()
                };
                pools.insert(place.pool.clone(), pool);
            }
            if let Some(pool) = pools.get_mut(&place.pool) {
                let serves = !node.is_held() && node.failures < rules.fall;
                pool.members.insert(node.node.addr, serves);
            }
        }
        let nodes = self.nodes.listed().iter();
        Standing {
            nodes: nodes.map(|node| node.node.clone()).collect(),
            listed,
            pools,
        }
    }
}
