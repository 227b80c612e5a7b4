//! How far the load balancers and the pool files have come with a change, and what that means for a
//! node.

use std::collections::BTreeMap;
use std::time::Instant;

use super::driver_status::{DriverId, DriverStatus, Stray};
use super::names::PoolName;
use super::node::NodeAddr;
use super::node_view::{NodeState, NodeView};

/// The status of everything that is to show a change: the load balancers and the pool files.
#[derive(Clone, Debug)]
pub struct DriverStatuses {
    /// The load balancers, in the order of the configuration.
    pub load_balancers: Vec<LoadBalancer>,
    /// The pool files.
    pub files: DriverStatus,
    /// The sorry servers that are serving now, and for which pool.
    pub sorry: BTreeMap<NodeAddr, PoolName>,
}

impl DriverStatuses {
    /// Whether the node, which has been where it is since snapshot `serial`, has no busy connection
    /// left at any load balancer that carries its pool; `None` for a member.
    #[must_use]
    pub fn is_drained(&self, node: &NodeView, serial: u64) -> Option<bool> {
        let addr = node.node.addr;
        let is_drained = || {
            !self.sorry.contains_key(&addr)
                && self.why_not_applied(node, serial).is_none()
                && self
                    .of_node(node)
                    .all(|one| one.status.is_drained(addr, serial))
        };
        matches!(node.state, NodeState::Out(_)).then(is_drained)
    }

    /// Why a node that is out is not drained everywhere, in words.
    #[must_use]
    pub fn why_not_drained(&self, node: &NodeView, serial: u64, now: Instant) -> Option<String> {
        let addr = node.node.addr;
        if let Some(pool) = self.sorry.get(&addr) {
            return Some(format!("it serves as sorry server of pool {pool}"));
        }
        self.why_not_applied(node, serial).or_else(|| {
            self.of_node(node)
                .find_map(|one| one.why_not_drained(addr, serial, now))
        })
    }

    /// The load balancers that carry the pool which the node is in, or was in last.
    fn of_node(&self, node: &NodeView) -> impl Iterator<Item = &LoadBalancer> {
        let (addr, pool) = (node.node.addr, node.was_in.as_ref());
        let each = self.load_balancers.iter();
        each.filter(move |one| one.status.carries(addr, pool))
    }

    /// Why the snapshot of this serial is not applied yet wherever the node's pool is carried, in words. Without a load
    /// balancer only the pool files can tell.
    #[must_use]
    pub fn why_not_applied(&self, node: &NodeView, serial: u64) -> Option<String> {
        let files = &self.files;
        if self.load_balancers.is_empty() && (!files.in_sync || files.settled < serial) {
            return Some(format!("the pool files are not written{}", files.because()));
        }
        self.of_node(node)
            .find_map(|LoadBalancer { id, status, .. }| {
                if !status.connected {
                    let outage = status.outage.as_ref();
                    let outage = outage.map(|outage| format!(": it is {}", outage.steady_text()));
                    Some(format!(
                        "no connection to {id}{}",
                        outage.unwrap_or_default()
                    ))
                } else if status.acked < serial {
                    Some(format!("{} has not acknowledged it yet", id.address))
                } else {
                    None
                }
            })
    }

    /// Where the node is at each load balancer.
    pub fn each(&self, node: &NodeView, serial: u64) -> impl Iterator<Item = NodeOnDriver<'_>> {
        let addr = node.node.addr;
        let stands_in = self.sorry.contains_key(&addr);
        let each = self.load_balancers.iter();
        each.map(move |LoadBalancer { id, status, .. }| NodeOnDriver {
            id,
            status,
            skipped: status.skipped.contains(addr),
            acked: status.connected && status.acked >= serial,
            stray: status.strays.get(&addr),
            drained: !stands_in && status.is_drained(addr, serial),
        })
    }
}

/// A load balancer, and how far its driver has come.
#[derive(Clone, Debug)]
pub struct LoadBalancer {
    /// Which one.
    pub id: DriverId,
    /// Whether `/readyz` waits for it.
    pub required: bool,
    /// How far its driver has come.
    pub status: DriverStatus,
}

impl LoadBalancer {
    /// Why a node is not drained here although it acknowledged snapshot `serial`, in which the node
    /// is in no pool; in words.
    fn why_not_drained(&self, addr: NodeAddr, serial: u64, now: Instant) -> Option<String> {
        let (status, address) = (&self.status, &self.id.address);
        let stray = status.strays.get(&addr);
        if let Some(stray) = stray.filter(|stray| !stray.is_managed()) {
            return Some(stray.text(address));
        }
        let pools = status.draining.get(&addr);
        if let Some(since) = pools.and_then(|pools| pools.values().min()) {
            let passed = now.saturating_duration_since(*since).as_secs();
            return Some(format!("still draining in {address} after {passed} s"));
        }
        if let Some(stray) = stray {
            return Some(stray.text(address));
        }
        let unread = || format!("{address} has not been read since it acknowledged the change");
        (status.observed < serial).then(unread)
    }
}

/// Where a node is at a load balancer.
#[derive(Clone, Copy, Debug)]
pub struct NodeOnDriver<'a> {
    /// The load balancer.
    pub id: &'a DriverId,
    /// Its status.
    pub status: &'a DriverStatus,
    /// It cannot have the node.
    pub skipped: bool,
    /// It has acknowledged where the node is now.
    pub acked: bool,
    /// Where it still has the node, although it should not.
    pub stray: Option<&'a Stray>,
    /// If the node is out, it is drained there.
    pub drained: bool,
}
