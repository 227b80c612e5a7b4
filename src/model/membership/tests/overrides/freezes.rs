//! Freezes, and what else keeps failed members in.

use super::*;

#[test]
fn while_it_is_frozen_failures_remove_nobody_but_leaving_counts() {
    let mut bench = Bench::serving(rules(1, 1, 0), 3);
    bench.freeze("storm");
    for _ in 0..3 {
        bench.see(1, fails());
    }
    bench.see(2, says("api leaving"));
    assert_eq!(bench.members("api"), [1, 3]);
    assert!(matches!(
        bench.state(1),
        NodeState::Member(_, Retention::Frozen)
    ));
    assert!(
        bench
            .membership
            .thaw(&word("calm"), &Note::default(), bench.now)
            .is_none()
    );
    bench
        .membership
        .thaw(&word("storm"), &Note::default(), bench.now)
        .unwrap();
    assert_eq!(bench.members("api"), [3]);
}

#[test]
fn what_keeps_a_failed_member_in_is_reported_of_each_once_and_that_it_answers_again() {
    let mut bench = Bench::serving(rules(1, 2, 2), 2);
    let kept = |changes: &[Change], by| matches!(changes, [.., Change::Kept(_, _, kept, _)] if *kept == by);
    assert!(bench.see(1, fails()).is_empty(), "not yet often enough");
    let began = bench.now;
    assert!(kept(&bench.see(1, fails()), Retention::Held));
    assert!(bench.see(1, fails()).is_empty());
    let since = bench.membership.view(addr(1)).unwrap().since;
    assert_eq!(since, Some(began), "not since it is a member");
    let back = bench.see(1, says("api"));
    assert!(matches!(
        back[..],
        [
            Change::Recovered(_, _, Retention::Held),
            Change::Released(_)
        ]
    ));

    bench.freeze("storm");
    assert!(bench.see(2, fails()).is_empty());
    assert!(kept(&bench.see(2, fails()), Retention::Frozen));
    assert!(bench.see(2, fails()).is_empty());
    assert!(matches!(
        bench.see(2, says("api"))[..],
        [Change::Recovered(_, _, Retention::Frozen)]
    ));
    bench.see(2, fails());
    assert!(bench.see(2, says("api")).is_empty(), "it never was to go");
}

#[test]
fn what_a_freeze_keeps_in_is_reported_also_when_fall_became_less() {
    let mut bench = Bench::serving(rules(1, 5, 0), 2);
    bench.freeze("storm");
    for _ in 0..3 {
        assert!(bench.see(1, fails()).is_empty());
    }
    bench.membership.set_rules(rules(1, 2, 0), bench.now);
    let kept = bench.see(1, fails());
    assert!(matches!(
        kept[..],
        [Change::Kept(_, _, Retention::Frozen, _)]
    ));
    let back = bench.see(1, says("api"));
    assert!(matches!(
        back[..],
        [Change::Recovered(_, _, Retention::Frozen)]
    ));
}

#[test]
fn a_failed_member_that_goes_is_not_reported_as_kept() {
    let mut bench = Bench::serving(rules(1, 1, 1), 2);
    assert!(matches!(bench.see(1, fails())[..], [Change::Left(..)]));
}

#[test]
fn when_a_freeze_ends_those_that_fail_go_the_longest_failing_first() {
    let mut bench = Bench::serving(rules(1, 1, 2), 4);
    bench.freeze("storm");
    for number in [3, 2, 1] {
        bench.see(number, fails());
    }
    let thawed = bench
        .membership
        .thaw(&word("storm"), &Note::default(), bench.now)
        .unwrap();
    assert_eq!(bench.members("api"), [1, 4]);
    let left = thawed.changes.iter().filter_map(|change| match change {
        Change::Left(node, ..) => Some(node.addr),
        _ => None,
    });
    assert_eq!(left.collect::<Vec<_>>(), [addr(3), addr(2)]);
    assert!(matches!(
        bench.state(1),
        NodeState::Member(_, Retention::Held)
    ));
}

#[test]
fn held_members_go_when_a_freeze_that_kept_them_ends() {
    let mut bench = Bench::serving(rules(1, 1, 1), 2);
    bench.see(1, fails());
    bench.see(2, fails());
    bench.freeze("storm");
    bench.now += Duration::from_secs(1);
    assert!(matches!(
        bench.state(2),
        NodeState::Member(_, Retention::Held)
    ));
    bench.see(1, says("api"));
    assert_eq!(bench.members("api"), [1, 2], "failures put nobody out");
    bench
        .membership
        .thaw(&word("storm"), &Note::default(), bench.now)
        .unwrap();
    assert_eq!(bench.members("api"), [1]);
}
