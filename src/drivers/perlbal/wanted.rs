//! The pools snapshot in Perlbal's words: which pool there should have which members. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::names::{PerlbalName, PoolName};
use crate::model::node::NodeAddr;
use crate::model::pools::{Pool, Pools, file_name};

/// What a Perlbal should look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The pools that pollbal owns, by their name there.
    pub pools: BTreeMap<PerlbalName, WantedPool>,
    /// Names on which several pools with members fall: nobody touches these.
    pub shared: BTreeMap<PerlbalName, SharedName>,
}

/// Who falls on one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedName {
    /// What people call the pools.
    pub who: Vec<String>,
    /// What would have to be done if there is no pool of that name.
    pub missing: Missing,
}

/// What one pool should look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedPool {
    /// Its members, or the sorry servers that serve in their place.
    pub members: BTreeSet<NodeAddr>,
    /// What is to be done when it is missing.
    pub missing: Missing,
    /// The name of the pool file that holds just these members now, if there is one.
    pub file: Option<String>,
}

/// What is to be done about a pool that is missing in Perlbal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// It is made.
    Create,
    /// It is reported: `create_pools` is false.
    Report,
    /// Nothing: it is a version pool, and Perlbal cannot delete pools.
    #[default]
    Ignore,
}

/// What a snapshot is translated with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Names in Perlbal that differ from the announced ones.
    pub names: BTreeMap<PoolName, PerlbalName>,
    /// Whether a pool that is missing is made.
    pub create_pools: bool,
}

/// One pool or version pool that would have a name in Perlbal.
struct Claim {
    /// What people call it.
    who: String,
    rank: Rank,
    /// A node announced it; a declared pool that none did only keeps its name from others.
    announced: bool,
    pool: WantedPool,
}

/// Whose name it rather is. A node chooses the names of undeclared pools, so these are last: it
/// must not get at a name that the configuration or another pool's versions have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Undeclared,
    Version,
    Declared,
}

type Claims = BTreeMap<PerlbalName, Vec<Claim>>;

impl Translation {
    /// Translates a snapshot. `is_current` tells whether the pool file of a name is known to hold
    /// the snapshot's members, in a form that Perlbal reads rightly.
    #[must_use]
    pub fn wanted(&self, pools: &Pools, is_current: impl Fn(&str) -> bool) -> Wanted {
        let current = |file: String| is_current(&file).then_some(file);
        let missing = if self.create_pools {
            Missing::Create
        } else {
            Missing::Report
        };
        let mut claims = Claims::new();
        for (name, pool) in &pools.pools {
            let members = pool.recipients().map(|(node, _)| node.addr).collect();
            let claim = Claim {
                who: name.to_string(),
                rank: if pool.declared {
                    Rank::Declared
                } else {
                    Rank::Undeclared
                },
                announced: pool.announced,
                pool: WantedPool {
                    members,
                    missing,
                    file: current(file_name(name, None)),
                },
            };
            claims.entry(self.name_of(name)).or_default().push(claim);
        }
        for (name, pool) in &pools.pools {
            self.claim_versions(name, pool, &current, &mut claims);
        }
        let mut wanted = Wanted::default();
        for (name, claims) in claims {
            wanted.decide(name, claims);
        }
        wanted
    }

