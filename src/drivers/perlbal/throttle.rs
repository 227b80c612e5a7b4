//! Leaves Perlbal time for its clients between our commands. Pure.
//!
//! Perlbal serves nobody while it works on commands, and a request takes several turns of its loop;
//! commands in each of these turns hold a request up as many times. So Perlbal's *work* on our
//! commands is a debt that is paid by leaving it alone for as long: from [`SHORT`] on nothing is sent
//! until all of it is paid. What changes meanwhile is planned together afterwards, which costs
//! Perlbal less than one after the other.
//!
//! Only work counts, not what the network takes. Perlbal runs commands in order and writes each line
//! at once, so it has worked on an answer no longer than since the line before it was heard, nor than
//! since its command was sent, less a round trip. And while it prints it does not pause: silence in
//! the middle of an answer, or between answers to changes while changes cost it little, is a network that
//! holds lines back. (Perlbal does not set `TCP_NODELAY`: until the other side acknowledges a line,
//! which a relay may do after 40 ms, its system keeps the next ones.)
//!
//! A change waits for no reading for longer than [`HELD`], since it is small and what it says is
//! urgent; readings wait for everything.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Less work than this no client feels. A single change in a pool of 1,000 takes less.
const SHORT: Duration = Duration::from_millis(2);

/// Maximum debt, so that what is to be said does not grow old.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Maximum debt for readings, of which a large one takes a tenth of a second.
const LONGEST_PAUSE_READING: Duration = Duration::from_millis(5);

/// A change is held back behind readings no longer than this.
const HELD: Duration = Duration::from_millis(4);

/// Number of round trips of which the shortest counts, so that a way that becomes longer is learned.
const TRIPS: usize = 8;

/// From one ping to the next. So it is known within some seconds that Perlbal stands still, or that
/// the connection is gone without a word, also while nothing changes; and how long the way is.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The same until there are as many round trips as count: the first may be far too long, on a machine
/// that is busy with the start of everything.
const FIRST_PING_EVERY: Duration = Duration::from_millis(50);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A command that costs Perlbal nothing: its answer shows how long a round trip is. Sent as a
    /// reading.
    Ping,
    /// A command that only reads.
    Read,
    /// A change.
    Change,
    /// A change that takes Perlbal long before it answers: a nodefile is read.
    SlowChange,
}

/// When something may be sent.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Commands that are unanswered, the oldest first: when each was sent, and whether it was alone.
    unanswered: VecDeque<Sent>,
    /// When something was last heard.
    heard: Option<Instant>,
    /// Work that was not yet paid for when that was last settled.
    debt: Duration,
    settled: Option<Instant>,
    /// The debt has become too large; it is paid to its end.
    resting: bool,
    /// All work so far.
    worked: Duration,
    /// The last round trips.
    trips: VecDeque<Duration>,
    /// The work of the last two changes of which it is known well.
    changes: [Duration; 2],
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    kind: Kind,
    /// Nothing else was unanswered, so that its answer shows how long a round trip is.
    alone: bool,
}

impl Throttle {
    /// A command was sent.
    pub fn sent(&mut self, kind: Kind, now: Instant) {
        let alone = self.unanswered.is_empty();
        if alone {
            self.pay(now, Duration::ZERO);
        }
        let at = now;
        self.unanswered.push_back(Sent { at, kind, alone });
    }

    /// Something was heard: lines of the answer to the oldest command, and perhaps more.
    pub fn heard(&mut self, now: Instant) {
        let Some(oldest) = self.unanswered.front().copied() else {
            return;
        };
        let first = self.heard.is_none_or(|heard| heard < oldest.at);
        let took = now.saturating_duration_since(oldest.at);
        let is_ping = first && oldest.alone && oldest.kind == Kind::Ping;
        // No answer comes sooner than after a round trip, whatever Perlbal had to do for it.
        if is_ping || took < self.trip() {
            self.trips.push_back(took);
            if self.trips.len() > TRIPS {
                self.trips.pop_front();
            }
        }
        let waited = self.waited(oldest, self.trip(), now);
        if first && oldest.kind == Kind::Change {
            self.changes = [self.changes[1], waited];
        }
        let held_back = !first && waited >= SHORT && !self.takes_long(oldest.kind);
        let work = if held_back { Duration::ZERO } else { waited };
        self.pay(now, work);
        self.owe(oldest.kind, work);
        self.heard = Some(now);
    }

