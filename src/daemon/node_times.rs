//! When nodes got to where they are, handed to the state file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Daemon;
use crate::model::node_times::NodeTimes as Times;
use crate::model::time::Clock;

/// Delay between two writes: each visits every node, and the state file is written for it.
const WRITE_INTERVAL: Duration = Duration::from_secs(10);

/// The same when a ramp began: pollbal may be killed at any time, and that must not skip it.
const URGENT_WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// What the state file saves.
pub(super) struct NodeTimes {
    latest: watch::Sender<Arc<Times>>,
    changed: bool,
    /// Whether a change is to be saved soon.
    urgent: bool,
    last_write: Option<Instant>,
}

impl NodeTimes {
    /// Starts with those of the previous run.
    pub(super) fn new(saved: Times) -> Self {
        Self {
            latest: watch::Sender::new(Arc::new(saved)),
            changed: false,
            urgent: false,
            last_write: None,
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Times>> {
        self.latest.subscribe()
    }

    /// Records that nodes have got elsewhere, or have begun or ceased to fail; `urgent` if a ramp began.
    pub(super) fn mark_changed(&mut self, urgent: bool) {
        self.changed = true;
        self.urgent |= urgent;
    }

    /// Earliest time of the next write, if it is not now.
    fn next(&self) -> Option<Instant> {
        let interval = if self.urgent {
            URGENT_WRITE_INTERVAL
        } else {
            WRITE_INTERVAL
        };
        Some(self.last_write? + interval)
    }
}

impl Daemon {
    /// Hands the times to the state file if they have changed and the last write is long enough ago; otherwise returns
    /// when to do so.
    pub(super) fn save_node_times(&mut self) -> Option<Instant> {
        if !self.node_times.changed || !self.core.membership().first_round_done() {
            return None;
        }
        let now = Instant::now();
        let next = self.node_times.next().filter(|next| now < *next);
        if next.is_none() {
            self.save_node_times_now();
            self.node_times.last_write = Some(now);
        }
        next
    }

    /// Hands them to the state file at once if they have changed.
    pub(super) fn save_node_times_now(&mut self) {
        let Clock { now, today } = Clock::now();
        if self.node_times.changed
            && let Some(times) = self.core.membership().times((now, today))
        {
            (self.node_times.changed, self.node_times.urgent) = (false, false);
            self.node_times.latest.send_replace(Arc::new(times));
        }
    }
}
