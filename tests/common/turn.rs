//! Turns on the machine: most tests run beside some others, those that measure times run alone.
//!
//! The test runner starts far more tests than may run: those that wait here for a turn of their own keep no other from
//! running. The runner's own limit would count them too.

use std::cell::RefCell;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::available_parallelism;

/// How many tests run beside each other for each processor: they wait for most of their time.
const PER_PROCESSOR: usize = 3;

/// The tests of this program that run beside each other now.
static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

thread_local! {
    /// The place of the test that this thread runs: a second stage of the same test shares it.
    static PLACE: RefCell<Weak<Place>> = const { RefCell::new(Weak::new()) };
}

/// A turn; the next one's begins when it is dropped.
pub(super) struct Turn {
    /// Locked: exclusively by a test that runs alone, otherwise shared.
    _lock: File,
    _place: Option<Arc<Place>>,
}

/// One of the places for tests that run beside each other.
struct Place;

impl Turn {
    /// Waits for a turn beside others.
    pub(super) fn shared() -> Self {
        let place = Place::of_this_thread();
        let lock = lock_file();
        lock.lock_shared().expect("failed to wait for a turn");
        Self {
            _lock: lock,
            _place: Some(place),
        }
    }

    /// Waits for a turn alone: no other test of this checkout runs meanwhile, whichever program it belongs to.
    pub(super) fn alone() -> Self {
        let lock = lock_file();
        lock.lock().expect("failed to wait for a turn alone");
        Self {
            _lock: lock,
            _place: None,
        }
    }
}

impl Place {
    fn of_this_thread() -> Arc<Self> {
        PLACE.with_borrow_mut(|place| {
            place.upgrade().unwrap_or_else(|| {
                let new = Arc::new(Self::take());
                *place = Arc::downgrade(&new);
                new
            })
        })
    }

    fn take() -> Self {
        let places = PER_PROCESSOR * available_parallelism().map_or(1, usize::from);
        let free = ENDED.wait_while(running(), |running| *running >= places);
        *free.unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *running() -= 1;
        ENDED.notify_one();
    }
}

fn running() -> MutexGuard<'static, usize> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In the build directory, which all test programs of a checkout share.
fn lock_file() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("turn.lock");
    File::create(&path).unwrap_or_else(|why| panic!("failed to make {}: {why}", path.display()))
}
