//! Decides on what the polls found, and reports the decisions: to the log, the event log and hooks, and as a snapshot to
//! the drivers.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tracing::info;

use super::Daemon;
use crate::drivers::{Mode, Snapshot};
use crate::hooks::NodeHookInput;
use crate::logging::count;
use crate::model::change::{Change, sorry_changes};
use crate::model::driver_status::DriverStatus;
use crate::model::event::EventText;
use crate::model::time::Clock;
use crate::poller::Observed;

impl Daemon {
    pub(super) fn take_polls(&mut self, polls: &mut Vec<Observed>) {
        let moment = self.present();
        for (addr, poll) in polls.drain(..) {
            self.poll_stats.record(&poll);
            let answered = poll.asked_at + poll.took;
            let changes = self.membership.observe(addr, poll, moment.now);
            self.tell(&changes, moment);
            if !changes.is_empty() {
                let first = self.cause.map_or(answered, |at| at.min(answered));
                self.cause = Some(first);
            }
            if self.membership.is_undecided(addr) {
                self.pollers.retry_soon(addr);
            }
        }
        // Whoever watches sees that a member fails before anything comes of it.
        if self.membership.take_kept_changed() {
            self.times.changed();
            self.beat();
        }
    }

    /// Reports changes to the log, the event log, `node_hook` and everyone who waits for a change.
    pub(super) fn tell(&mut self, changes: &[Change], moment: Clock) {
        for change in changes {
            let text = EventText::from_change(change);
            self.change_log.write(&text, moment.now);
            let event = self.event_log.record(&text, moment.today);
            // What the first snapshot shows is no change: nobody knows what was before.
            if self.options.mode == Mode::Live
                && self.serial > 0
                && let Some(input) = NodeHookInput::of(change, &event)
            {
                self.hooks.node(&input);
            }
            self.changed.extend(text.node.map(|node| node.addr));
        }
        if !changes.is_empty() {
            self.times.changed();
            self.beat();
        }
    }

    /// Lets those who wait for a change look again.
    pub(super) fn beat(&self) {
        self.pulse.send_modify(|beats| *beats += 1);
    }

    /// Gives the drivers the wanted state, if it changed.
    pub(super) fn publish(&mut self) {
        // An answer that changes no pool is the cause of nothing that comes later.
        let cause = self.cause.take();
        let Some(pools) = self.membership.take_changed() else {
            self.changed.clear();
            return;
        };
        let before = self.snapshots.borrow().clone();
        let before = before.as_ref().map(|before| &*before.pools);
        self.tell(&sorry_changes(before, &pools), Clock::now());
        self.serial += 1;
        self.serials.set(self.changed.drain(..), self.serial);
        let pools = Arc::new(pools);
        if let Some(first_sync) = self.first_sync.take() {
            info!(
                "first round done: {} in {}, {} in none",
                count(pools.member_count(), "member"),
                count(pools.pools.len(), "pool"),
                count(pools.disabled.len(), "node")
            );
            self.tasks.spawn(report_sync(
                self.drivers.statuses(),
                self.serial,
                first_sync,
            ));
        }
        let snapshot = Snapshot {
            serial: self.serial,
            pools,
            current_files: Arc::default(),
            cause,
        };
        self.snapshots.send_replace(Some(snapshot));
        self.beat();
    }
}

/// Reports once whether all drivers have applied the snapshot.
async fn report_sync(
    statuses: Vec<watch::Receiver<DriverStatus>>,
    serial: u64,
    told: oneshot::Sender<bool>,
) {
    let mut in_sync = true;
    for mut status in statuses {
        let settled = status.wait_for(|status| status.settled >= serial).await;
        in_sync &= settled.is_ok_and(|status| status.in_sync);
    }
    // The daemon is ending when nobody listens.
    _ = told.send(in_sync);
}
