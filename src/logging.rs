//! The log: written to the journal with fields if standard error is the journal, otherwise to standard error, one line
//! per event.
//!
//! ```text
//! any thread ─► Capture ─► Queue (bounded) ─► the log's thread ─► standard error or journald
//! ```
//!
//! Logging never blocks: a log that nobody reads (a full pipe, a stopped terminal, a hanging journald) blocks only the
//! log's thread. Events that do not fit into the queue meanwhile are dropped and counted, and the count is logged once
//! there is room.

mod queue;
mod record;
mod sink;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Subscriber, dispatcher, error, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use self::queue::{Next, Queue};
use self::record::{Happened, Record, at};
use self::sink::Sink;
use crate::model::text::printable;

/// Maximum time that the program waits at exit for the queue to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Events on the way to the log's thread. Static, like the log itself: whatever exits the program must reach it.
static QUEUE: Queue<Record> = Queue::new();

/// Starts the log. Must be called only once.
///
/// # Errors
/// Its thread cannot be started, or there is no standard error.
pub fn start(level: LevelFilter) -> io::Result<()> {
    let stderr = Sink::stderr()?;
    // The thread also creates the sink: even connecting to journald may block.
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || dispatcher::with_default(&sink(level, stderr), write))?;
    tracing_subscriber::registry()
        .with(level)
        .with(Capture)
        .init();
    Ok(())
}

/// Waits before the program exits until everything is written, but only briefly: perhaps nobody reads the log.
pub fn finish() {
    QUEUE.flush(LAST_LINES);
}

/// Number of lines that were dropped because nobody read the log.
#[must_use]
pub fn dropped_lines() -> u64 {
    QUEUE.dropped()
}

fn count_dropped() {
    QUEUE.count_dropped();
}

/// Captures events in the thread that logs them.
struct Capture;

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let record = Record::of(event);
        QUEUE.push(record.size(), record);
    }
}

/// The log's thread.
fn write() {
    loop {
        match QUEUE.next() {
            Next::Line(record) => record.replay(),
            Next::Dropped(lines, when) => at(when, || {
                let lines = count(usize::try_from(lines).unwrap_or(usize::MAX), "log line");
                warn!("{lines} dropped: nobody read the log");
            }),
        }
    }
}

/// The subscriber that writes lines. It has the log's level, too: otherwise events that are never written would be
/// formatted.
fn sink(level: LevelFilter, stderr: Sink) -> Dispatch {
    let registry = tracing_subscriber::registry().with(level);
    if stderr_is_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        return registry.with(journal.with_field_prefix(None)).into();
    }
    let terminal = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_timer(Happened)
        .with_ansi(terminal)
        .with_target(false);
    registry.with(lines).into()
}

/// Whether standard error is the journal's stream: systemd sets `JOURNAL_STREAM` to its device and inode
/// (systemd.exec(5)); a redirected standard error has others.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stderr) = io::stderr().as_fd().try_clone_to_owned() else {
        return false;
    };
    let metadata = std::fs::File::from(stderr).metadata();
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}

/// An error with all of its causes, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A number of things: `1 node`, `2 nodes`.
#[must_use]
pub fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// Logs errors, one event per line of the text.
pub fn errors(text: &impl ToString) {
    for line in text.to_string().lines() {
        error!("{}", printable(line));
    }
}
