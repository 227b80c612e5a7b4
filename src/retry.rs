//! The back-off policy: delays before something that failed is tried again.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

const FIRST: Duration = Duration::from_millis(50);
/// Maximum delay.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// An endless series of delays that grow from 50 ms to 5 s or another maximum, with jitter.
///
/// Each is two fifths longer than the previous one, so that a delay is less than half of the time that has passed: what
/// comes back after two seconds is noticed within one.
#[derive(Debug)]
pub struct Retry {
    policy: ExponentialBackoff,
    longest: Duration,
}

impl Retry {
    /// Delays that grow to [`LONGEST_WAIT`].
    #[must_use]
    pub fn new() -> Self {
        Self::up_to(LONGEST_WAIT)
    }

    /// Delays that grow to `longest`, for something that is cheap to try.
    #[must_use]
    pub fn up_to(longest: Duration) -> Self {
        let mut policy = ExponentialBackoff {
            initial_interval: FIRST,
            current_interval: FIRST,
            max_interval: longest,
            multiplier: 1.4,
            randomization_factor: 0.2,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        policy.reset();
        Self { policy, longest }
    }

    /// The next delay.
    pub fn next_wait(&mut self) -> Duration {
        // Never `None`: there is no `max_elapsed_time`.
        self.policy
            .next_backoff()
            .unwrap_or(self.longest)
            .clamp(FIRST, self.longest)
    }

    /// Starts over with the shortest delay, after a success.
    pub fn reset(&mut self) {
        self.policy.reset();
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
    fn waits_with_a_limit_of_their_own_do_not_pass_it() {
        let longest = Duration::from_millis(250);
        let mut retry = Retry::up_to(longest);
        let waits: Vec<_> = (0..50).map(|_| retry.next_wait()).collect();
        assert!(waits.iter().all(|wait| (FIRST..=longest).contains(wait)));
        assert!(waits[49] > longest / 2);
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
