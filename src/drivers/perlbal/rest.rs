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
use super::wire::Command;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

/// A member of a pool, as Perlbal names the pool.
pub type Membered = (PerlbalName, NodeAddr);

/// Removed members that are not at rest yet: each with the pools that it left, and since when.
pub type Unrest = BTreeMap<NodeAddr, BTreeMap<PerlbalName, Instant>>;

/// A member that is not sealed for good is at rest no sooner than so long after its removal. Also
/// the wait after a first look that showed it busy; each wait is twice the one before.
const SETTLED: Duration = Duration::from_millis(50);
/// The longest wait between two looks at a member that is busy.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// From the end of a look to the next one passes so many times what it took.
const SPARED: u32 = 20;
/// Or this, where a look took very long.
const LONGEST_SPARED: Duration = Duration::from_secs(3);
/// A first look waits so many times what the last look took, and no longer than [`SETTLED`]: where
/// looks are dear, most requests under way are to end before it.
const FIRST_WAITS: u32 = 4;

/// Of so many members at most the requests are counted one by one; each count is a command.
const COUNTED: usize = 100;

/// The removed members that are not at rest yet.
#[derive(Debug, Default)]
pub struct Leavers {
    members: BTreeMap<Membered, Leaver>,
    /// Counts removals and seals: a look judges who had the last of them before it began.
    events: u64,
    /// Counts up when someone comes or goes.
    version: u64,
    look_at: Option<Instant>,
    /// Between this look and the next.
    wait: Duration,
    under_way: Option<LookUnderWay>,
    /// When the last look ended, and how long it took.
    last: Option<(Instant, Duration)>,
}

/// A removed member that is not at rest yet.
#[derive(Debug)]
pub struct Leaver {
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
struct LookUnderWay {
    /// When it began. Its answers may have been there for long when they are read: pollbal may have stood still.
    began: Instant,
    /// What happens to a member from this event on is for the next look.
    event: u64,
    requests: BTreeMap<NodeAddr, u64>,
}

/// What a look showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// At rest now, and how long after the removal, if that was ours.
    pub at_rest: Vec<(Membered, Option<Duration>)>,
    /// Still at work: to be removed and sealed once more, in case a request came between.
    pub busy: Vec<Membered>,
}

impl Leavers {
    /// Takes a member that was removed at `now`. Gives whether its requests are to be counted, at
    /// once, so that the first look sees whether they grow.
    #[must_use]
    pub fn removed(&mut self, who: Membered, now: Instant) -> bool {
        self.enter(who, now, Origin::Removed);
        self.members.len() <= COUNTED
    }

    /// Takes one who is no member and whose connections may still be in use. Its requests are not
    /// counted: it may have answered anything since it left.
    pub fn found(&mut self, who: Membered, now: Instant) {
        self.enter(who, now, Origin::Found);
    }

    /// Takes one who left a pool that is not pollbal's: at rest when no connection to it is left.
    pub fn left_elsewhere(&mut self, who: Membered, now: Instant) {
        self.enter(who, now, Origin::Elsewhere);
    }

    /// Those of whom even an idle connection counts as busy.
    pub fn until_closed(&self) -> impl Iterator<Item = NodeAddr> {
        let leavers = self.members.iter();
        let until_closed = leavers.filter(|(_, leaver)| leaver.origin == Origin::Elsewhere);
        until_closed.map(|((_, addr), _)| *addr)
    }

    fn enter(&mut self, who: Membered, now: Instant, origin: Origin) {
        self.events += 1;
        let version = &mut self.version;
        let leaver = self.members.entry(who).or_insert_with(|| {
            *version += 1;
            Leaver {
                since: now,
                busy: false,
                origin,
                sealed: false,
                event: 0,
                requests: None,
            }
        });
        leaver.event = self.events;
        leaver.sealed = false;
        self.wait = SETTLED;
        let soon = self.soon(now);
        self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
    }

    /// When to look first at who leaves at `now`.
    fn soon(&self, now: Instant) -> Instant {
        let Some((ended, took)) = self.last else {
            return now;
        };
        let first = now + (took * FIRST_WAITS).min(SETTLED);
        first.max(ended + spared(took))
    }

