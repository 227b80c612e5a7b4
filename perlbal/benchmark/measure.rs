//! A window of time in which a process is watched.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::clock::{milliseconds, nanoseconds};
use crate::process::{Meter, Process};
use crate::remote::Nodes;
use crate::rhythm::Summary;

/// What was observed in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    /// Polls that reached the nodes.
    pub(crate) polls: u64,
    /// Processor time per 1,000 polls, in milliseconds.
    pub(crate) cost: f64,
    /// Processor time per second, in milliseconds.
    pub(crate) load: f64,
    /// What the nodes spent themselves, per 1,000 polls, in milliseconds.
    pub(crate) nodes_cost: f64,
    pub(crate) rhythm: Summary,
    /// Connections to the nodes at its end.
    pub(crate) connections: u64,
}

/// Watches a process that polls these nodes.
pub(crate) fn watch(
    nodes: &mut Nodes,
    process: &mut Process,
    interval: Duration,
    window: Duration,
) -> Outcome<Window> {
    nodes.begin(interval)?;
    let mut meter = Meter::start(process)?;
    let mut nodes_meter = Meter::start(&nodes.process)?;
    let begin = Instant::now();
    let (before, _) = nodes.count()?;
    while begin.elapsed() < window {
        sleep(
            window
                .saturating_sub(begin.elapsed())
                .min(Duration::from_secs(1)),
        );
        process.check()?;
        meter.look(process)?;
    }
    let (after, connections) = nodes.count()?;
    meter.look(process)?;
    nodes_meter.look(&nodes.process)?;
    let seconds = begin.elapsed().as_secs_f64();
    let polls = after - before;
    let cost =
        |meter: &Meter| milliseconds(nanoseconds(meter.spent())) * 1000.0 / polls.max(1) as f64;
    Ok(Window {
        seconds,
        polls,
        cost: cost(&meter),
        load: milliseconds(nanoseconds(meter.spent())) / seconds,
        nodes_cost: cost(&nodes_meter),
        rhythm: nodes.rhythm()?,
        connections,
    })
}

/// The polls that a window should have had.
pub(crate) fn asked(nodes: usize, interval: Duration, window: &Window) -> f64 {
    nodes as f64 * window.seconds / interval.as_secs_f64()
}

/// Packets that the kernel has dropped because its table of connections was full; 0 where it has none.
pub(crate) fn dropped() -> u64 {
    let text = fs::read_to_string("/proc/net/stat/nf_conntrack").unwrap_or_default();
    let mut lines = text.lines().map(str::split_whitespace);
    let names = lines
        .next()
        .and_then(|mut names| names.position(|name| name == "drop"));
    let Some(column) = names else {
        return 0;
    };
    // A line per processor, in hexadecimal.
    let count =
        |mut line: std::str::SplitWhitespace| u64::from_str_radix(line.nth(column)?, 16).ok();
    lines.filter_map(count).sum()
}
