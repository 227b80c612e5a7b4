//! Reading what is there: when a read begins, and what follows from what it shows.

use std::collections::BTreeSet;
use std::mem;
use std::time::Instant;

use super::super::error::SessionError;
use super::super::notices::Notice;
use super::super::plan::{Actual, ActualPool};
use super::super::protocol::{Command, Endpoint};
use super::super::read_state::StateRead;
use super::super::spare::address_of;
use super::super::view::Observed;
use super::{Connection, QueryKind};
use crate::drivers::perlbal::name::PerlbalName;

/// Number of consecutive mismatches from which on the Perlbal is reported as not in sync.
const MANY_MISMATCHES: u32 = 3;

impl Connection<'_> {
    /// Reads all pools and services.
    pub(super) fn read_everything(&mut self, now: Instant) {
        self.resync_at = now + self.setup.settings.resync_interval;
        let (read, commands) = StateRead::whole(!self.is_read);
        self.begin_whole_read(read, commands, now);
    }

    /// Reads them to confirm what was acknowledged. Only a read that counts no pool replaces the next resync.
    pub(super) fn read_to_confirm(&mut self, now: Instant) {
        let (read, commands) = StateRead::confirmation(&self.state.expected, &self.dirty);
        if !read.counts() {
            self.resync_at = now + self.setup.settings.resync_interval;
        }
        self.begin_whole_read(read, commands, now);
    }

    fn begin_whole_read(&mut self, read: StateRead, commands: Vec<Command>, now: Instant) {
        self.read_back_at = None;
        self.has_rejected = false;
        self.dirty.clear();
        self.begin_confirmation(now);
        self.begin_read(read, commands);
    }

    pub(super) fn read_back(&mut self) {
        self.read_back_at = None;
        let pools = mem::take(&mut self.dirty);
        if pools.is_empty() {
            return;
        }
        let (read, commands) = StateRead::of_pools(pools, &self.state.expected);
        self.begin_read(read, commands);
    }

    fn begin_read(&mut self, read: StateRead, commands: Vec<Command>) {
        self.read = Some(read);
        self.query(QueryKind::StateRead, commands);
    }

    pub(super) fn on_state_read(
        &mut self,
        command: &Command,
        lines: &[String],
        now: Instant,
    ) -> Result<(), SessionError> {
        let Some(mut read) = self.read.take() else {
            return Ok(());
        };
        let later = self.pipeline.unanswered_changes();
        let expected = &self.state.expected;
        let own_files = &self.state.own_files;
        let own_file = |path: &str| own_files.own_file(self.setup.pool_directory, path);
        let next = read
            .answer(command, lines, expected, later, own_file)
            .map_err(|source| SessionError::protocol(command, source))?;
        self.query(QueryKind::StateRead, next);
        self.continue_read(read, now);
        Ok(())
    }

    /// A pool whose members were queried does not exist.
    pub(super) fn on_pool_absent(&mut self, pool: &PerlbalName, now: Instant) {
        let Some(mut read) = self.read.take() else {
            return;
        };
        read.missing(pool);
        self.continue_read(read, now);
    }

    /// Ends a read that has everything.
    fn continue_read(&mut self, mut read: StateRead, now: Instant) {
        if read.is_done() && self.needs_connections(&read) {
            let command = read.query_connections(&mut self.newly_used);
            // Queried after all changes so far. An earlier response shows nothing about later removals.
            if command.is_some() {
                let mut left = mem::take(&mut self.state.left_unused);
                self.untracked.left_unused.append(&mut left);
            }
            self.query(QueryKind::StateRead, command);
        }
        if read.is_done() {
            self.end_read(read, now);
        } else {
            self.read = Some(read);
        }
    }

    fn end_read(&mut self, mut read: StateRead, now: Instant) {
        let mut mismatched = false;
        self.state.counters.reads += 1;
        self.record_observed(&mut read, now);
        if read.is_whole() {
            self.end_confirmation(now);
        }
        if self.is_read {
            let mut expected = mem::take(&mut self.state.expected);
            mismatched = self.compare(&expected, &mut read.fresh) || !read.absent.is_empty();
            carry_unsealed(&expected, &mut read.fresh);
            self.mark_newly_used(&expected, &mut read);
            if read.is_whole() {
                expected = read.fresh;
                mismatched |= self.clear_rejected();
            } else {
                expected.pools.extend(read.fresh.pools);
                expected.pools.retain(|name, _| !read.absent.contains(name));
            }
            self.state.expected = expected;
        } else {
            self.on_first_read(&mut read, now);
            self.state.expected = read.fresh;
            self.is_read = true;
        }
        self.mismatches = if mismatched { self.mismatches + 1 } else { 0 };
        if mismatched {
            // Nodefiles that turned out to be unreliable must not be reloaded again.
            self.update_desired();
            self.report_not_in_sync(now);
        }
        self.plan_due = true;
    }

    /// Records the members that the pools were observed to have.
    fn record_observed(&mut self, read: &mut StateRead, now: Instant) {
        let observed = &mut self.state.observed;
        if read.is_whole() {
            observed.retain(|name, _| read.counted.contains(name));
        }
        observed.retain(|name, _| !read.absent.contains(name));
        let shown = read.fresh.pools.keys();
        for name in shown.filter(|name| !read.counted.contains(*name)) {
            let since = read.since.remove(name).unwrap_or_default();
            observed.insert(name.clone(), Observed { at: now, since });
        }
    }

    /// Everything was read: commands that were rejected before are sent again, if they are still
    /// needed. Returns whether there were any.
    fn clear_rejected(&mut self) -> bool {
        if self.has_rejected || self.state.rejected.is_empty() {
            return false;
        }
        self.state.rejected.clear();
        // Unanswered changes were planned as if the rejected ones had been done.
        self.pending.reset();
        true
    }

    /// If read after read shows something else than expected, the snapshot cannot be brought into
    /// effect for now. It is still tried.
    fn report_not_in_sync(&mut self, now: Instant) {
        if self.mismatches < MANY_MISMATCHES {
            return;
        }
        if let Some((serial, _)) = self.state.desired {
            self.state.record_progress(serial, false, now);
        }
    }

    /// The first read over a connection: forgets what a restart has ended.
    fn on_first_read(&mut self, read: &mut StateRead, now: Instant) {
        let state = &mut *self.state;
        state.counters.connections += 1;
        if let Some((start, version)) = read.start.take() {
            let earlier = state.earlier.as_ref();
            let earlier = earlier.and_then(|earlier| earlier.started);
            let before = state.start.replace(start).or(earlier);
            let restarted = before.is_some_and(|before| before != start);
            state.version = Some(version.clone());
            state.log_about_connection(now, || Notice::Connected { version, restarted });
            if restarted {
                // Its connections ended with it.
                let earlier = state.earlier.iter_mut();
                let pools = earlier.flat_map(|earlier| &mut earlier.pools);
                pools.for_each(|(_, gone)| gone.clear());
                state.expected = Actual::default();
                state.unreliable_nodefiles.clear();
                state.spares.clear();
                if let Some((_, desired)) = &mut state.desired {
                    desired.set_spares(&state.spares);
                }
                state.draining.clear();
                state.left_unused.clear();
            }
        }
        state.unacknowledged.clear();
        state.draining.interrupted();
        self.vanished.on_removal(now);
        self.mark_unsealed(read);
    }

    /// Compares our pools with what was expected of them, and returns whether any differs. Members that pollbal did not
    /// remove may have connections that no seal has reached.
    fn compare(&mut self, expected: &Actual, fresh: &mut Actual) -> bool {
        let Some((_, desired)) = &self.state.desired else {
            return false;
        };
        let mut mismatched = false;
        let mut notices = Vec::new();
        for (name, pool) in &mut fresh.pools {
            let Some(desired) = desired.pools.get(name) else {
                continue;
            };
            let nothing = ActualPool::default();
            let before = expected.pools.get(name).unwrap_or(&nothing);
            let reloaded = self.reloaded.remove(name);
            let ours = |member: &&Endpoint| !is_spare(member);
            let before_ours = before.members.iter().filter(ours);
            if before_ours.eq(pool.members.iter().filter(ours)) {
                continue;
            }
            // A pool in which no node has served yet is a person's: only nodes that are known to be out are removed.
            let is_ours = desired.unserved.is_none();
            mismatched |= is_ours;
            if reloaded {
                self.state.unreliable_nodefiles.insert(name.clone());
            }
            let removed: BTreeSet<_> = before.members.difference(&pool.members).cloned().collect();
            if is_ours && !self.state.rejected.contains(name) {
                let added = pool.members.difference(&before.members);
                notices.push(Notice::ChangedElsewhere {
                    pool: name.clone(),
                    added: added.cloned().collect(),
                    removed: removed.iter().cloned().collect(),
                });
            }
            self.untracked.add(name, &removed);
            pool.unsealed.extend(removed);
        }
        for notice in notices {
            self.state.log(notice);
        }
        mismatched
    }
}

/// Whether it is a spare entry, which a nodefile does not have: Perlbal drops it when it reads that.
fn is_spare(member: &Endpoint) -> bool {
    matches!(member, Endpoint::Unparsed(text) if address_of(text).is_some())
}

/// Which members no seal has reached yet is not shown by a read, but known from before.
fn carry_unsealed(expected: &Actual, fresh: &mut Actual) {
    for (name, pool) in &mut fresh.pools {
        let Some(before) = expected.pools.get(name) else {
            continue;
        };
        let gone = before.unsealed.difference(&pool.members);
        pool.unsealed.extend(gone.cloned());
    }
}
