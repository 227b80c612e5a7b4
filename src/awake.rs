//! Time limits that count only the time in which this process was running.
//!
//! A process may be stopped (`SIGSTOP`, a frozen cgroup), its machine may be paused, or other processes may take the
//! CPU. When it continues, its timers fire before anything is read that arrived meanwhile, so that a response that was
//! in time looks late. Therefore a limit is divided into slices, and a slice whose timer fires far too late counts as
//! one slice only.

mod pauses;

use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::pauses::{Pauses, beat, is_pause, woke};

/// Number of slices per limit. A pause within a single slice is not noticed, and costs at most a quarter of the limit.
const SLICES: u32 = 4;

/// Minimum and maximum length of a slice. With longer slices only long pauses would be noticed; for shorter ones,
/// timers (1 ms) are too coarse.
const SLICE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// Maximum lateness of a timer on a machine that is merely busy.
const LATE: Duration = Duration::from_millis(50);

/// Number of turns of the event loop in which events that arrived meanwhile are read before a limit that expired late
/// is over: tokio handles up to 1,024 of them per turn.
const TURNS: usize = 16;

/// The remainder of a limit.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Duration,
    left: Duration,
    slice: Duration,
    /// The start of the current slice.
    since: Instant,
    paused: bool,
}

impl Budget {
    /// A limit that starts now.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            left: limit,
            slice: (limit / SLICES).clamp(SLICE.0, SLICE.1),
            since: Instant::now(),
            paused: false,
        }
    }

    /// Waits until `future` is done; `None` if the limit is over first.
    pub(crate) async fn spend<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            let end = self.since + self.slice.min(self.left);
            tokio::select! {
                biased;
                output = &mut future => {
                    self.pass(Instant::now());
                    return Some(output);
                }
                () = sleep_until(end) => {}
            }
            let late = self.pass(Instant::now());
            // Events that arrived during a pause have not been read yet.
            for _ in 0..if late { TURNS } else { 0 } {
                yield_now().await;
                tokio::select! {
                    biased;
                    output = &mut future => return Some(output),
                    () = ready(()) => {}
                }
            }
            if self.left.is_zero() {
                return None;
            }
        }
    }

    /// Whether the process has been paused since the limit started, not merely delayed by a busy machine.
    pub(crate) fn paused(&self) -> bool {
        self.paused
    }

    /// The part of the limit that has passed.
    pub(crate) fn spent(&self) -> Duration {
        self.limit.saturating_sub(self.left)
    }

    /// Counts the time until `now`; whether that is far too late for the current slice.
    fn pass(&mut self, now: Instant) -> bool {
        let passed = now - self.since;
        let late = passed.saturating_sub(self.slice) > LATE;
        let counted = if late { self.slice } else { passed };
        self.left = self.left.saturating_sub(counted);
        self.since = now;
        self.paused |= late;
        late
    }
}

/// The limit was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// Waits until `future` is done, for at most `limit`, like [`tokio::time::timeout`]; but what arrived while this
/// process was paused is read before the limit is over.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    Budget::new(limit).spend(future).await.ok_or(Elapsed)
}

/// The same until a point in time, like [`tokio::time::timeout_at`]; even if that passed during a pause before the
/// call.
pub(crate) async fn timeout_at<F: Future>(
    deadline: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut budget = Budget::new(deadline.saturating_duration_since(Instant::now()));
    budget.since = budget.since.min(deadline);
    budget.spend(future).await.ok_or(Elapsed)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::time::{advance, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn without_a_pause_a_limit_is_what_it_says() {
        for millis in [1, 5, 500, 10_000] {
            let limit = Duration::from_millis(millis);
            let begun = Instant::now();
            let mut budget = Budget::new(limit);
            assert_eq!(budget.spend(std::future::pending::<()>()).await, None);
            assert_eq!(begun.elapsed(), limit, "{limit:?}");
            assert_eq!((budget.spent(), budget.paused()), (limit, false));
        }
        let in_time = sleep(LIMIT * 99 / 100);
        assert_eq!(timeout(LIMIT, in_time).await, Ok(()));
        let late = sleep(LIMIT + Duration::from_millis(1));
        assert_eq!(timeout(LIMIT, late).await, Err(Elapsed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_costs_a_slice_and_is_noticed() {
        for before in [0, 100, 300, 499] {
            let begun = Instant::now();
            let mut budget = Budget::new(LIMIT);
            let pause = async {
                sleep(Duration::from_millis(before)).await;
                // Nothing runs meanwhile.
                advance(Duration::from_secs(2)).await;
                std::future::pending::<()>().await;
            };
            assert_eq!(budget.spend(pause).await, None);
            assert!(budget.paused(), "after {before} ms");
            assert_eq!(budget.spent(), LIMIT);
            let least = Duration::from_secs(2) + LIMIT * 3 / 4;
            assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_machine_is_no_pause() {
        let mut budget = Budget::new(LIMIT);
        let busy = async {
            for _ in 0..4 {
                advance(Duration::from_millis(170)).await;
                yield_now().await;
            }
            std::future::pending::<()>().await;
        };
        assert_eq!(budget.spend(busy).await, None);
        assert!(!budget.paused());
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrived_in_a_pause_is_taken_by_who_waits_only_then() {
        let deadline = Instant::now() + LIMIT;
        advance(Duration::from_secs(2)).await;
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            yield_now().await;
            sender.send("in time").unwrap();
        });
        assert_eq!(timeout_at(deadline, receiver).await, Ok(Ok("in time")));
        let nothing = std::future::pending::<()>();
        assert_eq!(timeout_at(deadline, nothing).await, Err(Elapsed));
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrived_in_a_pause_is_taken_after_the_limit() {
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            sleep(Duration::from_millis(480)).await;
            advance(Duration::from_secs(2)).await;
            // As the driver of sockets does, it comes behind the timers.
            yield_now().await;
            yield_now().await;
            sender.send("in time").unwrap();
        });
        assert_eq!(timeout(LIMIT, receiver).await, Ok(Ok("in time")));
    }
}
