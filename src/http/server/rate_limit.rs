//! How often each address may send a request: the generic cell rate algorithm, by `governor`.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter as Governor};

use super::limits::Rate;

/// Interval at which addresses that have been quiet are forgotten, so that memory is bounded by the
/// number of addresses that sent something meanwhile.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(10);

/// The limiter of one listener.
pub(crate) struct RateLimiter<C: Clock = MonotonicClock> {
    by_address: Governor<IpAddr, HashMapStateStore<IpAddr>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    cleaned_up: Mutex<Instant>,
}

impl RateLimiter {
    pub(crate) fn new(rate: Rate) -> Self {
        Self::with_clock(rate, MonotonicClock)
    }
}

impl<C: Clock + Clone> RateLimiter<C> {
    fn with_clock(rate: Rate, clock: C) -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(number(rate.per_second)).allow_burst(number(rate.burst));
        Self {
            by_address: Governor::hashmap_with_clock(quota, clock.clone()),
            clock,
            cleaned_up: Mutex::new(Instant::now()),
        }
    }

    /// Whether this address may send a request now; otherwise after which delay.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Duration> {
        self.clean_up();
        let checked = self.by_address.check_key(&address);
        checked.map_err(|denied| denied.wait_time_from(self.clock.now()))
    }

    fn clean_up(&self) {
        let cleaned_up = self.cleaned_up.lock();
        let mut cleaned_up = cleaned_up.unwrap_or_else(PoisonError::into_inner);
        if cleaned_up.elapsed() >= CLEANUP_INTERVAL {
            *cleaned_up = Instant::now();
            self.by_address.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn limiter(clock: &FakeRelativeClock) -> RateLimiter<FakeRelativeClock> {
        let rate = Rate {
            per_second: 20,
            burst: 40,
        };
        RateLimiter::with_clock(rate, clock.clone())
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_applies() {
        let clock = FakeRelativeClock::default();
        let limiter = limiter(&clock);
        let passed = |address, requests| {
            let checks = (0..requests).filter(|_| limiter.check(address).is_ok());
            checks.count()
        };
        assert_eq!(passed(ONE, 100), 40);
        assert_eq!(passed(OTHER, 1), 1, "each address has a rate of its own");
        let delay = limiter.check(ONE).unwrap_err();
        clock.advance(delay / 2);
        assert!(limiter.check(ONE).is_err());
        clock.advance(delay.saturating_sub(delay / 2));
        assert!(limiter.check(ONE).is_ok());
        clock.advance(Duration::from_secs(1));
        assert_eq!(passed(ONE, 100), 20);
        clock.advance(Duration::from_secs(60));
        assert_eq!(passed(ONE, 100), 40);
    }

    #[test]
    fn an_address_that_has_become_quiet_is_forgotten() {
        let clock = FakeRelativeClock::default();
        let limiter = limiter(&clock);
        for number in 0..1_000_u32 {
            limiter
                .check(std::net::Ipv4Addr::from(number).into())
                .unwrap();
        }
        clock.advance(CLEANUP_INTERVAL);
        let before = Instant::now().checked_sub(CLEANUP_INTERVAL);
        *limiter.cleaned_up.lock().unwrap() = before.unwrap();
        limiter.check(ONE).unwrap();
        assert_eq!(limiter.by_address.len(), 1);
    }
}
