//! Pools in which no node has served yet: their members were added manually, or by a run of pollbal that left no state.
//! Pure.
//!
//! It is not known that these members are out, only that pollbal has not polled them: the network may not be up yet,
//! or the nodes may not announce the pool yet. So they stay until the first node serves in the pool; from then on the
//! whole pool is reconciled. Until then only nodes that are known to be out are removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::State;
use super::desired::{Desired, DesiredPool};
use super::plan::Actual;
use super::protocol::Endpoint;
use super::remarks::Remark;
use super::spare::address_of;
use crate::model::names::{PoolName, Version};
use crate::model::node::NodeAddr;
use crate::model::pools::{Pool, Pools};
use crate::model::words::{Words, is_out};

/// What decides which members such a pool, or version pool, keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    pool: PoolName,
    version: Option<Version>,
    words: Arc<Words>,
    barred: BTreeSet<NodeAddr>,
    /// Sorry servers, which are added if no member stays.
    sorry: BTreeSet<NodeAddr>,
}

impl Unserved {
    /// For a pool of the snapshot, or a version of it, in which no node has served yet; otherwise `None`.
    #[must_use]
    pub fn of(
        pools: &Pools,
        name: &PoolName,
        pool: &Pool,
        version: Option<&Version>,
    ) -> Option<Self> {
        let version = version.cloned();
        pool.unserved.contains(&version).then(|| Self {
            pool: name.clone(),
            sorry: match &version {
                None => pool.sorry.iter().map(|sorry| sorry.addr).collect(),
                Some(_) => BTreeSet::new(),
            },
            version,
            words: Arc::clone(&pools.words),
            barred: pool.barred.clone(),
        })
    }

    /// Whether a member stays that pollbal did not put there.
    fn keeps(&self, member: &Endpoint) -> bool {
        let Some(addr) = member.reached() else {
            // It is no node's address, so it cannot be known to be out; or it is one of our spare entries.
            return !matches!(member, Endpoint::Unparsed(text) if address_of(text).is_some());
        };
        let is_known = self.barred.contains(&addr)
            || is_out(&self.words, addr, &self.pool, self.version.as_ref());
        !is_known && !self.sorry.contains(&addr)
    }
}

impl Desired {
    /// Makes the actual members of pools in which no node has served yet desired, except those known to be out.
    pub fn keep(&mut self, actual: &Actual) {
        for (name, pool) in &mut self.pools {
            if pool.unserved.is_some() {
                let there = actual.pools.get(name);
                pool.keep(there.map_or(&BTreeSet::new(), |there| &there.members));
            }
        }
    }
}

impl State {
    /// Whether there are remarks about such pools, or may be.
    pub(super) fn remarks_unserved(&self) -> bool {
        let desired = self.desired.iter();
        let mut pools = desired.flat_map(|(_, desired)| desired.pools.values());
        let is_remark = |remark: &Remark| matches!(remark, Remark::Unserved(..));
        pools.any(|pool| pool.unserved.is_some()) || self.remarks.iter().any(is_remark)
    }
}

impl DesiredPool {
    fn keep(&mut self, there: &BTreeSet<Endpoint>) {
        let Some(unserved) = &self.unserved else {
            return;
        };
        let mut members = BTreeSet::new();
        self.strangers.clear();
        for member in there.iter().filter(|member| unserved.keeps(member)) {
            match member {
                Endpoint::Node(addr) => _ = members.insert(*addr),
                Endpoint::Unparsed(text) => _ = self.strangers.insert(text.clone()),
            }
        }
        let is_there = |addr: &NodeAddr| there.contains(&Endpoint::Node(*addr));
        let nobody = members.is_empty() && self.strangers.is_empty();
        let sorry = unserved.sorry.iter();
        members.extend(sorry.filter(|addr| nobody || is_there(addr)));
        self.members = members;
    }