    /// The oldest command is answered.
    pub fn answered(&mut self) {
        self.unanswered.pop_front();
    }

    /// From one ping to the next.
    #[must_use]
    pub fn ping_every(&self) -> Duration {
        if self.trips.len() < TRIPS {
            FIRST_PING_EVERY
        } else {
            PING_EVERY
        }
    }

    /// All of Perlbal's work on our commands so far.
    #[must_use]
    pub fn worked(&self) -> Duration {
        self.worked
    }

    /// From when on a command of this kind may be sent if nothing is heard until then; `None` where
    /// only an answer can tell.
    #[must_use]
    pub fn opens_at(&self, kind: Kind, now: Instant) -> Option<Instant> {
        let Some(oldest) = self.unanswered.front().copied() else {
            return Some(match self.settled {
                Some(settled) if self.resting => settled + self.debt,
                _ => now,
            });
        };
        // Twice a round trip, since this one may take longer than the shortest.
        let slack = 2 * self.trip();
        let waited = self.waited(oldest, slack, now);
        // What has passed and cannot have been work has paid for earlier work.
        let passed = self.settled.map(|at| now.saturating_duration_since(at));
        let idle = passed.unwrap_or_default().saturating_sub(waited);
        let debt = self.debt.saturating_sub(idle);
        let resting = self.resting && !debt.is_zero();
        if !resting && debt + waited < SHORT {
            return Some(now);
        }
        if resting && now + debt <= oldest.at + slack {
            return Some(now + debt);
        }
        if kind <= Kind::Read || oldest.kind == Kind::SlowChange {
            return None;
        }
        let heard = self.heard.filter(|heard| *heard >= oldest.at);
        let heard = heard.filter(|_| !self.takes_long(oldest.kind));
        let debt = if self.resting {
            self.debt
        } else {
            Duration::ZERO
        };
        if let Some(heard) = heard {
            // Held back by the network, and Perlbal long done.
            return Some(heard + SHORT + debt);
        }
        let only_readings = self.unanswered.iter().all(|sent| sent.kind <= Kind::Read);
        let begun = (oldest.at + slack).max(self.heard.unwrap_or(oldest.at));
        Some(begun + if only_readings { HELD } else { LONGEST_PAUSE })
    }

    /// Whether a command of this kind may be sent.
    #[must_use]
    pub fn may_send(&self, kind: Kind, now: Instant) -> bool {
        self.opens_at(kind, now).is_some_and(|at| at <= now)
    }

    /// How long Perlbal can have worked on the oldest command since something was last heard.
    fn waited(&self, oldest: Sent, trip: Duration, now: Instant) -> Duration {
        let since_sent = now
            .saturating_duration_since(oldest.at)
            .saturating_sub(trip);
        let since_heard = self.heard.map(|heard| now.saturating_duration_since(heard));
        since_heard.map_or(since_sent, |since_heard| since_sent.min(since_heard))
    }

    /// Whether Perlbal may be silent for long because it works on such a command.
    fn takes_long(&self, kind: Kind) -> bool {
        match kind {
            Kind::Ping | Kind::Read => false,
            Kind::Change => self.changes.iter().all(|work| *work >= SHORT / 2),
            Kind::SlowChange => true,
        }
    }

    /// The shortest of the last round trips.
    fn trip(&self) -> Duration {
        self.trips.iter().min().copied().unwrap_or_default()
    }

    /// What has passed and was no work pays for earlier work.
    fn pay(&mut self, now: Instant, work: Duration) {
        let passed = now.saturating_duration_since(self.settled.replace(now).unwrap_or(now));
        self.debt = self.debt.saturating_sub(passed.saturating_sub(work));
        self.resting &= !self.debt.is_zero();
    }

    fn owe(&mut self, kind: Kind, work: Duration) {
        self.worked += work;
        let most = match kind {
            Kind::Ping | Kind::Read => LONGEST_PAUSE_READING.max(self.debt),
            Kind::Change | Kind::SlowChange => LONGEST_PAUSE,
        };
        self.debt = (self.debt + work).min(most);
        self.resting |= self.debt >= SHORT;
    }
}

#[cfg(test)]
mod tests;
