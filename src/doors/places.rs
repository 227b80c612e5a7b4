//! The places of a door: so many connections at a time, and so many of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All places of one door.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    per_address: Option<usize>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only addresses that have a place.
    by_address: HashMap<IpAddr, usize>,
}

/// A place; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// All so many are taken.
    Full(usize),
    /// All so many that the address may have are taken.
    AddressFull(usize),
}

impl Places {
    pub(super) fn new(all: usize, per_address: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            all,
            per_address,
            taken: Mutex::default(),
        })
    }

    /// A place for a connection from `address`, where it has one.
    pub(super) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, NoPlace> {
        // Where addresses are not counted, none is remembered.
        let address = address.filter(|_| self.per_address.is_some());
        let mut taken = self.taken();
        if taken.all >= self.all {
            return Err(NoPlace::Full(self.all));
        }
        if let (Some(address), Some(limit)) = (address, self.per_address) {
            let own = taken.by_address.entry(address).or_default();
            if *own >= limit {
                return Err(NoPlace::AddressFull(limit));
            }
            *own += 1;
        }
        taken.all += 1;
        Ok(Place {
            places: self.clone(),
            address,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(address) = self.address
            && let Some(own) = taken.by_address.get_mut(&address)
        {
            *own -= 1;
            if *own == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Arc<Places>, address: u32) -> Result<Place, NoPlace> {
        places.take(Some(IpAddr::V4(address.into())))
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let places = Places::new(3, Some(2));
        let (one, _two) = (take(&places, 1).unwrap(), take(&places, 1).unwrap());
        assert_eq!(take(&places, 1).unwrap_err(), NoPlace::AddressFull(2));
        let other = take(&places, 2).unwrap();
        assert_eq!(take(&places, 3).unwrap_err(), NoPlace::Full(3));
        drop(one);
        let _again = take(&places, 1).unwrap();
        assert_eq!(take(&places, 3).unwrap_err(), NoPlace::Full(3));
        drop(other);
        assert_eq!(
            places.taken().by_address.len(),
            1,
            "an address without a place"
        );
    }

    #[test]
    fn without_addresses_only_the_number_counts() {
        let places = Places::new(2, None);
        let _both = [None, None].map(|none| places.take(none).unwrap());
        assert_eq!(places.take(None).unwrap_err(), NoPlace::Full(2));
    }
}
