//! Nodes that left a pool drain there: what ends that, except that they are members again.

use super::Membership;
use crate::model::node::NodeAddr;

impl Membership {
    /// A node that failed often enough has no requests in progress that could end well.
    pub(super) fn end_drain_of_failed(&mut self, addr: NodeAddr) {
        let Some(node) = self.nodes.get_mut(addr) else {
            return;
        };
        if let Some((place, _)) = node.draining()
            && node.failures >= self.rules.of(&place.pool).fall
        {
            self.snapshots.changed(&place.pool);
            node.end_drain();
        }
    }
}
