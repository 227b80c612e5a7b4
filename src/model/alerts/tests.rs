//! Who is told what when, with time as an argument.

mod pauses;

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

    fn at(&mut self, second: u64, holds: &SystemStatus, minute: Minute) -> Outcome {
        let now = self.start + Duration::from_secs(second);
        // The clock of the day is put forward a little all the time.
        let today = Timestamp::from_millis(1_001 * second);
        let open = self.settings.hours.contains(minute);
        self.alerts
            .evaluate(holds, &self.settings, (now, today), open)
    }

    /// What is told at noon, as "begin api".
    fn active(&self) -> Vec<Problem> {
        let active = self.alerts.active().into_iter();
        active.map(|active| active.problem).collect()
    }

    fn told(&mut self, second: u64, holds: &SystemStatus) -> Vec<String> {
        words(&self.at(second, holds, NOON))
    }

    /// When to look again, in seconds from the start.
    fn next(&mut self, second: u64, holds: &SystemStatus, minute: Minute) -> Option<u64> {
        let next = self.at(second, holds, minute).next?;
        Some(next.duration_since(self.start).as_secs())
    }
}

fn words(outcome: &Outcome) -> Vec<String> {
    let notices = outcome.notices.iter();
    let word = |notice: &Notice| {
        let left_out = match notice.left_out.values().sum() {
            0 => String::new(),
            others => format!(" ({others} left out)"),
        };
        let (state, subject) = (notice.kind, &notice.problem.subject);
        format!("{state:?} {subject}{left_out}").to_lowercase()
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
fn told_of(holds: &SystemStatus) -> Vec<Problem> {
    let problems = holds.problems().into_iter();
    problems
        .filter(|problem| problem.alert != AlertPolicy::Never)
        .collect()
}

#[test]
fn a_pool_that_is_empty_is_not_told_to_be_short_too() {
    let mut site = Site::new();
    let level = |members| {
        let mut site = short(&["api"]);
        (site.pools[0].members, site.pools[0].serving) = (members, members);
        site.pools[0].min_members = 2;
        site
    };
    // Short at first, for no longer than it takes to be told.
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
fn what_holds_for_a_while_begins_and_what_is_away_as_long_is_over() {
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
    assert_eq!(site.active(), told_of(&api));
    let stands = &site.alerts.active()[0];
    assert_eq!(
        (stands.since, stands.is_present),
        (Timestamp::from_millis(0), true)
    );
    assert_eq!(site.at(3, &api, NOON).transitions, []);
    assert_eq!(site.next(60, &well(), NOON), Some(62));
    assert_eq!(site.active(), told_of(&api));
    assert!(!site.alerts.active()[0].is_present, "it only stands still");
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
fn what_passes_sooner_is_told_to_nobody() {
    let mut site = Site::new();
    assert_eq!(site.at(0, &short(&["api"]), NOON).transitions, []);
    let outcome = site.at(1, &well(), NOON);
    assert_eq!(outcome, Outcome::default());
    assert!(site.alerts.entries.is_empty());
    // Nor does it count as having held since then.
    site.at(100, &short(&["api"]), NOON);
    assert_eq!(site.told(101, &short(&["api"])), [""; 0]);
    // And what is away for a moment has not ended.
    assert_eq!(site.told(102, &short(&["api"])), ["begin api"]);
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
    assert_eq!(site.told(0, &all), ["begin old state", "begin reload"]);
    assert_eq!(site.told(2, &all), ["begin api"]);
    assert_eq!(
        site.told(5, &all),
        ["begin lost", "begin files", "begin services", "begin state"]
    );
    assert_eq!(site.told(10, &all), ["begin odd"]);
    assert_eq!(site.alerts.active().len(), 8);
}

#[test]
fn what_comes_and_goes_is_told_once_in_the_interval_and_then_if_it_still_stands() {
    let mut site = Site::new();
    let api = short(&["api"]);
    let mut told = Vec::new();
    for second in 0..5 * MINUTE {
        // Ten seconds so, ten seconds so.
        let holds = if second % 20 < 10 { &api } else { &well() };
        told.extend(site.told(second, holds));
    }
    assert_eq!(told, ["begin api", "over api"]);
    // It began at second 2.
    site.told(300, &api);
    assert_eq!(site.next(301, &api, NOON), Some(302));
    let begins = site.at(302, &api, NOON);
    assert_eq!(words(&begins), ["begin api"]);
    assert_eq!(begins.notices[0].since, Timestamp::from_millis(300_300));
    // When the interval is over first, it waits for nothing.
    site.at(310, &well(), NOON);
    assert_eq!(site.told(312, &well()), ["over api"]);
    site.at(1_000, &api, NOON);
    assert_eq!(site.told(1_002, &api), ["begin api"]);
}

#[test]
fn what_stands_on_is_told_again_less_and_less_often() {
    let mut site = Site::new();
    let api = short(&["api"]);
    let mut second = 0;
    let mut told = Vec::new();
    while second < 5 * 24 * 60 * MINUTE {
        let outcome = site.at(second, &api, NOON);
        told.extend(
            words(&outcome)
                .into_iter()
                .map(|word| (second / MINUTE, word)),
        );
        second = outcome.next.unwrap().duration_since(site.start).as_secs();
    }
    assert_eq!(told[0], (0, "begin api".to_owned()));
    assert!(told[1..].iter().all(|(_, word)| word == "still api"));
    let minutes: Vec<_> = told.iter().map(|(minute, _)| *minute).collect();
    assert_eq!(minutes[..6], [0, 5, 15, 35, 75, 155]);
    assert_eq!(minutes[10] - minutes[9], 24 * 60, "once a day in the end");
}

#[test]
fn nothing_is_told_to_hold_while_it_does_not() {
    let mut site = Site::new();
    let api = short(&["api"]);
    site.at(0, &api, NOON);
    assert_eq!(site.told(2, &api), ["begin api"]);
    // The reminder is due in the two seconds that it must be away for its end.
    site.at(301, &well(), NOON);
    assert_eq!(site.next(302, &well(), NOON), Some(303));
    assert_eq!(site.told(302, &well()), [""; 0]);
    let over = site.at(303, &well(), NOON);
    assert_eq!(words(&over), ["over api"]);
    let resolution = over.notices[0].resolution.as_ref().unwrap();
    assert_eq!(
        (resolution.resolved, over.notices[0].lasted.as_secs()),
        (true, 301)
    );
    // Back before its end, it is reminded of at once.
    site.at(400, &api, NOON);
    assert_eq!(site.told(602, &api), ["begin api"]);
    site.at(901, &well(), NOON);
    assert_eq!(site.told(902, &well()), [""; 0]);
    assert_eq!(site.told(902, &api), ["still api"]);
    // Nor does it begin for anyone while it does not hold.
    let mut site = Site::new();
    site.at(0, &api, NIGHT);
    site.at(2, &api, NIGHT);
    site.at(10, &well(), NIGHT);
    assert_eq!(site.told(11, &well()), [""; 0]);
    assert_eq!(site.told(11, &api), ["begin api"]);
}

#[test]
fn nodes_down_are_told_after_the_time_of_the_configuration_and_over_sooner() {
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
    // One of four is shown, and nobody is told.
    site.at(0, &down(1), NOON);
    assert_eq!(site.told(100, &down(1)), [""; 0]);
    assert_eq!(site.active(), []);
    assert_eq!(site.next(100, &down(2), NOON), Some(160));
    assert_eq!(site.told(159, &down(2)), [""; 0]);
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
fn outside_of_the_hours_nothing_is_told_until_they_begin() {
    let mut site = Site::new();
    let night =
        |site: &mut Site, second, holds: &SystemStatus| words(&site.at(second, holds, NIGHT));
    let (api, web) = (short(&["api"]), short(&["web"]));
    site.at(0, &api, NIGHT);
    assert_eq!(night(&mut site, 2, &api), [""; 0]);
    assert_eq!(site.active(), told_of(&api), "it stands all the same");
    // Passes before the hours begin: never told, nor that it is over.
    site.at(100, &well(), NIGHT);
    assert_eq!(night(&mut site, 102, &well()), [""; 0]);
    assert_eq!(site.next(103, &well(), NIGHT), None);
    // Still there when they begin.
    site.at(200, &web, NIGHT);
    assert_eq!(night(&mut site, 202, &web), [""; 0]);
    assert_eq!(site.next(202, &web, NIGHT), Some(232), "looks at the clock");
    assert_eq!(site.told(3_600, &web), ["begin web"]);
    // Told, and over when they have ended: said when they begin again.
    site.at(3_700, &well(), NIGHT);
    assert_eq!(night(&mut site, 3_702, &well()), [""; 0]);
    assert_eq!(site.told(36_000, &well()), ["over web"]);
}

#[test]
fn no_more_than_the_limit_is_told_and_the_next_one_says_how_many_were_left_out() {
    let mut site = Site::new();
    site.settings.limit = 3;
    let storm = pools(0..8);
    site.at(0, &storm, NOON);
    assert_eq!(site.told(2, &storm), ["begin p0", "begin p1", "begin p2"]);
    assert_eq!(site.told(100, &storm), [""; 0]);
    assert_eq!(site.next(100, &storm, NOON), Some(302));
    // One passes meanwhile: never told, but counted.
    let less = pools(0..7);
    site.at(200, &less, NOON);
    assert_eq!(site.told(202, &less), [""; 0]);
    assert_eq!(
        site.told(302, &less),
        ["begin p3 (4 left out)", "begin p4", "begin p5"]
    );
    // Only p6 is left, and what is over; reminders do not count.
    site.at(400, &well(), NOON);
    assert_eq!(site.told(402, &well()), [""; 0]);
    assert_eq!(
        site.told(602, &well()),
        ["over p0 (6 left out)", "over p1", "over p2"]
    );
    assert_eq!(
        site.told(902, &well()),
        ["over p3 (2 left out)", "over p4", "over p5"]
    );
    assert_eq!(site.at(903, &well(), NOON).next, None);
}

#[test]
fn many_of_one_kind_do_not_hide_another_and_what_was_left_out_is_told_by_kind() {
    let mut site = Site::new();
    site.settings.limit = 4;
    let lost = DriverHealth::default();
    let with_lost = |pools: SystemStatus| SystemStatus {
        drivers: ["a", "b"].map(|name| (balancer(name), lost.clone())).into(),
        ..pools
    };
    let storm = with_lost(pools(0..8));
    site.at(0, &pools(0..8), NOON);
    assert_eq!(
        site.told(2, &pools(0..8)),
        ["begin p0", "begin p1", "begin p2", "begin p3"]
    );
    site.at(10, &storm, NOON);
    assert_eq!(site.told(15, &storm), [""; 0], "the limit holds for all");
    let outcome = site.at(302, &storm, NOON);
    // In front of what is merely still so, too.
    assert_eq!(
        words(&outcome),
        ["begin p4 (5 left out)", "begin a", "begin p5", "begin p6"]
    );
    let left_out = [(Kind::PoolShort, 3), (Kind::LoadBalancerLost, 2)];
    assert_eq!(outcome.notices[0].left_out, left_out.into());
    let rest = site.at(602, &storm, NOON);
    assert_eq!(words(&rest)[..2], ["begin p7 (1 left out)", "begin b"]);
    assert_eq!(
        rest.notices[0].left_out,
        [(Kind::LoadBalancerLost, 1)].into()
    );
}

#[test]
fn after_a_restart_nothing_is_told_as_still_so_before_that_is_known() {
    let mut site = Site::new();
    site.at(0, &pools(0..1), NOON);
    assert_eq!(site.told(2, &pools(0..1)), ["begin p0"]);
    let moment = (site.start, Timestamp::from_millis(0));
    site.alerts = Alerts::resume(&site.alerts.save(moment), moment);
    assert_eq!(site.told(10 * MINUTE, &well()), [""; 0]);
    let holds = site.alerts.active().into_iter();
    let holds: Vec<_> = holds.map(|stands| stands.is_present).collect();
    assert_eq!(holds, [false]);
    assert_eq!(site.told(11 * MINUTE, &pools(0..1)), ["still p0"]);
}

#[test]
fn a_restart_begins_nothing_anew_keeps_the_limit_and_tells_what_is_over_when_that_is_known() {
    let mut site = Site::new();
    site.settings.limit = 3;
    site.at(0, &pools(0..2), NOON);
    assert_eq!(site.told(2, &pools(0..2)), ["begin p0", "begin p1"]);
    let restart = |site: &mut Site, second| {
        let moment = (
            site.start + Duration::from_secs(second),
            Timestamp::from_millis(1_000 * second),
        );
        let text = serde_json::to_string(&site.alerts.save(moment)).unwrap();
        site.alerts = Alerts::resume(&serde_json::from_str(&text).unwrap(), moment);
    };
    restart(&mut site, 10);
    // Nothing is known yet.
    assert_eq!(site.told(11, &well()), [""; 0]);
    assert_eq!(site.told(40, &well()), [""; 0]);
    let known = |holds| SystemStatus {
        first_round_done: true,
        ..holds
    };
    let (one, none) = (known(pools(0..1)), known(well()));
    assert_eq!(site.at(41, &one, NOON).transitions, []);
    let over = site.at(43, &one, NOON);
    assert_eq!(words(&over), ["over p1"]);
    assert_eq!(over.notices[0].since, Timestamp::from_millis(0));
    // That was the third.
    site.at(50, &none, NOON);
    assert_eq!(site.told(52, &none), [""; 0]);
    restart(&mut site, 100);
    site.at(101, &one, NOON);
    assert_eq!(site.told(110, &one), [""; 0]);
    restart(&mut site, 200);
    assert_eq!(site.told(303, &one), ["still p0"]);
    site.at(310, &none, NOON);
    assert_eq!(site.told(312, &none), ["over p0"]);
    restart(&mut site, 1_000);
    assert_eq!(site.at(1_001, &none, NOON).next, None);
    assert!(site.alerts.entries.is_empty());
}

#[test]
fn with_nobody_to_tell_words_are_told_all_the_same_and_notices_as_soon_as_there_is_one() {
    let mut site = Site::new();
    site.settings.on = false;
    let api = short(&["api"]);
    site.at(0, &api, NOON);
    let outcome = site.at(2, &api, NOON);
    assert_eq!((outcome.transitions.len(), outcome.notices.len()), (1, 0));
    assert_eq!(outcome.next, None);
    site.settings.on = true;
    assert_eq!(site.told(1_000, &api), ["begin api"]);
}

#[test]
fn a_look_too_many_or_too_few_changes_nothing() {
    let mut often = Site::new();
    let mut seldom = Site::new();
    seldom.start = often.start;
    seldom.settings.limit = 2;
    often.settings.limit = 2;
    let holds = |second| match second {
        0..50 => pools(0..3),
        50..400 => pools(1..3),
        405..1_000 => pools(2..4),
        _ => well(),
    };
    let (mut all, mut due) = (Vec::new(), Vec::new());
    let mut next = Some(0);
    let mut last = None;
    for second in 0..4_000 {
        all.extend(often.told(second, &holds(second)));
        let changed = last.replace(holds(second)) != Some(holds(second));
        if changed || next == Some(second) {
            let outcome = seldom.at(second, &holds(second), NOON);
            next = outcome
                .next
                .map(|at| at.duration_since(seldom.start).as_secs());
            due.extend(words(&outcome));
        }
    }
    assert_eq!(all, due);
    assert!(all.len() > 8, "{all:?}");
}
