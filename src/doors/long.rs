//! Long answers of one door: made away from the doors' thread, and not too many of them in memory.
//!
//! At a site of thousands of nodes an answer has megabytes and takes some milliseconds to make. One
//! is made at a time, by a thread of its own, so that nudges and leaves never wait behind it. What is
//! made stays in memory until it is written, for as long as [`WRITE_TIME`](super::limits::WRITE_TIME)
//! when the other side reads slowly or not at all: of that a door holds [`UNREAD`] bytes, and refuses
//! what would be more.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::Shared;
use super::ask::Problem;
use super::counters::Refusal;
use super::limits::{SHORT, SOON, UNREAD};
use super::refusal::Refused;
use crate::asks::Gone;

/// Counted are units of so many bytes, since a semaphore counts no further than 2^32.
const UNIT: usize = 1024;

/// One door's.
pub(super) struct Long {
    making: Arc<Semaphore>,
    unread: Arc<Semaphore>,
}

impl Default for Long {
    fn default() -> Self {
        Self {
            making: Arc::new(Semaphore::new(1)),
            unread: Arc::new(Semaphore::new(UNREAD / UNIT)),
        }
    }
}

impl fmt::Debug for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Long").finish_non_exhaustive()
    }
}

impl Long {
    /// Makes something on another thread, when all that was asked for before is made.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        // The semaphore is never closed.
        let turn = self.making.clone().acquire_owned().await;
        let making = spawn_blocking(move || {
            // Also when nobody waits for it any more, the next is made only then.
            let _turn = turn;
            make()
        });
        making.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Gone.into(),
        })
    }

    /// The same text, which counts as unread for as long as someone has it or a part of it. One that
    /// is longer than all that may be unread is held when nothing else is.
    pub(super) fn hold(&self, text: Bytes) -> Result<Bytes, Refused> {
        if text.len() <= SHORT {
            return Ok(text);
        }
        let units = text.len().min(UNREAD).div_ceil(UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        match self.unread.clone().try_acquire_many_owned(units) {
            Ok(unread) => Ok(Bytes::from_owner(Held {
                text,
                _unread: unread,
            })),
            Err(_) => Err(too_many()),
        }
    }
}

impl Shared {
    /// As [`Long::hold`], and counted when it is refused.
    pub(super) fn hold(&self, text: Bytes) -> Result<Bytes, Problem> {
        self.long.hold(text).map_err(|refused| {
            let counters = self.counters.of(self.door);
            counters.count_refusal(refused.refusal);
            Problem::new(refused.status, refused.reason)
        })
    }
}

fn too_many() -> Refused {
    let reason = "too many long answers of this door are not read yet".to_owned();
    Refused {
        refusal: Refusal::Unread,
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason,
        retry_after: Some(SOON),
        closes: false,
    }
}

/// A text that counts.
struct Held {
    text: Bytes,
    _unread: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

/// On a response: its text is held already, together with equal ones.
#[derive(Clone, Copy)]
pub(super) struct IsHeld;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Bytes {
        vec![0; len].into()
    }

    #[test]
    fn what_is_held_is_bounded_and_counts_until_the_last_has_it() {
        let long = Long::default();
        let half = long.hold(text(UNREAD / 2)).unwrap();
        let (other, part) = (half.clone(), half.slice(7..9));
        let rest = long.hold(text(UNREAD / 2)).unwrap();
        let refused = long.hold(text(SHORT + 1)).unwrap_err();
        assert_eq!(refused.status, 503);
        drop((half, other));
        long.hold(text(SHORT + 1)).unwrap_err();
        drop(part);
        long.hold(text(SHORT + 1)).unwrap();
        drop(rest);
    }

    #[test]
    fn short_ones_do_not_count_and_the_longest_is_held_alone() {
        let long = Long::default();
        let one = long.hold(text(3 * UNREAD)).unwrap();
        long.hold(text(SHORT)).unwrap();
        long.hold(text(3 * UNREAD)).unwrap_err();
        drop(one);
        long.hold(text(3 * UNREAD)).unwrap();
    }

    #[tokio::test]
    async fn one_is_made_at_a_time_also_when_nobody_waits_for_it() {
        let long = Long::default();
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let first = long.make(move || wait.recv());
        tokio::select! {
            biased;
            _ = first => panic!("it waits"),
            () = tokio::task::yield_now() => {}
        }
        // Nobody waits for the first any more, which is still being made.
        assert_eq!(long.making.available_permits(), 0);
        end.send(()).unwrap();
        assert_eq!(long.make(|| 7).await.unwrap(), 7);
    }
}
