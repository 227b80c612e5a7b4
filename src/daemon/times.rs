//! Since when nodes are where they are, handed to the state file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Daemon;
use crate::model::node_times::NodeTimes;
use crate::model::time::Clock;

/// Delay between two times that all is handed on: that looks at each node, and the state file is written for it.
const PACE: Duration = Duration::from_secs(10);

/// What is handed to the state file.
pub(super) struct Times {
    kept: watch::Sender<Arc<NodeTimes>>,
    changed: bool,
    /// When it may be handed on again.
    next: Instant,
}

impl Times {
    /// As the run before left them.
    pub(super) fn after(before: NodeTimes) -> Self {
        Self {
            kept: watch::Sender::new(Arc::new(before)),
            changed: false,
            next: Instant::now(),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<NodeTimes>> {
        self.kept.subscribe()
    }

    /// A node is somewhere else than before, or began or ceased to fail.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }
}

impl Daemon {
    /// Takes over what the run before knew.
    pub(super) fn remember_times(&mut self) {
        let Clock { now, today } = Clock::now();
        self.membership
            .remember(&self.times.kept.borrow(), (now, today));
    }

    /// Hands on since when nodes are where they are, if that changed and the last time is long enough ago; else gives
    /// when to do it.
    pub(super) fn keep_times(&mut self) -> Option<Instant> {
        if !self.times.changed || !self.membership.first_round_done() {
            return None;
        }
        let now = Instant::now();
        if now < self.times.next {
            return Some(self.times.next);
        }
        self.hand_times();
        self.times.next = now + PACE;
        None
    }

    /// The same at once.
    pub(super) fn hand_times(&mut self) {
        let Clock { now, today } = Clock::now();
        if self.times.changed
            && let Some(times) = self.membership.times((now, today))
        {
            self.times.changed = false;
            self.times.kept.send_replace(Arc::new(times));
        }
    }
}
