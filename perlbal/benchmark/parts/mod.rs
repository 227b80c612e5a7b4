//! The parts of a run, each with its own goals.

mod change;
pub(crate) mod churn;
pub(crate) mod cost;
pub(crate) mod fleet;
pub(crate) mod haproxy;
pub(crate) mod http;
pub(crate) mod memory;
pub(crate) mod nudge;
pub(crate) mod quiet;
pub(crate) mod reaction;
pub(crate) mod scrapes;
pub(crate) mod soak;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod trouble;

use std::path::PathBuf;
use std::time::Duration;

/// What holds for all parts.
pub(crate) struct Plan {
    /// The program that is measured.
    pub(crate) pollbal: PathBuf,
    /// Everything for a moment only.
    pub(crate) quick: bool,
    /// How long a steady state is watched.
    pub(crate) window: Duration,
    /// Each process may have this many open files.
    pub(crate) descriptors: u64,
    pub(crate) soak_polls: u64,
}

/// Descriptors that a process has beside its connections to nodes.
const OTHER_DESCRIPTORS: u64 = 200;

impl Plan {
    /// Each node is polled so often where a part does not say otherwise.
    fn interval(&self) -> Duration {
        Duration::from_millis(if self.quick { 200 } else { 1000 })
    }

    /// Whether a connection to each of these nodes can be kept, on either side.
    fn can_keep(&self, nodes: usize) -> bool {
        self.descriptors >= nodes as u64 + OTHER_DESCRIPTORS
    }
}

/// 10000 as "10,000".
fn thousands(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1000), number % 1000),
    }
}
