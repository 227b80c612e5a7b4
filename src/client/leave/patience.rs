//! How long a leave may take, and how long a load balancer does not answer.

use std::time::{Duration, Instant};

use crate::awake::Pauses;

/// Whose turn it is has so long to be gone, if no time is given: as long as `leave_timeout` unless
/// that is configured otherwise.
const TURN: Duration = Duration::from_secs(600);

/// The time that is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For all of it, as it was given.
    timeout: Option<Duration>,
    /// From when on the time counts.
    since: Instant,
}

impl Patience {
    pub(super) fn new(timeout: Option<Duration>, now: Instant) -> Self {
        let since = now;
        Self { timeout, since }
    }

    /// Until now the node had to wait for its turn: that counts only where a time was given.
    pub(super) fn has_waited(&mut self, now: Instant) {
        if self.timeout.is_none() {
            self.since = now;
        }
    }

    pub(super) fn left(&self, now: Instant) -> Duration {
        self.limit()
            .saturating_sub(now.saturating_duration_since(self.since))
    }

    /// What it may take from the beginning, or from its turn on.
    pub(super) fn limit(&self) -> Duration {
        self.timeout.unwrap_or(TURN)
    }
}

/// How long a load balancer has not answered, while this program ran.
#[derive(Debug)]
pub(super) struct Silence {
    since: Option<Instant>,
    pauses: Pauses,
}

impl Silence {
    /// It answers.
    pub(super) fn none() -> Self {
        Self {
            since: None,
            pauses: Pauses::new(),
        }
    }

    /// It does not answer, or still does not.
    pub(super) fn goes_on(&mut self) {
        let pause = self.pauses.since_asked().unwrap_or_default();
        let since = self.since.map(|since| since + pause.time);
        self.since = since.or_else(|| Some(Instant::now()));
    }

    /// Whether it has not answered for as long as `limit`.
    pub(super) fn lasts(&self, limit: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn without_a_time_the_turn_alone_has_a_limit() {
        let start = Instant::now();
        let mut patience = Patience::new(None, start);
        patience.has_waited(start + 90 * MINUTE);
        assert_eq!(patience.left(start + 91 * MINUTE), 9 * MINUTE);
        assert_eq!(patience.left(start + 101 * MINUTE), Duration::ZERO);
    }

    #[test]
    fn a_time_that_is_given_counts_in_all() {
        let start = Instant::now();
        let mut patience = Patience::new(Some(30 * MINUTE), start);
        patience.has_waited(start + 20 * MINUTE);
        assert_eq!(patience.left(start + 21 * MINUTE), 9 * MINUTE);
    }
}
