//! What drivers of every kind do while their load balancer cannot be driven: delays before it is tried again, the
//! changes that are pending, and when these are logged. Pure.

#![warn(clippy::disallowed_methods)]

use std::fmt;
use std::time::{Duration, Instant};

use crate::model::driver_status::{Outage, PendingChanges};
use crate::model::node::NodeAddr;
use crate::model::pools::Pools;
use crate::model::text::printable;
use crate::retry::{LONGEST_WAIT, Retry};

/// Maximum number of pending changes that are named; the others are counted.
const MAX_NAMED: usize = 12;

/// Delay before pending changes are logged again; each further delay is twice as long.
const FIRST_REMINDER: Duration = Duration::from_secs(10);

/// Maximum delay after a connection that broke, or over which too little came in time.
const LONGEST_BROKEN: Duration = Duration::from_millis(500);

/// Delay from a change of the desired state of an unreachable load balancer to the report of what is pending there. The
/// report compares everything, so that one should serve many changes.
pub(crate) const PENDING_DELAY: Duration = Duration::from_millis(100);

/// An outage, if there is one, and what was last found and logged about it.
#[derive(Debug, Default)]
pub(crate) struct OutageRecord {
    outage: Option<Outage>,
    /// The serial of the snapshot whose pending changes it lists.
    pending_of: Option<u64>,
    /// When these were last logged, and the delay before they are logged again.
    logged: Option<(Instant, Duration)>,
}

impl OutageRecord {
    /// The present outage.
    pub(crate) fn get(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }

    /// The present outage; one since `since` if there was none.
    pub(crate) fn begin(&mut self, since: Instant) -> &mut Outage {
        self.outage.get_or_insert_with(|| Outage::new(since))
    }

    /// The load balancer can be driven.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }

    /// Sets the pending changes by the snapshot of this serial, unless they were set before.
    pub(crate) fn set_pending(&mut self, serial: u64, pending: impl FnOnce() -> PendingChanges) {
        if let Some(outage) = &mut self.outage
            && self.pending_of.replace(serial) != Some(serial)
        {
            outage.pending = pending();
        }
    }

    /// What is pending, for the log: at once when something is, and again after 10 s, 20 s, 40 s, … when asked as that
    /// may have changed.
    pub(crate) fn reminder(&mut self, now: Instant) -> Option<String> {
        let outage = self.outage.as_ref()?;
        if outage.pending.count == 0 || outage.cause.is_none() {
            return None;
        }
        let delay = match self.logged {
            Some((at, delay)) if now < at + delay => return None,
            Some((_, delay)) => 2 * delay,
            None => FIRST_REMINDER,
        };
        self.logged = Some((now, delay));
        Some(outage.text(now))
    }
}

/// How a node's place changes there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlaceChange {
    /// It joins a pool.
    pub(crate) joins: bool,
    /// It is removed from a pool.
    pub(crate) leaves: bool,
}

impl PendingChanges {
    /// The changes of these, each a node's name and how its place changes.
    pub(crate) fn of(
        changes: impl ExactSizeIterator<Item = (impl fmt::Display, PlaceChange)>,
    ) -> Self {
        let count = changes.len();
        let named =
            changes
                .take(MAX_NAMED)
                .map(|(who, change)| match (change.joins, change.leaves) {
                    (true, true) => format!("{who} (moved)"),
                    (true, false) => format!("+{who}"),
                    (false, _) => format!("-{who}"),
                });
        Self {
            named: named.collect(),
            count,
        }
    }
}

/// A node's name, or its address where it has left the services file.
pub(crate) fn node_name(pools: &Pools, addr: NodeAddr) -> String {
    let members = pools.pools.values().flat_map(|pool| &pool.members);
    let nodes = members.map(|member| &member.node).chain(&*pools.disabled);
    let mut named = nodes.filter(|node| node.addr == addr);
    named
        .next()
        .map_or_else(|| addr.to_string(), |node| printable(&node.name))
}

/// Delays before a load balancer is connected again after a connection ended.
pub(crate) struct ReconnectDelays {
    /// After it broke.
    broken: Retry,
    /// After responses that cannot be used: up to 5 s.
    unusable: Retry,
}

impl Default for ReconnectDelays {
    fn default() -> Self {
        Self {
            broken: Retry::up_to(LONGEST_BROKEN),
            unusable: Retry::new(),
        }
    }
}

impl ReconnectDelays {
    /// The next delay, after a failure; `is_unusable` if the load balancer responds, but with what cannot be used.
    pub(crate) fn next(&mut self, is_unusable: bool) -> Duration {
        if is_unusable {
            self.unusable.next_wait()
        } else {
            self.broken.next_wait()
        }
    }

    /// A connection over which everything was read lasted this long. What breaks again and again soon after it was read
    /// is not to be read all the time.
    pub(crate) fn on_lasted(&mut self, time: Duration) {
        self.broken.reset();
        if time >= LONGEST_WAIT {
            self.unusable.reset();
        }
    }
}
