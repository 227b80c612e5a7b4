//! Responses to changes: which snapshots are acknowledged, and what was rejected.

use std::time::Instant;

use super::super::notices::Notice;
use super::super::protocol::{Command, Response};
use super::Connection;

impl Connection<'_> {
    pub(super) fn on_change_response(
        &mut self,
        command: &Command,
        response: Response,
        now: Instant,
    ) {
        self.pending.ack();
        if let Response::Error(error) = response {
            self.on_rejected(command, error, now);
        }
        self.log_changes(now);
        self.record_acked(now);
    }

    fn on_rejected(&mut self, command: &Command, error: String, now: Instant) {
        let rejected = Notice::Rejected {
            command: command.clone(),
            error,
        };
        self.state.log(rejected);
        let pool = match command {
            Command::Seal { pool, .. } => pool,
            command => match command.changes() {
                Some(pool) => pool,
                None => return,
            },
        };
        if matches!(command, Command::Reload { .. }) {
            self.state.unreliable_nodefiles.insert(pool.clone());
        }
        self.state.rejected.insert(pool.clone());
        self.state.draining.on_rejected(pool);
        self.has_rejected = true;
        self.pending.reset();
        self.resync_soon(now);
    }

    /// Once every change is answered: logs what was changed.
    fn log_changes(&mut self, now: Instant) {
        if self.has_unanswered_changes() {
            return;
        }
        let Some((since, changes)) = self.unlogged.take() else {
            return;
        };
        let took = now.saturating_duration_since(since);
        for (pool, change) in changes {
            if change.is_empty() || self.state.rejected.contains(&pool) {
                continue;
            }
            self.state
                .log_about_pool(&pool.clone(), "is changed", now, || Notice::PoolChanged {
                    pool,
                    change,
                    took,
                });
        }
    }

    /// Records which snapshots are acknowledged by now.
    ///
    /// After a rejection none is until everything was read again: only then it is known what is
    /// still to be changed.
    pub(super) fn record_acked(&mut self, now: Instant) {
        if self.state.rejected.is_empty() {
            while let Some(acked) = self.pending.next_acked() {
                self.state.acked_serial = acked.serial;
                let counters = &mut self.state.counters;
                if let Some(taken) = acked.taken {
                    counters.apply.observe(now - taken);
                }
                if let Some(cause) = acked.cause {
                    counters.propagation.observe(now - cause);
                }
            }
        }
        self.schedule_confirmation(now);
        if self.is_read && !self.is_changing() {
            self.state.set_connected(now);
        }
        self.record_progress(now);
    }

    fn has_unanswered_changes(&self) -> bool {
        self.pipeline.unanswered_changes().next().is_some()
    }

    /// Whether changes are to be planned, sent or answered.
    fn is_changing(&self) -> bool {
        self.plan_due || self.has_unanswered_changes()
    }

    /// Once everything is sent, answered and read back: the snapshot is in effect, or cannot be.
    fn record_progress(&mut self, now: Instant) {
        let desired = self.state.desired.as_ref().filter(|_| self.is_read);
        let Some(serial) = desired.map(|(serial, _)| *serial) else {
            return;
        };
        if self.is_changing() || !self.dirty.is_empty() || self.read.is_some() {
            return;
        }
        let in_sync = self.state.problems.is_empty() && self.state.rejected.is_empty();
        self.state.record_progress(serial, in_sync, now);
        self.state.is_settled = true;
    }
}
