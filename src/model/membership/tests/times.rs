//! Since when nodes are where they are, over a restart.

use super::*;
use crate::model::time::Timestamp;

const HOUR: Duration = Duration::from_secs(3_600);

/// The time of day when the first run ends.
const END: Timestamp = Timestamp::from_millis(1_764_489_452_000);

impl Bench {
    /// A run behind this one, for as many nodes, an hour later.
    fn restarted(&self, rules: Rules, today: Timestamp) -> Self {
        let times = self.membership.times((self.now, END)).unwrap();
        // As the state file has it.
        let times = serde_json::from_value(serde_json::to_value(times).unwrap()).unwrap();
        let count = self.membership.node_count();
        let mut bench = Self::new(rules, u8::try_from(count).unwrap());
        bench.now = self.now + HOUR;
        bench.membership.remember(&times, (bench.now, today));
        bench
    }

    /// For how long a node has been where it is.
    fn lasts(&self, number: u8) -> Option<u64> {
        let since = self.membership.view(addr(number)).unwrap().since?;
        Some(self.now.saturating_duration_since(since).as_secs())
    }
}

#[test]
fn who_is_found_where_it_was_is_there_since_then_and_anyone_else_since_now() {
    let mut first = Bench::new(rules(1, 1, 0), 6);
    for number in 1..=3 {
        first.see(number, says("api serving v1"));
    }
    first.see(4, fails());
    first.see(5, says("api leaving"));
    first.see(6, fails());
    let mut bench = first.restarted(rules(1, 1, 0), END.after(HOUR));
    let announced = [
        says("api serving v1"),
        says("api serving v2"),
        says("web serving v1"),
        fails(),
        says("api leaving"),
        says("api serving v1"),
    ];
    let mut lasts = Vec::new();
    for (number, announced) in (1..).zip(announced) {
        assert_eq!(bench.lasts(number), None, "it was not polled yet");
        bench.see(number, announced);
        lasts.push(bench.lasts(number).unwrap());
    }
    // A second for each observation, five before the end and as many after the start at most.
    assert_eq!(lasts, [3_606, 0, 0, 3_606, 3_606, 0]);
}

#[test]
fn a_member_that_is_taken_over_is_so_since_it_was_one() {
    let mut first = Bench::serving(rules(1, 1, 0), 3);
    first.see(3, says("api leaving"));
    let mut bench = first.restarted(rules(1, 1, 0), END.after(HOUR));
    let api: PoolName = "api".parse().unwrap();
    let place = |_| Assignment {
        pool: api.clone(),
        version: None,
    };
    let members = [1, 2, 3].map(|number| (addr(number), place(number)));
    bench.membership.adopt_previous(&api, members);
    bench.see(1, says("api"));
    assert_eq!(bench.lasts(1), Some(3_604));
    bench.see(2, fails());
    assert_eq!(bench.lasts(2), Some(0), "it left just now");
    bench.see(3, says("api"));
    assert_eq!(bench.lasts(3), Some(0), "it had left");
}

#[test]
fn a_member_fails_since_its_first_failure_and_is_a_member_since_it_joined() {
    let twice = || rules(1, 2, 0);
    let mut first = Bench::serving(twice(), 1);
    first.now += HOUR;
    first.see(1, fails());
    let mut bench = first.restarted(twice(), END.after(HOUR));
    let api: PoolName = "api".parse().unwrap();
    let place = Assignment {
        pool: api.clone(),
        version: None,
    };
    bench.membership.adopt_previous(&api, [(addr(1), place)]);
    bench.see(1, fails());
    assert_eq!(bench.lasts(1), Some(3_601));
    bench.see(1, says("api"));
    assert_eq!(bench.lasts(1), Some(2 * 3_600 + 3));
}

#[test]
fn a_clock_that_was_put_back_makes_nothing_begin_in_the_future() {
    let first = Bench::serving(rules(1, 1, 0), 1);
    let mut bench = first.restarted(rules(1, 1, 0), END.before(HOUR));
    bench.see(1, says("api"));
    assert_eq!(bench.lasts(1), Some(1));
    let view = bench.membership.view(addr(1)).unwrap();
    assert!(view.since.unwrap() <= bench.now);
}

#[test]
fn only_listed_nodes_are_kept_and_nothing_before_all_were_heard() {
    let mut bench = Bench::serving(rules(1, 1, 0), 3);
    let now = (bench.now, END);
    assert_eq!(bench.membership.times(now).unwrap().nodes().count(), 3);
    bench.membership.set_nodes(nodes(1..=2), bench.now);
    assert_eq!(bench.membership.times(now).unwrap().nodes().count(), 2);
    let awaited = Bench::new(rules(1, 1, 0), 2);
    assert_eq!(awaited.membership.times(now), None);
}
