//! The queue to the log's thread. Adding to it never blocks: lines that do not fit are dropped and counted, and the
//! count takes their place once there is room.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Maximum memory of the queue, in bytes, approximately: about 20,000 lines, enough for the start of a site of 10,000
/// nodes even if the log's thread gets no CPU time meanwhile.
pub(super) const ROOM: usize = 8 * 1_024 * 1_024;

/// An entry for the log's thread to write.
#[derive(Debug, PartialEq)]
pub(super) enum Next<T> {
    Line(T),
    /// Number of lines that were dropped here, and when the last one was.
    Dropped(u64, SystemTime),
}

/// The lines and their sizes.
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    /// Notified when a line is added.
    filled: Condvar,
    /// Notified when everything is written.
    written: Condvar,
    dropped: AtomicU64,
}

struct Waiting<T> {
    lines: VecDeque<(usize, Next<T>)>,
    bytes: usize,
    /// Number of dropped lines that have no entry in `lines` yet.
    untold: u64,
    /// Whether the thread is writing a line.
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
        // After a drop, lines are accepted again only when half of the queue is written: otherwise a reader that is slightly
        // too slow would get a count after every line.
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

    /// Waits for the next entry. Marks the previous one as written.
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
            // Frees the memory of a burst.
            waiting.lines.shrink_to(64);
            self.written.notify_all();
            let waited = self.filled.wait(waiting);
            waiting = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until everything is written, for at most `limit`.
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

    /// Counts a line that was dropped elsewhere.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Total number of dropped lines.
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
        // Not yet: the queue is more than half full.
        queue.push(THIRD, 6);
        assert_eq!(queue.dropped(), 3);
        assert_eq!(queue.next(), Next::Line(2));
        queue.push(1, 7);
        assert_eq!(queue.next(), Next::Line(3));
        assert!(matches!(queue.next(), Next::Dropped(3, _)));
        assert_eq!(queue.next(), Next::Line(7));
    }

    #[test]
    fn dropped_lines_are_reported_although_nothing_follows() {
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
                // The second call marks the first line as written, which ends the flush.
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
