//! Which problems there are, what the verdict says of them, and what is reported once they are over.

mod pools;

use super::*;
use crate::model::driver_status::{DriverId, DriverKind};
use crate::model::health::{Health, Verdict};
use crate::model::node_counts::tests::counts;
use crate::model::skipped::tests::skipped;

/// Each node was polled, and all is well.
fn begun() -> SystemStatus {
    SystemStatus {
        first_round_done: true,
        ..SystemStatus::default()
    }
}

fn pool(serving: usize, min_members: usize, sorry: &[&str]) -> PoolHealth {
    PoolHealth {
        pool: "api".parse().unwrap(),
        declared: true,
        served: true,
        members: serving,
        serving,
        min_members,
        sorry: sorry.iter().map(|addr| addr.parse().unwrap()).collect(),
    }
}

fn kinds(system_status: &SystemStatus) -> Vec<Kind> {
    let problems = system_status.problems();
    problems.iter().map(|problem| problem.kind).collect()
}

/// A load balancer with this address.
pub(crate) fn balancer(address: &str) -> DriverId {
    DriverId {
        kind: DriverKind {
            key: "balancer",
            name: "Balancer",
        },
        address: address.into(),
    }
}

#[test]
fn nothing_is_told_of_what_is_in_order() {
    let driver = DriverHealth {
        connected: true,
        in_sync: true,
        ..DriverHealth::default()
    };
    let system_status = SystemStatus {
        pools: vec![pool(2, 2, &[]), pool(1, 0, &[])],
        first_round_done: true,
        drivers: [(balancer("127.0.0.1:16000"), driver)].into(),
        ..SystemStatus::default()
    };
    assert_eq!(system_status.problems(), []);
}

#[test]
fn a_load_balancer_that_is_lost_is_not_also_out_of_sync() {
    let level = |first_round_done, connected, in_sync| {
        let level = DriverHealth {
            connected,
            in_sync,
            ..DriverHealth::default()
        };
        let drivers = [(balancer("127.0.0.1:16000"), level)].into();
        let system_status = SystemStatus {
            first_round_done,
            drivers,
            ..SystemStatus::default()
        };
        kinds(&system_status)
    };
    assert_eq!(level(true, false, false), [Kind::LoadBalancerLost]);
    assert_eq!(level(true, false, true), [Kind::LoadBalancerLost]);
    assert_eq!(level(true, true, false), [Kind::LoadBalancerNotInSync]);
    assert_eq!(level(true, true, true), []);
    assert_eq!(
        level(false, true, false),
        [Kind::Starting],
        "nothing is desired of it yet"
    );
    assert_eq!(
        level(false, false, false),
        [Kind::LoadBalancerLost, Kind::Starting]
    );
}

#[test]
fn what_is_wrong_with_a_file_is_told_in_one_line_of_bounded_length() {
    let fault = FileFault {
        path: "/etc/pollbal.services".to_owned(),
        text: format!("line 2: wrong\nline 3: \u{1b}[2J\n{}", "é".repeat(5_000)),
    };
    let system_status = SystemStatus {
        services: Some(fault),
        ..begun()
    };
    let text = &system_status.problems()[0].text;
    assert!(text.starts_with("line 2: wrong; line 3: "), "{text}");
    assert!(!text.contains(char::is_control));
    assert_eq!(text.chars().count(), MAX_TEXT + 1);
}

#[test]
fn the_order_of_kinds_is_that_of_their_severity_and_words_name_one_kind_each() {
    let severities = Kind::ALL.map(Kind::severity);
    assert!(severities.is_sorted_by(|worse, better| worse >= better));
    assert!(Kind::ALL.is_sorted());
    for kind in Kind::ALL {
        assert_eq!(Kind::of_word(kind.word()), Some(kind));
    }
}

#[test]
fn what_keeps_clients_from_being_served_is_critical_and_nothing_else() {
    let critical = Kind::ALL
        .into_iter()
        .filter(|kind| kind.severity() == Severity::Critical);
    let words: Vec<_> = critical.map(Kind::word).collect();
    let expected = [
        "pool_empty",
        "sorry_server",
        "pool_short",
        "load_balancer_lost",
        "load_balancer_not_in_sync",
        "files_not_written",
    ];
    assert_eq!(words, expected);
}

