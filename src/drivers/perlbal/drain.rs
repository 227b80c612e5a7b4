//! Removed members that are not drained yet: one with a busy connection still works on a request.
//! Pure.
//!
//! A check queries which of Perlbal's connections are busy. It judges only members whose removal
//! and seal Perlbal had run before the query.
//!
//! A member is *sealed for good* when its removal and the seals of all services that use its pool
//! were sent in one group: Perlbal runs these before it does anything else, and from then on each
//! connection to the member is closed instead of being used again (Service.pm,
//! `verify_generation`). The first check that finds none busy is then enough. Where a group could
//! not hold them all, a request may have come in between and made connections count as valid again;
//! such a member must be observed idle for [`SETTLE_TIME`] longer.
//!
//! A check prints a line per socket, 13 µs each on Perlbal 1.80, during which Perlbal serves
//! nobody: 27 ms with 2,000 sockets. So [`DrainSchedule`] decides when the next one is due.

#![warn(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::plan::Actual;
use super::protocol::Command;
use crate::drivers::drain_schedule::{DrainSchedule, FIRST_WAIT};
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::driver_status::Draining;
use crate::model::node::NodeAddr;

/// A member of a pool, by the pool's name in Perlbal.
pub type PoolMember = (PerlbalName, NodeAddr);

/// Minimum time from its removal until a member that is not sealed for good is drained.
const SETTLE_TIME: Duration = FIRST_WAIT;

/// Maximum number of members whose requests are counted one by one; each count is a command.
const MAX_COUNTED: usize = 100;

/// The removed members that are not drained yet.
#[derive(Debug, Default)]
pub struct DrainTracker {
    members: BTreeMap<PoolMember, DrainingMember>,
    /// Counts removals and seals: a check judges members whose last one was before it began.
    events: u64,
    /// Counts up when a member is added or removed.
    version: u64,
    schedule: DrainSchedule,
    in_progress: Option<CheckInProgress>,
}

/// A removed member that is not drained yet.
#[derive(Debug)]
pub struct DrainingMember {
    /// When it was removed, or when that was noticed.
    pub since: Instant,
    /// The last check showed a busy connection, or requests that it had answered meanwhile.
    pub busy: bool,
    origin: Origin,
    /// It can get no more requests.
    sealed: bool,
    /// The last removal or seal that concerned it.
    event: u64,
    /// The requests that the node had answered at the last check.
    requests: Option<u64>,
}

/// How it is known that a member left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Pollbal removed it.
    Removed,
    /// Only its connections show that it was a member.
    Found,
    /// It left a pool that is not pollbal's, whose services are not sealed: an idle connection to
    /// it may be used again.
    Elsewhere,
}

#[derive(Debug)]
struct CheckInProgress {
    /// When it began. Its responses may be old when they are read: pollbal may have been paused.
    began: Instant,
    /// Members whose last event is this one or a later one are judged by the next check.
    event: u64,
    requests: BTreeMap<NodeAddr, u64>,
}

/// What a check showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DrainCheck {
    /// Drained now, and how long after the removal, if that was pollbal's.
    pub drained: Vec<(PoolMember, Option<Duration>)>,
    /// Still busy: to be removed and sealed once more, in case a request came between.
    pub busy: Vec<PoolMember>,
}

impl DrainTracker {
    /// Adds a member that was removed at `now`. Returns whether its requests are to be counted at
    /// once, so that the first check sees whether they grow.
    #[must_use]
    pub fn removed(&mut self, who: PoolMember, now: Instant) -> bool {
        self.enter(who, now, Origin::Removed);
        self.members.len() <= MAX_COUNTED
    }

    /// Adds one that is no member and whose connections may still be in use. Its requests are not
    /// counted: it may have answered any number since it left.
    pub fn adopt(&mut self, who: PoolMember, now: Instant) {
        self.enter(who, now, Origin::Found);
    }

    /// Adds one that left a pool which is not pollbal's: it is drained when no connection to it is
    /// open.
    pub fn left_elsewhere(&mut self, who: PoolMember, now: Instant) {
        self.enter(who, now, Origin::Elsewhere);
    }

    /// Members of which even an idle connection counts as busy.
    pub fn until_closed(&self) -> impl Iterator<Item = NodeAddr> {
        let draining = self.members.iter();
        let until_closed = draining.filter(|(_, member)| member.origin == Origin::Elsewhere);
        until_closed.map(|((_, addr), _)| *addr)
    }

    fn enter(&mut self, who: PoolMember, now: Instant, origin: Origin) {
        self.events += 1;
        let version = &mut self.version;
        let member = self.members.entry(who).or_insert_with(|| {
            *version += 1;
            DrainingMember {
                since: now,
                busy: false,
                origin,
                sealed: false,
                event: 0,
                requests: None,
            }
        });
        member.event = self.events;
        member.sealed = false;
        self.schedule.on_removed(now);
    }

