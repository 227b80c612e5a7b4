//! What pollbal owns in load balancers, as the state file keeps it from run to run.
//!
//! A load balancer continues with what was sent to it last. When pollbal ends while it cannot be reached,
//! somebody must know afterwards which of its pools are pollbal's to change, and who may still be in
//! them: pool files are deleted once they have been empty for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::change::Assignment;
use super::driver_status::DriverId;
use super::names::{PoolName, Version};
use super::naming::Naming;
use super::node::NodeAddr;
use super::pools::{LastIn, Pool, Pools};

/// All that pollbal owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Owned {
    /// Its pools, with their versions, the oldest first.
    pub pools: BTreeMap<PoolName, Vec<Version>>,
    /// Its pools at each load balancer, by [`DriverId::key`].
    pub load_balancers: BTreeMap<String, OwnedThere>,
    /// Who is in no pool and was in one of them last: a pool whose nodes are down is no less empty
    /// because pollbal was restarted meanwhile.
    #[serde(skip_serializing_if = "LastIn::is_empty")]
    pub last_in: LastIn,
}

/// What pollbal owns at one load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnedThere {
    /// When that load balancer was started, in seconds since 1970; nothing of this applies to another start.
    pub started: Option<u64>,
    /// The pools that have members there, by their names there. Of the members only those that are
    /// no longer desired and may still get requests; the others are found when it is read.
    pub pools: BTreeMap<String, BTreeSet<NodeAddr>>,
}

/// What a driver knows of what pollbal owns there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// It was read over the present connection; otherwise it may have changed.
    pub is_read: bool,
    /// What is owned.
    pub there: OwnedThere,
}

impl Owned {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.load_balancers.is_empty() && self.last_in.is_empty()
    }

    /// What is owned of these pools at these load balancers. An undeclared pool, or a version, that has
    /// no member and is known to be empty everywhere need not be remembered, unless a node was there
    /// last. One in which no node has served yet is none of pollbal's as far as a later run is concerned.
    #[must_use]
    pub fn of(pools: &Pools, load_balancers: &[(DriverId, Naming, Known)]) -> Self {
        let may_be_filled = |pool: &PoolName, version: Option<&Version>| {
            let assignment = Assignment {
                pool: pool.clone(),
                version: version.cloned(),
            };
            load_balancers.iter().any(|(_, naming, known)| {
                let name = naming.of(&assignment);
                !known.is_read || known.there.pools.contains_key(name.as_str())
            })
        };
        let mut owned = BTreeMap::new();
        let has_served = |(_, pool): &(_, &Arc<Pool>)| !pool.unserved.contains(&None);
        for (name, pool) in pools.pools.iter().filter(has_served) {
            let served = pool.by_version();
            let is_served = |version: &Version| served.contains_key(version);
            let versions = pool.versions.iter();
            let has_served =
                |version: &&Version| !pool.unserved.contains(&Some((*version).clone()));
            let versions: Vec<_> = versions
                .filter(has_served)
                .filter(|version| may_be_filled(name, Some(version)) || is_served(version))
                .cloned()
                .collect();
            let is_needed = pool.declared || !pool.members.is_empty() || !versions.is_empty();
            if is_needed || pools.last_in.contains_key(name) || may_be_filled(name, None) {
                owned.insert(name.clone(), versions);
            }
        }
        let there = load_balancers.iter();
        let there = there.map(|(id, _, known)| (id.key(), known.there.clone()));
        Self {
            pools: owned,
            load_balancers: there.collect(),
            last_in: LastIn::clone(&pools.last_in),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::driver_status::DriverKind;
    use crate::model::naming::Scheme;
    use crate::model::node::Node;
    use crate::model::pools::Member;

    fn pool(members: &[Option<&str>], versions: &[&str]) -> Arc<Pool> {
        let addr = |host| format!("10.0.0.{host}:80").parse().unwrap();
        let member = |(host, version): (u8, Option<&str>)| {
            Member::new(
                Arc::new(Node::new(addr(host), "")),
                version.map(|version| version.parse().unwrap()),
            )
        };
        Arc::new(Pool {
            members: (1..).zip(members.iter().copied()).map(member).collect(),
            versions: versions
                .iter()
                .map(|version| version.parse().unwrap())
                .collect(),
            ..Pool::default()
        })
    }

    /// Names as a load balancer may have them that knows fewer characters.
    fn naming() -> Naming {
        let scheme = Scheme {
            place: "test",
            of_pool: |pool| pool.as_str().to_lowercase(),
            of_version: |pool, version| format!("{pool}__{version}"),
        };
        Naming::new(scheme, [])
    }

    fn owned(pools: &Pools, known: Known) -> Vec<(String, usize)> {
        let id = DriverId {
            kind: DriverKind {
                key: "test",
                name: "Test",
            },
            address: "127.0.0.1:16000".into(),
        };
        let owned = Owned::of(pools, &[(id, naming(), known)]);
        let pools = owned.pools.iter();
        pools
            .map(|(name, versions)| (name.to_string(), versions.len()))
            .collect()
    }

    #[test]
    fn what_is_known_to_be_empty_everywhere_is_not_remembered() {
        let pools = [
            ("api", pool(&[Some("v2")], &["v1", "v2"])),
            ("empty", pool(&[], &["v1"])),
        ];
        let pools = pools.map(|(name, pool)| (name.parse().unwrap(), pool));
        let mut pools = Pools {
            pools: pools.into(),
            ..Pools::default()
        };
        let of = |pools: &Pools, is_read, filled: &[&str]| {
            let filled = filled.iter();
            let there = OwnedThere {
                started: None,
                pools: filled
                    .map(|name| ((*name).to_owned(), BTreeSet::new()))
                    .collect(),
            };
            owned(pools, Known { is_read, there })
        };
        let is = |pools: &[(&str, usize)]| -> Vec<_> {
            let pools = pools.iter();
            pools
                .map(|(name, versions)| ((*name).to_owned(), *versions))
                .collect()
        };
        // One that is not read may have members in any of them.
        assert_eq!(of(&pools, false, &[]), is(&[("api", 2), ("empty", 1)]));
        assert_eq!(of(&pools, true, &[]), is(&[("api", 1)]));
        assert_eq!(of(&pools, true, &["api__v1"]), is(&[("api", 2)]));
        let version_is_filled = of(&pools, true, &["empty__v1"]);
        assert_eq!(version_is_filled, is(&[("api", 1), ("empty", 1)]));
        assert_eq!(
            of(&pools, true, &["empty"]),
            is(&[("api", 1), ("empty", 0)])
        );
        // Its nodes are down.
        let last = [("empty".parse().unwrap(), BTreeSet::new())];
        pools.last_in = Arc::new(last.into());
        assert_eq!(of(&pools, true, &[]), is(&[("api", 1), ("empty", 0)]));
        pools.last_in = Arc::default();
        // A later run is to know nothing of a pool, or a version, in which no node has served.
        let mut unserved = pools.clone();
        for (pool, name) in unserved.pools.values_mut().zip([Some("v1"), None]) {
            let version = name.map(|version| version.parse().unwrap());
            Arc::make_mut(pool).unserved.insert(version);
        }
        assert_eq!(of(&unserved, false, &[]), is(&[("api", 1)]));
        let empty = pools.pools.get_mut("empty").unwrap();
        Arc::make_mut(empty).declared = true;
        assert_eq!(of(&pools, true, &[]), is(&[("api", 1), ("empty", 0)]));
    }
}