#[test]
fn who_is_down_is_shown_and_told_when_the_share_is_reached() {
    let site = |percent, nodes: &[(&str, usize, usize)]| SystemStatus {
        nodes: counts(nodes),
        nodes_down: NodesDown {
            percent,
            after: Duration::from_secs(60),
        },
        ..begun()
    };
    let alert = |percent, nodes: &[(&str, usize, usize)]| {
        site(percent, nodes)
            .problems()
            .pop()
            .map(|problem| problem.alert)
    };
    let minute = Some(AlertPolicy::After(Duration::from_secs(60)));
    let nodes = [("api", 2, 3), ("web", 2, 2), ("ok", 3, 0)];
    let text = "5 of 12 nodes down (api 3/5, web 2/4)";
    assert_eq!(site(30, &nodes).problems()[0].text, text);
    assert_eq!(alert(30, &nodes), minute);
    // Of all a few, of one pool many.
    assert_eq!(alert(50, &[("api", 1, 1), ("web", 98, 0)]), minute);
    assert_eq!(
        alert(51, &[("api", 1, 1), ("web", 98, 0)]),
        Some(AlertPolicy::Never)
    );
    // Of each pool a few, of all as many.
    assert_eq!(alert(50, &[("", 0, 1), ("web", 1, 0)]), minute);
    assert_eq!(alert(100, &[("api", 0, 1)]), minute);
    assert_eq!(
        alert(0, &[("api", 0, 1)]),
        Some(AlertPolicy::Never),
        "never"
    );
    assert_eq!(alert(1, &[("api", 9, 0)]), None);
}

fn verdict(site: &SystemStatus) -> (Health, String) {
    let Verdict { health, line } = Verdict::on(&site.problems(), "well");
    (health, line)
}

#[test]
fn a_verdict_has_the_numbers_the_worst_first_and_is_of_bounded_length() {
    assert_eq!(verdict(&begun()), (Health::Ok, "OK: well".to_owned()));
    let mut site = SystemStatus {
        nodes: counts(&[("api", 2, 3), ("web", 2, 2), ("ok", 3, 0)]),
        ..begun()
    };
    let line = "DEGRADED: 5 of 12 nodes down (api 3/5, web 2/4)";
    assert_eq!(verdict(&site), (Health::Degraded, line.to_owned()));
    site.pools = vec![pool(0, 1, &[])];
    site.frozen = vec!["storm".to_owned()];
    let line =
        "CRITICAL: pool api has no members; 5 of 12 nodes down (api 3/5, web 2/4); frozen (storm)";
    assert_eq!(verdict(&site), (Health::Critical, line.to_owned()));
    let level = |number| PoolHealth {
        pool: format!("p{number}").parse().unwrap(),
        ..pool(0, 0, &[])
    };
    site.pools = (0..20).map(level).collect();
    let fault = |path: &str| {
        Some(FileFault {
            path: path.to_owned(),
            text: "wrong".to_owned(),
        })
    };
    (site.files, site.services, site.state) = (fault("pool"), fault("services"), fault("state"));
    let line = "CRITICAL: 20 pools without members (p0, p1, p2, 17 more); pool files not written; \
                5 of 12 nodes down (api 3/5, web 2/4); services file rejected; 2 more problems";
    assert_eq!(verdict(&site).1, line);
}

#[test]
fn before_each_node_was_polled_it_is_neither_well_nor_critical() {
    let mut nodes = counts(&[("", 0, 1)]);
    nodes.of(None).count(NodeStatus::Awaited);
    nodes.of(None).awaited = 1;
    let lost = (balancer("127.0.0.1:16000"), DriverHealth::default());
    let site = SystemStatus {
        nodes,
        drivers: [lost].into(),
        ..SystemStatus::default()
    };
    let (health, line) = verdict(&site);
    assert_eq!(health, Health::Degraded);
    assert!(
        line.starts_with("DEGRADED: starting, 1 of 2 nodes not polled yet; "),
        "{line}"
    );
    assert!(
        line.contains("Balancer 127.0.0.1:16000 not connected"),
        "{line}"
    );
    let none = "DEGRADED: starting, no nodes are listed";
    assert_eq!(verdict(&SystemStatus::default()).1, none);
}

#[test]
fn orders_are_shown_that_a_restart_would_lose() {
    let site = SystemStatus {
        orders_not_kept: 2,
        ..begun()
    };
    let line = "DEGRADED: 2 orders would not survive a restart";
    assert_eq!(verdict(&site), (Health::Degraded, line.to_owned()));
}

