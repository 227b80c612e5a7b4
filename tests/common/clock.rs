//! A clock that stands still while the machine does not let us run.
//!
//! The limits that tests measure (100 ms, 1 s) are promises of programs that get the processor when they need it. On
//! a machine that others load, or that stands still for a moment (a virtual one whose host is busy), a thread that
//! wants to run every [`BEAT`] does not; what it loses counts for nobody. Where it loses nothing the clock is exact.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{SOON, eventually};

const BEAT: Duration = Duration::from_millis(2);

/// So much of the time between two beats counts at most.
const COUNTED: Duration = Duration::from_millis(4);

/// Some minutes of beats.
const REMEMBERED: usize = 100_000;

/// A moment, and the time that counted until then.
type Beat = (Instant, Duration);

/// The time that counted since `at`.
pub(crate) fn counted_since(at: Instant) -> Duration {
    let beats = beats();
    let now = beats.back().map_or(Duration::ZERO, |(_, counted)| *counted);
    now.saturating_sub(counted_at(&beats, at))
}

/// The time that counted between two moments that are past.
pub(crate) fn counted_between(from: Instant, to: Instant) -> Duration {
    let beats = beats();
    counted_at(&beats, to).saturating_sub(counted_at(&beats, from))
}

/// Waits until `limit` has counted since `at`; gives the moment when it had.
#[track_caller]
pub(crate) fn after(at: Instant, limit: Duration) -> Instant {
    eventually(SOON + limit, "the time passes", || {
        let beats = beats();
        let end = counted_at(&beats, at) + limit;
        let over = beats.partition_point(|(_, counted)| *counted < end);
        beats.get(over).map(|(moment, _)| *moment)
    })
}

fn counted_at(beats: &VecDeque<Beat>, at: Instant) -> Duration {
    let next = beats.partition_point(|(moment, _)| *moment < at);
    let beat = beats.get(next).or(beats.back());
    beat.map_or(Duration::ZERO, |(_, counted)| *counted)
}

/// The beats so far; the first call starts the heart.
fn beats() -> MutexGuard<'static, VecDeque<Beat>> {
    static BEATS: OnceLock<Mutex<VecDeque<Beat>>> = OnceLock::new();
    let beats = BEATS.get_or_init(|| {
        thread::spawn(beat);
        Mutex::new(VecDeque::from([(Instant::now(), Duration::ZERO)]))
    });
    beats.lock().unwrap_or_else(PoisonError::into_inner)
}

fn beat() {
    let mut last = Instant::now();
    let mut counted = Duration::ZERO;
    loop {
        thread::sleep(BEAT);
        let now = Instant::now();
        counted += (now - last).min(COUNTED);
        last = now;
        let mut beats = beats();
        if beats.len() == REMEMBERED {
            beats.pop_front();
        }
        beats.push_back((now, counted));
    }
}