    fn claim_versions(
        &self,
        name: &PoolName,
        pool: &Pool,
        current: &impl Fn(String) -> Option<String>,
        claims: &mut Claims,
    ) {
        let by_version = pool.by_version();
        for version in &pool.versions {
            let members = by_version.get(version).into_iter().flatten();
            let pool = WantedPool {
                members: members.map(|member| member.node.addr).collect(),
                missing: Missing::Ignore,
                file: current(file_name(name, Some(version))),
            };
            let theirs = self.name_of(name).at_version(version);
            claims.entry(theirs).or_default().push(Claim {
                who: format!("{name} at {version}"),
                rank: Rank::Version,
                announced: true,
                pool,
            });
        }
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

impl Wanted {
    /// One claim with members has the name, if no other claim goes before it; several share it, and
    /// then none has.
    fn decide(&mut self, name: PerlbalName, mut claims: Vec<Claim>) {
        let with_members: Vec<_> = claims
            .iter()
            .filter(|claim| !claim.pool.members.is_empty())
            .collect();
        let highest = claims.iter().map(|claim| claim.rank).max();
        let disputed = match with_members[..] {
            [] => false,
            [claim] => Some(claim.rank) < highest,
            _ => true,
        };
        if disputed {
            let missing = claims[0].pool.missing;
            let who = claims.into_iter().map(|claim| claim.who).collect();
            self.shared.insert(name, SharedName { who, missing });
            return;
        }
        claims.retain(|claim| claim.announced);
        let chosen = claims
            .iter()
            .position(|claim| !claim.pool.members.is_empty())
            .unwrap_or(0);
        if chosen < claims.len() {
            self.pools.insert(name, claims.swap_remove(chosen).pool);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::node::Node;
    use crate::model::pools::Member;
    use crate::model::rules::PoolRules;

    /// An address and a version.
    type Said<'a> = (&'a str, Option<&'a str>);

    fn pools(content: &[(&str, &[Said<'_>])]) -> Pools {
        let member = |(addr, version): &Said<'_>| Member {
            node: Arc::new(Node {
                addr: addr.parse().unwrap(),
                name: String::new(),
            }),
            version: version.map(|version| version.parse().unwrap()),
        };
        let pool = |members: &[Said<'_>]| {
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

    fn names(wanted: &Wanted) -> Vec<&str> {
        wanted.pools.keys().map(PerlbalName::as_str).collect()
    }

    #[test]
    fn a_pool_and_its_version_pools_get_names_that_perlbal_takes() {
        let translation = Translation {
            create_pools: true,
            ..Translation::default()
        };
        let pools = pools(&[(
            "My-Api",
            &[("10.0.0.1:80", Some("1.0")), ("10.0.0.2:80", None)],
        )]);
        let wanted = translation.wanted(&pools, |_| false);
        assert_eq!(names(&wanted), ["my_api", "my_api__1_0"]);
        let pool = &wanted.pools[&"my_api".parse().unwrap()];
        assert_eq!((pool.members.len(), pool.missing), (2, Missing::Create));
        let version = &wanted.pools[&"my_api__1_0".parse().unwrap()];
        assert_eq!(
            (version.members.len(), version.missing),
            (1, Missing::Ignore)
        );
    }

    #[test]
    fn perlbal_pool_renames_a_pool_and_its_version_pools() {
        let names_map = [("api".parse().unwrap(), "backend".parse().unwrap())].into();
        let translation = Translation {
            names: names_map,
            create_pools: true,
        };
        let wanted =
            translation.wanted(&pools(&[("api", &[("10.0.0.1:80", Some("1"))])]), |_| false);
        assert_eq!(names(&wanted), ["backend", "backend__1"]);
    }

    #[test]
    fn a_version_without_members_is_wanted_empty() {
        let mut pools = pools(&[("api", &[])]);
        let versions = &mut pool_mut(&mut pools, "api").versions;
        versions.push("v1".parse().unwrap());
        let wanted = Translation::default().wanted(&pools, |_| false);
        assert_eq!(names(&wanted), ["api", "api__v1"]);
    }

    #[test]
    fn a_sorry_server_is_wanted_in_the_pool_and_in_no_version_pool() {
        let mut pools = pools(&[("api", &[])]);
        let api = pool_mut(&mut pools, "api");
        api.versions.push("v1".parse().unwrap());
        let addr = "10.0.0.9:80".parse().unwrap();
        api.sorry = vec![PoolRules::sorry_server(addr)];
        let wanted = Translation::default().wanted(&pools, |_| false);
        assert_eq!(wanted.pools[&"api".parse().unwrap()].members, [addr].into());
        assert!(wanted.pools[&"api__v1".parse().unwrap()].members.is_empty());
    }

    #[test]
    fn two_pools_on_one_name_share_it_and_it_is_touched_by_neither() {
        let both = pools(&[
            ("API", &[("10.0.0.1:80", None)]),
            ("api", &[("10.0.0.2:80", None)]),
        ]);
        let wanted = Translation::default().wanted(&both, |_| false);
        assert!(wanted.pools.is_empty());
        assert_eq!(wanted.shared[&"api".parse().unwrap()].who, ["API", "api"]);
        let one = pools(&[("API", &[]), ("api", &[("10.0.0.2:80", None)])]);
        let wanted = Translation::default().wanted(&one, |_| false);
        assert_eq!(wanted.pools[&"api".parse().unwrap()].members.len(), 1);
    }

    #[test]
    fn no_node_gets_at_the_name_of_a_version_pool_by_announcing_it() {
        let both = pools(&[
            ("api", &[("10.0.0.1:80", Some("v1"))]),
            ("api__v1", &[("10.0.0.2:80", None)]),
        ]);
        let wanted = Translation::default().wanted(&both, |_| false);
        assert_eq!(names(&wanted), ["api"]);
        assert_eq!(
            wanted.shared[&"api__v1".parse().unwrap()].who,
            ["api__v1", "api at v1"]
        );
        let mut left = pools(&[("api", &[]), ("api__v1", &[("10.0.0.2:80", None)])]);
        let versions = &mut pool_mut(&mut left, "api").versions;
        versions.push("v1".parse().unwrap());
        assert_eq!(
            Translation::default().wanted(&left, |_| false).shared.len(),
            1
        );
    }

    #[test]
    fn no_node_gets_at_the_name_of_a_declared_pool_that_has_no_members() {
        for announced in [false, true] {
            let mut pools = pools(&[("api", &[]), ("API", &[("10.0.0.2:80", None)])]);
            let api = pool_mut(&mut pools, "api");
            (api.declared, api.announced) = (true, announced);
            let wanted = Translation::default().wanted(&pools, |_| false);
            assert!(wanted.pools.is_empty() && wanted.shared.len() == 1);
        }
    }

    #[test]
    fn a_pool_that_no_node_announced_is_not_wanted() {
        let mut pools = pools(&[("api", &[])]);
        pool_mut(&mut pools, "api").announced = false;
        assert_eq!(
            Translation::default().wanted(&pools, |_| false),
            Wanted::default()
        );
    }
}
