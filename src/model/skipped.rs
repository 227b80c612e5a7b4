//! Nodes that belong into pools, but that a load balancer, or a pool file's format, cannot have.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::names::PoolName;
use super::node::NodeAddr;
use super::pools::Pools;

/// Maximum number of nodes that a text names.
const MAX_NAMED: usize = 8;

/// Nodes that are skipped, each with its pool. Everything else goes on as if they did not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedNodes(BTreeSet<(PoolName, NodeAddr)>);

impl SkippedNodes {
    /// The nodes with IPv6 addresses that should get a pool's requests.
    #[must_use]
    pub fn ipv6(pools: &Pools) -> Self {
        let pools = pools.pools.iter();
        let recipients = pools.flat_map(|(name, pool)| {
            let addrs = pool.recipients().map(|(node, _)| node.addr);
            let ipv6 = addrs.filter(|addr| addr.ipv4().is_none());
            ipv6.map(|addr| (name.clone(), addr))
        });
        Self(recipients.collect())
    }

    /// Whether the node is skipped.
    #[must_use]
    pub fn contains(&self, addr: NodeAddr) -> bool {
        self.0.iter().any(|(_, skipped)| *skipped == addr)
    }

    /// `A cannot serve IPv6 nodes: [::1]:80 in pool api skipped`, where `what` is what precedes the colon; `None` if there
    /// are no such nodes.
    #[must_use]
    pub fn text(&self, what: &str) -> Option<String> {
        let named = self.0.iter().take(MAX_NAMED);
        let named: Vec<_> = named
            .map(|(pool, addr)| format!("{addr} in pool {pool}"))
            .collect();
        let more = match self.0.len() - named.len() {
            _ if named.is_empty() => return None,
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("{what}: {}{more} skipped", named.join(", ")))
    }
}

/// The nodes that a driver skips, and those that it has logged: nodes come and go, and each is logged once.
#[derive(Debug, Default)]
pub struct SkippedRecord {
    present: Arc<SkippedNodes>,
    logged: SkippedNodes,
}

impl SkippedRecord {
    /// Sets which nodes are skipped now. Returns whether any of them is to be logged.
    pub fn set(&mut self, skipped: SkippedNodes) -> bool {
        if *self.present == skipped {
            return false;
        }
        let before = self.logged.0.len();
        self.logged.0.extend(skipped.0.iter().cloned());
        self.present = Arc::new(skipped);
        self.logged.0.len() > before
    }

    /// The nodes that are skipped now.
    #[must_use]
    pub fn get(&self) -> &Arc<SkippedNodes> {
        &self.present
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::node::Node;
    use crate::model::pools::{Member, Pool};
    use crate::model::rules::PoolRules;

    fn pool(members: &[&str]) -> Pool {
        let member = |addr: &&str| {
            Member::new(
                Arc::new(Node::new(addr.parse().unwrap(), (*addr).to_owned())),
                None,
            )
        };
        Pool {
            members: members.iter().map(member).collect(),
            ..Pool::default()
        }
    }

    fn skipped_of(api: Pool) -> SkippedNodes {
        let pools = [("api".parse().unwrap(), Arc::new(api))].into();
        SkippedNodes::ipv6(&Pools {
            pools,
            ..Pools::default()
        })
    }

    /// What is skipped of a pool `api` with these members.
    pub(crate) fn skipped(members: &[&str]) -> SkippedNodes {
        skipped_of(pool(members))
    }

    #[test]
    fn ipv6_members_and_sorry_servers_are_named_with_their_pool() {
        let both = skipped(&["10.0.0.1:80", "[::1]:80"]);
        assert_eq!(
            both.text("A cannot serve IPv6 nodes").as_deref(),
            Some("A cannot serve IPv6 nodes: [::1]:80 in pool api skipped")
        );
        assert!(both.contains("[::1]:80".parse().unwrap()));
        assert!(!both.contains("10.0.0.1:80".parse().unwrap()));
        assert_eq!(skipped(&["10.0.0.1:80"]).text("A"), None);
        let sorry = Pool {
            sorry: vec![PoolRules::sorry_server("[::9]:80".parse().unwrap())],
            ..Pool::default()
        };
        assert_eq!(
            skipped_of(sorry).text("A").as_deref(),
            Some("A: [::9]:80 in pool api skipped")
        );
    }

    #[test]
    fn a_node_that_comes_back_is_not_new() {
        let mut record = SkippedRecord::default();
        let (one, both) = (skipped(&["[::1]:80"]), skipped(&["[::1]:80", "[::2]:80"]));
        assert!(record.set(one.clone()));
        assert!(!record.set(skipped(&[])));
        assert!(!record.set(one));
        assert!(record.set(both.clone()));
        assert_eq!(**record.get(), both);
    }

    #[test]
    fn of_many_the_first_are_named_and_the_others_counted() {
        let members: Vec<_> = (1..=MAX_NAMED + 3)
            .map(|port| format!("[::1]:{port}"))
            .collect();
        let members: Vec<_> = members.iter().map(String::as_str).collect();
        let text = skipped(&members).text("A");
        assert!(
            text.unwrap()
                .ends_with("[::1]:8 in pool api and 3 more skipped")
        );
    }
}
