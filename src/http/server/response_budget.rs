//! Large responses of one listener: made off the server's thread, and only a bounded amount of them kept
//! in memory.
//!
//! For thousands of nodes a response has megabytes and takes milliseconds to make. One is made at a
//! time, on a thread of its own, so that small requests never wait for it. What has been made stays in
//! memory until it is written, for up to [`WRITE_TIMEOUT`](super::limits::WRITE_TIMEOUT) when the client
//! reads slowly or not at all. Of that a listener keeps [`RESPONSE_BUDGET`] bytes, for one address
//! [`RESPONSE_BUDGET_PER_ADDRESS`], and rejects what exceeds it. A text that several clients share is in
//! memory once, but counts for each address that reads it, so that none uses up the share of another.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::connection_limit::{ConnectionLimit, PerAddress, Slot};
use super::counters::RejectReason;
use super::error::Rejection;
use super::limits::{RESPONSE_BUDGET, RESPONSE_BUDGET_PER_ADDRESS, RETRY_AFTER, SMALL_RESPONSE};
use crate::supervision::contain;

/// Bytes per counted unit, since a semaphore does not count beyond 2^32.
const UNIT: usize = 1024;

/// One listener's budget.
pub(crate) struct ResponseBudget {
    /// Makes one response at a time.
    turn: Arc<Semaphore>,
    /// The units of the listener; a shared text counts once.
    units: Arc<Semaphore>,
    /// The units of each address.
    by_address: Arc<ConnectionLimit>,
}

/// The server is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShuttingDown;

/// A text that counts for an address.
#[derive(Clone, Debug)]
pub(crate) struct ReservedText {
    text: Bytes,
    /// None for a small one.
    reserved: Option<(Arc<Readers>, Arc<Slot>)>,
}

/// The addresses that read a text.
#[derive(Debug)]
struct Readers {
    units: usize,
    slots: Mutex<HashMap<Option<IpAddr>, Weak<Slot>>>,
}

impl Default for ResponseBudget {
    fn default() -> Self {
        let share = PerAddress {
            max: RESPONSE_BUDGET_PER_ADDRESS / UNIT,
            share: 1,
            by_network: true,
        };
        Self {
            turn: Arc::new(Semaphore::new(1)),
            units: Arc::new(Semaphore::new(RESPONSE_BUDGET / UNIT)),
            // `units` limits the total.
            by_address: ConnectionLimit::new(usize::MAX, Some(share)),
        }
    }
}

impl fmt::Debug for ResponseBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBudget").finish_non_exhaustive()
    }
}

impl ResponseBudget {
    /// Makes a response on another thread, in the order of the requests.
    pub(crate) async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ShuttingDown> {
        // The semaphore is never closed.
        let turn = self.turn.clone().acquire_owned().await;
        let making = spawn_blocking(move || {
            // Even if nobody waits for this one any more, the next one is made only afterwards.
            let _turn = turn;
            contain(make)
        });
        making.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => ShuttingDown,
        })
    }

    /// Counts the text for as long as anything has it or a part of it. A text that exceeds the whole
    /// budget is accepted when there is no other.
    pub(crate) fn reserve(
        &self,
        text: Bytes,
        address: Option<IpAddr>,
    ) -> Result<ReservedText, Rejection> {
        if text.len() <= SMALL_RESPONSE {
            let reserved = None;
            return Ok(ReservedText { text, reserved });
        }
        let units = text.len().min(RESPONSE_BUDGET).div_ceil(UNIT);
        let readers = Readers {
            units,
            slots: Mutex::default(),
        };
        let slot = self.slot(&readers, address)?;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = self.units.clone().try_acquire_many_owned(units);
        let permit = permit.map_err(|_| exceeded("this listener"))?;
        let text = Bytes::from_owner(CountedText {
            text,
            _permit: permit,
        });
        Ok(ReservedText {
            text,
            reserved: Some((Arc::new(readers), slot)),
        })
    }

    /// Counts a text that is already counted for one more address.
    pub(crate) fn share(
        &self,
        counted: &ReservedText,
        address: Option<IpAddr>,
    ) -> Result<ReservedText, Rejection> {
        let Some((readers, _)) = &counted.reserved else {
            return Ok(counted.clone());
        };
        let slot = self.slot(readers, address)?;
        Ok(ReservedText {
            text: counted.text.clone(),
            reserved: Some((readers.clone(), slot)),
        })
    }

    /// A text counts once for an address, however many connections read it.
    fn slot(&self, readers: &Readers, address: Option<IpAddr>) -> Result<Arc<Slot>, Rejection> {
        let slots = readers.slots.lock();
        let mut slots = slots.unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&address).and_then(Weak::upgrade) {
            return Ok(slot);
        }
        let slot = self.by_address.acquire_many(address, readers.units);
        let slot = Arc::new(slot.map_err(|_| {
            let who = address.map_or_else(String::new, |address| address.to_string());
            exceeded(&who)
        })?);
        slots.insert(address, Arc::downgrade(&slot));
        Ok(slot)
    }
}

