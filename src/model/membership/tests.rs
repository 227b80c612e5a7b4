//! What `Membership` decides: by example, and against a simple reference model.

mod admission;
mod draining;
mod new_rules;
mod overrides;
mod owned;
mod pauses;
mod pools;
mod ramps;
mod reference;
mod sorry;
mod times;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::change::Assignment;
use super::super::event::EventText;
use super::super::naming::Namings;
use super::super::node_view::{NodeState, Retention};
use super::super::observation::Failure;
use super::super::overrides::Note;
use super::super::pools::{Pool, Pools};
use super::super::ramp::RampRules;
use super::super::rules::{JoinDenied, PoolRules};
use super::super::weight::Weight;
use super::*;

/// A membership with a clock that ticks a second at each observation.
struct Bench {
    membership: Membership,
    now: Instant,
}

/// Rules of a site that declares no pool.
pub(crate) fn rules(rise: u32, fall: u32, min_members: usize) -> Rules {
    Rules {
        undeclared: PoolRules {
            rise,
            fall,
            min_members,
            max_leaving: 1,
            max_versions: 300,
            nodes: None,
            weight: Weight::default(),
            ramp: RampRules::default(),
            sorry: Vec::new(),
        },
        declared: BTreeMap::new(),
        accept_undeclared: true,
        max_undeclared: 4,
        grace: Duration::from_secs(60),
        namings: Namings::default(),
    }
}

pub(crate) fn addr(number: u8) -> NodeAddr {
    format!("10.0.0.{number}:80").parse().unwrap()
}

fn nodes(numbers: impl IntoIterator<Item = u8>) -> Vec<Node> {
    let node = |number| Node::new(addr(number), format!("n{number}"));
    numbers.into_iter().map(node).collect()
}

fn says(body: &str) -> Observation {
    match Announcement::parse(body.as_bytes()).unwrap() {
        Some(announcement) => Observation::Announced(announcement),
        None => Observation::Nothing,
    }
}

fn fails() -> Observation {
    Observation::Failed(Failure::Timeout(Duration::from_secs(1)))
}

impl Bench {
    fn new(rules: Rules, count: u8) -> Self {
        let mut membership = Membership::new(rules, Overrides::default());
        assert!(
            membership
                .set_nodes(nodes(1..=count), Instant::now())
                .is_empty()
        );
        Self {
            membership,
            now: Instant::now(),
        }
    }

    /// A bench whose nodes are all members of `api`.
    fn serving(rules: Rules, count: u8) -> Self {
        let mut bench = Self::new(rules, count);
        for number in 1..=count {
            bench.see(number, says("api"));
        }
        bench
    }

    fn see(&mut self, number: u8, observation: Observation) -> Vec<Change> {
        self.now += Duration::from_secs(1);
        let poll = Poll::at(self.now, observation);
        self.membership.observe(addr(number), poll, self.now)
    }

    /// The present desired state, whether it changed or not.
    fn whole(&mut self) -> Pools {
        self.membership.snapshots.all_changed();
        let whole = self.membership.take_changed();
        whole.expect("the first round is done")
    }

    /// The last bytes of the addresses of a pool's members.
    fn members(&mut self, pool: &str) -> Vec<u8> {
        let pools = self.whole();
        let members = pools.pools.get(pool).map(|pool| &pool.members);
        let addrs = members.into_iter().flatten().map(|member| member.node.addr);
        addrs.map(|addr| addr.ipv4().unwrap().octets()[3]).collect()
    }
}

#[test]
fn nothing_is_desired_before_every_node_has_answered_or_failed_once() {
    let mut bench = Bench::new(rules(1, 1, 0), 3);
    bench.see(1, says("api"));
    bench.see(2, fails());
    bench.see(1, says("api"));
    assert_eq!(bench.membership.take_changed(), None);
    bench.see(3, says(""));
    assert!(bench.membership.take_changed().is_some());
    assert_eq!(bench.members("api"), [1]);
}

