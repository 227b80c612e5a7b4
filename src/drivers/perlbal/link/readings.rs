//! Readings over a connection: when one begins, and what is done with what it shows.

use std::collections::BTreeSet;
use std::mem;
use std::time::Instant;

use tracing::{info, warn};

use super::super::fault::SessionError;
use super::super::plan::{Actual, ActualPool};
use super::super::reading::Reading;
use super::super::spare::address_of;
use super::super::view::Seen;
use super::super::wire::{Command, Endpoint};
use super::{Link, Purpose, list};
use crate::drivers::perlbal::name::PerlbalName;

/// After so many surprises in a row pollbal no longer says that it is about to be in sync.
const MANY_SURPRISES: u32 = 3;

impl Link<'_> {
    /// Reads all that is there.
    pub(super) fn read_whole(&mut self) {
        self.resync_at = Instant::now() + self.manager.settings.resync_interval;
        let (reading, commands) = Reading::whole(!self.is_read);
        self.begin_whole(reading, commands);
    }

    /// Reads it to confirm what was sent. Only a reading that counts no pool stands for that at `resync_interval`.
    pub(super) fn read_to_confirm(&mut self) {
        let (reading, commands) = Reading::confirming(&self.manager.memory.told, &self.dirty);
        if !reading.counts() {
            self.resync_at = Instant::now() + self.manager.settings.resync_interval;
        }
        self.begin_whole(reading, commands);
    }

    fn begin_whole(&mut self, reading: Reading, commands: Vec<Command>) {
        self.read_back_at = None;
        self.refused = false;
        self.dirty.clear();
        self.confirming_begins();
        self.begin_reading(reading, commands);
    }

    pub(super) fn read_back(&mut self) {
        self.read_back_at = None;
        let pools = mem::take(&mut self.dirty);
        if pools.is_empty() {
            return;
        }
        let (reading, commands) = Reading::of_pools(pools, &self.manager.memory.told);
        self.begin_reading(reading, commands);
    }

    fn begin_reading(&mut self, reading: Reading, commands: Vec<Command>) {
        self.reading = Some(reading);
        self.ask(Purpose::Reading, commands);
    }

    pub(super) fn take_reading(
        &mut self,
        command: &Command,
        lines: &[String],
    ) -> Result<(), SessionError> {
        let Some(mut reading) = self.reading.take() else {
            return Ok(());
        };
        let later = self.session.unanswered_changes();
        let known = &self.manager.memory.told;
        let next = reading
            .answer(command, lines, known, later, |path| {
                self.manager.own_file(path)
            })
            .map_err(|source| SessionError::not_understood(command, source))?;
        self.ask(Purpose::Reading, next);
        self.go_on(reading);
        Ok(())
    }

    /// A pool whose members were asked for is not there.
    pub(super) fn take_absence(&mut self, pool: &PerlbalName) {
        let Some(mut reading) = self.reading.take() else {
            return;
        };
        reading.missing(pool);
        self.go_on(reading);
    }

    /// Ends a reading that has everything.
    fn go_on(&mut self, mut reading: Reading) {
        if reading.is_done() && self.needs_connections(&reading) {
            let command = reading.ask_connections(&mut self.newly_used);
            // Asked behind all changes so far. What was asked before is no word on later removals.
            self.unnoted.left_unused &= command.is_none();
            self.ask(Purpose::Reading, command);
        }
        if reading.is_done() {
            self.end_reading(reading);
        } else {
            self.reading = Some(reading);
        }
    }

    fn end_reading(&mut self, mut reading: Reading) {
        let mut surprised = false;
        self.manager.memory.counters.readings += 1;
        self.take_seen(&mut reading);
        if reading.is_whole() {
            self.confirming_ends();
        }
        if self.is_read {
            let mut told = mem::take(&mut self.manager.memory.told);
            surprised = self.compare(&told, &mut reading.fresh) || !reading.absent.is_empty();
            carry_unsealed(&told, &mut reading.fresh);
            self.mark_newly_used(&told, &mut reading);
            if reading.is_whole() {
                told = reading.fresh;
                surprised |= self.forget_refusals();
            } else {
                told.pools.extend(reading.fresh.pools);
                told.pools.retain(|name, _| !reading.absent.contains(name));
            }
            self.manager.memory.told = told;
        } else {
            self.greet(&mut reading);
            self.manager.memory.told = reading.fresh;
            self.is_read = true;
        }
        self.surprises = if surprised { self.surprises + 1 } else { 0 };
        if surprised {
            // The files of pools that are distrusted now are not to be reloaded again.
            self.manager.take_snapshot();
            self.admit_defeat();
        }
        self.plan_due = true;
    }

    /// Notes what the pools were shown to hold.
    fn take_seen(&mut self, reading: &mut Reading) {
        let seen = &mut self.manager.memory.seen;
        if reading.is_whole() {
            seen.retain(|name, _| reading.counted.contains(name));
        }
        seen.retain(|name, _| !reading.absent.contains(name));
        let at = Instant::now();
        let read = reading.fresh.pools.keys();
        for name in read.filter(|name| !reading.counted.contains(*name)) {
            let since = reading.since.remove(name).unwrap_or_default();
            seen.insert(name.clone(), Seen { at, since });
        }
    }

    /// Everything was read: what was refused before that is to be said again, if it still is
    /// needed. Whether something was.
    fn forget_refusals(&mut self) -> bool {
        let refused = &mut self.manager.memory.refused;
        if self.refused || refused.is_empty() {
            return false;
        }
        refused.clear();
        // What is on its way was planned as if the refused had been done.
        self.on_the_way.refuse();
        true
    }

    /// When reading after reading shows something else than was told, the snapshot cannot be
    /// brought in force for now. It is still tried.
    fn admit_defeat(&mut self) {
        if self.surprises < MANY_SURPRISES {
            return;
        }
        if let Some((serial, _)) = self.manager.memory.wanted {
            self.manager.tell_progress(serial, false);
        }
    }

    /// The first reading of a connection: says so, and forgets what a restart has ended.
    fn greet(&mut self, reading: &mut Reading) {
        let memory = &mut self.manager.memory;
        let perlbal = &self.manager.settings.address;
        memory.counters.connections += 1;
        if let Some((start, version)) = reading.start.take() {
            let earlier = memory.earlier.as_ref();
            let earlier = earlier.and_then(|earlier| earlier.started);
            let before = memory.start.replace(start).or(earlier);
            let restarted = before.is_some_and(|before| before != start);
            let how = if restarted {
                ", which was restarted"
            } else {
                ""
            };
            let now = Instant::now();
            if memory.may_tell_of_connection(perlbal, now) {
                info!(%perlbal, "connected to Perlbal {version}{how}");
            }
            memory.version = Some(version);
            if restarted {
                // Its connections ended with it.
                let earlier = memory.earlier.iter_mut();
                let pools = earlier.flat_map(|earlier| &mut earlier.pools);
                pools.for_each(|(_, gone)| gone.clear());
                memory.told = Actual::default();
                memory.distrusted.clear();
                memory.spares.clear();
                if let Some((_, wanted)) = &mut memory.wanted {
                    wanted.take_spares(&memory.spares);
                }
                memory.leavers.clear();
            }
        }
        memory.unacknowledged.clear();
        self.vanished.removed(Instant::now());
        memory.leavers.interrupted();
        self.mark_unsealed(reading);
    }

    /// Tells where our pools are not as they were told to be; whether there is such a pool. Who
    /// went without us may have connections that no seal has reached.
    fn compare(&mut self, told: &Actual, fresh: &mut Actual) -> bool {
        let memory = &mut self.manager.memory;
        let Some((_, wanted)) = &memory.wanted else {
            return false;
        };
        let mut surprised = false;
        for (name, pool) in fresh
            .pools
            .iter_mut()
            .filter(|(name, _)| wanted.pools.contains_key(*name))
        {
            let nothing = ActualPool::default();
            let before = told.pools.get(name).unwrap_or(&nothing);
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
            let is_ours = wanted
                .pools
                .get(name)
                .is_some_and(|pool| pool.unserved.is_none());
            surprised |= is_ours;
            if reloaded {
                memory.distrusted.insert(name.clone());
            }
            let went: BTreeSet<_> = before.members.difference(&pool.members).cloned().collect();
            if is_ours && !memory.refused.contains(name) {
                let came = pool.members.difference(&before.members);
                warn!(
                    perlbal = %self.manager.settings.address, pool = %name,
                    "pool {name} was changed by someone else (by hand, or by its nodefile):{}{}; \
                     it is put right",
                    list("+", came), list("-", went.iter())
                );
            }
            self.unnoted.went(name, &went);
            pool.unsealed.extend(went);
        }
        surprised
    }
}

/// Whether it is a spare entry, which a nodefile does not have: Perlbal drops it when it reads that.
fn is_spare(member: &Endpoint) -> bool {
    matches!(member, Endpoint::Odd(text) if address_of(text).is_some())
}

/// What no seal has reached yet is not told by a reading, but known from before.
fn carry_unsealed(told: &Actual, fresh: &mut Actual) {
    for (name, pool) in &mut fresh.pools {
        let before = told
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
