//! What Perlbal has answered to changes: how far it has been told, and what of that went wrong.

use std::time::Instant;

use tracing::{error, info};

use super::super::plan::PoolChange;
use super::super::wire::{Answer, Command};
use super::{Link, list};
use crate::drivers::perlbal::name::PerlbalName;

impl Link<'_> {
    pub(super) fn take_change_answer(&mut self, command: &Command, answer: Answer) {
        self.on_the_way.answer();
        if let Answer::Error(error) = answer {
            self.take_refusal(command, &error);
        }
        self.log_change();
        self.take_told();
    }

    fn take_refusal(&mut self, command: &Command, error: &str) {
        let perlbal = &self.manager.settings.address;
        error!(%perlbal, "Perlbal answered \"{command}\" with an error: {error}");
        let pool = match command {
            Command::Seal { pool, .. } => pool,
            command => match command.changes() {
                Some(pool) => pool,
                None => return,
            },
        };
        let memory = &mut self.manager.memory;
        if matches!(command, Command::Reload { .. }) {
            memory.distrusted.insert(pool.clone());
        }
        memory.refused.insert(pool.clone());
        memory.leavers.refused(pool);
        self.refused = true;
        self.on_the_way.refuse();
        self.resync_at = self.resync_at.min(Instant::now() + self.patience());
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
        let manager = &mut *self.manager;
        let refused = &manager.memory.refused;
        let told = |(pool, change): &(&PerlbalName, &PoolChange)| {
            !change.is_empty() && !refused.contains(*pool)
        };
        let told: Vec<_> = changes.iter().filter(told).collect();
        let perlbal = &manager.settings.address;
        for (pool, change) in told {
            if !manager.memory.may_tell(pool, "is changed", Instant::now()) {
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
    pub(super) fn take_told(&mut self) {
        let memory = &mut self.manager.memory;
        if memory.refused.is_empty() {
            let now = Instant::now();
            while let Some(told) = self.on_the_way.next_told() {
                memory.told_serial = told.serial;
                if let Some(taken) = told.taken {
                    memory.counters.snapshot_to_ok.observe(now - taken);
                }
                if let Some(cause) = told.cause {
                    memory.counters.answer_to_ok.observe(now - cause);
                }
            }
        }
        self.plan_confirmation();
        if self.is_read && !self.is_changing() {
            self.manager.memory.arrived();
        }
        self.report_progress();
        self.manager.tell_standing();
    }

    /// Whether something is still to be said, or answered.
    fn is_changing(&self) -> bool {
        self.plan_due || self.session.unanswered_changes().next().is_some()
    }

    /// Once all is sent, answered and read back: the snapshot is in force, or cannot be.
    fn report_progress(&mut self) {
        let memory = &self.manager.memory;
        let Some((serial, _)) = memory.wanted.as_ref().filter(|_| self.is_read) else {
            return;
        };
        if self.is_changing() || !self.dirty.is_empty() || self.reading.is_some() {
            return;
        }
        let in_sync = memory.problems.is_empty() && memory.refused.is_empty();
        self.manager.tell_progress(*serial, in_sync);
    }
}
