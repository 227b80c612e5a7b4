//! What `Membership` decides: by example, and against a simple reference model.

mod admission;
mod draining;
mod new_rules;
mod overrides;
mod owned;
mod pauses;
mod sorry;
mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::event::EventText;
use super::super::naming::Namings;
use super::super::node_view::{NodeState, Retention};
use super::super::observation::Failure;
use super::super::overrides::Note;
use super::super::pools::{Pool, Pools};
use super::super::rules::{JoinDenied, PoolRules};
use super::*;

/// A membership with a clock that ticks a second at each observation.
struct Bench {
    membership: Membership,
    now: Instant,
}

fn rules(rise: u32, fall: u32, min_members: usize) -> Rules {
    Rules {
        undeclared: PoolRules {
            rise,
            fall,
            min_members,
            max_leaving: 1,
            max_versions: 300,
            nodes: None,
            sorry: Vec::new(),
        },
        declared: BTreeMap::new(),
        accept_undeclared: true,
        max_undeclared: 4,
        grace: Duration::from_secs(60),
        namings: Namings::default(),
    }
}

fn addr(number: u8) -> NodeAddr {
    format!("10.0.0.{number}:80").parse().unwrap()
}

fn nodes(numbers: impl IntoIterator<Item = u8>) -> Vec<Node> {
    let node = |number| Node {
        addr: addr(number),
        name: format!("n{number}"),
    };
    numbers.into_iter().map(node).collect()
}

fn says(body: &str) -> Observation {
    match Announcement::parse(body.as_bytes()).unwrap() {
        Some(announcement) => Observation::Announced(announcement),
        None => Observation::Nothing,
    }
}

