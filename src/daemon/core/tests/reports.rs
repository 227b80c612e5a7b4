//! Nodes of which their source says how they are, in the whole core.

use super::*;
use crate::drivers::pool_files::earlier::EarlierPool;
use crate::model::announcement::Status;
use crate::model::change::Assignment;
use crate::model::node::Origin;
use crate::model::report::{Report, Said};

/// A list of these nodes, which have this origin.
fn from(origin: Origin, numbers: impl IntoIterator<Item = u8>) -> List {
    let mut list = list(numbers);
    for node in &mut list.nodes {
        node.origin = origin;
    }
    list
}

impl Site {
    fn report(&mut self, number: u8, said: Said) -> Effects {
        let report = Report {
            addr: addr(number),
            said,
            asked_at: self.clock.now,
            took: Duration::ZERO,
        };
        self.step(Input::Reports(vec![report]))
    }

    /// A site that starts with this list after a run in which nodes 1 to 3 were in `api`.
    fn starting(list: List) -> (Self, Effects) {
        let mut site = Self::new(0);
        let node = |number| Node::new(addr(number), format!("n{number}"));
        let nodes = (1..=3).map(|number| (addr(number), node(number)));
        let pool: PoolName = "api".parse().unwrap();
        let place = Assignment {
            pool: pool.clone(),
            version: None,
        };
        let members = (1..=3).map(|number| (addr(number), place.clone()));
        let pools = [EarlierPool {
            members: members.collect(),
            versions: Vec::new(),
        }];
        let effects = site.step(Input::Start {
            list,
            accept_removals: false,
            earlier: Earlier {
                pools: pools
                    .into_iter()
                    .map(|earlier| (pool.clone(), earlier))
                    .collect(),
                nodes: nodes.collect(),
            },
            owned: Arc::default(),
        });
        (site, effects)
    }
}

#[test]
fn a_report_is_as_good_as_a_poll_and_polls_that_were_under_way_do_not_count() {
    let mut site = Site::serving(3);
    let effects = site.step(Input::List(from(Origin::SerfReported, 1..=3)));
    assert!(
        effects
            .snapshot
            .is_none_or(|snapshot| snapshot.pools.disabled.is_empty())
    );
    assert!(site.poll(2, fails()).events.is_empty());
    let failed = site.report(2, Said::Observed(fails()));
    assert_eq!(
        (members(&failed), kinds(&failed)),
        (vec![1, 3], vec!["left"])
    );
    assert!(site.poll(2, serves("api")).snapshot.is_none());
    assert_eq!(
        members(&site.report(2, Said::Observed(serves("api")))),
        [1, 2, 3]
    );
    assert_eq!(site.core.poll_stats().results.iter().sum::<u64>(), 5);
    // Of a node that is polled its source says nothing.
    site.step(Input::List(from(Origin::Serf, 1..=3)));
    assert!(site.report(2, Said::Leaves).events.is_empty());
    assert_eq!(members(&site.poll(2, fails())), [1, 3]);
}

#[test]
fn who_leaves_leaves_the_pool_that_it_is_in_whichever_that_is() {
    let mut site = Site::serving(3);
    site.step(Input::List(from(Origin::SerfReported, 1..=4)));
    // Nobody knows where it belongs.
    site.report(4, Said::Leaves);
    let view = |site: &Site, number| site.core.membership().view(addr(number)).unwrap();
    assert_eq!(
        view(&site, 4).last.unwrap().observation,
        Observation::Nothing
    );
    let effects = site.report(1, Said::Leaves);
    assert_eq!(
        (members(&effects), kinds(&effects)),
        (vec![2, 3], vec!["left"])
    );
    let left = view(&site, 1);
    let Some(Observation::Announced(announcement)) = left.last.map(|poll| poll.observation) else {
        panic!("it announced its leave");
    };
    assert_eq!(announcement.status, Status::Leaving);
    assert_eq!(left.left, Some("api".parse().unwrap()));
    assert!(site.report(1, Said::Leaves).events.is_empty());
}

#[test]
fn who_left_by_its_source_may_go_from_the_list_however_many_and_members_may_not() {
    let mut site = Site::serving(4);
    let all = from(Origin::SerfReported, 1..=4);
    site.step(Input::List(all));
    for number in 1..=3 {
        site.report(number, Said::Leaves);
    }
    let effects = site.step(Input::List(from(Origin::SerfReported, [4])));
    assert!(matches!(effects.list, Some(ListOutcome::Applied { .. })));
    assert_eq!(site.core.membership().node_count(), 1);
    let effects = site.step(Input::List(from(Origin::SerfReported, [])));
    assert!(matches!(effects.list, Some(ListOutcome::Withheld { .. })));
    assert_eq!(site.core.membership().node_count(), 1);
}

#[test]
fn until_a_source_has_listed_its_nodes_those_of_the_run_before_stay_as_they_were() {
    let awaiting = |numbers: &[u8]| List {
        awaits: Some(Origin::SerfReported),
        ..from(Origin::SerfReported, numbers.iter().copied())
    };
    let (mut site, effects) = Site::starting(awaiting(&[]));
    let nodes = effects.nodes.unwrap();
    assert_eq!(nodes.len(), 3);
    assert!(
        nodes.iter().all(|node| !node.is_polled()),
        "they may be its"
    );
    assert!(matches!(effects.list, Some(ListOutcome::Withheld { .. })));
    // What it lists is added meanwhile; one alone would be removed, too, were the list whole.
    site.step(Input::List(awaiting(&[1, 2])));
    for number in [1, 2] {
        assert!(
            site.report(number, Said::Observed(serves("api")))
                .snapshot
                .is_none()
        );
    }
    let effects = site.step(Input::List(from(Origin::SerfReported, [1, 2])));
    assert_eq!(members(&effects), [1, 2]);
}

#[test]
fn a_node_of_which_its_source_says_nothing_does_not_hold_up_the_first_round() {
    let whole = from(Origin::SerfReported, [4]);
    let awaiting = List {
        awaits: Some(Origin::SerfReported),
        ..whole.clone()
    };
    let (mut site, _) = Site::starting(awaiting);
    assert!(
        site.report(4, Said::Observed(serves("api")))
            .snapshot
            .is_none()
    );
    // Three at once are too many, so they stay.
    let effects = site.step(Input::List(whole));
    assert!(matches!(effects.list, Some(ListOutcome::Withheld { .. })));
    assert_eq!(members(&effects), [4, 1, 2, 3]);
}
