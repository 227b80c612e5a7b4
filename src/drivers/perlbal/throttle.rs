//! Leaves Perlbal time for its clients between our commands. Pure.
//!
//! Perlbal serves nobody while it works on commands, and a request takes several turns of its loop;
//! commands in each of these turns hold a request up as many times. So Perlbal's *work* on our
//! commands is a debt that is paid by leaving it alone for as long: from [`SHORT`] on nothing is
//! sent until all of it is paid. What changes meanwhile is planned together afterwards, which costs
//! Perlbal less than one after the other.
//!
//! Only work counts, not what the network takes. Perlbal runs commands in order and writes each
//! line at once, so it has worked on a response no longer than since the line before it was
//! received, nor than since its command was sent, less a round trip. And while it prints it does
//! not pause: silence in the middle of a response, or between responses to changes while changes
//! cost it little, is a network that holds lines back. (Perlbal does not set `TCP_NODELAY`: until
//! the other side acknowledges a line, which a relay may do after 40 ms, its system keeps the next
//! ones.)
//!
//! A change waits for a read no longer than [`HELD`], since it is small and urgent; reads wait for
//! everything.

#![warn(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Work that no client notices. A single change in a pool of 1,000 takes less.
const SHORT: Duration = Duration::from_millis(2);

/// Maximum debt, so that changes are not delayed for long.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Maximum debt for reads, of which a large one takes a tenth of a second.
const LONGEST_PAUSE_READING: Duration = Duration::from_millis(5);

/// Maximum delay of a change behind reads.
const HELD: Duration = Duration::from_millis(4);

/// Number of recent round trips of which the shortest counts, so that a path that becomes longer is
/// learned.
const TRIPS: usize = 8;

/// Delay from one ping to the next. So it is known within some seconds that Perlbal hangs, or that
/// the connection is lost, also while nothing changes; and how long a round trip is.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The same until [`TRIPS`] round trips are known: the first may be far too long, on a machine that
/// is busy while everything starts.
const FIRST_PING_EVERY: Duration = Duration::from_millis(50);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A command that costs Perlbal nothing: its response shows how long a round trip is. Sent as a
    /// read.
    Ping,
    /// A command that only reads.
    Read,
    /// A change.
    Change,
    /// A change that takes Perlbal long before it responds: it reads a nodefile.
    SlowChange,
}

/// Decides when commands may be sent.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Commands that are unanswered, the oldest first: when each was sent, and whether it was
    /// alone.
    unanswered: VecDeque<Sent>,
    /// When something was last received.
    received: Option<Instant>,
    /// Work that was not paid for at `settled`.
    debt: Duration,
    settled: Option<Instant>,
    /// The debt has become too large; all of it is paid.
    resting: bool,
    /// All work so far.
    worked: Duration,
    /// The last round trips.
    trips: VecDeque<Duration>,
    /// The work of the last two changes for which it is known exactly.
    changes: [Duration; 2],
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    kind: Kind,
    /// Nothing else was unanswered, so that its response shows how long a round trip is.
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

    /// Something was received: lines of the response to the oldest command, and perhaps more.
    pub fn received(&mut self, now: Instant) {
        let Some(oldest) = self.unanswered.front().copied() else {
            return;
        };
        let first = self.received.is_none_or(|received| received < oldest.at);
        let took = now.saturating_duration_since(oldest.at);
        let is_ping = first && oldest.alone && oldest.kind == Kind::Ping;
        // No response takes less than a round trip, whatever Perlbal had to do for it.
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
        self.received = Some(now);
    }

    /// The oldest command is answered.
    pub fn answered(&mut self) {
        self.unanswered.pop_front();
    }

    /// Delay from one ping to the next.
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

    /// When a command of this kind may be sent if nothing is received until then; `None` where only
    /// a response can show.
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
        // Time that has passed and cannot have been work has paid for earlier work.
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
        let received = self.received.filter(|received| *received >= oldest.at);
        let received = received.filter(|_| !self.takes_long(oldest.kind));
        let debt = if self.resting {
            self.debt
        } else {
            Duration::ZERO
        };
        if let Some(received) = received {
            // Held back by the network, and Perlbal finished long ago.
            return Some(received + SHORT + debt);
        }
        let only_readings = self.unanswered.iter().all(|sent| sent.kind <= Kind::Read);
        let begun = (oldest.at + slack).max(self.received.unwrap_or(oldest.at));
        Some(begun + if only_readings { HELD } else { LONGEST_PAUSE })
    }

    /// Whether a command of this kind may be sent.
    #[must_use]
    pub fn may_send(&self, kind: Kind, now: Instant) -> bool {
        self.opens_at(kind, now).is_some_and(|at| at <= now)
    }

    /// How long Perlbal can have worked on the oldest command since something was last received.
    fn waited(&self, oldest: Sent, trip: Duration, now: Instant) -> Duration {
        let since_sent = now
            .saturating_duration_since(oldest.at)
            .saturating_sub(trip);
        let since_received = self
            .received
            .map(|received| now.saturating_duration_since(received));
        since_received.map_or(since_sent, |since_received| since_sent.min(since_received))
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

    /// Time that has passed and was no work pays for earlier work.
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
#[allow(clippy::disallowed_methods)]
mod tests;
