//! What Perlbal has answered to changes: how far it has been told, and what of that went wrong.

use std::time::Instant;

use tracing::{error, info};

use super::super::plan::PoolChange;
use super::super::protocol::{Command, Response};
use super::{Connection, list};
use crate::drivers::perlbal::name::PerlbalName;

impl Connection<'_> {
    pub(super) fn on_change_response(&mut self, command: &Command, answer: Response) {
        self.on_the_way.answer();
        if let Response::Error(error) = answer {
            self.on_rejected(command, &error);
        }
        self.log_change();
        self.record_acked();
    }

    fn on_rejected(&mut self, command: &Command, error: &str) {
        let perlbal = &self.driver.settings.address;
        error!(%perlbal, "Perlbal answered \"{command}\" with an error: {error}");
        let pool = match command {
            Command::Seal { pool, .. } => pool,
            command => match command.changes() {
                Some(pool) => pool,
                None => return,
            },
        };
        let state = &mut self.driver.state;
        if matches!(command, Command::Reload { .. }) {
            state.unreliable_nodefiles.insert(pool.clone());
        }
        state.rejected.insert(pool.clone());
        state.draining.refused(pool);
        self.rejected = true;
        self.on_the_way.refuse();
        self.resync_at = self.resync_at.min(Instant::now() + self.mismatch_delay());
    }

    /// When the last change on its way is answered: tells the log what was changed.
    fn log_change(&mut self) {
        if self.session.unanswered_changes().next().is_some() {
            return;
        }
        let Some((since, changes)) = self.unlogged.take() else {
            return;
        };
        let micros = since.elapsed().as_micros();
        let driver = &mut *self.driver;
        let rejected = &driver.state.rejected;
        let expected = |(pool, change): &(&PerlbalName, &PoolChange)| {
            !change.is_empty() && !rejected.contains(*pool)
        };
        let expected: Vec<_> = changes.iter().filter(expected).collect();
        let perlbal = &driver.settings.address;
        for (pool, change) in expected {
            if !driver.state.may_tell(pool, "is changed", Instant::now()) {
                continue;
            }
            info!(
                %perlbal, %pool,
                "pool {pool} changed:{}{} in {}.{:01} ms",
                list("+", change.added.iter()), list("-", change.removed.iter()),
                micros / 1000, micros % 1000 / 100
            );
        }
    }

    /// Takes note of the snapshots that Perlbal has been told by now, and tells how it stands.
    ///
    /// After a refusal none counts as told before everything was read again: by then it is known
    /// what is still to be said.
    pub(super) fn record_acked(&mut self) {
        let state = &mut self.driver.state;
        if state.rejected.is_empty() {
            let now = Instant::now();
            while let Some(expected) = self.on_the_way.next_told() {
                state.acked_serial = expected.serial;
                if let Some(taken) = expected.taken {
                    state.counters.snapshot_to_ok.observe(now - taken);
                }
                if let Some(cause) = expected.cause {
                    state.counters.answer_to_ok.observe(now - cause);
                }
            }
        }
        self.schedule_confirmation();
        if self.is_read && !self.is_changing() {
            self.driver.state.arrived();
        }
        self.report_progress();
        self.driver.tell_standing();
    }

    /// Whether something is still to be said, or answered.
    fn is_changing(&self) -> bool {
        self.plan_due || self.session.unanswered_changes().next().is_some()
    }

    /// Once all is sent, answered and read back: the snapshot is in force, or cannot be.
    fn report_progress(&mut self) {
        let state = &self.driver.state;
        let Some((serial, _)) = state.desired.as_ref().filter(|_| self.is_read) else {
            return;
        };
        if self.is_changing() || !self.dirty.is_empty() || self.reading.is_some() {
            return;
        }
        let in_sync = state.problems.is_empty() && state.rejected.is_empty();
        self.driver.tell_progress(*serial, in_sync);
    }
}
