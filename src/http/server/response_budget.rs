//! Long answers of one door: made away from the doors' thread, and not too many of them in memory.
//!
//! At a site of thousands of nodes an answer has megabytes and takes some milliseconds to make. One
//! is made at a time, by a thread of its own, so that nudges and leaves never wait behind it. What is
//! made stays in memory until it is written, for as long as [`WRITE_TIME`](crate::http::server::limits::WRITE_TIME)
//! when the other side reads slowly or not at all: of that a door holds [`UNREAD`] bytes, for one
//! address [`UNREAD_BY_ADDRESS`], and refuses what would be more. A text that several have is in memory
//! once, and counts for each address that has it, so that none uses up another's share.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::control::Stopped;
use crate::http::Shared;
use crate::http::params::Problem;
use crate::http::server::connection_limit::{PerAddress, Place, Places};
use crate::http::server::counters::Refusal;
use crate::http::server::error::Refused;
use crate::http::server::limits::{SHORT, SOON, UNREAD, UNREAD_BY_ADDRESS};
use crate::supervision::contain;

/// Bytes per unit that is counted, since a semaphore counts no further than 2^32.
const UNIT: usize = 1024;

/// One door's.
pub(crate) struct Long {
    making: Arc<Semaphore>,
    /// What all have together, each text once.
    unread: Arc<Semaphore>,
    /// What each address has.
    shares: Arc<Places>,
}

/// A text that counts for an address.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    text: Bytes,
    /// Nothing for a short one.
    counted: Option<(Arc<Readers>, Arc<Place>)>,
}

/// Who has a text.
#[derive(Debug)]
struct Readers {
    units: usize,
    places: Mutex<HashMap<Option<IpAddr>, Weak<Place>>>,
}

impl Default for Long {
    fn default() -> Self {
        let share = PerAddress {
            most: UNREAD_BY_ADDRESS / UNIT,
            share: 1,
        };
        Self {
            making: Arc::new(Semaphore::new(1)),
            unread: Arc::new(Semaphore::new(UNREAD / UNIT)),
            // All together are counted above.
            shares: Places::new(usize::MAX, Some(share)),
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
    pub(crate) async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        // The semaphore is never closed.
        let turn = self.making.clone().acquire_owned().await;
        let making = spawn_blocking(move || {
            // Also when nobody waits for it any more, the next is made only then.
            let _turn = turn;
            contain(make)
        });
        making.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Stopped.into(),
        })
    }

    /// The same text, which counts as unread for as long as someone has it or a part of it. One that
    /// is longer than all that may be unread is held when nothing else is.
    pub(crate) fn hold(&self, text: Bytes, address: Option<IpAddr>) -> Result<Held, Refused> {
        if text.len() <= SHORT {
            let counted = None;
            return Ok(Held { text, counted });
        }
        let units = text.len().min(UNREAD).div_ceil(UNIT);
        let readers = Readers {
            units,
            places: Mutex::default(),
        };
        let place = self.place(&readers, address)?;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let unread = self.unread.clone().try_acquire_many_owned(units);
        let unread = unread.map_err(|_| too_many("this door has too many"))?;
        let text = Bytes::from_owner(Unread {
            text,
            _unread: unread,
        });
        Ok(Held {
            text,
            counted: Some((Arc::new(readers), place)),
        })
    }

    /// The same text for another who asks, from this address.
    pub(crate) fn hold_too(&self, held: &Held, address: Option<IpAddr>) -> Result<Held, Refused> {
        let Some((readers, _)) = &held.counted else {
            return Ok(held.clone());
        };
        let place = self.place(readers, address)?;
        Ok(Held {
            text: held.text.clone(),
            counted: Some((readers.clone(), place)),
        })
    }

    /// A text counts once for an address, however many have it there.
    fn place(&self, readers: &Readers, address: Option<IpAddr>) -> Result<Arc<Place>, Refused> {
        let places = readers.places.lock();
        let mut places = places.unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(&address).and_then(Weak::upgrade) {
            return Ok(place);
        }
        let place = self.shares.take_together(address, readers.units);
        let place = Arc::new(place.map_err(|_| {
            let who = address.map_or_else(String::new, |address| address.to_string());
            too_many(&format!("{who} has too many"))
        })?);
        places.insert(address, Arc::downgrade(&place));
        Ok(place)
    }
}

impl Held {
    /// The text, which counts for as long as someone has it or a part of it.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self.counted {
            Some(_) => Bytes::from_owner(self),
            None => self.text,
        }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Shared {
    /// As [`Long::hold`], and counted when it is refused.
    pub(crate) fn hold(&self, text: Bytes, address: Option<IpAddr>) -> Result<Held, Problem> {
        self.long.hold(text, address).map_err(|refused| {
            let counters = self.counters.of(self.door);
            counters.count_refusal(refused.refusal);
            Problem::new(refused.status, refused.reason)
        })
    }
}

fn too_many(who_has: &str) -> Refused {
    Refused {
        refusal: Refusal::Unread,
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: format!("{who_has} long answers that are not read yet"),
        retry_after: Some(SOON),
        closes: false,
    }
}

/// A text that counts for all together.
struct Unread {
    text: Bytes,
    _unread: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Unread {
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
    fn what_is_held_is_bounded_and_counts_until_the_last_has_it() {
        let long = Long::default();
        let half = long.hold(text(UNREAD / 2), None).unwrap().into_bytes();
        let (other, part) = (half.clone(), half.slice(7..9));
        let rest = long.hold(text(UNREAD / 2), None).unwrap();
        let refused = long.hold(text(SHORT + 1), None).unwrap_err();
        assert_eq!(refused.status, 503);
        drop((half, other));
        long.hold(text(SHORT + 1), None).unwrap_err();
        drop(part);
        long.hold(text(SHORT + 1), None).unwrap();
        drop(rest);
    }

    #[test]
    fn short_ones_do_not_count_and_the_longest_is_held_alone() {
        let long = Long::default();
        for address in [None, Some(address(1))] {
            let one = long.hold(text(3 * UNREAD), address).unwrap();
            long.hold(text(SHORT), address).unwrap();
            long.hold(text(3 * UNREAD), address).unwrap_err();
            drop(one);
        }
        long.hold(text(3 * UNREAD), None).unwrap();
    }

    #[test]
    fn one_address_has_a_share_and_others_have_theirs() {
        let long = Long::default();
        let hold = |number| long.hold(text(UNREAD_BY_ADDRESS / 4), Some(address(number)));
        let share = [(); 4].map(|()| hold(1).unwrap().into_bytes());
        let refused = hold(1).unwrap_err();
        assert_eq!(refused.status, 503);
        assert!(refused.reason.starts_with("0.0.0.1 has too many"));
        let _other = hold(2).unwrap();
        drop(share);
        hold(1).unwrap();
    }

    #[test]
    fn a_text_that_several_have_counts_once_for_each_address() {
        let long = Long::default();
        let first = long
            .hold(text(UNREAD_BY_ADDRESS), Some(address(1)))
            .unwrap();
        let hold_too = |number| long.hold_too(&first, Some(address(number))).unwrap();
        let readers = [2, 2, 2].map(hold_too);
        let another = |number| long.hold(text(SHORT + 1), Some(address(number)));
        another(1).unwrap_err();
        another(2).unwrap_err();
        // Whose it was at first does not wait for those that still read it.
        drop(first);
        another(1).unwrap();
        another(2).unwrap_err();
        drop(readers);
        another(2).unwrap();
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
