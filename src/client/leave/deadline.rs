//! The time limits of a leave, and how long a load balancer has not responded.

use std::time::{Duration, Instant};

use crate::awake::Pauses;

/// Default time limit from the node's turn until it is gone: the default of `leave_timeout`.
const DEFAULT_LIMIT: Duration = Duration::from_secs(600);

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// The time limit that the user gave; it includes the wait for the node's turn.
    timeout: Option<Duration>,
    /// The start of the time limit.
    since: Instant,
}

impl Deadline {
    pub(super) fn new(timeout: Option<Duration>, now: Instant) -> Self {
        let since = now;
        Self { timeout, since }
    }

    /// The node had to wait for its turn until now, which counts only if the user gave a time limit.
    pub(super) fn exclude_wait(&mut self, now: Instant) {
        if self.timeout.is_none() {
            self.since = now;
        }
    }

    pub(super) fn remaining(&self, now: Instant) -> Duration {
        self.limit()
            .saturating_sub(now.saturating_duration_since(self.since))
    }

    /// The time limit, from the start or from the node's turn.
    pub(super) fn limit(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_LIMIT)
    }
}

/// How long a load balancer has not responded, not counting the time in which this program itself was paused.
#[derive(Debug)]
pub(super) struct Silence {
    since: Option<Instant>,
    pauses: Pauses,
}

impl Silence {
    /// The load balancer responds.
    pub(super) fn none() -> Self {
        Self {
            since: None,
            pauses: Pauses::new(),
        }
    }

    /// The load balancer did not respond.
    pub(super) fn record(&mut self) {
        let pause = self.pauses.since_last_call().unwrap_or_default();
        let since = self.since.map(|since| since + pause.time);
        self.since = since.or_else(|| Some(Instant::now()));
    }

    /// Whether the load balancer has not responded for at least `limit`.
    pub(super) fn has_lasted(&self, limit: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_default_limit_starts_with_the_nodes_turn() {
        let start = Instant::now();
        let mut deadline = Deadline::new(None, start);
        deadline.exclude_wait(start + 90 * MINUTE);
        assert_eq!(deadline.remaining(start + 91 * MINUTE), 9 * MINUTE);
        assert_eq!(deadline.remaining(start + 101 * MINUTE), Duration::ZERO);
    }

    #[test]
    fn a_given_limit_includes_the_wait_for_the_nodes_turn() {
        let start = Instant::now();
        let mut deadline = Deadline::new(Some(30 * MINUTE), start);
        deadline.exclude_wait(start + 20 * MINUTE);
        assert_eq!(deadline.remaining(start + 21 * MINUTE), 9 * MINUTE);
    }
}