#[test]
fn without_a_single_node_nothing_is_ever_desired() {
    let mut membership = Membership::new(rules(1, 1, 0), Overrides::default());
    membership.set_nodes(Vec::new(), Instant::now());
    assert_eq!(membership.take_changed(), None);
}

#[test]
fn a_steady_state_changes_nothing() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    assert!(bench.membership.take_changed().is_some());
    assert!(bench.see(1, says("api")).is_empty());
    assert_eq!(bench.membership.take_changed(), None);
}

#[test]
fn a_pool_that_did_not_change_is_shared_between_snapshots() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.see(2, says("web"));
    let before = bench.whole();
    bench.see(2, says("web ok v2"));
    let after = bench.membership.take_changed().unwrap();
    let same = |pool| Arc::ptr_eq(&before.pools[pool], &after.pools[pool]);
    assert!(same("api") && !same("web"));
}

#[test]
fn members_are_in_the_order_of_the_services_file() {
    let mut bench = Bench::new(rules(1, 1, 0), 3);
    for number in [3, 1, 2] {
        bench.see(number, says("api"));
    }
    assert_eq!(bench.members("api"), [1, 2, 3]);
    bench.membership.set_nodes(nodes([2, 3, 1]), Instant::now());
    assert_eq!(bench.members("api"), [2, 3, 1]);
}

#[test]
fn nodes_in_no_pool_are_disabled() {
    let mut bench = Bench::new(rules(1, 1, 0), 4);
    bench.see(1, says("api"));
    bench.see(2, says("api leaving"));
    bench.see(3, says(""));
    bench.see(4, fails());
    let pools = bench.membership.take_changed().unwrap();
    let disabled: Vec<_> = pools
        .disabled
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(disabled, ["n2", "n3", "n4"]);
}

#[test]
fn a_node_moves_between_pools_and_versions_in_one_step() {
    let mut bench = Bench::serving(rules(1, 1, 0), 1);
    let moved = bench.see(1, says("api ok v2"));
    assert!(matches!(&moved[..], [Change::Moved(_, _, to)] if to.to_string() == "api (v2)"));
    bench.see(1, says("web"));
    assert_eq!(bench.members("api"), [0u8; 0]);
    assert_eq!(bench.members("web"), [1]);
}

#[test]
fn fall_failures_in_a_row_remove_a_member_and_rise_responses_let_it_in() {
    let mut bench = Bench::serving(rules(2, 3, 0), 1);
    bench.see(1, fails());
    bench.see(1, fails());
    bench.see(1, says("api"));
    bench.see(1, fails());
    bench.see(1, fails());
    assert_eq!(bench.members("api"), [1], "never three in a row");
    assert!(matches!(
        &bench.see(1, fails())[..],
        [Change::Left(_, _, OutReason::Failed(_))]
    ));
    bench.see(1, says("api"));
    bench.see(1, fails());
    bench.see(1, says("api"));
    assert_eq!(bench.members("api"), [0u8; 0], "never two in a row");
    assert!(matches!(
        &bench.see(1, says("api"))[..],
        [Change::Joined(..)]
    ));
}

#[test]
fn leaving_and_an_empty_reply_count_at_once_whatever_fall_and_min_members_are() {
    let mut bench = Bench::serving(rules(1, 9, 2), 2);
    bench.see(1, says("api leaving"));
    bench.see(2, says(""));
    assert_eq!(bench.members("api"), [0u8; 0]);
}

#[test]
fn failures_do_not_take_a_pool_below_min_members_and_one_warning_says_so() {
    let mut bench = Bench::serving(rules(1, 1, 2), 4);
    assert!(matches!(&bench.see(1, fails())[..], [Change::Left(..)]));
    assert!(matches!(&bench.see(2, fails())[..], [Change::Left(..)]));
    assert!(matches!(
        &bench.see(3, fails())[..],
        [Change::Held(_, 2), Change::Kept(..)]
    ));
    // The pool is logged once; each member is an event only.
    let next = bench.see(4, fails());
    assert!(matches!(&next[..], [Change::Kept(..)]));
    assert!(EventText::from_change(&next[0]).quiet);
    assert!(bench.see(3, fails()).is_empty());
    assert_eq!(bench.members("api"), [3, 4]);
    // One that answers again frees the one that has failed for longer.
    assert!(matches!(
        &bench.see(1, says("api"))[..],
        [Change::Joined(..), Change::Left(..)]
    ));
    assert_eq!(bench.members("api"), [1, 4]);
    assert!(matches!(
        &bench.see(4, says("api"))[..],
        [Change::Recovered(..), Change::Released(_)]
    ));
    assert_eq!(bench.members("api"), [1, 4]);
}

