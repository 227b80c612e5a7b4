//! A limit that addresses share: on the connections of a listener, on delayed responses, and
//! on memory for responses that have not been read.
//!
//! An address may take a share of the slots that are free, so its share shrinks as they get scarce. A
//! few addresses cannot take all of them, and an address without any gets one while there is one.
//! (Dynamic thresholds, by which switches share their buffer between ports: Choudhury and Hahne, 1998.)

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The slots, and who has them.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    max: usize,
    per_address: Option<PerAddress>,
    used: Mutex<Used>,
}

/// How many slots one address may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerAddress {
    /// Maximum number.
    pub(crate) max: usize,
    /// And at most one for each `share` that are free.
    pub(crate) share: usize,
    /// Whether the IPv6 addresses of a /64 network count as one, since a machine has as many as it likes.
    pub(crate) by_network: bool,
}

impl PerAddress {
    fn limit(self, free: usize) -> usize {
        self.max.min(free.div_ceil(self.share.max(1))).max(1)
    }

    /// What an address counts as.
    fn counted(self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V6(address) if self.by_network => {
                IpAddr::V6((address.to_bits() >> 64 << 64).into())
            }
            address => address,
        }
    }
}

#[derive(Debug, Default)]
struct Used {
    total: usize,
    /// Only addresses that have a slot.
    by_address: HashMap<IpAddr, usize>,
}

/// A slot, or several that were acquired together. Dropping it releases them.
#[derive(Debug)]
pub(crate) struct Slot {
    limit: Arc<ConnectionLimit>,
    address: Option<IpAddr>,
    count: usize,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All of them, this many, are in use.
    All(usize),
    /// The address has this many, and may not have more at present.
    Address(usize),
}

impl ConnectionLimit {
    pub(crate) fn new(max: usize, per_address: Option<PerAddress>) -> Arc<Self> {
        Arc::new(Self {
            max,
            per_address,
            used: Mutex::default(),
        })
    }

