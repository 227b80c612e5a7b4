//! What a Perlbal should have according to a snapshot of pools: which pool, by its name there, has which members.
//! Pure.

#![warn(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};

use super::spare::address_of;
use super::unserved::Unserved;
use crate::drivers::perlbal::name::PerlbalName;
use crate::drivers::pool_files::names::file_name;
use crate::model::names::PoolName;
use crate::model::naming::Scheme;
use crate::model::node::NodeAddr;
use crate::model::pools::Pools;

/// How pools and version pools are named in Perlbal.
pub const NAMING: Scheme = Scheme {
    place: "Perlbal",
    of_pool: |pool| PerlbalName::of_pool(pool).to_string(),
    of_version: |pool, version| PerlbalName::version_pool(pool, version),
};

/// What a Perlbal should look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The pools that pollbal owns, by their name in Perlbal.
    pub pools: BTreeMap<PerlbalName, DesiredPool>,
}

impl Desired {
    /// Adds a pool. No other has this name: the model gives each name to one pool.
    fn insert(&mut self, name: PerlbalName, pool: DesiredPool) {
        let other = self.pools.insert(name, pool);
        debug_assert!(other.is_none(), "two pools have one name");
    }

    /// Sets the spare entries that are needed, of members only.
    pub fn set_spares(&mut self, needed: &BTreeMap<PerlbalName, BTreeSet<String>>) {
        for (name, pool) in &mut self.pools {
            let members = &pool.members;
            let stays =
                |text: &&String| address_of(text).is_some_and(|addr| members.contains(&addr));
            let needed = needed.get(name).into_iter().flatten();
            pool.spares = needed.filter(stays).cloned().collect();
        }
    }
}

/// What one pool should look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredPool {
    /// Its members, or the sorry servers that serve in their place.
    pub members: BTreeSet<NodeAddr>,
    /// Members in other spellings (see [`spare`](super::spare)).
    pub spares: BTreeSet<String>,
    /// What to do if it does not exist.
    pub missing: Missing,
    /// What decides which members stay while no node has served there yet.
    pub unserved: Option<Unserved>,
    /// Entries that stay then although they are no addresses.
    pub strangers: BTreeSet<String>,
    /// The name of the pool file that has exactly these members now, if there is one.
    pub file: Option<String>,
}

/// What to do about a pool that does not exist in Perlbal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Create it.
    Create,
    /// Report it: `create_pools` is false.
    Report,
    /// Nothing: it is a version pool, and Perlbal cannot delete pools.
    #[default]
    Ignore,
}

/// How pools are named in Perlbal, and whether they are created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameMap {
    /// Names in Perlbal that differ from the announced ones.
    pub names: BTreeMap<PoolName, PerlbalName>,
    /// Whether a pool that does not exist is created.
    pub create_pools: bool,
}

impl NameMap {
    /// What a Perlbal should have according to a snapshot. `is_current` says whether the pool file of a name is known
    /// to have the snapshot's members, in a form that Perlbal reads correctly.
    #[must_use]
    pub fn desired(&self, pools: &Pools, is_current: impl Fn(&str) -> bool) -> Desired {
        let current = |file: String| is_current(&file).then_some(file);
        let missing = if self.create_pools {
            Missing::Create
        } else {
            Missing::Report
        };
        let mut desired = Desired::default();
        // A pool that no node has announced yet may be someone else's there.
        for (name, pool) in pools.pools.iter().filter(|(_, pool)| pool.announced) {
            let recipients = pool.recipients().map(|(node, _)| node.addr);
            let recipients = recipients.filter(is_servable);
            let unserved = Unserved::of(pools, name, pool, None);
            let file = current(file_name(name, None));
            let pool = DesiredPool {
                members: recipients.collect(),
                missing,
                file: file.filter(|_| unserved.is_none()),
                unserved,
                ..DesiredPool::default()
            };
            desired.insert(self.name_of(name), pool);
        }
        for (name, pool) in &pools.pools {
            let by_version = pool.by_version();
            for version in &pool.versions {
                let members = by_version.get(version).into_iter().flatten();
                let members = members.map(|member| member.node.addr);
                let unserved = Unserved::of(pools, name, pool, Some(version));
                let file = current(file_name(name, Some(version)));
                let pool = DesiredPool {
                    members: members.filter(is_servable).collect(),
                    missing: Missing::Ignore,
                    file: file.filter(|_| unserved.is_none()),
                    unserved,
                    ..DesiredPool::default()
                };
                desired.insert(self.name_of(name).at_version(version), pool);
            }
        }
        desired
    }

    /// The pool's name in Perlbal.
    #[must_use]
    pub fn name_of(&self, pool: &PoolName) -> PerlbalName {
        self.names
            .get(pool)
            .cloned()
            .unwrap_or_else(|| PerlbalName::of_pool(pool))
    }
}