    /// Takes a group that is sent now, in one piece, to a Perlbal that looks like this: notes whom
    /// it seals for good.
    pub fn take_group(&mut self, group: &[Command], told: &Actual) {
        if self.members.is_empty() {
            return;
        }
        let seals = |pool: &PerlbalName, service: &PerlbalName| {
            let is_it = |command: &Command| matches!(command, Command::Seal { service: sealed, pool: of } if sealed == service && of == pool);
            group.iter().any(is_it)
        };
        let whole = |pool: &PerlbalName| {
            let mut users = told.users(pool);
            users.all(|(service, _)| seals(pool, service))
        };
        let event = self.events + 1;
        let seal = |leaver: &mut Leaver| (leaver.sealed, leaver.event) = (true, event);
        for command in group {
            match command {
                Command::Remove(pool, gone) => {
                    let Some(addr) = gone.reached() else { continue };
                    let who = (pool.clone(), addr);
                    if let Some(leaver) = self.members.get_mut(&who).filter(|_| whole(pool)) {
                        seal(leaver);
                    }
                }
                Command::Reload { pool, members, .. } if whole(pool) => {
                    let left = self
                        .members
                        .iter_mut()
                        .filter(|((left, addr), _)| left == pool && !members.contains(addr));
                    left.for_each(|(_, leaver)| seal(leaver));
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
        left.by_ref().for_each(|(_, leaver)| leaver.sealed = false);
    }

    /// Forgets a member that is back, or whose connections cannot be told from others.
    pub fn forget(&mut self, who: &Membered) {
        if self.members.remove(who).is_some() {
            self.version += 1;
        }
        if self.members.is_empty() {
            self.look_at = None;
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
        self.under_way = None;
    }

    /// When to look next.
    #[must_use]
    pub fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Begins a look, unless one is under way: gives whose requests are to be counted. After the
    /// counts, [`end_look`](Self::end_look) takes who is busy.
    pub fn begin_look(&mut self, now: Instant) -> Option<BTreeSet<NodeAddr>> {
        self.look_at = Some(now + self.wait);
        if self.under_way.is_some() {
            return None;
        }
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.under_way = Some(LookUnderWay {
            began: now,
            event: self.events,
            requests: BTreeMap::new(),
        });
        let asked: BTreeSet<_> = self.members.keys().map(|(_, addr)| *addr).collect();
        Some(if asked.len() <= COUNTED {
            asked
        } else {
            BTreeSet::new()
        })
    }

    /// Those who left these pools.
    pub fn all(&self) -> impl Iterator<Item = (&Membered, &Leaver)> {
        self.members.iter()
    }

    /// Counts up when someone comes or goes.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All of them, by node.
    #[must_use]
    pub fn unrest(&self) -> Unrest {
        let mut unrest = Unrest::new();
        for ((pool, addr), leaver) in &self.members {
            let pools = unrest.entry(*addr).or_default();
            pools.insert(pool.clone(), leaver.since);
        }
        unrest
    }

    /// Takes how many requests `addr` has answered so far.
    pub fn count(&mut self, addr: NodeAddr, requests: u64) {
        for (_, leaver) in self
            .members
            .iter_mut()
            .filter(|((_, leaving), _)| *leaving == addr)
        {
            leaver.requests.get_or_insert(requests);
        }
        if let Some(look) = &mut self.under_way {
            look.requests.insert(addr, requests);
        }
    }

    /// Takes the addresses to which a connection is busy, the last that a look asks for. All of it
    /// was so much work for Perlbal.
    pub fn end_look(&mut self, busy: &BTreeSet<NodeAddr>, now: Instant, took: Duration) -> Look {
        let mut seen = Look::default();
        let Some(look) = self.under_way.take() else {
            return seen;
        };
        let mut unjudged = false;
        self.members.retain(|who, leaver| {
            if leaver.event > look.event {
                unjudged = true;
                return true;
            }
            let count = look.requests.get(&who.1).copied();
            let grown = count > leaver.requests.or(count);
            leaver.requests = count.or(leaver.requests);
            leaver.busy = grown || busy.contains(&who.1);
            if leaver.busy {
                seen.busy.push(who.clone());
                return true;
            }
            let seen_after = look.began.saturating_duration_since(leaver.since);
            if !leaver.sealed && seen_after < SETTLED {
                return true;
            }
            let left_for = (leaver.origin == Origin::Removed).then(|| now - leaver.since);
            seen.at_rest.push((who.clone(), left_for));
            false
        });
        self.version += seen.at_rest.len() as u64;
        self.last = Some((now, took));
        let next = self.look_at.filter(|_| !unjudged).unwrap_or(now);
        let next = next.max(now + spared(took));
        self.look_at = (!self.members.is_empty()).then_some(next);
        seen
    }
}

/// How long Perlbal is spared after a look that took so long.
pub(super) fn spared(took: Duration) -> Duration {
    (took * SPARED).min(LONGEST_SPARED)
}

#[cfg(test)]
mod tests;
