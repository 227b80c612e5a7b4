//! A pause of pollbal itself is no time that nodes had.

use super::overrides::{TIMEOUT, reason, word};
use super::*;
use crate::model::naming::{Naming, Scheme};
use crate::model::time::{Standstill, Timestamp};

const SECOND: Duration = Duration::from_secs(1);

impl Bench {
    /// pollbal is paused for this time, until `today`; returns how many leaves are extended.
    fn stand_still(&mut self, time: Duration, today: Timestamp) -> usize {
        self.now += time;
        let pause = Standstill { time, day: time };
        self.membership.add_pause(pause, today)
    }

    /// Whether the leaves of nodes are over at that time of day.
    fn frees(&mut self, today: Timestamp) -> bool {
        !self
            .membership
            .expire((self.now, today))
            .poll_now
            .is_empty()
    }
}

/// This time after the epoch.
fn day(time: Duration) -> Timestamp {
    Timestamp::from_millis(0).after(time)
}

/// The second before [`day`] of that time.
fn just_before(time: Duration) -> Timestamp {
    day(time.checked_sub(SECOND).unwrap())
}

#[test]
fn a_leave_lasts_as_much_longer_as_pollbal_stood_still_and_a_reason_ends_by_the_time_of_day() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.leave(1).unwrap();
    let short = reason(Some(60_000));
    let addrs = [addr(2)];
    bench
        .membership
        .disable(&addrs, &word("kernel"), &short, bench.now);
    let revision = bench.membership.overrides_revision();
    let woke = day(TIMEOUT + 30 * SECOND);
    assert_eq!(bench.stand_still(TIMEOUT, woke), 1);
    assert!(
        bench.membership.overrides_revision() > revision,
        "for the state file"
    );
    assert_eq!(
        bench.membership.expire((bench.now, woke)).poll_now,
        [addr(2)],
        "the reason"
    );
    assert!(!bench.frees(just_before(2 * TIMEOUT)));
    assert!(bench.frees(day(2 * TIMEOUT)));
    let revision = bench.membership.overrides_revision();
    assert_eq!(bench.stand_still(TIMEOUT, woke), 0, "no leave is left");
    assert_eq!(bench.membership.overrides_revision(), revision);
}

#[test]
fn a_clock_that_is_put_right_by_years_makes_no_leave_longer_than_it_was_granted_for() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    let years = 50 * 365 * 24 * 3_600 * SECOND;
    let moment = (bench.now, day(years));
    bench.membership.leave(addr(1), TIMEOUT, moment).unwrap();
    let pause = Standstill {
        time: Duration::ZERO,
        day: years,
    };
    let today = years + 100 * SECOND;
    assert_eq!(bench.membership.add_pause(pause, day(today)), 1);
    assert!(!bench.frees(just_before(today + TIMEOUT)));
    assert!(bench.frees(day(today + TIMEOUT)));
}

#[test]
fn a_place_to_leave_is_not_free_because_pollbal_stood_still() {
    let mut bench = Bench::serving(rules(1, 1, 1), 3);
    bench.see(3, says("api leaving"));
    bench.stand_still(TIMEOUT, day(TIMEOUT));
    bench.see(3, says("api leaving"));
    assert!(bench.leave(1).is_err());
    bench.now += TIMEOUT;
    assert!(bench.leave(1).is_ok());
}

#[test]
fn a_name_stays_in_use_while_pollbal_stands_still() {
    /// All pools, and all versions, have one name.
    const ONE: Scheme = Scheme {
        place: "a test",
        of_pool: |_| "one".to_owned(),
        of_version: |_, _| "version".to_owned(),
    };
    let rules = Rules {
        namings: [Naming::new(ONE, [])].into_iter().collect(),
        ..rules(1, 1, 0)
    };
    let grace = rules.grace;
    let mut bench = Bench::new(rules, 2);
    bench.see(1, says("api serving v1"));
    bench.see(2, says(""));
    bench.see(1, says("api leaving"));
    bench.stand_still(grace, day(grace));
    bench.see(2, says("web serving v2"));
    assert!(bench.members("web").is_empty());
    bench.now += grace;
    bench.see(2, says("web serving v2"));
    assert_eq!(bench.members("web"), [2]);
}
