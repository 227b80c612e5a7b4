//! The means that the tests with a real Perlbal share: addresses, nodes, Perlbal, the built `pollbal`, traffic.
//!
//! A test takes a [`stage::Stage`] first (addresses and a directory of its own) and starts everything else on it; what
//! was started ends when it is dropped, in the reverse order. Tests are plain functions; nodes, relays and clients run
//! on one tokio runtime per test binary.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod docker;
pub(crate) mod double;
pub(crate) mod haproxy;
pub(crate) mod hole;
pub(crate) mod http;
pub(crate) mod manager;
pub(crate) mod nodes;
pub(crate) mod notify;
pub(crate) mod perlbal;
pub(crate) mod pipe;
pub(crate) mod pollbal;
pub(crate) mod process;
pub(crate) mod raw_node;
pub(crate) mod relay;
pub(crate) mod run;
pub(crate) mod serf;
pub(crate) mod small_node;
pub(crate) mod stage;
mod turn;
pub(crate) mod website;
pub(crate) mod wire;

#[path = "../../perlbal/mock_node"]
pub(crate) mod mock_node {
    pub(crate) mod control;
    pub(crate) mod server;
}

use std::fmt::Debug;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// For what takes milliseconds when all is well: far more, so that a busy machine is no failure.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Sets these keys of a configuration.
pub(crate) fn overlay(config: &mut Value, keys: &Value) {
    for (key, value) in keys.as_object().expect("keys are an object") {
        config[key] = value.clone();
    }
}

/// Waits until `look` gives a value; panics with `what` when the deadline has passed.
#[track_caller]
pub(crate) fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(observed) = look() {
            return observed;
        }
        assert!(
            clock::counted_since(start) < deadline,
            "{what}: not within {deadline:?}"
        );
        thread::sleep(LOOK);
    }
}

/// Waits until `look` gives what is expected; when the deadline has passed, panics and shows what it gave last.
#[track_caller]
pub(crate) fn becomes<T: PartialEq + Debug>(
    deadline: Duration,
    what: &str,
    expected: &T,
    mut look: impl FnMut() -> T,
) {
    let start = Instant::now();
    loop {
        let observed = look();
        if observed == *expected {
            return;
        }
        assert!(
            clock::counted_since(start) < deadline,
            "{what}: not within {deadline:?}\n  expected: {expected:?}\n    observed: {observed:?}"
        );
        thread::sleep(LOOK);
    }
}

/// Watches that `look` gives what is expected for as long as `until` is false, and once more then: for what must not
/// happen while something else does.
#[track_caller]
pub(crate) fn stays<T: PartialEq + Debug>(
    deadline: Duration,
    what: &str,
    expected: &T,
    mut look: impl FnMut() -> T,
    mut until: impl FnMut() -> bool,
) {
    let start = Instant::now();
    loop {
        // Asked before the look, so that the last look lies behind the end of what was waited for.
        let over = until();
        let observed = look();
        assert!(
            observed == *expected,
            "{what}: did not stay\n  expected: {expected:?}\n    observed: {observed:?}"
        );
        if over {
            return;
        }
        assert!(
            clock::counted_since(start) < deadline,
            "{what}: no end of it within {deadline:?}"
        );
        thread::sleep(LOOK);
    }
}

/// Ends anyone who looks at it, also when the test fails.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lines as a file has them, each with its end.
pub(crate) fn text(lines: &[String]) -> String {
    let mut text = lines.join("\n");
    if !lines.is_empty() {
        text.push('\n');
    }
    text
}

/// The runtime of nodes, relays and clients; two threads, so that one busy task does not hold back the others.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("failed to start the tests' runtime")
    })
}
