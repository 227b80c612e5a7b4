//! No part of the daemon fails unnoticed: if a task ends unexpectedly, or anything panics, the process exits and its
//! service manager restarts it. Otherwise it would look alive and do only a part of its work.
//!
//! A panic in the handler of a request is an exception: see [`contained`].

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::pin::pin;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, LocalKey};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::logging;
use crate::model::text::printable;

/// Exit code: a bug in pollbal (sysexits.h, `EX_SOFTWARE`).
pub const SOFTWARE: u8 = 70;

/// Interval between two beats of a [`Pulse`].
const BEAT: Duration = Duration::from_secs(1);

/// Time without a beat of its [`Pulse`] after which a thread counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(4);

/// Interval at which a simulated hanging disk checks whether the test has ended it.
const STALL_CHECK: Duration = Duration::from_millis(10);

thread_local! {
    /// The task that this thread runs.
    static TASK: Cell<Option<&'static str>> = const { Cell::new(None) };
    /// Whether a panic affects a single request only.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Makes panics log one line and exit the process.
///
/// There is no backtrace: creating one reads megabytes of the program, may take seconds, and may fail if memory is
/// short. The line has the location of the panic.
pub fn end_at_panic() {
    panic::set_hook(Box::new(panicked));
}

fn panicked(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = printable(text.unwrap_or("no message"));
    let place = panic
        .location()
        .map_or("unknown place".to_owned(), ToString::to_string);
    if CONTAINED.get() {
        error!("a request failed because of a bug in pollbal, at {place}: {text}");
        return;
    }
    let what = match TASK.get() {
        Some(task) => format!("the task \"{task}\""),
        None => format!(
            "the thread \"{}\"",
            thread::current().name().unwrap_or("unnamed")
        ),
    };
    end_process(&format!("{what} panicked at {place}: {text}"));
}

/// Exits the process because of a bug, once the log is written.
pub fn end_process(why: &str) -> ! {
    error!("{why}; this is a bug in pollbal, which ends with exit code {SOFTWARE} to be restarted");
    logging::finish();
    process::exit(SOFTWARE.into());
}

/// Runs a task that must not end before `stop` is cancelled.
///
/// # Panics
/// If the task panics; or on behalf of a test, in a test build.
pub async fn supervised<T>(
    name: &'static str,
    stop: CancellationToken,
    task: impl Future<Output = T>,
) {
    named(name, async {
        match Fault::of(name) {
            Some(Fault::End) => {}
            _ => _ = task.await,
        }
    })
    .await;
    if !stop.is_cancelled() {
        let why = format!("the task \"{name}\" ended unexpectedly");
        end_process(&why);
    }
}

/// Runs a task; the message of a panic has its name.
///
/// # Panics
/// If the task panics; or on behalf of a test, in a test build.
pub async fn named<T>(name: &'static str, task: impl Future<Output = T>) -> T {
    let mut task = pin!(task);
    let fault = Fault::of(name);
    poll_fn(|context| {
        let _named = Set::new(&TASK, Some(name));
        match fault {
            Some(Fault::Panic) => panic!("a test injected it"),
            Some(Fault::Hang) => loop {
                thread::park();
            },
            _ => task.as_mut().poll(context),
        }
    })
    .await
}

/// Runs a task that serves a single connection: a panic is logged and ends only that.
pub async fn contained<T>(task: impl Future<Output = T>) -> T {
    let mut task = pin!(task);
    poll_fn(|context| {
        let _contained = Set::new(&CONTAINED, true);
        task.as_mut().poll(context)
    })
    .await
}

/// The same for a closure that a thread runs for a connection.
pub fn contain<T>(act: impl FnOnce() -> T) -> T {
    let _contained = Set::new(&CONTAINED, true);
    act()
}

/// Sets what this thread runs, until it is dropped.
struct Set<T: Copy + 'static> {
    key: &'static LocalKey<Cell<T>>,
    before: T,
}

impl<T: Copy> Set<T> {
    fn new(key: &'static LocalKey<Cell<T>>, value: T) -> Self {
        let before = key.replace(value);
        Self { key, before }
    }
}

impl<T: Copy> Drop for Set<T> {
    fn drop(&mut self) {
        self.key.set(self.before);
    }
}

/// The pulse of a thread: it beats every second, unless the thread hangs.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Beats until this is dropped.
    pub async fn beat(&self) {
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Checks a pulse from time to time.
#[derive(Debug)]
pub struct Watcher {
    pulse: Pulse,
    /// The time of the last check, and the number of beats then.
    last_check: Option<(Instant, u64)>,
    /// Time without a beat.
    without_beat: Duration,
}

impl Watcher {
    /// Watches this pulse.
    #[must_use]
    pub fn new(pulse: Pulse) -> Self {
        Self {
            pulse,
            last_check: None,
            without_beat: Duration::ZERO,
        }
    }

    /// Checks whether the thread hangs. At most half of [`HANGS_AFTER`] counts between two checks, however long ago the
    /// last one was: a pause of the whole process does not mean that a thread hangs.
    pub fn hangs(&mut self, now: Instant) -> bool {
        let beats = self.pulse.0.load(Ordering::Relaxed);
        match self.last_check.replace((now, beats)) {
            Some((before, last)) if last == beats => {
                let passed = now.saturating_duration_since(before);
                self.without_beat += passed.min(HANGS_AFTER / 2);
            }
            _ => self.without_beat = Duration::ZERO,
        }
        self.without_beat >= HANGS_AFTER
    }
}

/// Blocks until a test ends it, in a test build, in place of a disk that hangs: not every machine has one.
pub fn stall(task: &str) {
    let Some(Fault::Stall) = Fault::of(task) else {
        return;
    };
    let Some(file) = std::env::var_os("POLLBAL_TEST_STALL") else {
        return;
    };
    while Path::new(&file).exists() {
        thread::sleep(STALL_CHECK);
    }
}

/// A fault that a test injects into a task, in a test build: nothing from outside makes a task fail.
enum Fault {
    Panic,
    End,
    Hang,
    /// Blocks while the file exists that `POLLBAL_TEST_STALL` names; see [`stall`].
    Stall,
}

impl Fault {
    /// The fault in the environment, for example `POLLBAL_TEST_FAULT="panic pool files"`.
    fn of(task: &str) -> Option<Self> {
        if !cfg!(debug_assertions) {
            return None;
        }
        let fault = std::env::var("POLLBAL_TEST_FAULT").ok()?;
        match fault.split_once(' ')? {
            ("panic", name) if name == task => Some(Self::Panic),
            ("end", name) if name == task => Some(Self::End),
            ("hang", name) if name == task => Some(Self::Hang),
            ("stall", name) if name == task => Some(Self::Stall),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_hangs_when_its_pulse_stops_for_some_seconds_that_were_checked() {
        let pulse = Pulse::default();
        let mut watcher = Watcher::new(pulse.clone());
        let start = Instant::now();
        let mut check = |second, beats| {
            pulse.0.fetch_add(beats, Ordering::Relaxed);
            watcher.hangs(start + Duration::from_secs(second))
        };
        let checks = [
            (0, 0, false),
            (10, 10, false),
            // The process was stopped for a minute, and this thread is the first to continue.
            (70, 0, false),
            (71, 1, false),
            (72, 0, false),
            (73, 0, false),
            (74, 0, false),
            (75, 0, true),
            (90, 0, true),
            (91, 1, false),
        ];
        for (second, beats, hangs) in checks {
            assert_eq!(check(second, beats), hangs, "at second {second}");
        }
    }
}
