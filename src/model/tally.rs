//! Polls counted, by what they gave and how long they took.

use std::time::Duration;

use super::announcement::Status;
use super::observation::{Failure, Observation, Poll};

/// The upper bounds of the buckets of poll times, in seconds.
pub const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// What a poll may give, in the words of metrics.
pub const RESULTS: [&str; 9] = [
    "serving",
    "leaving",
    "idle",
    "connect",
    "timeout",
    "status",
    "broken",
    "too_long",
    "not_understood",
];

/// All polls since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// By [`RESULTS`].
    pub results: [u64; RESULTS.len()],
    /// By [`BUCKETS`], and behind them those that took longer still; each counts in one bucket only.
    pub times: [u64; BUCKETS.len() + 1],
    /// The times of all together.
    pub time: Duration,
}

impl Tally {
    /// Counts a poll.
    pub fn count(&mut self, poll: &Poll) {
        self.results[result(&poll.observation)] += 1;
        let seconds = poll.took.as_secs_f64();
        self.times[BUCKETS.partition_point(|bound| *bound < seconds)] += 1;
        self.time += poll.took;
    }
}

/// The place of what a poll gave in [`RESULTS`].
fn result(observation: &Observation) -> usize {
    match observation {
        Observation::Announced(announcement) => match announcement.status {
            Status::Serving => 0,
            Status::Leaving => 1,
        },
        Observation::Nothing => 2,
        Observation::Failed(failure) => match failure {
            Failure::Connect(_) => 3,
            Failure::Timeout => 4,
            Failure::Status(_) => 5,
            Failure::Broken(_) => 6,
            Failure::TooLong(_) => 7,
            Failure::NotUnderstood(..) => 8,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_poll_counts_once_by_result_and_once_by_time() {
        let mut tally = Tally::default();
        for (observation, took) in [
            (Observation::Nothing, 1),
            (Observation::Failed(Failure::Timeout), 500),
            (Observation::Failed(Failure::Status(500)), 60_000),
        ] {
            let poll = Poll::at(Instant::now(), observation);
            tally.count(&Poll {
                took: Duration::from_millis(took),
                ..poll
            });
        }
        assert_eq!(tally.results, [0, 0, 1, 0, 1, 1, 0, 0, 0]);
        assert_eq!(tally.times, [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(tally.time, Duration::from_millis(60_501));
    }
}
