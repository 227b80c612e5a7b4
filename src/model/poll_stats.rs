//! Counts polls: by result and by duration.

use std::time::Duration;

use super::announcement::Status;
use super::observation::{Failure, Observation, Poll};

/// Upper bounds of the poll duration histogram's buckets, in seconds.
pub const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// The results of a poll, as the metrics label them.
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

/// Statistics of all polls since the start of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PollStats {
    /// Number of polls by result, in the order of [`RESULTS`].
    pub results: [u64; RESULTS.len()],
    /// Number of polls by duration, in the order of [`BUCKETS`], then those above the last bound. Not cumulative: each
    /// poll counts in one bucket only.
    pub durations: [u64; BUCKETS.len() + 1],
    /// Total duration of all polls.
    pub total_duration: Duration,
}

impl PollStats {
    /// Counts a poll.
    pub fn record(&mut self, poll: &Poll) {
        self.results[result_index(&poll.observation)] += 1;
        let seconds = poll.took.as_secs_f64();
        self.durations[BUCKETS.partition_point(|bound| *bound < seconds)] += 1;
        self.total_duration += poll.took;
    }
}

/// The index in [`RESULTS`] of an observation.
fn result_index(observation: &Observation) -> usize {
    match observation {
        Observation::Announced(announcement) => match announcement.status {
            Status::Serving => 0,
            Status::Leaving => 1,
        },
        Observation::Nothing => 2,
        Observation::Failed(failure) => match failure {
            Failure::Connect(_) | Failure::NoNewConnections(_) => 3,
            Failure::Timeout(_) | Failure::TimeoutOnNew(_) | Failure::Reported => 4,
            Failure::Status(_) => 5,
            Failure::Broken(_) | Failure::Malformed(_) => 6,
            Failure::TooLong(_) => 7,
            Failure::NotUnderstood(..) | Failure::Tags(..) => 8,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_poll_counts_once_by_result_and_once_by_duration() {
        let mut stats = PollStats::default();
        for (observation, took) in [
            (Observation::Nothing, 1),
            (
                Observation::Failed(Failure::Timeout(Duration::from_millis(500))),
                500,
            ),
            (Observation::Failed(Failure::Status(500)), 60_000),
        ] {
            let poll = Poll::at(Instant::now(), observation);
            stats.record(&Poll {
                took: Duration::from_millis(took),
                ..poll
            });
        }
        assert_eq!(stats.results, [0, 0, 1, 0, 1, 1, 0, 0, 0]);
        assert_eq!(stats.durations, [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(stats.total_duration, Duration::from_millis(60_501));
    }
}
