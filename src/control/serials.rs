//! Which snapshot shows the last change of each node.

use std::collections::HashMap;

use crate::model::node::NodeAddr;

/// The serials of the first snapshots that show the last changes of nodes.
#[derive(Debug, Default)]
pub struct Serials(HashMap<NodeAddr, u64>);

impl Serials {
    /// Records that this snapshot is the first that shows changes of these nodes.
    pub fn set(&mut self, addrs: impl IntoIterator<Item = NodeAddr>, serial: u64) {
        self.0.extend(addrs.into_iter().map(|addr| (addr, serial)));
    }

    /// The first snapshot that shows the node's current place: 1, the very first one, if nothing changed since. Before
    /// there is one, nothing was sent to any load balancer.
    #[must_use]
    pub fn of(&self, addr: NodeAddr) -> u64 {
        self.0.get(&addr).copied().unwrap_or(1)
    }

    /// Forgets all nodes that are not `listed`.
    pub fn retain(&mut self, listed: impl Fn(NodeAddr) -> bool) {
        self.0.retain(|addr, _| listed(*addr));
    }
}
