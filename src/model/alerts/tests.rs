//! Which alerts are reported when, with time as an argument.

mod limits;
mod pauses;
mod restarts;

use super::*;
use crate::model::node_counts::tests::counts;
use crate::model::problems::tests::balancer;
use crate::model::problems::{DriverHealth, FileFault, NodesDown, PoolHealth, SystemStatus};
use crate::model::time_window::Minute;

const MINUTE: u64 = 60;
const NOON: Minute = minute(12);
const NIGHT: Minute = minute(3);

/// That hour.
const fn minute(hour: u8) -> Minute {
    Minute::of(hour, 0)
}

/// Alerts by seconds from a start.
struct Site {
    start: Instant,
    alerts: Alerts,
    settings: AlertSettings,
}

impl Site {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            alerts: Alerts::default(),
            settings: AlertSettings {
                on: true,
                hours: "08:00-22:00".parse().unwrap(),
                interval: Duration::from_secs(5 * MINUTE),
                limit: 10,
            },
        }
    }

    fn at(&mut self, second: u64, status: &SystemStatus, minute: Minute) -> Outcome {
        let now = self.start + Duration::from_secs(second);
        // The clock of the day is put forward a little all the time.
        let today = Timestamp::from_millis(1_001 * second);
        let open = self.settings.hours.contains(minute);
        self.alerts
            .evaluate(status, &self.settings, (now, today), open)
    }

    /// The problems that are active.
    fn active(&self) -> Vec<Problem> {
        let active = self.alerts.active().into_iter();
        active.map(|active| active.problem).collect()
    }

    fn reported(&mut self, second: u64, status: &SystemStatus) -> Vec<String> {
        words(&self.at(second, status, NOON))
    }

    /// When to evaluate again, in seconds from the start.
    fn next(&mut self, second: u64, status: &SystemStatus, minute: Minute) -> Option<u64> {
        let next = self.at(second, status, minute).next?;
        Some(next.duration_since(self.start).as_secs())
    }
}

fn words(outcome: &Outcome) -> Vec<String> {
    let notices = outcome.notices.iter();
    let word = |notice: &Notice| {
        let skipped = match notice.left_out.values().sum() {
            0 => String::new(),
            others => format!(" ({others} skipped)"),
        };
        let (state, subject) = (notice.kind, &notice.problem.subject);
        format!("{state:?} {subject}{skipped}").to_lowercase()
    };
    notices.map(word).collect()
}

/// These pools are short.
fn short(pools: &[&str]) -> SystemStatus {
    let level = |pool: &&str| PoolHealth {
        pool: pool.parse().unwrap(),
        declared: true,
        served: true,
        members: 1,
        serving: 0,
        min_members: 1,
        sorry: Vec::new(),
    };
    SystemStatus {
        pools: pools.iter().map(level).collect(),
        ..well()
    }
}

fn well() -> SystemStatus {
    SystemStatus::default()
}

/// The problems that are reported to a person.
fn reportable(status: &SystemStatus) -> Vec<Problem> {
    let problems = status.problems().into_iter();
    problems
        .filter(|problem| problem.alert != AlertPolicy::Never)
        .collect()
}

#[test]
fn a_pool_that_is_empty_is_not_reported_as_short_too() {
    let mut site = Site::new();
    let level = |members| {
        let mut site = short(&["api"]);
        (site.pools[0].members, site.pools[0].serving) = (members, members);
        site.pools[0].min_members = 2;
        site
    };
    // Short at first, for no longer than it takes to be reported.
    site.at(0, &level(1), NOON);
    site.at(1, &level(0), NOON);
    let begins = site.at(3, &level(0), NOON);
    let kinds = |outcome: &Outcome| -> Vec<_> {
        let notices = outcome.notices.iter();
        notices
            .map(|notice| (notice.kind, notice.problem.kind))
            .collect()
    };
    assert_eq!(kinds(&begins), [(NoticeKind::Begin, Kind::PoolEmpty)]);
    // Then short only.
    site.at(10, &level(1), NOON);
    let changes = site.at(12, &level(1), NOON);
    assert_eq!(
        kinds(&changes),
        [
            (NoticeKind::Begin, Kind::PoolShort),
            (NoticeKind::Over, Kind::PoolEmpty)
        ]
    );
    // An alert about a short pool stays raised while the pool is empty.
    site.at(305, &level(0), NOON);
    let empty = site.at(307, &level(0), NOON);
    assert_eq!(kinds(&empty), [(NoticeKind::Begin, Kind::PoolEmpty)]);
    let still = site.at(312, &level(0), NOON);
    assert_eq!(kinds(&still), [(NoticeKind::Still, Kind::PoolShort)]);
    site.at(330, &level(2), NOON);
    assert_eq!(
        kinds(&site.at(332, &level(2), NOON)),
        [
            (NoticeKind::Over, Kind::PoolEmpty),
            (NoticeKind::Over, Kind::PoolShort)
        ]
    );
}

