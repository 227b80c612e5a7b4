//! Planning the changes that lead to the desired state.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::acks::AckedSnapshot;
use super::super::plan::{Plan, plan};
use super::super::protocol::Command;
use super::super::read_state::change_by;
use super::Connection;

impl Connection<'_> {
    /// Plans the changes that lead from the expected to the desired state, and queues them.
    pub(super) fn plan_and_queue(&mut self, now: Instant) {
        self.plan_due = false;
        self.track_unsealed(now);
        let Some((serial, desired)) = &mut self.state.desired else {
            return self.record_acked(now);
        };
        // The members may have changed since the snapshot came.
        desired.keep(&self.state.expected);
        let serial = *serial;
        let Plan {
            groups,
            changes,
            problems,
        } = plan(desired, &self.state.expected);
        let mut creates = false;
        for command in groups.iter().flatten() {
            creates |= matches!(command, Command::CreatePool(_));
            self.apply(command);
        }
        self.track_removed(&changes, now);
        let removes = changes.values().any(|change| !change.removed.is_empty());
        self.expect_confirmation(serial, removes, creates || self.state.remarks_unserved());
        for group in &groups {
            self.state
                .draining
                .record_group(group, &self.state.expected);
        }
        self.await_acks(serial, groups.iter().flatten().count());
        if !groups.is_empty() {
            let read_back_at = now + self.mismatch_delay();
            self.read_back_at.get_or_insert(read_back_at);
            let (_, unlogged) = self.unlogged.get_or_insert_with(|| (now, BTreeMap::new()));
            for (name, change) in changes {
                unlogged.entry(name).or_default().merge(change);
            }
        }
        self.queue_with_checks(groups);
        self.record_confirmed(now);
        self.state.set_problems(problems);
        self.record_acked(now);
    }

    /// Expects what a planned command changes.
    pub(super) fn apply(&mut self, command: &Command) {
        let state = &mut *self.state;
        if let Some((name, change)) = change_by(command, &state.expected)
            && let Some(observed) = state.observed.get_mut(name)
        {
            observed.since.merge(change);
        }
        state.expected.apply(command);
        state.counters.count_command(command.kind());
        if let Some(read) = &mut self.read {
            read.sent(command);
        }
        if let Command::Reload { pool, .. } = command {
            self.reloaded.insert(pool.clone());
        }
        self.dirty.extend(command.changes().cloned());
    }

    /// A snapshot is acknowledged once this number of changes more are.
    fn await_acks(&mut self, serial: u64, changes: usize) {
        let unplanned = self.unplanned.take().filter(|_| changes > 0);
        let snapshot = AckedSnapshot {
            serial,
            taken: unplanned.map(|(at, _)| at),
            cause: unplanned.and_then(|(_, cause)| cause),
        };
        self.pending.push(snapshot, changes);
    }
}
