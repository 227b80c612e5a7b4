//! What a pause of pollbal itself changes: what ends by itself ends later by that, since no node was polled meanwhile.

use super::Membership;
use crate::model::time::{Standstill, Timestamp};

impl Membership {
    /// Takes into account a pause that ended at `today`. The times that nodes have to leave, and that pools without
    /// members stay in use, go on where they stopped. Reasons end by the time of day, as people expect. Gives how many
    /// leaves end later.
    pub fn add_pause(&mut self, pause: Standstill, today: Timestamp) -> usize {
        for node in self.nodes.all_mut() {
            let last = node.last_membership.as_mut();
            if let Some((_, since)) = last.and_then(|last| last.left.as_mut()) {
                *since += pause.time;
            }
        }
        for pool in self.pools.values_mut() {
            pool.add_pause(pause.time);
        }
        let leaves = self.overrides.leases.len();
        if leaves > 0 && !pause.day.is_zero() {
            self.overrides.extend_leaves(pause.day, today);
            self.overrides_revision += 1;
            return leaves;
        }
        0
    }
}
