//! Readings over a connection: when one begins, and what is done with what it shows.

use std::collections::BTreeSet;
use std::mem;
use std::time::Instant;

use tracing::{info, warn};

use super::super::plan::{Actual, ActualPool};
use super::super::reading::Reading;
use super::super::rest::Leavers;
use super::super::session::SessionError;
use super::super::wire::{Command, Endpoint};
use super::{Link, Progress, list};
use crate::model::names::PerlbalName;

/// After so many surprises in a row pollbal no longer says that it is about to be in sync.
const MANY_SURPRISES: u32 = 3;

impl Link<'_> {
    pub(super) fn read_whole(&mut self) {
        self.resync_at = Instant::now() + self.manager.settings.resync_interval;
        self.read_back_at = None;
        self.dirty.clear();
        let (reading, commands) = Reading::whole(self.told.is_none());
        self.begin_reading(reading, commands);
    }

    pub(super) fn read_back(&mut self) {
        self.read_back_at = None;
        if let Some(told) = &self.told {
            let (reading, commands) = Reading::of_pools(mem::take(&mut self.dirty), told);
            self.begin_reading(reading, commands);
        }
    }

    fn begin_reading(&mut self, reading: Reading, commands: Vec<Command>) {
        self.reading = Some(reading);
        self.session.ask(commands);
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
        let next = reading
            .answer(command, lines, later, |path| self.manager.own_file(path))
            .map_err(|source| SessionError::not_understood(command, source))?;
        self.session.ask(next);
        if reading.is_done() {
            self.end_reading(reading);
        } else {
            self.reading = Some(reading);
        }
        Ok(())
    }

    /// A pool whose members were asked for is not there.
    pub(super) fn take_absence(&mut self, pool: &PerlbalName) {
        let Some(mut reading) = self.reading.take() else {
            return;
        };
        reading.missing(pool);
        if reading.is_done() {
            self.end_reading(reading);
        } else {
            self.reading = Some(reading);
        }
    }

    fn end_reading(&mut self, mut reading: Reading) {
        let mut surprised = false;
        if let Some(mut told) = self.told.take() {
            surprised = self.compare(&told, &reading.fresh) || !reading.absent.is_empty();
            carry_unsealed(&told, &mut reading.fresh);
            if reading.is_whole() {
                told = reading.fresh;
                surprised |= !mem::take(&mut self.refused).is_empty();
            } else {
                told.pools.extend(reading.fresh.pools);
                told.pools.retain(|name, _| !reading.absent.contains(name));
            }
            self.told = Some(told);
        } else {
            self.greet(&mut reading);
            self.told = Some(reading.fresh);
        }
        self.surprises = if surprised { self.surprises + 1 } else { 0 };
        if surprised {
            // The files of pools that are distrusted now are not to be reloaded again.
            self.wanted = self.manager.wanted();
            self.admit_defeat();
        }
        self.make_it_so();
    }

    /// When reading after reading shows something else than was told, the snapshot cannot be
    /// brought in force for now. It is still tried.
    fn admit_defeat(&self) {
        if let Some((serial, _)) = self
            .wanted
            .as_ref()
            .filter(|_| self.surprises >= MANY_SURPRISES)
        {
            self.manager.progress.send_replace(Progress {
                serial: *serial,
                in_sync: false,
            });
        }
    }

    /// The first reading of a connection: says so, and forgets what a restart has ended.
    fn greet(&mut self, reading: &mut Reading) {
        let memory = &mut self.manager.memory;
        let perlbal = &self.manager.settings.address;
        if let Some((start, version)) = reading.start.take() {
            let restarted = memory
                .start
                .replace(start)
                .is_some_and(|before| before != start);
            let how = if restarted {
                ", which was restarted"
            } else {
                ""
            };
            info!(%perlbal, "connected to Perlbal {version}{how}");
            if restarted {
                memory.told = Actual::default();
                memory.distrusted.clear();
                memory.leavers = Leavers::default();
            }
        }
        memory.failure = None;
        memory.leavers.interrupted();
        self.mark_unsealed(reading);
    }

    /// Marks what no seal may have reached: who was a member when the last connection ended and is
    /// none now, and who is in no pool but has connections.
    fn mark_unsealed(&mut self, reading: &mut Reading) {
        let memory = &mut self.manager.memory;
        let before = mem::take(&mut memory.told);
        let members: BTreeSet<_> = reading
            .fresh
            .pools
            .values()
            .flat_map(|pool| &pool.members)
            .cloned()
            .collect();
        let backends = reading.backends.iter().copied().map(Endpoint::Node);
        let strays: BTreeSet<_> = backends
            .filter(|backend| !members.contains(backend))
            .collect();
        let used: BTreeSet<_> = reading.fresh.used_pools().cloned().collect();
        for (name, pool) in reading
            .fresh
            .pools
            .iter_mut()
            .filter(|(name, _)| used.contains(name))
        {
            let earlier = before
                .pools
                .get(name)
                .map(|pool| pool.members.clone())
                .unwrap_or_default();
            pool.unsealed = earlier
                .into_iter()
                .filter(|member| !pool.members.contains(member))
                .collect();
            let ours = self
                .wanted
                .as_ref()
                .is_some_and(|(_, wanted)| wanted.pools.contains_key(name));
            for gone in pool.unsealed.iter().filter(|_| ours) {
                if let Endpoint::Node(addr) = gone {
                    let who = (name.clone(), *addr);
                    // Not counted: who is known only now may have answered anything since.
                    _ = memory.leavers.removed(who, Instant::now());
                }
            }
            pool.unsealed.extend(strays.iter().cloned());
        }
    }

    /// Tells where our pools are not as they were told to be; whether there is such a pool.
    fn compare(&mut self, told: &Actual, fresh: &Actual) -> bool {
        let Some((_, wanted)) = &self.wanted else {
            return false;
        };
        let mut surprised = false;
        for (name, pool) in fresh
            .pools
            .iter()
            .filter(|(name, _)| wanted.pools.contains_key(*name))
        {
            let nothing = ActualPool::default();
            let before = told.pools.get(name).unwrap_or(&nothing);
            let reloaded = self.reloaded.remove(name);
            if before.members == pool.members {
                continue;
            }
            surprised = true;
            if reloaded {
                self.manager.memory.distrusted.insert(name.clone());
            }
            if !self.refused.contains(name) {
                let came = pool.members.difference(&before.members);
                let went = before.members.difference(&pool.members);
                warn!(
                    perlbal = %self.manager.settings.address, pool = %name,
                    "pool {name} was changed by someone else (by hand, or by its nodefile):{}{}; \
                     it is put right",
                    list("+", came), list("-", went)
                );
            }
        }
        surprised
    }
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
