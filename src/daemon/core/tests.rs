//! A whole site in the core: no I/O, and time is an argument.

mod reports;

use super::*;
use crate::control::OverrideError;
use crate::drivers::pool_files::earlier::Earlier;
use crate::model::announcement::Announcement;
use crate::model::membership::tests::{addr, rules};
use crate::model::node::Node;
use crate::model::observation::{Failure, Observation, Poll};
use crate::model::overrides::{Note, Reason};
use crate::model::problems::{Problem, Resolution, SystemStatus};
use crate::model::removals::MaxRemoved;
use crate::model::services::List;
use crate::model::time::Standstill;
use crate::model::time::Timestamp;

/// A site of which every step takes a second.
struct Site {
    core: Core,
    clock: Clock,
}

fn list(numbers: impl IntoIterator<Item = u8>) -> List {
    let node = |number| Node::new(addr(number), format!("n{number}"));
    List {
        nodes: numbers.into_iter().map(node).collect(),
        ..List::default()
    }
}

fn settings() -> Settings {
    Settings {
        max_removed: MaxRemoved::Share { part: 1, of: 2 },
        leave_timeout: Duration::from_secs(300),
        request_stay: true,
    }
}

fn serves(body: &str) -> Observation {
    let announcement = Announcement::parse(body.as_bytes()).unwrap();
    Observation::Announced(announcement.unwrap())
}

fn fails() -> Observation {
    Observation::Failed(Failure::Timeout(Duration::from_secs(1)))
}

impl Site {
    /// A site with these nodes, of which none has been polled.
    fn new(count: u8) -> Self {
        let clock = Clock {
            now: Instant::now(),
            today: Timestamp::from_millis(1_000_000),
        };
        let core = Core::new(
            (rules(1, 1, 1), settings()),
            Overrides::default(),
            &NodeTimes::default(),
            clock,
        );
        let mut site = Self { core, clock };
        let effects = site.step(Input::Start {
            list: list(1..=count),
            accept_removals: false,
            earlier: Earlier::default(),
            owned: Arc::default(),
        });
        assert_eq!(effects.nodes.map(|nodes| nodes.len()), Some(count.into()));
        assert!(effects.snapshot.is_none(), "nothing is known yet");
        site
    }

    /// A site whose nodes all serve in `api`.
    fn serving(count: u8) -> Self {
        let mut site = Self::new(count);
        for number in 1..count {
            assert!(site.poll(number, serves("api")).snapshot.is_none());
        }
        let effects = site.poll(count, serves("api"));
        assert_eq!(members(&effects), (1..=count).collect::<Vec<_>>());
        site
    }

    fn step(&mut self, input: Input) -> Effects {
        self.wait(Duration::from_secs(1));
        self.core.step(input, self.clock)
    }

    fn wait(&mut self, time: Duration) {
        self.clock.now += time;
        self.clock.today = self.clock.today.after(time);
    }

    fn poll(&mut self, number: u8, observation: Observation) -> Effects {
        let poll = Poll::at(self.clock.now, observation);
        self.step(Input::Polls(vec![(addr(number), poll)]))
    }

    fn request(&mut self, request: OverrideRequest) -> Effects {
        self.step(Input::Override(request))
    }

    fn disable(&mut self, number: u8, time: Option<Duration>) -> Effects {
        let since = self.clock.today;
        self.request(OverrideRequest::Disable {
            nodes: vec![addr(number)],
            name: "kernel".parse().unwrap(),
            reason: Reason {
                note: Note::default(),
                by: Note::new("ann"),
                since,
                until: time.map(|time| since.after(time)),
            },
            force: false,
        })
    }
}

/// The members of `api` in a snapshot, by number.
#[track_caller]
fn members(effects: &Effects) -> Vec<u8> {
    let snapshot = effects.snapshot.as_ref().expect("a snapshot");
    let api = &snapshot.pools.pools["api"];
    let members = api.members.iter();
    members
        .map(|member| member.node.addr.ipv4().unwrap().octets()[3])
        .collect()
}

fn kinds(effects: &Effects) -> Vec<&'static str> {
    let events = effects.events.iter();
    events.map(|recorded| recorded.event.kind).collect()
}

#[test]
fn a_failed_node_is_removed_at_once_and_returns() {
    let mut site = Site::serving(3);
    assert_eq!(site.core.serial(), 1);
    let before = site.clock.now;
    let failed = site.poll(2, fails());
    assert_eq!(members(&failed), [1, 3]);
    let snapshot = failed.snapshot.as_ref().unwrap();
    assert_eq!((snapshot.serial, snapshot.cause), (2, Some(before)));
    assert_eq!(kinds(&failed), ["left"]);
    assert!(failed.events[0].change.is_some(), "node_hook runs");
    assert!(failed.notify_watchers && failed.save_node_times);
    let view = site.core.membership().view(addr(2)).unwrap();
    assert_eq!(site.core.at_serial(view).serial, 2);
    assert_eq!(members(&site.poll(2, serves("api"))), [1, 2, 3]);
    assert!(site.poll(1, serves("api")).snapshot.is_none(), "no change");
    assert_eq!(site.core.poll_stats().results.iter().sum::<u64>(), 6);
}

#[test]
fn the_first_snapshot_is_no_change_that_hooks_run_for() {
    let mut site = Site::new(1);
    let first = site.poll(1, serves("api"));
    assert_eq!(kinds(&first), ["joined"]);
    assert!(first.events[0].change.is_none());
}

