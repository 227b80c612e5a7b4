use super::*;
use crate::api::{Counts, Files, Grant, HealthProblem, Pool, Ramp, Reason, State, VersionCount};
use crate::model::health::{Health, Severity};
use crate::model::weight::WeightSource;

const NOW: &str = "2026-11-21T09:30:00.000Z";
const BEFORE: &str = "2026-11-21T09:27:00.000Z";

fn pool(name: &str, members: usize) -> Pool {
    Pool {
        name: name.to_owned(),
        declared: true,
        members,
        serving: members,
        min_members: 2,
        short: false,
        versions: vec![version("v23", members)],
        leaving: 0,
        sorry: vec![],
    }
}

fn version(version: &str, members: usize) -> VersionCount {
    VersionCount {
        version: Some(version.to_owned()),
        members,
    }
}

fn node(number: usize, state: State, why: &str) -> Node {
    Node {
        node: format!("10.0.0.{number}:8080"),
        name: format!("api-node-{number}"),
        state,
        pool: Some("api".to_owned()),
        version: Some("v23".to_owned()),
        why: Some(why.to_owned()),
        since: Some(BEFORE.to_owned()),
        failing: false,
        reasons: vec![],
        grant: None,
        weight: 100,
        weight_source: WeightSource::Pool,
        weight_reason: None,
        ramp: None,
        next_ramp_ms: None,
        drained: None,
    }
}

fn load_balancer() -> LoadBalancer {
    LoadBalancer {
        driver: "balancer".to_owned(),
        address: "127.0.0.1:16000".to_owned(),
        connected: true,
        connection: "Balancer 1.80".to_owned(),
        away: None,
        in_sync: true,
        since: Some(BEFORE.to_owned()),
        problems: vec![],
        pools: vec![],
        draining: vec![],
    }
}

fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        time: NOW.to_owned(),
        started: "2026-11-19T09:30:00.000Z".to_owned(),
        health: Health::Ok,
        verdict: "OK: 10 nodes: 10 in pools".to_owned(),
        problems: vec![],
        site_health: Health::Ok,
        site_verdict: "OK: 10 nodes: 10 in pools".to_owned(),
        healthy: true,
        site_problems: vec![],
        first_round_done: true,
        frozen: vec![],
        counts: Counts {
            nodes: 10,
            members: 10,
            ..Counts::default()
        },
        pools: vec![pool("api", 6), pool("website", 4)],
        nodes: vec![],
        gone: vec![],
        files: Files { in_sync: true },
        load_balancers: vec![load_balancer()],
        last_event: 12,
    }
}

fn judge(status: &mut Status, health: Health, verdict: &str) {
    (status.health, status.site_health) = (health, health);
    status.verdict = verdict.to_owned();
}

fn problem(severity: Severity, text: &str, since: Option<&str>) -> HealthProblem {
    HealthProblem {
        kind: "kind".to_owned(),
        severity,
        subject: "subject".to_owned(),
        text: text.to_owned(),
        since: since.map(str::to_owned),
    }
}

fn text(status: &Status) -> String {
    render(status, false, Colors::none())
}

#[test]
fn a_healthy_status_is_a_few_lines() {
    let expected = "\
pollbal 0.1.0, up 2 days: 10 nodes: 10 in pools

POOL     MEMBERS  SERVING  MIN  OUT  VERSIONS
api            6        6    2    0  v23 ×6
website        4        4    2    0  v23 ×4

LOAD BALANCER    STATE    FOR    DRAINING
127.0.0.1:16000  in sync  3 min  none      Balancer 1.80

OK: 10 nodes: 10 in pools
";
    assert_eq!(text(&status()), expected);
}