/// Perlbal knows IPv4 addresses only: it takes any other address for a host name.
fn is_servable(addr: &NodeAddr) -> bool {
    addr.ipv4().is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::node::Node;
    use crate::model::pools::{Member, Pool};
    use crate::model::rules::PoolRules;

    /// An address and a version.
    type Announced<'a> = (&'a str, Option<&'a str>);

    fn pools(content: &[(&str, &[Announced<'_>])]) -> Pools {
        let member = |(addr, version): &Announced<'_>| {
            Member::new(
                Arc::new(Node::new(addr.parse().unwrap(), "")),
                version.map(|version| version.parse().unwrap()),
            )
        };
        let pool = |members: &[Announced<'_>]| {
            let members: Vec<Member> = members.iter().map(member).collect();
            let versions = members
                .iter()
                .filter_map(|member| member.version.clone())
                .collect();
            Pool {
                announced: true,
                versions,
                members,
                ..Pool::default()
            }
        };
        let pools = content
            .iter()
            .map(|(name, members)| (name.parse().unwrap(), Arc::new(pool(members))));
        Pools {
            pools: pools.collect(),
            ..Pools::default()
        }
    }

    /// A pool, to change it.
    fn pool_mut<'a>(pools: &'a mut Pools, name: &str) -> &'a mut Pool {
        Arc::make_mut(pools.pools.get_mut(name).unwrap())
    }

    fn names(desired: &Desired) -> Vec<&str> {
        desired.pools.keys().map(PerlbalName::as_str).collect()
    }

    #[test]
    fn a_pool_and_its_version_pools_get_names_that_perlbal_takes() {
        let name_map = NameMap {
            create_pools: true,
            ..NameMap::default()
        };
        let pools = pools(&[(
            "My-Api",
            &[("10.0.0.1:80", Some("1.0")), ("10.0.0.2:80", None)],
        )]);
        let desired = name_map.desired(&pools, |_| false);
        assert_eq!(names(&desired), ["my_api", "my_api__1_0"]);
        let pool = &desired.pools[&"my_api".parse().unwrap()];
        assert_eq!((pool.members.len(), pool.missing), (2, Missing::Create));
        let version = &desired.pools[&"my_api__1_0".parse().unwrap()];
        assert_eq!(
            (version.members.len(), version.missing),
            (1, Missing::Ignore)
        );
    }

    #[test]
    fn perlbal_pool_renames_a_pool_and_its_version_pools() {
        let name_map = NameMap {
            names: [("api".parse().unwrap(), "backend".parse().unwrap())].into(),
            create_pools: true,
        };
        let desired =
            name_map.desired(&pools(&[("api", &[("10.0.0.1:80", Some("1"))])]), |_| false);
        assert_eq!(names(&desired), ["backend", "backend__1"]);
    }

    #[test]
    fn a_version_without_members_is_wanted_empty() {
        let mut pools = pools(&[("api", &[])]);
        let versions = &mut pool_mut(&mut pools, "api").versions;
        versions.push("v1".parse().unwrap());
        let desired = NameMap::default().desired(&pools, |_| false);
        assert_eq!(names(&desired), ["api", "api__v1"]);
    }

    #[test]
    fn a_sorry_server_is_wanted_in_the_pool_and_in_no_version_pool() {
        let mut pools = pools(&[("api", &[])]);
        let api = pool_mut(&mut pools, "api");
        api.versions.push("v1".parse().unwrap());
        let addr = "10.0.0.9:80".parse().unwrap();
        api.sorry = vec![PoolRules::sorry_server(addr)];
        let desired = NameMap::default().desired(&pools, |_| false);
        assert_eq!(
            desired.pools[&"api".parse().unwrap()].members,
            [addr].into()
        );
        assert!(
            desired.pools[&"api__v1".parse().unwrap()]
                .members
                .is_empty()
        );
    }

    #[test]
    fn ipv6_nodes_are_desired_nowhere() {
        let mut pools = pools(&[
            (
                "api",
                &[("10.0.0.1:80", Some("v1")), ("[::1]:80", Some("v2"))],
            ),
            ("web", &[]),
        ]);
        let addr = "[::9]:80".parse().unwrap();
        pool_mut(&mut pools, "web").sorry = vec![PoolRules::sorry_server(addr)];
        let desired = NameMap::default().desired(&pools, |_| false);
        let members = |name: &str| &desired.pools[&name.parse().unwrap()].members;
        let ipv4 = ["10.0.0.1:80".parse().unwrap()].into();
        assert_eq!((members("api"), members("api__v1")), (&ipv4, &ipv4));
        assert!(members("api__v2").is_empty());
        assert!(members("web").is_empty());
    }

    #[test]
    fn a_pool_that_no_node_announced_is_not_desired() {
        let mut pools = pools(&[("api", &[])]);
        pool_mut(&mut pools, "api").announced = false;
        assert_eq!(
            NameMap::default().desired(&pools, |_| false),
            Desired::default()
        );
    }
}
