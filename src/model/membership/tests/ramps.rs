//! Which members ramp up, and how.

use super::overrides::word;
use super::*;
use crate::model::membership::requests::OverrideRequest;
use crate::model::node_times::NodeTimes;
use crate::model::time::{Clock, Timestamp};

const LENGTH: Duration = Duration::from_secs(100);
const AFTER: Duration = Duration::from_secs(60);

/// The time of day when a run ends.
const END: Timestamp = Timestamp::from_millis(1_764_489_452_000);

fn ramping() -> Rules {
    let mut rules = rules(1, 1, 0);
    rules.undeclared.ramp = RampRules {
        length: LENGTH,
        after: AFTER,
    };
    rules
}

impl Bench {
    /// The weights of the members of `api` after the steps that are due.
    fn weights(&mut self) -> Vec<u16> {
        self.membership.advance_ramps(self.now);
        let pools = self.whole();
        let members = pools.pools["api"].members.iter();
        members.map(|member| member.weight.get()).collect()
    }

    /// The node answers nothing, and serves again after this time.
    fn away(&mut self, number: u8, time: Duration) -> Vec<Change> {
        self.see(number, says(""));
        self.now += time.checked_sub(Duration::from_secs(1)).unwrap();
        self.see(number, says("api"))
    }

    fn ramp_on_return(&mut self, number: u8, ramp: Duration) {
        let request = OverrideRequest::Enable {
            nodes: vec![addr(number)],
            name: word("kernel"),
            by: Note::new("ann"),
            ramp: Some(ramp),
        };
        let clock = Clock {
            now: self.now,
            today: END,
        };
        let granted = self.membership.apply(request, Duration::MAX, clock);
        granted.unwrap();
    }

    /// A run behind this one that begins `later`; its first two nodes are members of `api` from the start.
    fn succeeded(&self, later: Duration) -> Self {
        let times = self.membership.times((self.now, END)).unwrap();
        let times = serde_json::from_value::<NodeTimes>(serde_json::to_value(times).unwrap());
        let mut bench = Self::new(ramping(), 3);
        bench.now = self.now + later;
        let clock = (bench.now, END.after(later));
        bench.membership.remember(&times.unwrap(), clock);
        let pool: PoolName = "api".parse().unwrap();
        let place = Assignment {
            pool: pool.clone(),
            version: None,
        };
        let members = [1, 2].map(|number| (addr(number), place.clone()));
        bench.membership.adopt_previous(&pool, members);
        bench
    }
}

#[test]
fn who_comes_back_after_ramp_after_rises_to_its_weight_and_others_have_it_at_once() {
    let mut bench = Bench::serving(ramping(), 2);
    assert_eq!(bench.weights(), [100, 100], "the first round");
    assert_eq!(bench.membership.next_ramp_step(), None);
    let almost = AFTER.checked_sub(Duration::from_secs(1)).unwrap();
    assert!(matches!(bench.away(1, almost)[..], [Change::Joined(..)]));
    assert_eq!(bench.weights(), [100, 100]);

    let changes = bench.away(1, AFTER);
    let [
        Change::Joined(..),
        Change::RampStarted(node, _, full, length),
    ] = &changes[..]
    else {
        panic!("{changes:?}");
    };
    assert_eq!((node.addr, full.get(), *length), (addr(1), 100, LENGTH));
    let start = bench.now;
    let mut seen = vec![bench.weights()[0]];
    let over = loop {
        bench.now = bench.membership.next_ramp_step().unwrap();
        let changes = bench.membership.advance_ramps(bench.now);
        let pools = bench.membership.take_changed().expect("another weight");
        seen.push(pools.pools["api"].members[0].weight.get());
        if !changes.is_empty() {
            break changes;
        }
    };
    assert_eq!(seen, [5, 15, 25, 35, 45, 55, 65, 75, 85, 95, 100]);
    assert_eq!(bench.now, start + LENGTH);
    assert!(matches!(&over[..], [Change::RampOver(node, ..)] if node.addr == addr(1)));
    assert_eq!(bench.membership.next_ramp_step(), None, "an idle engine");
}

#[test]
fn a_new_node_ramps_up_and_one_whose_line_was_missing_for_a_moment_does_not() {
    let mut bench = Bench::serving(ramping(), 2);
    bench.membership.set_nodes(nodes(1..=3), bench.now);
    bench.see(3, says(""));
    bench.see(3, says("api"));
    assert_eq!(bench.weights(), [100, 100, 5]);
    bench.membership.set_nodes(nodes([1, 3]), bench.now);
    bench.membership.set_nodes(nodes(1..=3), bench.now);
    bench.see(2, says("api"));
    assert_eq!(bench.weights(), [100, 100, 5]);
    bench.membership.set_nodes(nodes([1, 3]), bench.now);
    bench.now += AFTER;
    bench.membership.set_nodes(nodes(1..=3), bench.now);
    bench.see(2, says("api"));
    assert_eq!(bench.weights(), [100, 5, 65]);
}

#[test]
fn failing_once_of_twice_and_moving_are_no_return_and_end_no_ramp() {
    let mut rules = ramping();
    rules.undeclared.fall = 2;
    let mut bench = Bench::serving(rules, 2);
    bench.away(1, AFTER);
    bench.see(1, fails());
    bench.see(1, says("api"));
    bench.see(1, says("web"));
    bench.see(1, says("api serving v2"));
    bench.see(2, says("web"));
    bench.see(2, says("api"));
    bench.now += Duration::from_secs(4);
    assert_eq!(bench.weights(), [15, 100]);
}