#[test]
fn watchers_are_notified_when_a_member_begins_to_fail_and_when_it_serves_again() {
    let mut bench = Bench::serving(rules(1, 3, 0), 2);
    let mut polled = |number, observation| {
        let changes = bench.see(number, observation);
        (bench.membership.take_kept_changed(), changes.len())
    };
    polled(1, says("api"));
    assert_eq!(
        polled(1, says("api")),
        (false, 0),
        "a steady poll is no news"
    );
    assert_eq!(polled(1, fails()), (true, 0));
    assert_eq!(polled(1, fails()), (false, 0), "it fails as before");
    assert_eq!(polled(2, says("api")), (false, 0));
    assert_eq!(polled(1, says("api")), (true, 0));
    assert_eq!(polled(1, says("api")), (false, 0));
}

#[test]
fn a_held_member_that_says_leaving_goes() {
    let mut bench = Bench::serving(rules(1, 1, 1), 1);
    bench.see(1, fails());
    assert_eq!(bench.members("api"), [1]);
    let changes = bench.see(1, says("api leaving"));
    assert!(matches!(
        &changes[..],
        [Change::Left(_, _, OutReason::Leaving), Change::Released(_)]
    ));
    assert_eq!(bench.members("api"), [0u8; 0]);
}

#[test]
fn a_reason_is_reported_when_it_changes_and_not_at_each_poll() {
    let mut bench = Bench::new(rules(1, 1, 0), 1);
    assert_eq!(bench.see(1, fails()).len(), 1);
    assert_eq!(bench.see(1, fails()).len(), 0);
    assert_eq!(
        bench
            .see(1, Observation::Failed(Failure::Status(500)))
            .len(),
        1
    );
    assert_eq!(bench.see(1, says("")).len(), 1);
    assert_eq!(bench.see(1, says("")).len(), 0);
}

#[test]
fn a_node_gone_from_the_services_file_leaves_when_the_new_ones_are_polled() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    assert!(
        bench
            .membership
            .set_nodes(nodes([2, 3]), Instant::now())
            .is_empty()
    );
    assert_eq!(bench.members("api"), [2, 1], "node 3 is not polled yet");
    let changes = bench.see(3, says("api"));
    assert!(matches!(
        &changes[..],
        [Change::Joined(..), Change::Removed(..)]
    ));
    assert_eq!(bench.members("api"), [2, 3]);
    assert!(matches!(
        &bench.membership.set_nodes(nodes([3]), Instant::now())[..],
        [Change::Removed(..)]
    ));
    assert_eq!(bench.members("api"), [3]);
    assert!(
        bench.see(2, says("api")).is_empty(),
        "a late answer of a node that is gone"
    );
    assert_eq!(bench.members("api"), [3]);
}

#[test]
fn an_earlier_runs_members_stay_until_they_are_polled() {
    let mut bench = Bench::new(rules(1, 2, 0), 3);
    let place = Assignment {
        pool: "api".parse().unwrap(),
        version: None,
    };
    let members = [1, 2].map(|number| (addr(number), place.clone()));
    bench.membership.adopt_previous(&place.pool, members);
    assert!(bench.see(1, says("api")).is_empty(), "nothing changed");
    bench.see(2, fails());
    bench.see(3, fails());
    assert_eq!(bench.members("api"), [1, 2], "one failure of two");
    bench.see(2, fails());
    assert_eq!(bench.members("api"), [1]);
}
