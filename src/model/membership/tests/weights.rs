//! Which weight a member has.

use super::overrides::{reason, word};
use super::*;
use crate::model::change::Ending;
use crate::model::membership::requests::{OverrideError, OverrideRequest};
use crate::model::overrides::WeightOverride;
use crate::model::time::{Clock, Timestamp};
use crate::model::weight::WeightSource;

fn weight(number: u16) -> Weight {
    number.try_into().unwrap()
}

fn given(number: u16, by: &str, until: Option<u64>) -> WeightOverride {
    let mut reason = reason(until);
    reason.by = Note::new(by);
    WeightOverride {
        weight: weight(number),
        name: word("canary"),
        reason,
    }
}

impl Bench {
    /// The weights of the members of `api`, if the desired state changed.
    fn changed_weights(&mut self) -> Option<Vec<u16>> {
        let pools = self.membership.take_changed()?;
        let members = pools.pools["api"].members.iter();
        Some(members.map(|member| member.weight.get()).collect())
    }

    fn weight_of(&self, number: u8) -> (u16, WeightSource) {
        let (weight, source) = self.membership.view(addr(number)).unwrap().weight;
        (weight.get(), source)
    }

    fn request(&mut self, request: OverrideRequest) -> Result<Vec<Change>, OverrideError> {
        let clock = Clock {
            now: self.now,
            today: Timestamp::from_millis(0),
        };
        let granted = self.membership.apply(request, Duration::MAX, clock)?;
        Ok(granted.effect.changes)
    }

    fn set_weight(
        &mut self,
        number: u8,
        given: WeightOverride,
    ) -> Result<Vec<Change>, OverrideError> {
        let nodes = vec![addr(number)];
        self.request(OverrideRequest::SetWeight { nodes, given })
    }

    fn reset_weight(&mut self, number: u8) -> Result<Vec<Change>, OverrideError> {
        let nodes = vec![addr(number)];
        self.request(OverrideRequest::ResetWeight(nodes, Note::new("bob")))
    }
}

#[test]
fn the_operator_goes_before_the_node_before_the_services_file_before_the_pool() {
    let mut rules = rules(1, 1, 0);
    rules.undeclared.weight = weight(10);
    let mut bench = Bench::serving(rules, 1);
    assert_eq!(bench.weight_of(1), (10, WeightSource::Pool));
    let mut listed = nodes([1]);
    listed[0].weight = Some(weight(20));
    bench.membership.set_nodes(listed, bench.now);
    assert_eq!(bench.weight_of(1), (20, WeightSource::ServicesFile));
    bench.see(1, says("api weight=30"));
    assert_eq!(bench.weight_of(1), (30, WeightSource::Node));
    bench.set_weight(1, given(40, "ann", None)).unwrap();
    assert_eq!(bench.weight_of(1), (40, WeightSource::Override));
    assert_eq!(bench.changed_weights(), Some(vec![40]));
    bench.reset_weight(1).unwrap();
    assert_eq!(bench.changed_weights(), Some(vec![30]));
    bench.see(1, says("api"));
    assert_eq!(bench.changed_weights(), Some(vec![20]));
}

#[test]
fn only_another_weight_is_another_desired_state_and_reported() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.whole();
    let changes = bench.see(1, says("api weight=50"));
    let [Change::Reweighted(node, place, now)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(
        (node.addr, place.pool.as_str(), now.get()),
        (addr(1), "api", 50)
    );
    assert_eq!(bench.changed_weights(), Some(vec![50, 100]));
    assert!(bench.see(1, says("api weight=50")).is_empty());
    assert!(bench.see(2, says("api weight=100")).is_empty());
    assert_eq!(bench.changed_weights(), None);
    bench.see(1, fails());
    assert_eq!(
        bench.weight_of(1),
        (50, WeightSource::Node),
        "it announced nothing else"
    );
}

#[test]
fn a_weight_that_changes_while_the_node_is_out_counts_when_it_returns() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.see(1, says(""));
    bench.whole();
    bench.set_weight(1, given(40, "ann", None)).unwrap();
    assert_eq!(bench.changed_weights(), None, "it is in no pool");
    assert!(matches!(
        bench.see(1, says("api weight=7"))[..],
        [Change::Joined(..)]
    ));
    assert_eq!(bench.changed_weights(), Some(vec![40, 100]));
}

#[test]
fn a_weight_ends_by_its_time_or_by_an_order_and_belongs_to_who_gave_it() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.whole();
    let changes = bench.set_weight(1, given(40, "ann", Some(10))).unwrap();
    assert!(matches!(&changes[..], [Change::WeightSet(node, _)] if node.addr == addr(1)));
    assert_eq!(bench.changed_weights(), Some(vec![40, 100]));
    let refused = bench.set_weight(1, given(50, "bob", None)).unwrap_err();
    let text = "n1 already has weight 40: canary by ann, until 1970-01-01T00:00:00Z; \
                `pollbal weight n1 --reset` ends that";
    assert_eq!(refused.to_string(), text);
    bench.set_weight(1, given(60, "ann", Some(10))).unwrap();
    assert_eq!(bench.changed_weights(), Some(vec![60, 100]));
    assert_eq!(
        bench.membership.overrides().next_end(),
        Some(Timestamp::from_millis(10))
    );
    let effect = bench
        .membership
        .expire((bench.now, Timestamp::from_millis(10)));
    assert!(matches!(
        &effect.changes[..],
        [Change::WeightReset(_, before, Ending::Expired, now)]
            if (before.weight.get(), now.get()) == (60, 100)
    ));
    assert_eq!(bench.changed_weights(), Some(vec![100, 100]));
    assert!(bench.reset_weight(1).unwrap().is_empty(), "there is none");
    assert!(matches!(
        bench.reset_weight(9),
        Err(OverrideError::UnknownNode(_))
    ));
    let revision = bench.membership.overrides_revision();
    bench.set_weight(2, given(1, "ann", None)).unwrap();
    let changes = bench.reset_weight(2).unwrap();
    assert!(
        matches!(&changes[..], [Change::WeightReset(_, _, Ending::Removed(by), _)] if by.as_str() == "bob")
    );
    assert_eq!(
        bench.membership.overrides_revision(),
        revision + 2,
        "both are saved"
    );
}
