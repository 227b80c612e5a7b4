//! When to check which removed members are drained. Pure.
//!
//! A check costs the load balancer work, so that the delay before the next one follows what the last one took.

#![warn(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// Delay after a first check that showed a member busy; each further delay is twice as long. Also the maximum delay
/// before a first check.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Maximum delay between two checks of a member that is busy.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Delay from the end of a check to the next one, as a multiple of what it took.
const BACKOFF_FACTOR: u32 = 20;
/// Maximum of that delay, for checks that took very long.
const MAX_BACKOFF: Duration = Duration::from_secs(3);
/// Delay before a first check, as a multiple of what the last check took, at most [`FIRST_WAIT`]:
/// where checks are expensive, most requests in progress should end before it.
const FIRST_WAIT_FACTOR: u32 = 4;

/// When to check next.
#[derive(Debug, Default)]
pub(crate) struct DrainSchedule {
    check_at: Option<Instant>,
    /// Delay between this check and the next.
    wait: Duration,
    /// When the last check ended, and how long it took.
    last: Option<(Instant, Duration)>,
}

impl DrainSchedule {
    /// When the next check is due.
    pub(crate) fn check_at(&self) -> Option<Instant> {
        self.check_at
    }

    /// A member was removed.
    pub(crate) fn on_removed(&mut self, now: Instant) {
        self.wait = FIRST_WAIT;
        let soon = self.first_check(now);
        self.check_at = Some(self.check_at.map_or(soon, |at| at.min(soon)));
    }

    /// When to check a member first that leaves at `now`.
    fn first_check(&self, now: Instant) -> Instant {
        let Some((ended, took)) = self.last else {
            return now;
        };
        let first = now + (took * FIRST_WAIT_FACTOR).min(FIRST_WAIT);
        first.max(ended + backoff_after(took))
    }

    /// A check is due; it begins, unless the one before is in progress.
    pub(crate) fn on_due(&mut self, now: Instant, in_progress: bool) {
        self.check_at = Some(now + self.wait);
        if !in_progress {
            self.wait = (self.wait * 2).min(MAX_WAIT);
        }
    }

    /// A check has ended that took the load balancer this long. `unjudged`: it began before some members were removed,
    /// which are checked as soon as possible.
    pub(crate) fn on_ended(&mut self, now: Instant, took: Duration, unjudged: bool) {
        self.last = Some((now, took));
        let next = self.check_at.filter(|_| !unjudged).unwrap_or(now);
        self.check_at = Some(next.max(now + backoff_after(took)));
    }

    /// No member is left to check.
    pub(crate) fn cancel(&mut self) {
        self.check_at = None;
    }
}

/// Delay before a load balancer is queried again after a query that took this long.
pub(crate) fn backoff_after(took: Duration) -> Duration {
    (took * BACKOFF_FACTOR).min(MAX_BACKOFF)
}
