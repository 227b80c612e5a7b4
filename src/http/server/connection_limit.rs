//! The places of a door: so many connections at a time, and so many of one address. The same for
//! answers that are held, and for what is in memory of answers that are not read.
//!
//! How many one address may have shrinks as places get scarce: it is a share of those that are free.
//! So a few addresses cannot take all of them, and an address without any gets one as long as there is
//! one. (Dynamic thresholds, as switches share their buffer between ports: Choudhury and Hahne, 1998.)

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All places of one door.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    per_address: Option<PerAddress>,
    taken: Mutex<Taken>,
}

/// How many places one address may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerAddress {
    /// At most so many.
    pub(crate) most: usize,
    /// And no more than one for each `share` that are free.
    pub(crate) share: usize,
}

impl PerAddress {
    fn limit(self, free: usize) -> usize {
        self.most.min(free.div_ceil(self.share.max(1))).max(1)
    }
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only addresses that have a place.
    by_address: HashMap<IpAddr, usize>,
}

/// A place, or several that were taken together; dropped, they are free again.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
    count: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All so many are taken.
    Full(usize),
    /// The address has so many, and may have no more for now.
    AddressFull(usize),
}

impl Places {
    pub(crate) fn new(all: usize, per_address: Option<PerAddress>) -> Arc<Self> {
        Arc::new(Self {
            all,
            per_address,
            taken: Mutex::default(),
        })
    }

    /// A place for a connection from `address`, where it has one.
    pub(crate) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, NoPlace> {
        self.take_together(address, 1)
    }

    /// The same of several that are of use only together: an address without any gets them as long as there are so many.
    pub(crate) fn take_together(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        count: usize,
    ) -> Result<Place, NoPlace> {
        // Where addresses are not counted, none is remembered.
        let address = address.filter(|_| self.per_address.is_some()).map(network);
        let mut taken = self.taken();
        if self.all - taken.all < count {
            return Err(NoPlace::Full(self.all));
        }
        if let (Some(address), Some(limit)) = (address, self.per_address) {
            let limit = limit.limit(self.all - taken.all);
            let own = taken.by_address.get(&address).copied().unwrap_or_default();
            if own > 0 && own + count > limit {
                return Err(NoPlace::AddressFull(own));
            }
            taken.by_address.insert(address, own + count);
        }
        taken.all += count;
        Ok(Place {
            places: self.clone(),
            address,
            count,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses that count as one: of IPv6, where one machine has as many as it likes, those of a
/// network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= self.count;
        if let Some(address) = self.address
            && let Some(own) = taken.by_address.get_mut(&address)
        {
            *own -= self.count;
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
        let places = Places::new(4, Some(PerAddress { most: 2, share: 1 }));
        let (one, _two) = (take(&places, 1).unwrap(), take(&places, 1).unwrap());
        assert_eq!(take(&places, 1).unwrap_err(), NoPlace::AddressFull(2));
        let others = [2, 3].map(|address| take(&places, address).unwrap());
        assert_eq!(take(&places, 4).unwrap_err(), NoPlace::Full(4));
        drop(others);
        drop(one);
        let _again = take(&places, 1).unwrap();
        assert_eq!(
            places.taken().by_address.len(),
            1,
            "an address without a place"
        );
    }

    #[test]
    fn ipv6_addresses_of_one_network_share_their_places() {
        let places = Places::new(8, Some(PerAddress { most: 2, share: 1 }));
        let take = |address: &str| places.take(Some(address.parse().unwrap()));
        let _places = ["2001:db8::1", "2001:db8::2:1"].map(|address| take(address).unwrap());
        assert_eq!(take("2001:db8::3").unwrap_err(), NoPlace::AddressFull(2));
        let _other = take("2001:db8:0:1::1").unwrap();
        let _mapped = ["::ffff:10.0.0.1", "::ffff:10.0.0.2"]
            .map(|address| [take(address).unwrap(), take(address).unwrap()]);
    }

    /// How many places are free when each of these addresses took as many as it could.
    fn free_after(addresses: u32) -> usize {
        let places = Places::new(1_024, Some(PerAddress { most: 64, share: 4 }));
        let mut held = Vec::new();
        // In turns, as at a deploy; and once more for each, since a place may come free meanwhile.
        for _ in 0..1_024 {
            held.extend((0..addresses).filter_map(|address| take(&places, address).ok()));
        }
        1_024 - held.len()
    }

    #[test]
    fn a_few_addresses_cannot_take_all_places() {
        assert_eq!(free_after(1), 1_024 - 64, "one has as many as it may");
        for addresses in [17, 64, 200] {
            let free = free_after(addresses);
            assert!(free >= 12, "{free} are free beside {addresses} addresses");
        }
    }

    #[test]
    fn an_address_without_a_place_gets_the_last_one() {
        let places = Places::new(8, Some(PerAddress { most: 2, share: 4 }));
        let _seven: Vec<_> = (0..7)
            .map(|address| take(&places, address).unwrap())
            .collect();
        assert_eq!(take(&places, 0).unwrap_err(), NoPlace::AddressFull(1));
        let _last = take(&places, 7).unwrap();
    }

    #[test]
    fn several_are_taken_and_free_together_and_an_address_without_any_gets_them() {
        let places = Places::new(10, Some(PerAddress { most: 4, share: 1 }));
        let take = |address: u32, count| {
            let address = IpAddr::V4(address.into());
            places.take_together(Some(address), count)
        };
        let three = take(1, 3).unwrap();
        assert_eq!(take(1, 2).unwrap_err(), NoPlace::AddressFull(3));
        let _one = take(1, 1).unwrap();
        let six = take(2, 6).unwrap();
        assert_eq!(take(3, 1).unwrap_err(), NoPlace::Full(10));
        drop((three, six));
        let _nine = take(3, 9).unwrap();
        assert_eq!(take(1, 1).unwrap_err(), NoPlace::Full(10));
    }

    #[test]
    fn without_addresses_only_the_number_counts() {
        let places = Places::new(2, None);
        let _both = [None, None].map(|none| places.take(none).unwrap());
        assert_eq!(places.take(None).unwrap_err(), NoPlace::Full(2));
    }
}