#[test]
fn what_is_over_is_told_by_what_is_so_now() {
    let mut site = SystemStatus {
        pools: vec![pool(4, 1, &[])],
        nodes: counts(&[("api", 4, 1)]),
        ..begun()
    };
    let now = |site: &SystemStatus, kind, subject: &str| {
        let Resolution { resolved, text } = site.resolution(kind, subject);
        (resolved, text)
    };
    let raised = |text: &str| (true, text.to_owned());
    for kind in [Kind::PoolShort, Kind::PoolEmpty, Kind::SorryServer] {
        let text = "pool api has 4 serving members (min_members 1)";
        assert_eq!(now(&site, kind, "api"), raised(text));
    }
    assert_eq!(
        now(&site, Kind::PoolShort, "web"),
        raised("pool web is not declared any more")
    );
    assert_eq!(
        now(&site, Kind::NodesDown, "nodes"),
        raised("1 of 5 nodes down (api 1/5)")
    );
    let address = "127.0.0.1:16000";
    let text = format!("load balancer {address} is not configured any more");
    assert_eq!(now(&site, Kind::LoadBalancerLost, address), (true, text));
    // What is lost is no better than what was not in sync.
    site.drivers
        .insert(balancer(address), DriverHealth::default());
    let text = format!("Balancer {address} is not connected");
    assert_eq!(
        now(&site, Kind::LoadBalancerNotInSync, address),
        (false, text)
    );
    let connected = DriverHealth {
        connected: true,
        ..DriverHealth::default()
    };
    site.drivers.insert(balancer(address), connected);
    let text = format!("Balancer {address} is connected and not in sync yet");
    assert_eq!(now(&site, Kind::LoadBalancerLost, address), (true, text));
    // No problem that is over is reported as what was wrong.
    for kind in Kind::ALL {
        let text = now(&begun(), kind, "x").1;
        assert!(
            !text.is_empty() && !text.contains("cannot"),
            "{kind:?}: {text}"
        );
    }
}

#[test]
fn of_a_load_balancer_that_does_not_obey_it_is_told_why_and_what_differs() {
    let site = |level: DriverHealth| SystemStatus {
        drivers: [(balancer("127.0.0.1:16000"), level)].into(),
        ..begun()
    };
    let lost = site(DriverHealth {
        outage: Some("not answering (accepts connections); not applied since: -api-1".into()),
        ..DriverHealth::default()
    });
    let text = "Balancer 127.0.0.1:16000 unreachable: it is not answering (accepts connections); not applied \
                since: -api-1";
    assert_eq!(lost.problems()[0].text, text);
    let line = "CRITICAL: Balancer 127.0.0.1:16000 not answering";
    assert_eq!(verdict(&lost).1, line);
    let odd = site(DriverHealth {
        connected: true,
        differences: Some("pool api still needs +10.0.0.1:80".into()),
        ..DriverHealth::default()
    });
    let text = "Balancer 127.0.0.1:16000 is not in sync: pool api still needs +10.0.0.1:80";
    assert_eq!(odd.problems()[0].text, text);
    assert_eq!(
        verdict(&odd).1,
        "CRITICAL: Balancer 127.0.0.1:16000 not in sync"
    );
}

#[test]
fn a_load_balancer_that_skips_nodes_is_a_problem_although_it_is_in_sync() {
    let health = DriverHealth {
        connected: true,
        in_sync: true,
        skipped: Arc::new(skipped(&["10.0.0.1:80", "[::1]:80"])),
        ..DriverHealth::default()
    };
    let site = SystemStatus {
        drivers: [(balancer("127.0.0.1:16000"), health)].into(),
        ..begun()
    };
    let problems = site.problems();
    assert_eq!(kinds(&site), [Kind::NodesSkipped]);
    let text = "Balancer 127.0.0.1:16000 cannot serve IPv6 nodes: [::1]:80 in pool api skipped";
    assert_eq!(problems[0].text, text);
    assert_eq!(problems[0].severity(), Severity::Degraded);
    assert_eq!(problems[0].alert, AlertPolicy::Never);
}

#[test]
fn pollbal_is_ready_unless_it_is_starting_or_a_required_load_balancer_is_not_in_sync() {
    let why = |first_round_done, required, connected, in_sync| {
        let health = DriverHealth {
            connected,
            in_sync,
            blocks_ready: required,
            ..DriverHealth::default()
        };
        let system_status = SystemStatus {
            first_round_done,
            pools: vec![pool(0, 2, &[])],
            drivers: [(balancer("127.0.0.1:16000"), health)].into(),
            ..SystemStatus::default()
        };
        why_not_ready(&system_status.problems())
    };
    let lost = "not ready: Balancer 127.0.0.1:16000 not connected";
    let not_in_sync = "not ready: Balancer 127.0.0.1:16000 not in sync";
    // An empty pool and a load balancer that is not required are problems, but no reason.
    assert_eq!(why(true, false, false, false), None);
    assert_eq!(why(true, false, true, false), None);
    assert_eq!(why(true, true, true, true), None);
    assert_eq!(why(true, true, false, false).as_deref(), Some(lost));
    assert_eq!(why(true, true, true, false).as_deref(), Some(not_in_sync));
    assert!(why(false, false, true, true).unwrap().contains("starting"));
    let both = why(false, true, false, false).unwrap();
    assert!(
        both.starts_with(lost) && both.contains("; starting"),
        "{both}"
    );
}
