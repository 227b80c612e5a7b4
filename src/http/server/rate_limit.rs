//! How often each address asks: the generic cell rate algorithm, one time per address.
//!
//! An address that has not asked for a while is forgotten, so that what is kept is bounded by how
//! many addresses ask within [`SWEEP`].

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::http::server::limits::Pace;

/// Between two looks for addresses that can be forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// All addresses that asked of late.
#[derive(Debug)]
pub(crate) struct Paces {
    /// Between two requests, for long.
    interval: Duration,
    /// How far ahead of that an address may be.
    ahead: Duration,
    /// When the next request of an address would be due if it asked evenly.
    due: HashMap<Ipv4Addr, Instant>,
    swept: Option<Instant>,
}

impl Paces {
    pub(crate) fn new(pace: Pace) -> Self {
        let interval = Duration::from_secs(1) / pace.per_second;
        Self {
            interval,
            ahead: interval * (pace.burst - 1),
            due: HashMap::new(),
            swept: None,
        }
    }

    /// Whether the address may ask at `now`; else how long it has to wait.
    pub(crate) fn ask(&mut self, address: Ipv4Addr, now: Instant) -> Result<(), Duration> {
        self.sweep(now);
        let due = self.due.entry(address).or_insert(now);
        let early = due.saturating_duration_since(now);
        let wait = early.saturating_sub(self.ahead);
        if !wait.is_zero() {
            return Err(wait);
        }
        *due = (*due).max(now) + self.interval;
        Ok(())
    }

    fn sweep(&mut self, now: Instant) {
        let swept = *self.swept.get_or_insert(now);
        if now.duration_since(swept) >= SWEEP {
            self.swept = Some(now);
            self.due.retain(|_, due| *due > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn paces() -> Paces {
        Paces::new(Pace {
            per_second: 20,
            burst: 40,
        })
    }

    /// How many of so many requests at once may pass.
    fn passed(paces: &mut Paces, address: Ipv4Addr, now: Instant, requests: usize) -> usize {
        (0..requests)
            .filter(|_| paces.ask(address, now).is_ok())
            .count()
    }

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let (mut paces, start) = (paces(), Instant::now());
        assert_eq!(passed(&mut paces, ONE, start, 100), 40);
        assert_eq!(
            passed(&mut paces, OTHER, start, 1),
            1,
            "each has a pace of its own"
        );
        let wait = paces.ask(ONE, start).unwrap_err();
        assert!(paces.ask(ONE, start + wait / 2).is_err());
        assert!(paces.ask(ONE, start + wait).is_ok());
        let later = start + wait + Duration::from_secs(1);
        assert_eq!(passed(&mut paces, ONE, later, 100), 20);
        let much_later = later + Duration::from_secs(60);
        assert_eq!(passed(&mut paces, ONE, much_later, 100), 40);
    }

    #[test]
    fn an_address_that_asks_no_more_is_forgotten() {
        let (mut paces, start) = (paces(), Instant::now());
        for number in 0..1_000_u32 {
            paces.ask(number.into(), start).unwrap();
        }
        paces.ask(ONE, start + SWEEP).unwrap();
        assert_eq!(paces.due.len(), 1);
    }
}
