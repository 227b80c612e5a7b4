//! What follows from orders.

use super::*;
use crate::model::change::Ending;
use crate::model::membership::overrides::{Effect, LeaveDenied};
use crate::model::overrides::{Note, Reason, ReasonName};
use crate::model::time::Timestamp;

pub(super) const TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn word(text: &str) -> ReasonName {
    text.parse().unwrap()
}

pub(super) fn reason(until: Option<u64>) -> Reason {
    Reason {
        note: Note::default(),
        by: Note::new("ann"),
        since: Timestamp::from_millis(0),
        until: until.map(Timestamp::from_millis),
    }
}

/// Nothing listens there any more.
fn refuses() -> Observation {
    Observation::Failed(Failure::Connect("Connection refused".to_owned()))
}

impl Bench {
    pub(super) fn freeze(&mut self, why: &str) {
        self.membership.freeze(&word(why), &reason(None));
    }

    pub(super) fn disable(&mut self, number: u8, why: &str) -> Vec<Change> {
        let addrs = [addr(number)];
        let effect = self
            .membership
            .disable(&addrs, &word(why), &reason(None), self.now);
        effect.changes
    }

    pub(super) fn enable(&mut self, number: u8, why: &str) -> Effect {
        self.now += Duration::from_secs(1);
        self.membership
            .enable(&[addr(number)], &word(why), &Note::default(), self.now)
    }

    pub(super) fn leave(&mut self, number: u8) -> Result<Effect, LeaveDenied> {
        let today = (self.now, Timestamp::from_millis(0));
        self.membership.leave(addr(number), TIMEOUT, today)
    }

    fn state(&self, number: u8) -> NodeState {
        self.membership.view(addr(number)).unwrap().state
    }
}

#[test]
fn a_disabled_node_is_out_whatever_it_answers_until_its_last_reason_is_gone() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    let changes = bench.disable(1, "kernel");
    assert!(matches!(
        changes[..],
        [Change::Disabled(..), Change::Left(..)]
    ));
    bench.disable(1, "disk");
    assert_eq!(bench.members("api"), [2]);
    assert!(bench.see(1, says("api")).is_empty());
    assert!(bench.enable(1, "kernel").poll_now.is_empty());
    assert!(bench.see(1, says("api")).is_empty());
    assert_eq!(
        bench.state(1),
        NodeState::Out(OutReason::Disabled(vec![word("disk")]))
    );
    assert_eq!(bench.enable(1, "disk").poll_now, [addr(1)]);
    assert_eq!(bench.members("api"), [2], "until it is heard anew");
    bench.see(1, says("api"));
    assert_eq!(bench.members("api"), [1, 2]);
}

#[test]
fn an_answer_from_before_it_was_enabled_lets_no_node_in() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.disable(1, "kernel");
    let before = bench.now;
    bench.enable(1, "kernel");
    let late = Poll::at(before, says("api"));
    assert!(
        bench
            .membership
            .observe(addr(1), late, bench.now)
            .is_empty()
    );
    assert_eq!(bench.state(1), NodeState::Out(OutReason::Awaited));
    bench.see(1, fails());
    assert_eq!(
        bench.state(1),
        NodeState::Out(OutReason::Failed(Failure::Timeout))
    );
}

#[test]
fn a_node_that_failed_while_it_was_disabled_needs_its_rise() {
    let mut bench = Bench::serving(rules(2, 1, 0), 2);
    bench.disable(1, "kernel");
    bench.see(1, fails());
    bench.enable(1, "kernel");
    bench.see(1, says("api"));
    assert_eq!(bench.members("api"), [2]);
    assert!(bench.membership.is_undecided(addr(1)));
    bench.see(1, says("api"));
    assert_eq!(bench.members("api"), [1, 2]);
}

#[test]
fn shortages_are_counted_over_all_nodes_of_an_order() {
    let bench = Bench::serving(rules(1, 1, 2), 4);
    assert!(bench.membership.shortages(&[addr(1), addr(2)]).is_empty());
    let short = bench.membership.shortages(&[addr(1), addr(2), addr(3)]);
    assert_eq!(
        short[0].to_string(),
        "api with 1 of 4 members (min_members 2)"
    );
}

