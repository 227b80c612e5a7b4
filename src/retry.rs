//! The one back-off policy: how long to wait before what failed is tried again.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

const FIRST: Duration = Duration::from_millis(50);
/// The longest wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Waits that grow from 50 ms to 5 s, with jitter, without end.
///
/// They grow by two fifths at a time, so that a wait is never half of the time that has passed:
/// what comes back after two seconds is noticed within one.
pub struct Retry(ExponentialBackoff);

impl Retry {
    /// Begins with the shortest wait.
    #[must_use]
    pub fn new() -> Self {
        let mut policy = ExponentialBackoff {
            initial_interval: FIRST,
            current_interval: FIRST,
            max_interval: LONGEST_WAIT,
            multiplier: 1.4,
            randomization_factor: 0.2,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        policy.reset();
        Self(policy)
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        // `None` would mean that `max_elapsed_time` is over; there is none.
        self.0
            .next_backoff()
            .unwrap_or(LONGEST_WAIT)
            .clamp(FIRST, LONGEST_WAIT)
    }

    /// Begins again with the shortest wait, after a success.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_their_bounds_and_never_end() {
        let mut retry = Retry::new();
        let waits: Vec<_> = (0..50).map(|_| retry.next_wait()).collect();
        assert!(
            waits
                .iter()
                .all(|wait| (FIRST..=LONGEST_WAIT).contains(wait)),
            "{waits:?}"
        );
        assert!(waits[0] < Duration::from_millis(100));
        assert!(waits[49] > Duration::from_secs(3));
        retry.reset();
        assert!(retry.next_wait() < Duration::from_millis(100));
    }

    #[test]
    fn what_returns_within_two_seconds_is_noticed_within_one() {
        for _ in 0..100 {
            let mut retry = Retry::new();
            let mut passed = Duration::ZERO;
            while passed < Duration::from_secs(2) {
                let wait = retry.next_wait();
                assert!(wait < Duration::from_secs(1), "{wait:?} after {passed:?}");
                passed += wait;
            }
        }
    }
}