fn pools(names: std::ops::Range<usize>) -> SystemStatus {
    let names: Vec<_> = names.map(|number| format!("p{number}")).collect();
    short(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn what_is_active_for_a_while_begins_and_what_is_away_as_long_is_over() {
    let mut site = Site::new();
    let api = short(&["api"]);
    assert_eq!(site.next(0, &api, NOON), Some(2));
    assert_eq!(site.active(), []);
    let begins = site.at(2, &api, NOON);
    assert_eq!(words(&begins), ["begin api"]);
    assert_eq!(
        begins.transitions,
        [Transition::Raised(api.problems()[0].clone())]
    );
    assert_eq!(site.active(), reportable(&api));
    let active = &site.alerts.active()[0];
    assert_eq!(
        (active.since, active.is_present),
        (Timestamp::from_millis(0), true)
    );
    assert_eq!(site.at(3, &api, NOON).transitions, []);
    assert_eq!(site.next(60, &well(), NOON), Some(62));
    assert_eq!(site.active(), reportable(&api));
    assert!(
        !site.alerts.active()[0].is_present,
        "it only does not continue"
    );
    let over = site.at(62, &well(), NOON);
    assert_eq!(words(&over), ["over api"]);
    let lasted = Duration::from_secs(60);
    assert_eq!(over.notices[0].lasted, lasted);
    assert_eq!(over.notices[0].since, Timestamp::from_millis(0));
    let resolution = well().resolution(Kind::PoolShort, "api");
    assert_eq!(over.notices[0].resolution, Some(resolution.clone()));
    let ends = Transition::Cleared(api.problems()[0].clone(), lasted, resolution);
    assert_eq!(over.transitions, [ends]);
    assert_eq!((site.active(), over.next), (vec![], None));
}

#[test]
fn what_passes_sooner_is_not_reported() {
    let mut site = Site::new();
    assert_eq!(site.at(0, &short(&["api"]), NOON).transitions, []);
    let outcome = site.at(1, &well(), NOON);
    assert_eq!(outcome, Outcome::default());
    assert!(site.alerts.entries.is_empty());
    // Nor does it count as having been active since then.
    site.at(100, &short(&["api"]), NOON);
    assert_eq!(site.reported(101, &short(&["api"])), [""; 0]);
    // And what is away for a moment has not ended.
    assert_eq!(site.reported(102, &short(&["api"])), ["begin api"]);
    assert_eq!(site.at(110, &well(), NOON).transitions, []);
    assert_eq!(site.at(111, &short(&["api"]), NOON).transitions, []);
    assert_eq!(site.at(120, &short(&["api"]), NOON).transitions, []);
}

#[test]
fn each_kind_settles_in_its_own_time() {
    let mut site = Site::new();
    let fault = |path: &str| {
        Some(FileFault {
            path: path.to_owned(),
            text: "wrong".to_owned(),
        })
    };
    let level = |connected| DriverHealth {
        connected,
        ..DriverHealth::default()
    };
    let all = SystemStatus {
        first_round_done: true,
        drivers: [
            (balancer("lost"), level(false)),
            (balancer("odd"), level(true)),
        ]
        .into(),
        files: fault("files"),
        state: fault("state"),
        state_refused: fault("old state"),
        services: fault("services"),
        reload: fault("reload"),
        ..short(&["api"])
    };
    assert_eq!(site.reported(0, &all), ["begin old state", "begin reload"]);
    assert_eq!(site.reported(2, &all), ["begin api"]);
    assert_eq!(
        site.reported(5, &all),
        ["begin lost", "begin files", "begin services", "begin state"]
    );
    assert_eq!(site.reported(10, &all), ["begin odd"]);
    assert_eq!(site.alerts.active().len(), 8);
}

#[test]
fn what_comes_and_goes_is_reported_once_in_the_interval_and_then_if_it_is_still_active() {
    let mut site = Site::new();
    let api = short(&["api"]);
    let mut reported = Vec::new();
    for second in 0..5 * MINUTE {
        // Ten seconds so, ten seconds so.
        let status = if second % 20 < 10 { &api } else { &well() };
        reported.extend(site.reported(second, status));
    }
    assert_eq!(reported, ["begin api", "over api"]);
    // It began at second 2.
    site.reported(300, &api);
    assert_eq!(site.next(301, &api, NOON), Some(302));
    let begins = site.at(302, &api, NOON);
    assert_eq!(words(&begins), ["begin api"]);
    assert_eq!(begins.notices[0].since, Timestamp::from_millis(300_300));
    // When the interval is over first, it waits for nothing.
    site.at(310, &well(), NOON);
    assert_eq!(site.reported(312, &well()), ["over api"]);
    site.at(1_000, &api, NOON);
    assert_eq!(site.reported(1_002, &api), ["begin api"]);
}

#[test]
fn what_stays_active_is_reported_again_less_and_less_often() {
    let mut site = Site::new();
    let api = short(&["api"]);
    let mut second = 0;
    let mut reported = Vec::new();
    while second < 5 * 24 * 60 * MINUTE {
        let outcome = site.at(second, &api, NOON);
        reported.extend(
            words(&outcome)
                .into_iter()
                .map(|word| (second / MINUTE, word)),
        );
        second = outcome.next.unwrap().duration_since(site.start).as_secs();
    }
    assert_eq!(reported[0], (0, "begin api".to_owned()));
    assert!(reported[1..].iter().all(|(_, word)| word == "still api"));
    let minutes: Vec<_> = reported.iter().map(|(minute, _)| *minute).collect();
    assert_eq!(minutes[..6], [0, 5, 15, 35, 75, 155]);
    assert_eq!(minutes[10] - minutes[9], 24 * 60, "once a day in the end");
}

#[test]
fn nothing_is_reported_as_active_while_it_is_not() {
    let mut site = Site::new();
    let api = short(&["api"]);
    site.at(0, &api, NOON);
    assert_eq!(site.reported(2, &api), ["begin api"]);
    // The reminder is due in the two seconds that it must be away for its end.
    site.at(301, &well(), NOON);
    assert_eq!(site.next(302, &well(), NOON), Some(303));
    assert_eq!(site.reported(302, &well()), [""; 0]);
    let over = site.at(303, &well(), NOON);
    assert_eq!(words(&over), ["over api"]);
    let resolution = over.notices[0].resolution.as_ref().unwrap();
    assert_eq!(
        (resolution.resolved, over.notices[0].lasted.as_secs()),
        (true, 301)
    );
    // Back before its end, it is reminded of at once.
    site.at(400, &api, NOON);
    assert_eq!(site.reported(602, &api), ["begin api"]);
    site.at(901, &well(), NOON);
    assert_eq!(site.reported(902, &well()), [""; 0]);
    assert_eq!(site.reported(902, &api), ["still api"]);
    // Nor does it begin for anyone while it is not active.
    let mut site = Site::new();
    site.at(0, &api, NIGHT);
    site.at(2, &api, NIGHT);
    site.at(10, &well(), NIGHT);
    assert_eq!(site.reported(11, &well()), [""; 0]);
    assert_eq!(site.reported(11, &api), ["begin api"]);
}

#[test]
fn nodes_down_are_reported_after_the_time_of_the_configuration_and_over_sooner() {
    let mut site = Site::new();
    let down = |failed| SystemStatus {
        nodes: counts(&[("api", 4 - failed, failed)]),
        nodes_down: NodesDown {
            percent: 50,
            after: Duration::from_secs(60),
        },
        first_round_done: true,
        ..well()
    };
    // One of four is shown, and nothing is reported.
    site.at(0, &down(1), NOON);
    assert_eq!(site.reported(100, &down(1)), [""; 0]);
    assert_eq!(site.active(), []);
    assert_eq!(site.next(100, &down(2), NOON), Some(160));
    assert_eq!(site.reported(159, &down(2)), [""; 0]);
    let begins = site.at(160, &down(3), NOON);
    assert_eq!(words(&begins), ["begin nodes"]);
    let text = "3 of 4 nodes down (api 3/4)";
    assert_eq!(begins.notices[0].problem.text, text);
    site.at(170, &down(1), NOON);
    let over = site.at(175, &down(1), NOON);
    let resolution = over.notices[0].resolution.as_ref().unwrap();
    assert_eq!(resolution.text, "1 of 4 nodes down (api 1/4)");
}

#[test]
fn a_check_too_many_or_too_few_changes_nothing() {
    let mut often = Site::new();
    let mut seldom = Site::new();
    seldom.start = often.start;
    seldom.settings.limit = 2;
    often.settings.limit = 2;
    let status = |second| match second {
        0..50 => pools(0..3),
        50..400 => pools(1..3),
        405..1_000 => pools(2..4),
        _ => well(),
    };
    let (mut all, mut due) = (Vec::new(), Vec::new());
    let mut next = Some(0);
    let mut last = None;
    for second in 0..4_000 {
        all.extend(often.reported(second, &status(second)));
        let changed = last.replace(status(second)) != Some(status(second));
        if changed || next == Some(second) {
            let outcome = seldom.at(second, &status(second), NOON);
            next = outcome
                .next
                .map(|at| at.duration_since(seldom.start).as_secs());
            due.extend(words(&outcome));
        }
    }
    assert_eq!(all, due);
    assert!(all.len() > 8, "{all:?}");
}
