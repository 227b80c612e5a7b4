//! What the log's thread has still to write. Whoever logs never waits: what finds no room is dropped and counted, and
//! the count takes its place among the lines once there is room.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Maximum memory of what waits, in bytes, roughly: some 20,000 lines, so that the start of a site of 10,000 nodes fits
/// in even where the log's thread gets no processor meanwhile.
pub(super) const ROOM: usize = 8 * 1_024 * 1_024;

/// What the log's thread writes next.
#[derive(Debug, PartialEq)]
pub(super) enum Next<T> {
    Line(T),
    /// So many lines were dropped here, until then.
    Dropped(u64, SystemTime),
}

/// Lines and their sizes.
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    /// Something came.
    filled: Condvar,
    /// All is written.
    written: Condvar,
    dropped: AtomicU64,
}

struct Waiting<T> {
    lines: VecDeque<(usize, Next<T>)>,
    bytes: usize,
    /// Lines that were dropped and are not counted in `lines` yet.
    untold: u64,
    /// The thread has one.
    writing: bool,
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        let waiting = Waiting {
            lines: VecDeque::new(),
            bytes: 0,
            untold: 0,
            writing: false,
        };
        Self {
            waiting: Mutex::new(waiting),
            filled: Condvar::new(),
            written: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Adds a line, or drops it.
    pub(super) fn push(&self, size: usize, line: T) {
        let mut waiting = self.waiting();
        // Once lines were dropped there is room again only when half of what waited is written: a reader that is a bit
        // too slow would otherwise get a count behind every line.
        let room = if waiting.untold == 0 { ROOM } else { ROOM / 2 };
        if waiting.bytes + size > room {
            waiting.untold += 1;
            drop(waiting);
            self.count_dropped();
            return;
        }
        if let dropped @ 1.. = mem::take(&mut waiting.untold) {
            let now = SystemTime::now();
            waiting.lines.push_back((0, Next::Dropped(dropped, now)));
        }
        waiting.bytes += size;
        waiting.lines.push_back((size, Next::Line(line)));
        drop(waiting);
        self.filled.notify_one();
    }

    /// The next line, when there is one; that the last one is written.
    pub(super) fn next(&self) -> Next<T> {
        let mut waiting = self.waiting();
        loop {
            if let Some((size, next)) = waiting.lines.pop_front() {
                waiting.bytes -= size;
                waiting.writing = true;
                return next;
            }
            if let dropped @ 1.. = mem::take(&mut waiting.untold) {
                waiting.writing = true;
                return Next::Dropped(dropped, SystemTime::now());
            }
            waiting.writing = false;
            // A burst leaves no memory behind.
            waiting.lines.shrink_to(64);
            self.written.notify_all();
            let waited = self.filled.wait(waiting);
            waiting = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all is written, but no longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let due = Instant::now() + limit;
        let mut waiting = self.waiting();
        while waiting.writing || !waiting.lines.is_empty() || waiting.untold > 0 {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.written.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Counts a line that was lost elsewhere.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// How many lines were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const THIRD: usize = ROOM / 3;

    #[test]
    fn what_finds_no_room_is_counted_where_it_would_have_been() {
        let queue = Queue::new();
        for line in 1..=5 {
            queue.push(THIRD, line);
        }
        assert_eq!(queue.dropped(), 2);
        assert_eq!(queue.next(), Next::Line(1));
        // Not yet: more than half of the room is taken.
        queue.push(THIRD, 6);
        assert_eq!(queue.dropped(), 3);
        assert_eq!(queue.next(), Next::Line(2));
        queue.push(1, 7);
        assert_eq!(queue.next(), Next::Line(3));
        assert!(matches!(queue.next(), Next::Dropped(3, _)));
        assert_eq!(queue.next(), Next::Line(7));
    }

    #[test]
    fn what_was_dropped_is_told_though_nothing_follows() {
        let queue = Queue::new();
        queue.push(ROOM, "kept");
        queue.push(1, "dropped");
        assert_eq!(queue.next(), Next::Line("kept"));
        assert!(matches!(queue.next(), Next::Dropped(1, _)));
    }

    #[test]
    fn a_flush_ends_when_the_last_line_is_written_or_its_time_is_over() {
        let queue = Queue::new();
        queue.flush(Duration::from_secs(100));
        queue.push(1, ());
        let begun = Instant::now();
        queue.flush(Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        thread::scope(|scope| {
            scope.spawn(|| {
                // The second call says that the first line is written; that it waits for one more ends the flush.
                assert_eq!(
                    [queue.next(), queue.next()],
                    [Next::Line(()), Next::Line(())]
                );
            });
            queue.flush(Duration::from_secs(100));
            queue.push(1, ());
        });
    }
}
