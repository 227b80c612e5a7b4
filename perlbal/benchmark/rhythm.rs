//! How evenly requests arrive: the spans between two polls of the same node, compared with the interval.

use std::fmt;
use std::str::FromStr;

/// Deviations are counted in steps of this many nanoseconds, up to a second; what is more counts as a second.
const STEP: u64 = 10_000;
const STEPS: usize = 100_000;

/// Counts spans. It takes a subtraction and an increment each, as the nodes must stay cheap.
pub(crate) struct Rhythm {
    interval: u64,
    deviations: Vec<u32>,
    nodes: u64,
    spans: u64,
    missed: u64,
}

impl Rhythm {
    pub(crate) fn new(interval: u64) -> Self {
        Self {
            interval,
            deviations: vec![0; STEPS + 1],
            nodes: 0,
            spans: 0,
            missed: 0,
        }
    }

    /// Takes a node's first poll.
    pub(crate) fn begin(&mut self) {
        self.nodes += 1;
    }

    /// Takes the span between two polls of a node.
    pub(crate) fn record(&mut self, span: u64) {
        let deviation = span.abs_diff(self.interval);
        let step = usize::try_from(deviation / STEP).unwrap_or(STEPS);
        self.deviations[step.min(STEPS)] += 1;
        self.spans += 1;
        // As many polls as are missing in between.
        if self.interval > 0 && span > self.interval {
            self.missed += (span - self.interval / 2) / self.interval;
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            nodes: self.nodes,
            spans: self.spans,
            missed: self.missed,
            p50: self.quantile(0.50),
            p99: self.quantile(0.99),
            max: self.quantile(1.0),
        }
    }

    /// The upper edge of the step in which this part of all deviations ends.
    fn quantile(&self, part: f64) -> f64 {
        let expected = part * self.spans as f64;
        let mut passed = 0;
        for (step, count) in (1_u64..).zip(&self.deviations) {
            passed += u64::from(*count);
            if passed > 0 && passed as f64 >= expected {
                return (step * STEP) as f64 / 1e6;
            }
        }
        0.0
    }
}

/// Deviations from the interval, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    /// Nodes that were polled at all.
    pub(crate) nodes: u64,
    pub(crate) spans: u64,
    /// Polls that did not come between two that did.
    pub(crate) missed: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// All polls, the first of each node too.
    pub(crate) fn polls(&self) -> u64 {
        self.nodes + self.spans
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {} {}",
            self.nodes, self.spans, self.missed, self.p50, self.p99, self.max
        )
    }
}

impl FromStr for Summary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut words = text.split(' ');
            Some(Self {
                nodes: words.next()?.parse().ok()?,
                spans: words.next()?.parse().ok()?,
                missed: words.next()?.parse().ok()?,
                p50: words.next()?.parse().ok()?,
                p99: words.next()?.parse().ok()?,
                max: words.next()?.parse().ok()?,
            })
        };
        read().ok_or_else(|| format!("not a summary of a rhythm: {text:?}"))
    }
}
