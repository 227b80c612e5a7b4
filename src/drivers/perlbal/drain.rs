//! Who was removed and is not yet at rest: a removed member to which a connection is busy still
//! works on a request. Pure.
//!
//! A look asks Perlbal which connections are busy. It judges only those whose removal, and whose
//! seal, Perlbal had run before it was asked.
//!
//! A member is *sealed for good* when its removal and the seals of all services that use its pool
//! were sent in one group: Perlbal runs these before it does anything else, and from then on each
//! connection to the member is closed instead of being used again (Service.pm,
//! `verify_generation`). The first look that finds none busy is then enough. Where a group could
//! not hold them all, a request may have come in between and made connections count as valid
//! again; such a member must be seen idle for [`SETTLED`] longer.
//!
//! A look is a line per socket, 13 µs each on Perlbal 1.80, during which Perlbal serves nobody: 27 ms
//! with 2,000 sockets. So the time from one look to the next follows what the last one took.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::plan::Actual;
use super::protocol::Command;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

/// A member of a pool, as Perlbal names the pool.
pub type PoolMember = (PerlbalName, NodeAddr);

/// Removed members that are not at rest yet: each with the pools that it left, and since when.
pub type Draining = BTreeMap<NodeAddr, BTreeMap<PerlbalName, Instant>>;

/// A member that is not sealed for good is at rest no sooner than so long after its removal. Also
/// the wait after a first look that showed it busy; each wait is twice the one before.
const SETTLE_TIME: Duration = Duration::from_millis(50);
/// The longest wait between two looks at a member that is busy.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// From the end of a look to the next one passes so many times what it took.
const BACKOFF_FACTOR: u32 = 20;
/// Or this, where a look took very long.
const MAX_BACKOFF: Duration = Duration::from_secs(3);
/// A first look waits so many times what the last look took, and no longer than [`SETTLED`]: where
/// looks are dear, most requests under way are to end before it.
const FIRST_WAIT_FACTOR: u32 = 4;

/// Of so many members at most the requests are counted one by one; each count is a command.
const MAX_COUNTED: usize = 100;

/// The removed members that are not at rest yet.
#[derive(Debug, Default)]
pub struct DrainTracker {
    members: BTreeMap<PoolMember, DrainingMember>,
    /// Counts removals and seals: a look judges who had the last of them before it began.
    events: u64,
    /// Counts up when someone comes or goes.
    version: u64,
    check_at: Option<Instant>,
    /// Between this look and the next.
    wait: Duration,
    in_progress: Option<CheckInProgress>,
    /// When the last look ended, and how long it took.
    last: Option<(Instant, Duration)>,
}

/// A removed member that is not at rest yet.
#[derive(Debug)]
pub struct DrainingMember {
    /// When it was removed, or when that was noticed.
    pub since: Instant,
    /// The last look showed a busy connection, or requests that it had answered meanwhile.
    pub busy: bool,
    origin: Origin,
    /// No request can come to it any more.
    sealed: bool,
    /// The last thing that was done to it.
    event: u64,
    /// The requests that the node had answered when last looked at.
    requests: Option<u64>,
}

/// How it came to be known that a member left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It was removed by us just now.
    Removed,
    /// Only its connections tell that it ever was there.
    Found,
    /// It left a pool that is not ours, whose services we do not seal: an idle connection to it may
    /// be used again.
    Elsewhere,
}

#[derive(Debug)]
struct CheckInProgress {
    /// When it began. Its answers may have been there for long when they are read: pollbal may have stood still.
    began: Instant,
    /// What happens to a member from this event on is for the next look.
    event: u64,
    requests: BTreeMap<NodeAddr, u64>,
}

/// What a look showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DrainCheck {
    /// At rest now, and how long after the removal, if that was ours.
    pub drained: Vec<(PoolMember, Option<Duration>)>,
    /// Still at work: to be removed and sealed once more, in case a request came between.
    pub busy: Vec<PoolMember>,
}

impl DrainTracker {
    /// Takes a member that was removed at `now`. Gives whether its requests are to be counted, at
    /// once, so that the first look sees whether they grow.
    #[must_use]
    pub fn removed(&mut self, who: PoolMember, now: Instant) -> bool {
        self.enter(who, now, Origin::Removed);
        self.members.len() <= MAX_COUNTED
    }

    /// Takes one who is no member and whose connections may still be in use. Its requests are not
    /// counted: it may have answered anything since it left.
    pub fn adopt(&mut self, who: PoolMember, now: Instant) {
        self.enter(who, now, Origin::Found);
    }

    /// Takes one who left a pool that is not pollbal's: at rest when no connection to it is left.
    pub fn left_elsewhere(&mut self, who: PoolMember, now: Instant) {
        self.enter(who, now, Origin::Elsewhere);
    }

