//! How often something may happen: a token bucket to which time is an argument.

use std::time::{Duration, Instant};

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// This many times at once.
    pub burst: u32,
    /// And then once in this time.
    pub every: Duration,
}

/// What is left of a [`Rate`]; full at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it will be full again; `None` before anything was taken.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Whether nothing can be taken at `now`.
    #[must_use]
    pub fn is_empty(&self, rate: Rate, now: Instant) -> bool {
        self.missing(now) + rate.every > rate.every * rate.burst
    }

    /// Whether all that was taken is back.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.missing(now).is_zero()
    }

    /// Takes one, whether there is one or not.
    pub fn take(&mut self, rate: Rate, now: Instant) {
        self.full_at = Some(now + self.missing(now) + rate.every);
    }

    /// When one can be taken.
    #[must_use]
    pub fn next(&self, rate: Rate, now: Instant) -> Instant {
        let wait = (self.missing(now) + rate.every).saturating_sub(rate.every * rate.burst);
        now + wait
    }

    fn missing(&self, now: Instant) -> Duration {
        let full_at = self.full_at.unwrap_or(now);
        full_at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        every: Duration::from_secs(10),
    };

    /// How many can be taken at once.
    fn taken(bucket: &mut Bucket, now: Instant) -> usize {
        let mut taken = 0;
        while !bucket.is_empty(RATE, now) {
            bucket.take(RATE, now);
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_burst_is_there_at_first_and_then_one_each_time() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        assert_eq!(taken(&mut bucket, start), 3);
        let next = bucket.next(RATE, start);
        assert_eq!(next, start + RATE.every);
        let before = next.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(taken(&mut bucket, before), 0);
        assert_eq!(taken(&mut bucket, next), 1);
        assert!(!bucket.is_full(next + 2 * RATE.every));
        assert!(bucket.is_full(next + 3 * RATE.every));
        assert_eq!(taken(&mut bucket, next + 60 * RATE.every), 3);
    }
}