#[test]
fn a_node_that_is_out_is_shown_with_its_reasons_and_whether_it_is_draining() {
    let mut status = status();
    let mut disabled = node(3, State::Disabled, "disabled: kernel");
    disabled.reasons = vec![Reason {
        reason: "kernel".to_owned(),
        note: Some("new kernel".to_owned()),
        by: Some("ann".to_owned()),
        since: BEFORE.to_owned(),
        until: None,
    }];
    disabled.drained = Some(false);
    let mut leaving = node(4, State::Leaving, "granted leave");
    leaving.grant = Some(Grant {
        since: BEFORE.to_owned(),
        until: "2026-11-21T09:37:00.000Z".to_owned(),
    });
    status.nodes = vec![
        disabled,
        leaving,
        node(5, State::Failed, "connection refused"),
    ];
    status.counts.disabled = 1;
    status.load_balancers[0].draining = vec![Draining {
        node: "10.0.0.3:8080".to_owned(),
        pools: vec!["api".to_owned()],
        since: BEFORE.to_owned(),
    }];
    let text = text(&status);
    for line in [
        "10 nodes: 10 in pools, 1 disabled",
        "api            6        6    2    3  v23 ×6",
        "api-node-3  10.0.0.3:8080  api v23  disabled  3 min  kernel by ann: \"new kernel\", 3 min ago; still draining\n",
        "api-node-4  10.0.0.4:8080  api v23  leaving   3 min  granted leave, which ends in 7 min\n",
        "api-node-5  10.0.0.5:8080  api v23  failed    3 min  connection refused\n",
        "127.0.0.1:16000  in sync  3 min  1         Balancer 1.80\n",
        "api-node-3 (10.0.0.3:8080) is still draining in 127.0.0.1:16000 (removed from api 3 min ago)\n",
    ] {
        assert!(text.contains(line), "{line}\n---\n{text}");
    }
}

#[test]
fn the_end_of_a_leave_is_relative_to_now_where_a_response_has_no_time() {
    let mut leaving = node(4, State::Leaving, "granted leave");
    leaving.grant = Some(Grant {
        since: BEFORE.to_owned(),
        until: "2926-11-21T09:37:00.000Z".to_owned(),
    });
    let why = why(&leaving, "");
    assert!(why.starts_with("granted leave, which ends in "), "{why}");
    assert!(why.ends_with(" days"), "{why}");
}

#[test]
fn problems_come_last_but_for_the_verdict() {
    let mut status = status();
    judge(
        &mut status,
        Health::Critical,
        "CRITICAL: pool api has 1 of its min_members of 2",
    );
    status.problems = vec![problem(Severity::Critical, "pool api is short", None)];
    status.pools[0].short = true;
    status.files.in_sync = false;
    let one = &mut status.load_balancers[0];
    (one.connected, one.in_sync) = (false, false);
    one.connection = "connection refused".to_owned();
    one.pools = vec![LoadBalancerPool {
        name: "api".to_owned(),
        desired: 6,
        sent: None,
        observed: Some(5),
        observed_at: Some(BEFORE.to_owned()),
        services: vec!["www".to_owned(), "rest".to_owned()],
        sent_since: false,
        same: false,
    }];
    one.problems = vec!["pool api is missing".to_owned()];
    let text = text(&status);
    for line in [
        "v23 ×6    below min_members\n",
        "127.0.0.1:16000  not connected  3 min  unknown   connection refused\n",
        "pool files: not in sync\n",
        "api   127.0.0.1:16000        6      -         5  3 min ago  www, rest\n",
    ] {
        assert!(text.contains(line), "{line}\n---\n{text}");
    }
    // Remarks on pools that are in sync are shown only on request.
    let mut in_sync = status.clone();
    in_sync.load_balancers[0].in_sync = true;
    in_sync.load_balancers[0].pools[0].sent_since = true;
    assert!(!super::tests::text(&in_sync).contains("www, rest"));
    let selected = render(&in_sync, true, Colors::none());
    let row = "         5  3 min ago, before the last change  www, rest\n";
    assert!(selected.contains(row), "{selected}");
    let end = "\npool api is short\n127.0.0.1:16000: pool api is missing\nCRITICAL: pool api has 1 of its min_members of 2\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_problem_has_its_time_if_that_is_known() {
    let mut status = status();
    judge(
        &mut status,
        Health::Degraded,
        "DEGRADED: reload rejected; frozen (storm)",
    );
    status.problems = vec![
        problem(Severity::Degraded, "a reload was rejected", Some(BEFORE)),
        problem(Severity::Degraded, "frozen", None),
    ];
    let end = "\n\na reload was rejected (since 3 min ago)\nfrozen\nDEGRADED: reload rejected; frozen (storm)\n";
    let shown = text(&status);
    assert!(shown.ends_with(end), "{shown}");
}

#[test]
fn a_verdict_on_a_part_comes_with_the_overall_one_if_that_is_worse() {
    let mut status = status();
    status.verdict = "OK: api-node-1 serves in api".to_owned();
    status.site_health = Health::Critical;
    status.site_verdict = "CRITICAL: pool web has no members".to_owned();
    let end = "\n\noverall: CRITICAL: pool web has no members\nOK: api-node-1 serves in api\n";
    let shown = render(&status, true, Colors::none());
    assert!(shown.ends_with(end), "{shown}");
    status.health = Health::Critical;
    assert!(!text(&status).contains("overall"));
}