    /// Those of whom even an idle connection counts as busy.
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
        self.wait = SETTLE_TIME;
        let soon = self.soon(now);
        self.check_at = Some(self.check_at.map_or(soon, |at| at.min(soon)));
    }

    /// When to look first at who leaves at `now`.
    fn soon(&self, now: Instant) -> Instant {
        let Some((ended, took)) = self.last else {
            return now;
        };
        let first = now + (took * FIRST_WAIT_FACTOR).min(SETTLE_TIME);
        first.max(ended + backoff_after(took))
    }

    /// Takes a group that is sent now, in one piece, to a Perlbal that looks like this: notes whom
    /// it seals for good.
    pub fn take_group(&mut self, group: &[Command], expected: &Actual) {
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

    /// Takes word that Perlbal refused to remove from, or to seal, this pool.
    pub fn refused(&mut self, pool: &PerlbalName) {
        let mut left = self
            .members
            .iter_mut()
            .filter(|((left, _), _)| left == pool);
        left.by_ref().for_each(|(_, member)| member.sealed = false);
    }

    /// Forgets a member that is back, or whose connections cannot be told from others.
    pub fn forget(&mut self, who: &PoolMember) {
        if self.members.remove(who).is_some() {
            self.version += 1;
        }
        if self.members.is_empty() {
            self.check_at = None;
        }
    }

    /// Forgets everyone: the Perlbal that had connections to them is gone.
    pub fn clear(&mut self) {
        let version = self.version + 1;
        *self = Self {
            version,
            ..Self::default()
        };
    }

    /// Forgets a look whose answers will not come, since the connection is gone.
    pub fn interrupted(&mut self) {
        self.in_progress = None;
    }

    /// When to look next.
    #[must_use]
    pub fn check_at(&self) -> Option<Instant> {
        self.check_at
    }

    /// Begins a look, unless one is under way: gives whose requests are to be counted. After the
    /// counts, [`end_look`](Self::end_look) takes who is busy.
    pub fn begin_check(&mut self, now: Instant) -> Option<BTreeSet<NodeAddr>> {
        self.check_at = Some(now + self.wait);
        if self.in_progress.is_some() {
            return None;
        }
        self.wait = (self.wait * 2).min(MAX_WAIT);
        self.in_progress = Some(CheckInProgress {
            began: now,
            event: self.events,
            requests: BTreeMap::new(),
        });
        let asked: BTreeSet<_> = self.members.keys().map(|(_, addr)| *addr).collect();
        Some(if asked.len() <= MAX_COUNTED {
            asked
        } else {
            BTreeSet::new()
        })
    }

    /// Those who left these pools.
    pub fn all(&self) -> impl Iterator<Item = (&PoolMember, &DrainingMember)> {
        self.members.iter()
    }

    /// Counts up when someone comes or goes.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All of them, by node.
    #[must_use]
    pub fn by_node(&self) -> Draining {
        let mut draining = Draining::new();
        for ((pool, addr), member) in &self.members {
            let pools = draining.entry(*addr).or_default();
            pools.insert(pool.clone(), member.since);
        }
        draining
    }

    /// Takes how many requests `addr` has answered so far.
    pub fn count(&mut self, addr: NodeAddr, requests: u64) {
        for (_, member) in self
            .members
            .iter_mut()
            .filter(|((_, leaving), _)| *leaving == addr)
        {
            member.requests.get_or_insert(requests);
        }
        if let Some(look) = &mut self.in_progress {
            look.requests.insert(addr, requests);
        }
    }

    /// Takes the addresses to which a connection is busy, the last that a look asks for. All of it
    /// was so much work for Perlbal.
    pub fn end_check(
        &mut self,
        busy: &BTreeSet<NodeAddr>,
        now: Instant,
        took: Duration,
    ) -> DrainCheck {
        let mut result = DrainCheck::default();
        let Some(look) = self.in_progress.take() else {
            return result;
        };
        let mut unjudged = false;
        self.members.retain(|who, member| {
            if member.event > look.event {
                unjudged = true;
                return true;
            }
            let count = look.requests.get(&who.1).copied();
            let grown = count > member.requests.or(count);
            member.requests = count.or(member.requests);
            member.busy = grown || busy.contains(&who.1);
            if member.busy {
                result.busy.push(who.clone());
                return true;
            }
            let seen_after = look.began.saturating_duration_since(member.since);
            if !member.sealed && seen_after < SETTLE_TIME {
                return true;
            }
            let left_for = (member.origin == Origin::Removed).then(|| now - member.since);
            result.drained.push((who.clone(), left_for));
            false
        });
        self.version += result.drained.len() as u64;
        self.last = Some((now, took));
        let next = self.check_at.filter(|_| !unjudged).unwrap_or(now);
        let next = next.max(now + backoff_after(took));
        self.check_at = (!self.members.is_empty()).then_some(next);
        result
    }
}

/// How long Perlbal is spared after a look that took so long.
pub(super) fn backoff_after(took: Duration) -> Duration {
    (took * BACKOFF_FACTOR).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests;
