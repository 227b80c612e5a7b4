//! Readings over a connection: when one begins, and what is done with what it shows.

use std::collections::BTreeSet;
use std::mem;
use std::time::Instant;

use tracing::{info, warn};

use super::super::error::SessionError;
use super::super::plan::{Actual, ActualPool};
use super::super::protocol::{Command, Endpoint};
use super::super::read_state::StateRead;
use super::super::spare::address_of;
use super::super::view::Seen;
use super::{Connection, QueryKind, list};
use crate::drivers::perlbal::name::PerlbalName;

/// After so many surprises in a row pollbal no longer says that it is about to be in sync.
const MANY_MISMATCHES: u32 = 3;

impl Connection<'_> {
    /// Reads all that is there.
    pub(super) fn read_whole(&mut self) {
        self.resync_at = Instant::now() + self.driver.settings.resync_interval;
        let (reading, commands) = StateRead::whole(!self.is_read);
        self.begin_whole(reading, commands);
    }

    /// Reads it to confirm what was sent. Only a reading that counts no pool stands for that at `resync_interval`.
    pub(super) fn read_to_confirm(&mut self) {
        let (reading, commands) = StateRead::confirmation(&self.driver.state.expected, &self.dirty);
        if !reading.counts() {
            self.resync_at = Instant::now() + self.driver.settings.resync_interval;
        }
        self.begin_whole(reading, commands);
    }

    fn begin_whole(&mut self, reading: StateRead, commands: Vec<Command>) {
        self.read_back_at = None;
        self.rejected = false;
        self.dirty.clear();
        self.begin_confirmation();
        self.begin_reading(reading, commands);
    }

    pub(super) fn read_back(&mut self) {
        self.read_back_at = None;
        let pools = mem::take(&mut self.dirty);
        if pools.is_empty() {
            return;
        }
        let (reading, commands) = StateRead::of_pools(pools, &self.driver.state.expected);
        self.begin_reading(reading, commands);
    }

    fn begin_reading(&mut self, reading: StateRead, commands: Vec<Command>) {
        self.reading = Some(reading);
        self.ask(QueryKind::StateRead, commands);
    }

    pub(super) fn on_state_read(
        &mut self,
        command: &Command,
        lines: &[String],
    ) -> Result<(), SessionError> {
        let Some(mut reading) = self.reading.take() else {
            return Ok(());
        };
        let later = self.session.unanswered_changes();
        let known = &self.driver.state.expected;
        let next = reading
            .answer(command, lines, known, later, |path| {
                self.driver.own_file(path)
            })
            .map_err(|source| SessionError::protocol(command, source))?;
        self.ask(QueryKind::StateRead, next);
        self.go_on(reading);
        Ok(())
    }

    /// A pool whose members were asked for is not there.
    pub(super) fn on_pool_absent(&mut self, pool: &PerlbalName) {
        let Some(mut reading) = self.reading.take() else {
            return;
        };
        reading.missing(pool);
        self.go_on(reading);
    }

    /// Ends a reading that has everything.
    fn go_on(&mut self, mut reading: StateRead) {
        if reading.is_done() && self.needs_connections(&reading) {
            let command = reading.ask_connections(&mut self.newly_used);
            // Asked behind all changes so far. What was asked before is no word on later removals.
            self.untracked.left_unused &= command.is_none();
            self.ask(QueryKind::StateRead, command);
        }
        if reading.is_done() {
            self.end_reading(reading);
        } else {
            self.reading = Some(reading);
        }
    }

    fn end_reading(&mut self, mut reading: StateRead) {
        let mut mismatched = false;
        self.driver.state.counters.readings += 1;
        self.record_observed(&mut reading);
        if reading.is_whole() {
            self.end_confirmation();
        }
        if self.is_read {
            let mut expected = mem::take(&mut self.driver.state.expected);
            mismatched = self.compare(&expected, &mut reading.fresh) || !reading.absent.is_empty();
            carry_unsealed(&expected, &mut reading.fresh);
            self.mark_newly_used(&expected, &mut reading);
            if reading.is_whole() {
                expected = reading.fresh;
                mismatched |= self.clear_rejected();
            } else {
                expected.pools.extend(reading.fresh.pools);
                expected
                    .pools
                    .retain(|name, _| !reading.absent.contains(name));
            }
            self.driver.state.expected = expected;
        } else {
            self.on_first_read(&mut reading);
            self.driver.state.expected = reading.fresh;
            self.is_read = true;
        }
        self.mismatches = if mismatched { self.mismatches + 1 } else { 0 };
        if mismatched {
            // The files of pools that are distrusted now are not to be reloaded again.
            self.driver.take_snapshot();
            self.report_not_in_sync();
        }
        self.plan_due = true;
    }

    /// Notes what the pools were shown to hold.
    fn record_observed(&mut self, reading: &mut StateRead) {
        let observed = &mut self.driver.state.observed;
        if reading.is_whole() {
            observed.retain(|name, _| reading.counted.contains(name));
        }
        observed.retain(|name, _| !reading.absent.contains(name));
        let at = Instant::now();
        let read = reading.fresh.pools.keys();
        for name in read.filter(|name| !reading.counted.contains(*name)) {
            let since = reading.since.remove(name).unwrap_or_default();
            observed.insert(name.clone(), Seen { at, since });
        }
    }

    /// Everything was read: what was refused before that is to be said again, if it still is
    /// needed. Whether something was.
    fn clear_rejected(&mut self) -> bool {
        let rejected = &mut self.driver.state.rejected;
        if self.rejected || rejected.is_empty() {
            return false;
        }
        rejected.clear();
        // What is on its way was planned as if the refused had been done.
        self.on_the_way.refuse();
        true
    }

    /// When reading after reading shows something else than was told, the snapshot cannot be
    /// brought in force for now. It is still tried.
    fn report_not_in_sync(&mut self) {
        if self.mismatches < MANY_MISMATCHES {
            return;
        }
        if let Some((serial, _)) = self.driver.state.desired {
            self.driver.tell_progress(serial, false);
        }
    }

    /// The first reading of a connection: says so, and forgets what a restart has ended.
    fn on_first_read(&mut self, reading: &mut StateRead) {
        let state = &mut self.driver.state;
        let perlbal = &self.driver.settings.address;
        state.counters.connections += 1;
        if let Some((start, version)) = reading.start.take() {
            let earlier = state.earlier.as_ref();
            let earlier = earlier.and_then(|earlier| earlier.started);
            let before = state.start.replace(start).or(earlier);
            let restarted = before.is_some_and(|before| before != start);
            let how = if restarted {
                ", which was restarted"
            } else {
                ""
            };
            let now = Instant::now();
            if state.may_tell_of_connection(perlbal, now) {
                info!(%perlbal, "connected to Perlbal {version}{how}");
            }
            state.version = Some(version);
            if restarted {
                // Its connections ended with it.
                let earlier = state.earlier.iter_mut();
                let pools = earlier.flat_map(|earlier| &mut earlier.pools);
                pools.for_each(|(_, gone)| gone.clear());
                state.expected = Actual::default();
                state.unreliable_nodefiles.clear();
                state.spares.clear();
                if let Some((_, desired)) = &mut state.desired {
                    desired.take_spares(&state.spares);
                }
                state.draining.clear();
            }
        }
        state.unacknowledged.clear();
        self.vanished.removed(Instant::now());
        state.draining.interrupted();
        self.mark_unsealed(reading);
    }

    /// Tells where our pools are not as they were told to be; whether there is such a pool. Who
    /// went without us may have connections that no seal has reached.
    fn compare(&mut self, expected: &Actual, fresh: &mut Actual) -> bool {
        let state = &mut self.driver.state;
        let Some((_, desired)) = &state.desired else {
            return false;
        };
        let mut mismatched = false;
        for (name, pool) in fresh
            .pools
            .iter_mut()
            .filter(|(name, _)| desired.pools.contains_key(*name))
        {
            let nothing = ActualPool::default();
            let before = expected.pools.get(name).unwrap_or(&nothing);
            let reloaded = self.reloaded.remove(name);
            let ours = |member: &&Endpoint| !is_spare(member);
            if before
                .members
                .iter()
                .filter(ours)
                .eq(pool.members.iter().filter(ours))
            {
                continue;
            }
            // A pool in which no node has served yet is a person's: only who is known to be out goes.
            let is_ours = desired
                .pools
                .get(name)
                .is_some_and(|pool| pool.unserved.is_none());
            mismatched |= is_ours;
            if reloaded {
                state.unreliable_nodefiles.insert(name.clone());
            }
            let went: BTreeSet<_> = before.members.difference(&pool.members).cloned().collect();
            if is_ours && !state.rejected.contains(name) {
                let came = pool.members.difference(&before.members);
                warn!(
                    perlbal = %self.driver.settings.address, pool = %name,
                    "pool {name} was changed by someone else (by hand, or by its nodefile):{}{}; \
                     it is put right",
                    list("+", came), list("-", went.iter())
                );
            }
            self.untracked.went(name, &went);
            pool.unsealed.extend(went);
        }
        mismatched
    }
}

/// Whether it is a spare entry, which a nodefile does not have: Perlbal drops it when it reads that.
fn is_spare(member: &Endpoint) -> bool {
    matches!(member, Endpoint::Unparsed(text) if address_of(text).is_some())
}

/// What no seal has reached yet is not told by a reading, but known from before.
fn carry_unsealed(expected: &Actual, fresh: &mut Actual) {
    for (name, pool) in &mut fresh.pools {
        let before = expected
            .pools
            .get(name)
            .map(|pool| pool.unsealed.clone())
            .unwrap_or_default();
        pool.unsealed.extend(
            before
                .into_iter()
                .filter(|gone| !pool.members.contains(gone)),
        );
    }
}
