//! What a manager has done since its start, in numbers. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::protocol::Command;

/// What a manager has done since its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Commands that were given to a connection, by kind: `add`, `remove`, `seal`, `show_pool`, ….
    pub commands: BTreeMap<&'static str, u64>,
    /// Commands that Perlbal answered with an error.
    pub errors: u64,
    /// Connections over which what is there was read; all but the first are reconnects.
    pub connections: u64,
    /// Readings that came to their end, of everything or of some pools.
    pub readings: u64,
    /// From the moment in which the manager had a snapshot to Perlbal's last `OK` to it, of
    /// snapshots that changed something here.
    pub snapshot_to_ok: Histogram,
    /// From a node's answer to Perlbal's last `OK` to the snapshot that it caused. Of snapshots
    /// that came so soon behind each other that the manager saw but the last, it is the last's.
    pub answer_to_ok: Histogram,
}

impl Counters {
    /// Takes a command that is given to a connection.
    pub fn command(&mut self, command: &Command) {
        *self.commands.entry(kind(command)).or_default() += 1;
    }
}

/// What kind of command it is, in one word.
fn kind(command: &Command) -> &'static str {
    match command {
        Command::Ping => "ping",
        Command::Uptime => "uptime",
        Command::DumpConfig => "dumpconfig",
        Command::Backends => "backends",
        Command::Socks => "socks",
        Command::Nodes(_) => "nodes",
        Command::States => "states",
        Command::Queues => "queues",
        Command::Pending => "pending",
        Command::NoVerify => "noverify",
        Command::Proc => "proc",
        Command::ShowPool(_) => "show_pool",
        Command::ShowService { .. } => "show_service",
        Command::CountMembers | Command::ShowPools { .. } => "show_pools",
        Command::CreatePool(_) => "create_pool",
        Command::Add(..) => "add",
        Command::AddSpare(..) => "add_spare",
        Command::Remove(..) => "remove",
        Command::Seal { .. } => "seal",
        Command::Wake { .. } => "wake",
        Command::Reload { .. } => "reload",
    }
}

/// How often something took how long.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    counts: [u64; Self::BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// The upper bounds of the buckets, in seconds, each within its bucket. What took longer than
    /// the last is in a bucket of its own.
    pub const BOUNDS: [f64; 12] = [
        0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0,
    ];

    /// Takes how long it took once.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = Self::BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum += took;
    }

    /// How often it took how long: by bucket, not cumulated; one more than there are bounds.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How often there was something to take time.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All the time together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_it_does_not_pass() {
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