    /// A slot for this address, if it may have one.
    pub(crate) fn acquire(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Slot, Full> {
        self.acquire_many(address, 1)
    }

    /// Several slots that are of use only together. An address without any gets them if there are enough.
    pub(crate) fn acquire_many(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        count: usize,
    ) -> Result<Slot, Full> {
        // Where addresses do not count, none is remembered.
        let per_address = address.zip(self.per_address);
        let address = per_address.map(|(address, limit)| limit.counted(address));
        let mut used = self.used();
        if self.max - used.total < count {
            return Err(Full::All(self.max));
        }
        if let (Some(address), Some(limit)) = (address, self.per_address) {
            let limit = limit.limit(self.max - used.total);
            let own = used.by_address.get(&address).copied().unwrap_or_default();
            if own > 0 && own + count > limit {
                return Err(Full::Address(own));
            }
            used.by_address.insert(address, own + count);
        }
        used.total += count;
        Ok(Slot {
            limit: self.clone(),
            address,
            count,
        })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.limit.used();
        used.total -= self.count;
        if let Some(address) = self.address
            && let Some(own) = used.by_address.get_mut(&address)
        {
            *own -= self.count;
            if *own == 0 {
                used.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_address(max: usize, share: usize) -> PerAddress {
        PerAddress {
            max,
            share,
            by_network: true,
        }
    }

    fn acquire(limit: &Arc<ConnectionLimit>, address: u32) -> Result<Slot, Full> {
        limit.acquire(Some(IpAddr::V4(address.into())))
    }

    #[test]
    fn a_slot_is_released_with_its_connection() {
        let limit = ConnectionLimit::new(4, Some(per_address(2, 1)));
        let (one, _two) = (acquire(&limit, 1).unwrap(), acquire(&limit, 1).unwrap());
        assert_eq!(acquire(&limit, 1).unwrap_err(), Full::Address(2));
        let others = [2, 3].map(|address| acquire(&limit, address).unwrap());
        assert_eq!(acquire(&limit, 4).unwrap_err(), Full::All(4));
        drop(others);
        drop(one);
        let _again = acquire(&limit, 1).unwrap();
        assert_eq!(
            limit.used().by_address.len(),
            1,
            "an address without a slot"
        );
    }

    #[test]
    fn ipv6_addresses_of_one_network_share_their_slots() {
        let limit = ConnectionLimit::new(8, Some(per_address(2, 1)));
        let take = |address: &str| limit.acquire(Some(address.parse().unwrap()));
        let _slots = ["2001:db8::1", "2001:db8::2:1"].map(|address| take(address).unwrap());
        assert_eq!(take("2001:db8::3").unwrap_err(), Full::Address(2));
        let _other = take("2001:db8:0:1::1").unwrap();
        let _mapped = ["::ffff:10.0.0.1", "::ffff:10.0.0.2"]
            .map(|address| [take(address).unwrap(), take(address).unwrap()]);
    }

    #[test]
    fn where_networks_do_not_count_each_ipv6_address_has_slots_of_its_own() {
        let limit = PerAddress {
            by_network: false,
            ..per_address(2, 1)
        };
        let limit = ConnectionLimit::new(8, Some(limit));
        let take = |address: &str| limit.acquire(Some(address.parse().unwrap()));
        let _slots = ["2001:db8::1", "2001:db8::1"].map(|address| take(address).unwrap());
        assert_eq!(take("2001:db8::1").unwrap_err(), Full::Address(2));
        let _other = take("2001:db8::2").unwrap();
    }

    /// Number of slots that are free when each of these addresses has taken as many as it can.
    fn free_after(addresses: u32) -> usize {
        let limit = ConnectionLimit::new(1_024, Some(per_address(64, 4)));
        let mut slots = Vec::new();
        // In turns, as at a deploy, and repeatedly, since shares change.
        for _ in 0..1_024 {
            slots.extend((0..addresses).filter_map(|address| acquire(&limit, address).ok()));
        }
        1_024 - slots.len()
    }

    #[test]
    fn a_few_addresses_cannot_take_all_slots() {
        assert_eq!(free_after(1), 1_024 - 64, "one has its maximum");
        for addresses in [17, 64, 200] {
            let free = free_after(addresses);
            assert!(free >= 12, "{free} are free with {addresses} addresses");
        }
    }

    #[test]
    fn an_address_without_a_slot_gets_the_last_one() {
        let limit = ConnectionLimit::new(8, Some(per_address(2, 4)));
        let _seven: Vec<_> = (0..7)
            .map(|address| acquire(&limit, address).unwrap())
            .collect();
        assert_eq!(acquire(&limit, 0).unwrap_err(), Full::Address(1));
        let _last = acquire(&limit, 7).unwrap();
    }

    #[test]
    fn several_are_acquired_and_released_together_and_an_address_without_any_gets_them() {
        let limit = ConnectionLimit::new(10, Some(per_address(4, 1)));
        let take = |address: u32, count| {
            let address = IpAddr::V4(address.into());
            limit.acquire_many(Some(address), count)
        };
        let three = take(1, 3).unwrap();
        assert_eq!(take(1, 2).unwrap_err(), Full::Address(3));
        let _one = take(1, 1).unwrap();
        let six = take(2, 6).unwrap();
        assert_eq!(take(3, 1).unwrap_err(), Full::All(10));
        drop((three, six));
        let _nine = take(3, 9).unwrap();
        assert_eq!(take(1, 1).unwrap_err(), Full::All(10));
    }

    #[test]
    fn without_addresses_only_the_number_counts() {
        let limit = ConnectionLimit::new(2, None);
        let _both = [None, None].map(|none| limit.acquire(none).unwrap());
        assert_eq!(limit.acquire(None).unwrap_err(), Full::All(2));
    }
}
