//! What follows from orders.

mod freezes;
mod leaves;

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
    assert_eq!(bench.members("api"), [2], "until it is polled again");
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
        NodeState::Out(OutReason::Failed(Failure::Timeout(Duration::from_secs(1))))
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
fn orders_of_the_last_run_are_active_from_the_start() {
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