fn fails() -> Observation {
    Observation::Failed(Failure::Timeout)
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

    /// The wanted state of now, whether it changed or not.
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
fn nothing_is_wanted_before_every_node_has_answered_or_failed_once() {
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
fn without_a_single_node_nothing_is_ever_wanted() {
    let mut membership = Membership::new(rules(1, 1, 0), Overrides::default());
    membership.set_nodes(Vec::new(), Instant::now());
    assert_eq!(membership.take_changed(), None);
}

#[test]
fn a_steady_state_wants_nothing_new() {
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
fn members_stand_in_the_order_of_the_services_file() {
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
fn fall_failures_in_a_row_put_a_member_out_and_rise_answers_let_it_in() {
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
fn leaving_and_an_empty_reply_count_at_once_whatever_fall_and_min_members_say() {
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
    // Of the pool the log is told once, of each member only who asks for it.
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
fn whoever_watches_is_told_when_a_member_begins_to_fail_and_when_it_serves_again() {
    let mut bench = Bench::serving(rules(1, 3, 0), 2);
    let mut told = |number, observation| {
        let changes = bench.see(number, observation);
        (bench.membership.take_kept_changed(), changes.len())
    };
    told(1, says("api"));
    assert_eq!(told(1, says("api")), (false, 0), "a steady poll is no news");
    assert_eq!(told(1, fails()), (true, 0));
    assert_eq!(told(1, fails()), (false, 0), "it fails as before");
    assert_eq!(told(2, says("api")), (false, 0));
    assert_eq!(told(1, says("api")), (true, 0));
    assert_eq!(told(1, says("api")), (false, 0));
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
fn a_reason_is_told_when_it_changes_and_not_at_each_poll() {
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
fn a_node_that_invents_pool_names_fills_nothing_and_floods_nothing() {
    let mut bench = Bench::new(rules(1, 1, 0), 2);
    bench.see(2, says("api"));
    let changes: Vec<_> = (0..50)
        .flat_map(|n| bench.see(1, says(&format!("evil{n}"))))
        .collect();
    let pools = bench.membership.take_changed().unwrap();
    assert_eq!(
        pools.pools.len(),
        3,
        "half of max_undeclared_pools, and api"
    );
    assert!(matches!(
        changes.last(),
        Some(Change::Left(
            _,
            _,
            OutReason::Refused(JoinDenied::TooManyOfAddress(_))
        ))
    ));
    assert_eq!(changes.len(), 3, "joined, moved, refused; then silence");
    bench.see(1, says("api"));
    assert_eq!(bench.members("api"), [1, 2], "pools that are known go on");
}

#[test]
fn only_listed_nodes_may_join_a_pool_with_a_list_and_undeclared_pools_can_be_refused() {
    let mut rules = rules(1, 1, 0);
    let listed = PoolRules {
        nodes: Some(vec!["10.0.0.2/31".parse().unwrap()]),
        ..rules.undeclared.clone()
    };
    rules.declared.insert("api".parse().unwrap(), listed);
    rules.accept_undeclared = false;
    let mut bench = Bench::new(rules, 3);
    assert!(matches!(
        &bench.see(1, says("api"))[..],
        [Change::RemainsOut(
            _,
            OutReason::Refused(JoinDenied::NotListed(_))
        )]
    ));
    bench.see(2, says("api"));
    assert!(matches!(
        &bench.see(3, says("web"))[..],
        [Change::RemainsOut(
            _,
            OutReason::Refused(JoinDenied::Undeclared(_))
        )]
    ));
    assert_eq!(bench.members("api"), [2]);
    bench.see(2, says("web"));
    assert_eq!(
        bench.members("api"),
        [0u8; 0],
        "it says itself that it is no member any more"
    );
}

#[test]
fn a_node_gone_from_the_services_file_leaves_when_the_new_ones_are_heard() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    assert!(
        bench
            .membership
            .set_nodes(nodes([2, 3]), Instant::now())
            .is_empty()
    );
    assert_eq!(bench.members("api"), [2, 1], "node 3 is not heard yet");
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
fn versions_are_remembered_when_nobody_serves_them_any_more_but_not_without_end() {
    let mut bench = Bench::new(rules(1, 1, 0), 2);
    bench.see(2, says("api ok kept"));
    for number in 1..=Pool::MAX_VERSIONS {
        // Slow enough for a node's limit.
        bench.now += Duration::from_secs(100);
        bench.see(1, says(&format!("api ok v{number}")));
    }
    let versions = bench.membership.take_changed().unwrap().pools["api"]
        .versions
        .clone();
    assert_eq!(versions.len(), Pool::MAX_VERSIONS);
    assert_eq!(versions[0].as_str(), "kept", "a member serves it");
    assert_eq!(
        versions[1].as_str(),
        "v2",
        "the oldest that no member serves went"
    );
}

#[test]
fn the_oldest_version_is_not_forgotten_as_soon_as_its_last_node_goes() {
    let mut bench = Bench::new(rules(1, 1, 0), 2);
    bench.see(1, says("api ok v1"));
    for number in 2..=Pool::MAX_VERSIONS {
        bench.now += Duration::from_secs(100);
        bench.see(2, says(&format!("api ok v{number}")));
    }
    let mut known_at = |version: &str| {
        bench.now += Duration::from_secs(100);
        bench.see(1, says(&format!("api ok {version}")));
        let versions = bench.whole().pools["api"].versions.clone();
        let versions = versions.iter().map(ToString::to_string);
        versions.collect::<BTreeSet<_>>()
    };
    let known = known_at("new");
    assert!(known.contains("v1") && !known.contains("v2"), "{known:?}");
    let known = known_at("newer");
    assert!(!known.contains("v1") && known.contains("new"), "{known:?}");
}

#[test]
fn an_earlier_runs_members_stay_until_they_are_heard() {
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

/// The same rules, said as simply as possible: a list and full scans.
struct Reference {
    rise: u32,
    fall: u32,
    min_members: usize,
    nodes: Vec<ReferenceNode>,
}

#[derive(Clone, Default)]
struct ReferenceNode {
    pool: Option<String>,
    /// A member since this step: would be out but for `min_members`.
    failing_since: Option<usize>,
    /// In no pool, and must rise.
    failed: bool,
    failures: u32,
    answers: u32,
}

impl Reference {
    fn see(&mut self, step: usize, node: usize, observation: &Observation) {
        let node = &mut self.nodes[node];
        match observation {
            Observation::Failed(_) => {
                (node.failures, node.answers) = (node.failures + 1, 0);
                if node.pool.is_some() && node.failures >= self.fall {
                    node.failing_since.get_or_insert(step);
                }
                node.failed = node.pool.is_none();
            }
            Observation::Announced(said) if said.status == Status::Serving => {
                (node.failures, node.answers) = (0, node.answers + 1);
                if !node.failed || node.answers >= self.rise {
                    node.pool = Some(said.pool.to_string());
                    (node.failing_since, node.failed) = (None, false);
                }
            }
            _ => *node = ReferenceNode::default(),
        }
        while let Some(node) = self.surplus() {
            self.nodes[node].pool = None;
            self.nodes[node].failing_since = None;
            self.nodes[node].failed = true;
        }
    }

    /// The longest failing node of a pool that can do without it.
    fn surplus(&self) -> Option<usize> {
        let count = |pool| self.nodes.iter().filter(|node| node.pool == pool).count();
        let spare = |node: &ReferenceNode| count(node.pool.clone()) > self.min_members;
        (0..self.nodes.len())
            .filter(|&node| self.nodes[node].failing_since.is_some() && spare(&self.nodes[node]))
            .min_by_key(|&node| self.nodes[node].failing_since)
    }

    fn members(&self, pool: &str) -> Vec<u8> {
        let nodes = (1u8..).zip(&self.nodes);
        let members = nodes.filter(|(_, node)| node.pool.as_deref() == Some(pool));
        members.map(|(number, _)| number).collect()
    }
}

fn observation() -> impl Strategy<Value = Observation> {
    prop_oneof![
        4 => Just(fails()),
        1 => Just(says("")),
        1 => Just(says("api leaving")),
        4 => Just(says("api")),
        1 => Just(says("api ok v2")),
        2 => Just(says("web")),
    ]
}

proptest! {
    #[test]
    fn a_snapshot_that_shares_what_did_not_change_is_whole(
        (rise, fall, min_members) in (1..3u32, 1..3u32, 0..3usize),
        rounds in proptest::collection::vec(
            (proptest::collection::vec((1..6u8, observation()), 0..6), any::<bool>()), 1..20,
        ),
    ) {
        let mut bench = Bench::serving(rules(rise, fall, min_members), 5);
        for (polls, fewer_nodes) in rounds {
            let before = bench.whole();
            for (node, observation) in polls {
                bench.see(node, observation);
            }
            let after = bench.membership.take_changed().unwrap_or(before);
            prop_assert_eq!(after, bench.whole());
            let nodes = nodes(if fewer_nodes { 1..=3 } else { 1..=5 });
            bench.membership.set_nodes(nodes, Instant::now());
        }
    }

    #[test]
    fn what_is_counted_of_a_pool_is_what_its_nodes_are(
        (rise, fall, min_members) in (1..3u32, 1..4u32, 0..3usize),
        rounds in proptest::collection::vec(
            (proptest::collection::vec((1..6u8, observation()), 0..6), any::<bool>(), 1..6u8),
            1..20,
        ),
    ) {
        let mut rules = rules(rise, fall, min_members);
        let api: PoolName = "api".parse().unwrap();
        rules.declared.insert(api.clone(), rules.undeclared.clone());
        let mut bench = Bench::serving(rules, 5);
        for (polls, freezes, disabled) in rounds {
            let before = bench.membership.pool_health();
            bench.membership.take_pool_health_changed();
            if freezes {
                bench.freeze("storm");
                bench.disable(disabled, "disk");
            } else {
                bench.membership.thaw(&overrides::word("storm"), &Note::default(), bench.now);
                bench.enable(disabled, "disk");
            }
            for (node, observation) in polls {
                bench.see(node, observation);
            }
            let levels = bench.membership.pool_health();
            prop_assert!(levels == before || bench.membership.take_pool_health_changed());
            let of_api: Vec<_> = bench
                .membership
                .views()
                .filter_map(|view| match view.state {
                    NodeState::Member(place, kept) if place.pool == api => Some((kept, view.failures)),
                    _ => None,
                })
                .collect();
            let serving = of_api.iter().filter(|(kept, _)| matches!(kept, Retention::Serving | Retention::Failing));
            prop_assert_eq!(levels[0].serving, serving.count());
            let answering = of_api.iter().filter(|(_, failures)| *failures == 0);
            let pool = &bench.membership.pools[&api];
            prop_assert_eq!((pool.members(), pool.answering()), (of_api.len(), answering.count()));
        }
    }

    #[test]
    fn membership_agrees_with_the_reference(
        (rise, fall, min_members) in (1..4u32, 1..4u32, 0..4usize),
        polls in proptest::collection::vec((0..5usize, observation()), 1..120),
    ) {
        let mut bench = Bench::new(rules(rise, fall, min_members), 5);
        let nodes = vec![ReferenceNode::default(); 5];
        let mut reference = Reference { rise, fall, min_members, nodes };
        let opening = (0..5).map(|node| (node, says("web")));
        for (step, (node, observation)) in opening.chain(polls).enumerate() {
            reference.see(step, node, &observation);
            bench.see(u8::try_from(node).unwrap() + 1, observation);
            if bench.membership.first_round_done {
                for pool in ["api", "web"] {
                    prop_assert_eq!(bench.members(pool), reference.members(pool));
                }
            }
        }
    }
}
