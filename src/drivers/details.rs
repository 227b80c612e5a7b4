//! What a driver knows of its load balancer, for people and for metrics.
//!
//! *Desired* is what the latest snapshot says; *sent* is what the load balancer has once it has run
//! everything that was sent; *observed* is what the last read showed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a driver knows of its load balancer.
#[derive(Clone, Debug)]
pub struct DriverDetails {
    /// What the load balancer is and its version, or why it is not connected, for people. Without a
    /// duration, or every look would find something new.
    pub connection: String,
    /// Since when it is in sync, or is not.
    pub in_sync_since: Instant,
    /// What is wrong there, or worth knowing, one line each.
    pub problems: Vec<String>,
    /// The requested pools, by name.
    pub pools: Vec<PoolDetails>,
    /// How pools there still differ from the desired ones, for people; empty if they do not.
    pub differences: String,
    /// What the driver has done.
    pub counters: Counters,
}

/// A pool at a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDetails {
    /// Its name there.
    pub name: String,
    /// The services there that use it.
    pub services: Vec<String>,
    /// Number of desired members.
    pub desired: usize,
    /// Number of members that were sent; `None` if the pool is not there.
    pub sent: Option<usize>,
    /// Number of members observed by the last read; `None` if no read showed the pool.
    pub observed: Option<usize>,
    /// When it was last read.
    pub observed_at: Option<Instant>,
    /// Members were sent since, which `observed` therefore does not show.
    pub sent_since: bool,
    /// Desired, sent and observed members are the same; if the load balancer is in sync, disregarding
    /// members sent since it was read.
    pub same: bool,
}

/// What a driver has done since it was started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Commands given to a connection, by kind, such as `add`.
    pub commands: BTreeMap<&'static str, u64>,
    /// Commands that were answered with an error.
    pub errors: u64,
    /// Connections over which the actual state was read; all but the first are reconnects.
    pub connections: u64,
    /// Reads of the actual state, of everything or of some pools.
    pub reads: u64,
    /// From a snapshot to the acknowledgement of the last change that it caused here.
    pub apply: Histogram,
    /// From a node's response to the acknowledgement of the last change that it caused here. Of
    /// snapshots so close together that the driver saw only the last, the last one's.
    pub propagation: Histogram,
}

impl Counters {
    /// Counts a command of this kind that is given to a connection.
    pub fn count_command(&mut self, kind: &'static str) {
        *self.commands.entry(kind).or_default() += 1;
    }
}

/// Durations, counted by bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    counts: [u64; Self::BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// The inclusive upper bounds of the buckets, in seconds. Longer durations have a bucket of their
    /// own.
    pub const BOUNDS: [f64; 12] = [
        0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0,
    ];

    /// Counts a duration.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = Self::BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum += took;
    }

    /// The number of durations in each bucket, not cumulated; one more than there are bounds.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let mut histogram = Histogram::default();
        for micros in [100, 500, 501, 5_000_000, 5_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts = histogram.counts();
        assert_eq!(counts[..3], [2, 1, 0]);
        assert_eq!(counts[11..], [1, 1]);
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.sum(), Duration::from_micros(10_001_102));
    }
}