    /// Records a group that is sent now, in one piece, to a Perlbal in this state, and which
    /// members it seals for good.
    pub fn record_group(&mut self, group: &[Command], expected: &Actual) {
        if self.members.is_empty() {
            return;
        }
        let seals = |pool: &PerlbalName, service: &PerlbalName| {
            let is_it = |command: &Command| matches!(command, Command::Seal { service: sealed, pool: of } if sealed == service && of == pool);
            group.iter().any(is_it)
        };
        let whole = |pool: &PerlbalName| {
            let mut users = expected.users(pool);
            users.all(|(service, _)| seals(pool, service))
        };
        let event = self.events + 1;
        let seal = |member: &mut DrainingMember| (member.sealed, member.event) = (true, event);
        for command in group {
            match command {
                Command::Remove(pool, gone) => {
                    let Some(addr) = gone.reached() else { continue };
                    let who = (pool.clone(), addr);
                    if let Some(member) = self.members.get_mut(&who).filter(|_| whole(pool)) {
                        seal(member);
                    }
                }
                Command::Reload { pool, members, .. } if whole(pool) => {
                    let left = self
                        .members
                        .iter_mut()
                        .filter(|((left, addr), _)| left == pool && !members.contains(addr));
                    left.for_each(|(_, member)| seal(member));
                }
                _ => {}
            }
        }
        self.events = event;
    }

    /// Perlbal rejected a removal from this pool, or a seal of it.
    pub fn on_rejected(&mut self, pool: &PerlbalName) {
        let mut left = self
            .members
            .iter_mut()
            .filter(|((left, _), _)| left == pool);
        left.by_ref().for_each(|(_, member)| member.sealed = false);
    }

    /// Removes a member that is back, or whose connections cannot be distinguished from others.
    pub fn forget(&mut self, who: &PoolMember) {
        if self.members.remove(who).is_some() {
            self.version += 1;
        }
        if self.members.is_empty() {
            self.schedule.cancel();
        }
    }

    /// Removes all: the Perlbal that had connections to them is gone.
    pub fn clear(&mut self) {
        let version = self.version + 1;
        *self = Self {
            version,
            ..Self::default()
        };
    }

    /// Drops a check whose responses will not come, since the connection is gone.
    pub fn interrupted(&mut self) {
        self.in_progress = None;
    }

    /// When the next check is due.
    #[must_use]
    pub fn check_at(&self) -> Option<Instant> {
        self.schedule.check_at()
    }

    /// Begins a check, unless one is in progress: returns the nodes whose requests are to be
    /// counted. After the counts, [`end_check`](Self::end_check) takes which are busy.
    pub fn begin_check(&mut self, now: Instant) -> Option<BTreeSet<NodeAddr>> {
        self.schedule.on_due(now, self.in_progress.is_some());
        if self.in_progress.is_some() {
            return None;
        }
        self.in_progress = Some(CheckInProgress {
            began: now,
            event: self.events,
            requests: BTreeMap::new(),
        });
        let nodes: BTreeSet<_> = self.members.keys().map(|(_, addr)| *addr).collect();
        Some(if nodes.len() <= MAX_COUNTED {
            nodes
        } else {
            BTreeSet::new()
        })
    }

    /// The members, by the pool that they left.
    pub fn all(&self) -> impl Iterator<Item = (&PoolMember, &DrainingMember)> {
        self.members.iter()
    }

    /// Counts up when a member is added or removed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The members by node.
    #[must_use]
    pub fn per_node(&self) -> Draining {
        let mut draining = Draining::new();
        for ((pool, addr), member) in &self.members {
            let pools = draining.entry(*addr).or_default();
            pools.insert(pool.shared(), member.since);
        }
        draining
    }

    /// Records the number of requests that `addr` has answered so far.
    pub fn count(&mut self, addr: NodeAddr, requests: u64) {
        for (_, member) in self
            .members
            .iter_mut()
            .filter(|((_, leaving), _)| *leaving == addr)
        {
            member.requests.get_or_insert(requests);
        }
        if let Some(check) = &mut self.in_progress {
            check.requests.insert(addr, requests);
        }
    }

    /// Decides which members are drained, by the addresses to which a connection is busy, the last thing that a check
    /// queries. `took` is how much work all of it was for Perlbal.
    pub fn end_check(
        &mut self,
        busy: &BTreeSet<NodeAddr>,
        now: Instant,
        took: Duration,
    ) -> DrainCheck {
        let mut result = DrainCheck::default();
        let Some(check) = self.in_progress.take() else {
            return result;
        };
        let mut unjudged = false;
        self.members.retain(|who, member| {
            if member.event > check.event {
                unjudged = true;
                return true;
            }
            let count = check.requests.get(&who.1).copied();
            let grown = count > member.requests.or(count);
            member.requests = count.or(member.requests);
            member.busy = grown || busy.contains(&who.1);
            if member.busy {
                result.busy.push(who.clone());
                return true;
            }
            let idle_after = check.began.saturating_duration_since(member.since);
            if !member.sealed && idle_after < SETTLE_TIME {
                return true;
            }
            let left_for = (member.origin == Origin::Removed).then(|| now - member.since);
            result.drained.push((who.clone(), left_for));
            false
        });
        self.version += result.drained.len() as u64;
        self.schedule.on_ended(now, took, unjudged);
        if self.members.is_empty() {
            self.schedule.cancel();
        }
        result
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests;