#[test]
fn ten_thousand_nodes_out_are_a_screen_of_text_with_the_worst_first() {
    let mut status = status();
    status.nodes = (0..10_000)
        .map(|number| {
            let (state, why) = match number {
                9_999 => (State::Refused, "api is not for it"),
                number if number % 2 == 0 => (
                    State::Failed,
                    "no complete response within service_timeout (1s)",
                ),
                _ => (State::Disabled, "disabled: move"),
            };
            node(number, state, why)
        })
        .collect();
    status.load_balancers[0].draining = (0..10_000)
        .map(|number| Draining {
            node: format!("10.0.0.{number}:8080"),
            pools: vec!["api".to_owned()],
            since: BEFORE.to_owned(),
        })
        .collect();
    status.problems = vec![problem(Severity::Degraded, "problem", None); 1_000];
    let all = text(&status);
    assert!(all.lines().count() < 90, "{all}");
    let nodes = all.find("NODE ").unwrap();
    let worst = all.find("api-node-9999").unwrap();
    let next = all.find("api-node-0 ").unwrap();
    assert!(nodes < worst && worst < next, "{all}");
    assert!(
        all.contains("and 9980 more (4981 failed, 4999 disabled): `pollbal status POOL`"),
        "{all}"
    );

    let selected = render(&status, true, Colors::none());
    assert!(selected.lines().count() > 10_000);
}

#[test]
fn members_that_ramp_up_are_behind_nodes_that_are_out() {
    let mut status = status();
    let rising = |number| Node {
        why: None,
        ramp: Some(Ramp {
            weight: 35,
            since: BEFORE.to_owned(),
            until: "2026-11-21T09:30:20.000Z".to_owned(),
        }),
        ..node(number, State::Member, "")
    };
    status.nodes = (1..=30).map(rising).collect();
    status.nodes.push(node(31, State::Idle, "idle"));
    let text = text(&status);
    let out = text.find("api-node-31 ").expect("it is shown");
    assert!(
        out < text.find("api-node-1 ").expect("it is shown"),
        "{text}"
    );
    assert!(text.contains("weight 35 of 100, full in 20 s"), "{text}");
}

#[test]
fn versions_are_listed_the_largest_first_and_not_all_of_many() {
    let few = [version("v24", 2), version("v23", 4)];
    assert_eq!(versions(&few), "v23 ×4, v24 ×2");
    let many: Vec<_> = (1..=7)
        .map(|number| version(&format!("v{number}"), number))
        .collect();
    assert_eq!(versions(&many), "v7 ×7, v6 ×6, v5 ×5, v4 ×4, 3 more");
    let none = VersionCount {
        version: None,
        members: 4,
    };
    assert_eq!(versions(std::slice::from_ref(&none)), "-");
    assert_eq!(versions(&[none, version("v1", 1)]), "no version ×4, v1 ×1");
}

#[test]
fn a_sorry_server_and_a_freeze_are_shown() {
    let mut status = status();
    status.pools[1].sorry = vec!["10.0.9.1:80".to_owned()];
    status.pools[1].short = true;
    status.pools[0].declared = false;
    status.frozen = vec![Reason {
        reason: "storm".to_owned(),
        note: None,
        by: Some("ann".to_owned()),
        since: BEFORE.to_owned(),
        until: None,
    }];
    let text = text(&status);
    for line in [
        "frozen, failed nodes stay in: storm by ann, 3 min ago\n",
        "below min_members, only sorry server 10.0.9.1:80 serves\n",
        "not declared\n",
    ] {
        assert!(text.contains(line), "{line}\n---\n{text}");
    }
}

#[test]
fn colors_mark_problems_unless_they_are_off() {
    let mut status = status();
    status.nodes = vec![node(5, State::Failed, "a\x1b[2Jb")];
    let plain = text(&status);
    assert!(!plain.contains('\x1b'), "{plain:?}");
    let colored = render(&status, false, Colors::always());
    let line = colored
        .lines()
        .find(|line| line.contains("api-node-5"))
        .unwrap();
    assert!(line.starts_with("\x1b[31m"), "{line:?}");
    assert!(!line.contains("\x1b[2J"), "{line:?}");
    assert!(colored.contains("\x1b[32mOK: 10 nodes: 10 in pools\x1b[0m"));
    for (health, color) in [(Health::Degraded, 33), (Health::Critical, 31)] {
        judge(&mut status, health, "verdict");
        let colored = render(&status, false, Colors::always());
        let line = format!("\x1b[{color}mverdict\x1b[0m");
        assert!(colored.contains(&line), "{colored:?}");
    }
}