impl ReservedText {
    /// The text, which counts for as long as anything has it or a part of it.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self.reserved {
            Some(_) => Bytes::from_owner(self),
            None => self.text,
        }
    }
}

impl AsRef<[u8]> for ReservedText {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

fn exceeded(who: &str) -> Rejection {
    Rejection {
        reason: RejectReason::ResponseBudget,
        status: StatusCode::SERVICE_UNAVAILABLE,
        text: format!("{who} has too many large responses that have not been read yet"),
        retry_after: Some(RETRY_AFTER),
        closes: false,
    }
}

/// A text that counts for the listener.
struct CountedText {
    text: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for CountedText {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Bytes {
        vec![0; len].into()
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn what_is_held_is_bounded_and_counts_until_the_last_reader_is_done() {
        let budget = ResponseBudget::default();
        let half = budget
            .reserve(text(RESPONSE_BUDGET / 2), None)
            .unwrap()
            .into_bytes();
        let (other, part) = (half.clone(), half.slice(7..9));
        let rest = budget.reserve(text(RESPONSE_BUDGET / 2), None).unwrap();
        let rejected = budget.reserve(text(SMALL_RESPONSE + 1), None).unwrap_err();
        assert_eq!(rejected.status, 503);
        drop((half, other));
        budget.reserve(text(SMALL_RESPONSE + 1), None).unwrap_err();
        drop(part);
        budget.reserve(text(SMALL_RESPONSE + 1), None).unwrap();
        drop(rest);
    }

    #[test]
    fn small_ones_do_not_count_and_the_largest_is_held_alone() {
        let budget = ResponseBudget::default();
        for address in [None, Some(address(1))] {
            let one = budget.reserve(text(3 * RESPONSE_BUDGET), address).unwrap();
            budget.reserve(text(SMALL_RESPONSE), address).unwrap();
            budget
                .reserve(text(3 * RESPONSE_BUDGET), address)
                .unwrap_err();
            drop(one);
        }
        budget.reserve(text(3 * RESPONSE_BUDGET), None).unwrap();
    }

    #[test]
    fn one_address_has_a_share_and_others_have_theirs() {
        let budget = ResponseBudget::default();
        let reserve =
            |number| budget.reserve(text(RESPONSE_BUDGET_PER_ADDRESS / 4), Some(address(number)));
        let share = [(); 4].map(|()| reserve(1).unwrap().into_bytes());
        let rejected = reserve(1).unwrap_err();
        assert_eq!(rejected.status, 503);
        assert!(rejected.text.starts_with("0.0.0.1 has too many"));
        let _other = reserve(2).unwrap();
        drop(share);
        reserve(1).unwrap();
    }

    #[test]
    fn a_shared_text_counts_once_for_each_address() {
        let budget = ResponseBudget::default();
        let first = budget
            .reserve(text(RESPONSE_BUDGET_PER_ADDRESS), Some(address(1)))
            .unwrap();
        let share = |number| budget.share(&first, Some(address(number))).unwrap();
        let readers = [2, 2, 2].map(share);
        let another = |number| budget.reserve(text(SMALL_RESPONSE + 1), Some(address(number)));
        another(1).unwrap_err();
        another(2).unwrap_err();
        // The first reader does not wait for those that are still reading.
        drop(first);
        another(1).unwrap();
        another(2).unwrap_err();
        drop(readers);
        another(2).unwrap();
    }

    #[tokio::test]
    async fn one_is_made_at_a_time_even_when_nobody_waits_for_it() {
        let budget = ResponseBudget::default();
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let first = budget.make(move || wait.recv());
        tokio::select! {
            biased;
            _ = first => panic!("it waits"),
            () = tokio::task::yield_now() => {}
        }
        // The first is still being made, although nobody waits for it any more.
        assert_eq!(budget.turn.available_permits(), 0);
        end.send(()).unwrap();
        assert_eq!(budget.make(|| 7).await.unwrap(), 7);
    }
}
