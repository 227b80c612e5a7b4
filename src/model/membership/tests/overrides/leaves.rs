//! Leaves: who gets one, and when it ends.

use super::*;

#[test]
fn one_after_the_other_may_leave() {
    let mut bench = Bench::serving(rules(1, 1, 1), 3);
    let granted = bench.leave(1).unwrap().changes;
    assert!(matches!(
        granted[..],
        [Change::LeaveGranted(..), Change::Left(..)]
    ));
    assert!(bench.leave(1).unwrap().changes.is_empty(), "asked again");
    let Err(LeaveDenied::Others(_, others)) = bench.leave(2) else {
        panic!("two at a time");
    };
    assert_eq!(others[0].addr, addr(1));
    // Still up, and still saying that it serves: not back yet.
    assert!(bench.see(1, says("api")).is_empty());
    bench.see(1, refuses());
    assert!(bench.leave(2).is_err());
    let back = bench.see(1, says("api serving v2"));
    assert!(matches!(
        back[..],
        [Change::LeaveOver(_, Ending::Returned), Change::Joined(..)]
    ));
    assert!(bench.leave(2).is_ok());
}

#[test]
fn who_serves_another_version_or_pool_was_away_though_no_poll_came_meanwhile() {
    for said in ["api serving v2", "web serving v1", "api"] {
        let mut bench = Bench::serving(rules(1, 1, 0), 3);
        bench.see(1, says("api serving v1"));
        let before = bench.now;
        bench.now += Duration::from_secs(1);
        bench.leave(1).unwrap();
        let late = Poll::at(before, says(said));
        let late = bench.membership.observe(addr(1), late, bench.now);
        assert!(late.is_empty(), "{said}: asked before it was granted");
        bench.see(1, says("api serving v1"));
        let back = bench.see(1, says(said));
        assert!(
            matches!(
                back[..],
                [Change::LeaveOver(_, Ending::Returned), Change::Joined(..)]
            ),
            "{said}"
        );
    }
}

#[test]
fn a_node_that_was_granted_leave_is_polled_again_soon_until_it_is_back() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.leave(1).unwrap();
    for observation in [says("api"), refuses(), refuses()] {
        bench.see(1, observation);
        assert!(bench.membership.is_undecided(addr(1)));
    }
    bench.see(1, says("api"));
    assert!(!bench.membership.is_undecided(addr(1)));
}

#[test]
fn a_poll_that_is_lost_or_from_before_does_not_end_a_leave() {
    let mut bench = Bench::serving(rules(1, 1, 1), 3);
    let before = bench.now;
    bench.now += Duration::from_secs(1);
    bench.leave(1).unwrap();
    let late = Poll::at(before, refuses());
    bench.membership.observe(addr(1), late, bench.now);
    bench.see(1, fails());
    bench.see(1, fails());
    assert!(
        bench.see(1, says("api")).is_empty(),
        "it was notified: gone"
    );
    for _ in 0..3 {
        bench.see(1, fails());
    }
    let back = bench.see(1, says("api"));
    assert!(matches!(
        back[..],
        [Change::LeaveOver(_, Ending::Returned), Change::Joined(..)]
    ));
}

#[test]
fn a_node_that_says_itself_that_it_leaves_counts_too() {
    let mut bench = Bench::serving(rules(1, 1, 1), 3);
    bench.see(3, says("api leaving"));
    assert!(matches!(bench.leave(1), Err(LeaveDenied::Others(..))));
    bench.see(3, says(""));
    assert!(bench.leave(1).is_ok());
}

#[test]
fn one_that_was_no_member_takes_nobodys_place_to_leave() {
    let mut rules = rules(1, 1, 1);
    let listed = PoolRules {
        nodes: Some(vec!["10.0.0.0/30".parse().unwrap()]),
        ..rules.undeclared.clone()
    };
    rules.declared.insert("api".parse().unwrap(), listed);
    let mut bench = Bench::new(rules, 5);
    for (number, said) in [
        (1, "api"),
        (2, "api"),
        (3, "web"),
        (4, "api"),
        (5, "api leaving"),
    ] {
        bench.see(number, says(said));
    }
    assert!(matches!(
        bench.state(4),
        NodeState::Out(OutReason::Refused(_))
    ));
    let free = |bench: &mut Bench| {
        let granted = bench.leave(1).is_ok();
        bench
            .membership
            .cancel_leaves(&[addr(1)], &Note::default(), bench.now);
        bench.see(1, says("api"));
        granted
    };
    assert!(free(&mut bench), "5 said so from the first poll on");
    bench.see(4, says("api leaving"));
    assert!(free(&mut bench), "4 was refused");
    bench.leave(4).unwrap();
    bench.leave(5).unwrap();
    assert!(free(&mut bench), "a leave of one that was no member");
    bench.see(3, says("api leaving"));
    assert!(free(&mut bench), "3 was a member of web");
    let left = |number: u8| bench.membership.view(addr(number)).unwrap().left;
    assert_eq!(
        [3, 4, 5].map(left),
        [Some("web".parse().unwrap()), None, None]
    );
}

#[test]
fn one_that_says_for_ever_that_it_leaves_takes_the_place_as_long_as_a_leave_lasts() {
    let mut bench = Bench::serving(rules(1, 1, 1), 3);
    bench.see(3, says("api leaving"));
    bench.see(3, fails());
    bench.see(3, says("api leaving"));
    assert!(matches!(bench.leave(1), Err(LeaveDenied::Others(..))));
    bench.leave(3).unwrap();
    assert!(
        matches!(bench.leave(1), Err(LeaveDenied::Others(..))),
        "by its leave"
    );
    bench
        .membership
        .cancel_leaves(&[addr(3)], &Note::default(), bench.now);
    bench.now += TIMEOUT;
    bench.see(3, says("api leaving"));
    assert!(bench.leave(1).is_ok());
}

#[test]
fn nobody_may_leave_a_pool_that_needs_all() {
    let mut bench = Bench::serving(rules(1, 1, 2), 2);
    assert!(matches!(bench.leave(1), Err(LeaveDenied::Short(_))));
    assert!(matches!(
        Bench::new(rules(1, 1, 0), 2).leave(1),
        Err(LeaveDenied::FirstRound)
    ));
}

#[test]
fn a_leave_ends_with_its_time_or_when_it_is_taken_back() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.leave(1).unwrap();
    let over = Timestamp::from_millis(600_000);
    let effect = bench.membership.expire((bench.now, over));
    assert!(matches!(
        effect.changes[..],
        [Change::LeaveOver(_, Ending::Expired)]
    ));
    assert_eq!(effect.poll_now, [addr(1)]);
    bench.see(1, says("api"));
    bench.leave(2).unwrap();
    assert_eq!(
        bench
            .membership
            .cancel_leaves(&[addr(2)], &Note::default(), bench.now)
            .poll_now,
        [addr(2)]
    );
}

#[test]
fn a_disabled_node_stays_out_when_its_leave_is_over() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.leave(1).unwrap();
    bench.disable(1, "kernel");
    bench.see(1, refuses());
    bench.see(1, says("api"));
    assert_eq!(bench.members("api"), [2]);
    assert!(bench.membership.overrides().leases.is_empty());
}