#[test]
fn a_ramp_that_was_cut_short_begins_again_however_short_the_absence() {
    let mut bench = Bench::serving(ramping(), 2);
    bench.away(1, AFTER);
    bench.now += LENGTH / 2;
    assert_eq!(bench.weights(), [55, 100]);
    assert!(matches!(bench.see(1, fails())[..], [Change::Left(..)]));
    assert_eq!(bench.weights(), [100]);
    bench.see(1, says("api"));
    assert_eq!(bench.weights(), [5, 100]);
    bench.now += LENGTH;
    assert_eq!(bench.weights(), [100, 100]);
    bench.see(1, fails());
    bench.see(1, says("api"));
    assert_eq!(bench.weights(), [100, 100], "it had its weight");
}

#[test]
fn a_weight_that_changes_meanwhile_is_what_it_rises_to() {
    let mut bench = Bench::serving(ramping(), 2);
    bench.away(1, AFTER);
    bench.now += LENGTH / 2;
    bench.see(1, says("api weight=20"));
    assert_eq!(bench.weights(), [11, 100]);
    let (ramp, weight) = bench.membership.view(addr(1)).unwrap().ramp.unwrap();
    assert_eq!((ramp.length(), weight.get()), (LENGTH, 11));
    bench.now += LENGTH;
    assert_eq!(bench.weights(), [20, 100]);
    assert_eq!(bench.membership.view(addr(1)).unwrap().ramp, None);
}

#[test]
fn an_order_decides_on_the_next_return_of_a_node_that_is_out_and_on_no_other() {
    let mut bench = Bench::serving(ramping(), 2);
    let short = Duration::from_secs(2);
    bench.ramp_on_return(2, short);
    bench.disable(1, "kernel");
    let revision = bench.membership.overrides_revision();
    bench.ramp_on_return(1, short);
    assert!(
        bench.membership.overrides_revision() > revision,
        "it is saved"
    );
    bench.see(1, says("api"));
    assert_eq!(bench.weights(), [25, 100]);
    bench.now += short;
    assert_eq!(bench.weights(), [100, 100]);
    assert!(bench.membership.overrides().ramps_ms.is_empty());

    bench.disable(1, "kernel");
    bench.now += AFTER;
    bench.ramp_on_return(1, Duration::ZERO);
    assert_eq!(bench.away(1, AFTER).len(), 1, "none");
    bench.see(2, says(""));
    bench.see(2, says("api"));
    assert_eq!(bench.weights(), [100, 100], "it was in");
}

#[test]
fn a_restart_neither_begins_nor_skips_a_ramp() {
    let mut first = Bench::serving(ramping(), 3);
    first.see(3, says(""));
    first.away(1, AFTER);
    let begun = first.now;
    let mut bench = first.succeeded(Duration::from_secs(20));
    for (number, announced) in [(1, "api"), (2, "api"), (3, "")] {
        bench.see(number, says(announced));
    }
    assert_eq!(bench.now, begun + Duration::from_secs(23));
    assert_eq!(bench.weights(), [25, 100]);
    let changes = bench.see(3, says("api"));
    assert!(
        matches!(changes[..], [Change::Joined(..), Change::RampStarted(..)]),
        "it was out long enough, in both runs: {changes:?}"
    );

    let mut third = bench.succeeded(LENGTH);
    third.see(1, says("api"));
    third.see(2, says("api"));
    let changes = third.see(3, says("api"));
    let over = |change: &Change| matches!(change, Change::RampOver(..));
    assert_eq!(changes.iter().filter(|change| over(change)).count(), 2);
    assert_eq!(
        third.weights(),
        [100, 100, 100],
        "the first round ramps nothing"
    );
}

#[test]
fn a_member_of_the_last_run_that_is_listed_late_is_not_new() {
    let first = Bench::serving(ramping(), 5);
    let mut bench = first.succeeded(Duration::from_secs(1));
    for number in 1..=3 {
        bench.see(number, says("api"));
    }
    bench.membership.set_nodes(nodes(1..=4), bench.now);
    bench.see(4, says("api"));
    assert_eq!(bench.weights(), [100; 4]);
    bench.now += AFTER;
    bench.membership.set_nodes(nodes(1..=6), bench.now);
    bench.see(5, says("api"));
    bench.see(6, says("api"));
    assert_eq!(bench.weights(), [100, 100, 100, 100, 5, 5]);
}

#[test]
fn a_ramp_that_a_restart_finds_over_by_failure_begins_again() {
    let mut first = Bench::serving(ramping(), 3);
    first.away(1, AFTER);
    let mut bench = first.succeeded(Duration::from_secs(20));
    bench.see(1, fails());
    bench.see(2, says("api"));
    bench.see(3, says("api"));
    bench.see(1, says("api"));
    assert_eq!(bench.weights(), [5, 100, 100]);
}

#[test]
fn steps_of_many_ramps_are_taken_together() {
    let mut bench = Bench::serving(ramping(), 2);
    bench.see(1, says(""));
    bench.see(2, says(""));
    bench.now += AFTER;
    bench.see(1, says("api"));
    let poll = Poll::at(bench.now, says("api"));
    bench.now += Duration::from_millis(30);
    bench.membership.observe(addr(2), poll, bench.now);
    bench.now = bench.membership.next_ramp_step().unwrap();
    assert_eq!(bench.weights(), [15, 5]);
    let next = bench.membership.next_ramp_step().unwrap();
    assert_eq!(next - bench.now, Duration::from_millis(100));
    bench.now = next;
    assert_eq!(bench.weights(), [15, 15]);
}