#[test]
fn members_that_do_not_answer_are_not_relied_on_and_may_go_themselves() {
    let mut bench = Bench::serving(rules(1, 1, 2), 4);
    bench.freeze("storm");
    bench.see(1, fails());
    assert!(bench.leave(4).is_ok());
    bench
        .membership
        .cancel_leaves(&[addr(4)], &Note::default(), bench.now);
    bench.see(4, says("api"));
    bench.see(2, fails());
    let short = bench.membership.shortages(&[addr(4)]);
    assert_eq!(
        short[0].to_string(),
        "api with 3 of 4 members, 1 of them answering (min_members 2)"
    );
    assert!(matches!(bench.leave(4), Err(LeaveDenied::Short(_))));
    assert!(bench.membership.shortages(&[addr(1), addr(2)]).is_empty());
    assert!(!bench.membership.shortages(&[addr(1), addr(4)]).is_empty());
    // Counted whole too: below that failures would keep nobody in.
    bench
        .membership
        .disable(&[addr(1)], &word("disk"), &reason(None), bench.now);
    bench.see(3, fails());
    bench.see(4, fails());
    assert!(bench.membership.shortages(&[addr(2)]).is_empty());
    bench
        .membership
        .disable(&[addr(2)], &word("disk"), &reason(None), bench.now);
    assert!(!bench.membership.shortages(&[addr(3)]).is_empty());
}

#[test]
fn the_last_member_that_serves_is_needed_whatever_min_members_says() {
    let mut bench = Bench::serving(rules(1, 2, 0), 2);
    assert!(bench.membership.shortages(&[addr(1)]).is_empty());
    let both = bench.membership.shortages(&[addr(1), addr(2)]);
    assert_eq!(
        both[0].to_string(),
        "api with 0 of 2 members (min_members 0, requests would wait)"
    );
    assert_eq!(both[0].who(), "n1, n2");
    // One that failed once may be well: it is not relied on, and not let go as the last.
    bench.see(2, fails());
    assert!(!bench.membership.shortages(&[addr(1)]).is_empty());
    assert!(bench.membership.shortages(&[addr(2)]).is_empty());
    bench.disable(1, "kernel");
    assert!(!bench.membership.shortages(&[addr(2)]).is_empty());
    assert!(matches!(bench.leave(2), Err(LeaveDenied::Short(_))));
    // One that is out is no loss.
    assert!(bench.membership.shortages(&[addr(1)]).is_empty());
    // Nor is one that has failed, and is kept in by a freeze.
    bench.freeze("storm");
    bench.see(2, fails());
    assert!(bench.membership.shortages(&[addr(2)]).is_empty());
}

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
fn a_node_that_was_granted_leave_is_asked_again_soon_until_it_is_back() {
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
    assert!(bench.see(1, says("api")).is_empty(), "it was told: gone");
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

#[test]
fn while_it_is_frozen_failures_put_nobody_out_but_leaving_counts() {
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
fn what_keeps_a_failed_member_in_is_told_of_each_once_and_that_it_answers_again() {
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
fn what_a_freeze_keeps_in_is_told_also_when_fall_became_less() {
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
fn a_failed_member_that_goes_is_not_told_as_kept() {
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

#[test]
fn orders_of_the_last_run_hold_from_the_start() {
    let mut overrides = Overrides::default();
    let reasons = overrides.disabled.entry(addr(1)).or_default();
    reasons.insert(word("kernel"), reason(None));
    let mut membership = Membership::new(rules(1, 1, 0), overrides);
    membership.set_nodes(nodes(1..=2), Instant::now());
    let place = |number| {
        let (pool, version) = ("api".parse().unwrap(), None);
        (addr(number), Assignment { pool, version })
    };
    membership.adopt_previous(&"api".parse().unwrap(), [place(1), place(2)]);
    let mut bench = Bench {
        membership,
        now: Instant::now(),
    };
    bench.see(2, says("api"));
    bench.see(1, says("api"));
    assert_eq!(bench.members("api"), [2]);
}

#[test]
fn an_undecided_node_is_one_whose_rise_or_fall_is_not_over() {
    let mut bench = Bench::serving(rules(2, 2, 0), 2);
    assert!(!bench.membership.is_undecided(addr(1)));
    for (observation, undecided) in [
        (fails(), true),
        (fails(), false),
        (fails(), false),
        (says("api"), true),
        (says("api"), false),
    ] {
        bench.see(1, observation);
        assert_eq!(bench.membership.is_undecided(addr(1)), undecided);
    }
    bench.disable(1, "disk");
    for observation in [fails(), says("api"), says("api")] {
        bench.see(1, observation);
        assert!(
            !bench.membership.is_undecided(addr(1)),
            "it stays out anyway"
        );
    }
}