    /// The members that stay although no node has served here yet.
    pub fn kept(&self) -> impl Iterator<Item = Endpoint> {
        let unserved = self.unserved.iter();
        unserved.flat_map(|unserved| {
            let members = self.members.iter();
            let members = members.filter(|addr| !unserved.sorry.contains(addr));
            let strangers = self.strangers.iter().cloned().map(Endpoint::Unparsed);
            members.copied().map(Endpoint::Node).chain(strangers)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::perlbal::desired::NameMap;
    use crate::drivers::perlbal::plan::{ActualPool, plan};
    use crate::model::change::Assignment;
    use crate::model::rules::PoolRules;
    use crate::model::words::Word;

    fn addr(host: u8) -> NodeAddr {
        format!("10.0.0.{host}:80").parse().unwrap()
    }

    fn place(pool: &str, version: Option<&str>) -> Assignment {
        Assignment {
            pool: pool.parse().unwrap(),
            version: version.map(|version| version.parse().unwrap()),
        }
    }

    /// The pool `web` with a version `v1`, in neither of which a node has served.
    fn pools(words: &[(u8, Word)]) -> Pools {
        let version: Version = "v1".parse().unwrap();
        let web = Pool {
            announced: true,
            versions: vec![version.clone()],
            unserved: [None, Some(version)].into(),
            ..Pool::default()
        };
        let words = words.iter().cloned();
        Pools {
            pools: [("web".parse().unwrap(), Arc::new(web))].into(),
            words: Arc::new(words.map(|(host, word)| (addr(host), word)).collect()),
            ..Pools::default()
        }
    }

    /// The members of a pool that has these, once it is as desired.
    fn becomes(pools: &Pools, name: &str, members: &[Endpoint]) -> Vec<String> {
        let there = ActualPool {
            members: members.iter().cloned().collect(),
            ..ActualPool::default()
        };
        let mut actual = Actual {
            pools: [(name.parse().unwrap(), there)].into(),
            ..Actual::default()
        };
        let mut desired = NameMap::default().desired(pools, |_| true);
        for _ in 0..2 {
            desired.keep(&actual);
            let plan = plan(&desired, &actual);
            for command in plan.groups.iter().flatten() {
                actual.apply(command);
            }
        }
        let members = actual.pools[&name.parse().unwrap()].members.iter();
        members.map(ToString::to_string).collect()
    }

    fn nodes(hosts: &[u8]) -> Vec<Endpoint> {
        let node = |host: &u8| Endpoint::Node(addr(*host));
        hosts.iter().map(node).collect()
    }

    fn texts(hosts: &[u8]) -> Vec<String> {
        hosts.iter().map(|host| addr(*host).to_string()).collect()
    }

    #[test]
    fn only_members_that_are_known_to_be_out_are_removed() {
        let pools = pools(&[
            (1, Word::Out),
            (2, Word::Serves(place("api", None))),
            (3, Word::Serves(place("web", Some("v1")))),
            (4, Word::Serves(place("web", Some("v2")))),
        ]);
        let there = nodes(&[1, 2, 3, 4, 5]);
        assert_eq!(becomes(&pools, "web", &there), texts(&[3, 4, 5]));
        assert_eq!(becomes(&pools, "web__v1", &there), texts(&[3, 5]));
    }

    #[test]
    fn a_node_that_may_only_serve_in_another_pool_is_removed() {
        let mut pools = pools(&[]);
        let web = pools.pools.get_mut("web").unwrap();
        Arc::make_mut(web).barred.insert(addr(2));
        assert_eq!(becomes(&pools, "web", &nodes(&[1, 2])), texts(&[1]));
    }

    #[test]
    fn what_is_no_address_stays() {
        let odd = Endpoint::Unparsed("backend:http".to_owned());
        let both = [odd.clone(), Endpoint::Node(addr(1))];
        let pools = pools(&[(1, Word::Out)]);
        assert_eq!(becomes(&pools, "web", &both), [odd.to_string()]);
    }

    #[test]
    fn a_sorry_server_is_added_only_if_no_member_stays() {
        let mut pools = pools(&[(1, Word::Out)]);
        let web = pools.pools.get_mut("web").unwrap();
        Arc::make_mut(web).sorry = vec![PoolRules::sorry_server(addr(9))];
        assert_eq!(becomes(&pools, "web", &nodes(&[1])), texts(&[9]));
        assert_eq!(becomes(&pools, "web", &nodes(&[2])), texts(&[2]));
        assert_eq!(becomes(&pools, "web", &nodes(&[2, 9])), texts(&[2, 9]));
    }

    #[test]
    fn once_a_node_serves_the_whole_pool_is_reconciled() {
        let mut pools = pools(&[]);
        let web = pools.pools.get_mut("web").unwrap();
        Arc::make_mut(web).unserved.clear();
        assert!(becomes(&pools, "web", &nodes(&[1, 2])).is_empty());
        assert!(becomes(&pools, "web__v1", &nodes(&[1, 2])).is_empty());
    }
}