#[test]
fn an_override_is_applied_and_expires_at_its_time() {
    let mut site = Site::serving(3);
    let disabled = site.disable(1, Some(Duration::from_secs(30)));
    assert_eq!(members(&disabled), [2, 3]);
    let applied = disabled.applied.unwrap().unwrap();
    assert_eq!((applied.serial, applied.shortages), (2, Vec::new()));
    assert_eq!(
        applied.revision,
        site.core.membership().overrides_revision()
    );
    let timer = site.core.next_timer().unwrap();
    // Of the 30 seconds, the step has taken one.
    assert_eq!(timer, site.clock.now + Duration::from_secs(29));
    assert!(site.poll(1, serves("api")).snapshot.is_none());
    site.clock.today = site.clock.today.after(timer - site.clock.now);
    site.clock.now = timer;
    let expired = site.core.step(Input::Timer, site.clock);
    assert_eq!(expired.poll_now, [addr(1)]);
    assert_eq!(site.core.next_timer(), None);
    assert_eq!(members(&site.poll(1, serves("api"))), [1, 2, 3]);
}

#[test]
fn a_request_that_leaves_too_few_members_is_rejected_and_changes_nothing() {
    let mut site = Site::serving(1);
    let effects = site.disable(1, None);
    assert!(matches!(
        effects.applied,
        Some(Err(OverrideError::TooFewMembers(_)))
    ));
    assert!(effects.events.is_empty() && effects.snapshot.is_none());
    let effects = site.request(OverrideRequest::Nudge(vec![addr(9)]));
    let unknown = OverrideError::UnknownNode(addr(9));
    assert_eq!(effects.applied, Some(Err(unknown)));
}

#[test]
fn members_that_their_pool_cannot_do_without_are_asked_to_stay() {
    let mut site = Site::serving(2);
    let failed = site.poll(2, fails());
    assert_eq!(failed.stay_requests, Some([addr(1)].into()));
    let back = site.poll(2, serves("api"));
    assert_eq!(back.stay_requests, Some(BTreeSet::new()));
}

#[test]
fn withheld_removals_are_carried_out_once_the_pool_can_do_without_the_nodes() {
    let mut site = Site::serving(3);
    for number in [1, 2] {
        site.poll(number, Observation::Nothing);
    }
    // The last serving member.
    let effects = site.step(Input::List(list([1, 2])));
    assert!(matches!(
        effects.list,
        Some(ListOutcome::Withheld { is_new: true, .. })
    ));
    assert_eq!(effects.nodes.map(|nodes| nodes.len()), Some(3));
    let effects = site.step(Input::Timer);
    assert!(matches!(
        effects.list,
        Some(ListOutcome::Withheld { is_new: false, .. })
    ));
    site.poll(1, serves("api"));
    let effects = site.step(Input::Timer);
    assert!(matches!(
        effects.list,
        Some(ListOutcome::Applied { released: 1 })
    ));
    assert_eq!(kinds(&effects), ["removed"]);
    assert_eq!(members(&effects), [1]);
    assert_eq!(site.core.next_timer(), None);
}

#[test]
fn a_reload_that_changes_rules_and_nodes_publishes_both_in_one_snapshot() {
    let mut site = Site::serving(3);
    let mut rules = rules(1, 1, 1);
    rules
        .declared
        .insert("web".parse().unwrap(), rules.undeclared.clone());
    let effects = site.step(Input::Reload {
        rules,
        settings: settings(),
        list: list([1, 2]),
        accept_removals: true,
    });
    assert_eq!(members(&effects), [1, 2]);
    let pools = &effects.snapshot.as_ref().unwrap().pools.pools;
    assert!(pools.contains_key("web"));
    assert_eq!(site.core.serial(), 2);
}

#[test]
fn a_pause_of_pollbal_extends_leaves() {
    let mut site = Site::serving(3);
    let effects = site.request(OverrideRequest::Leave(addr(1)));
    assert!(effects.applied.unwrap().is_ok());
    let end = |site: &Site| site.core.membership().overrides().leases[&addr(1)].until;
    let before = end(&site);
    let pause = Duration::from_secs(100);
    site.wait(pause);
    let effects = site.step(Input::Pause(Standstill {
        time: pause,
        day: pause,
    }));
    assert_eq!(effects.extended_leaves, 1);
    assert_eq!(end(&site), before.after(pause));
}

#[test]
fn problems_are_recorded_and_logged_unless_something_else_is() {
    let mut site = Site::serving(1);
    let mut status = SystemStatus {
        pools: site.core.pool_health(),
        first_round_done: true,
        ..SystemStatus::default()
    };
    (status.pools[0].members, status.pools[0].serving) = (0, 0);
    status.pools[0].declared = true;
    let problem = status.problems().remove(0);
    assert_eq!(problem.kind, Kind::PoolEmpty);
    let effects = site.step(Input::Problem(Transition::Raised(problem.clone())));
    assert_eq!(kinds(&effects), ["alert"]);
    assert!(!effects.events[0].event.quiet);
    let resolution = Resolution {
        resolved: true,
        text: "well".to_owned(),
    };
    let lasted = Duration::from_secs(3);
    let sorry = Problem {
        kind: Kind::SorryServer,
        ..problem
    };
    let effects = site.step(Input::Problem(Transition::Cleared(
        sorry, lasted, resolution,
    )));
    assert_eq!(
        kinds(&effects),
        [""; 0],
        "recorded with the change of its pool"
    );
}
