//! The text for a small site, literally, and rules for all names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::core::Pool;
use super::super::drivers::Known;
use super::super::format::to_prometheus;
use super::*;
use crate::api::State;
use crate::drivers::details::{Counters, Histogram};
use crate::drivers::family::{Family, Value};
use crate::drivers::pool_files::FileCounts;
use crate::hooks::HookCounts;
use crate::http::{CLASSES, RejectReason};
use crate::model::driver_status::{DriverId, DriverKind};
use crate::model::observation::{Failure, Observation, Poll};
use crate::model::poll_stats::PollStats;

/// Statistics of two polls: a failed one and an idle one.
fn poll_stats() -> PollStats {
    let mut stats = PollStats::default();
    for (observation, millis) in [
        (Observation::Nothing, 2),
        (
            Observation::Failed(Failure::Timeout(Duration::from_secs(1))),
            500,
        ),
    ] {
        stats.record(&Poll {
            took: Duration::from_millis(millis),
            ..Poll::at(Instant::now(), observation)
        });
    }
    stats
}

fn site() -> CoreStats {
    let api = Pool {
        versions: vec![("v23".to_owned(), 2), ("v24".to_owned(), 1)],
        serving: 2,
        min_members: 2,
        sorry: false,
    };
    let web = Pool {
        sorry: true,
        ..Pool::default()
    };
    CoreStats {
        poll_stats: poll_stats(),
        events: 17,
        first_round_done: true,
        states: [3, 0, 1, 0, 0, 2, 0],
        failing: [1, 0, 0],
        disabled: vec![("deploy".to_owned(), 1), ("disk".to_owned(), 2)],
        grants: 0,
        gone_orders: 2,
        frozen: true,
        pools: [("api", api), ("web", web)]
            .map(|(name, pool)| (name.parse().unwrap(), pool))
            .into(),
        files_in_sync: true,
        files: FileCounts {
            written: 8,
            deleted: 1,
            failed: 0,
        },
    }
}

fn counters() -> Counters {
    let mut times = Histogram::default();
    times.observe(Duration::from_micros(1_200));
    Counters {
        commands: [("add", 3), ("show_pool", 2)].into(),
        errors: 1,
        connections: 2,
        reads: 5,
        apply: times.clone(),
        propagation: times,
    }
}

/// As a driver brings them.
fn statistics() -> Arc<[Family]> {
    let by_mode = [("user", 1.5), ("system", 0.25)];
    let cpu = by_mode.map(|(mode, time)| ([("mode", mode.to_owned())], Value::Real(time)));
    Arc::new([
        Family::gauge("balancer_sockets", "Its sockets.", [([], Value::Whole(3))]),
        Family::counter("balancer_cpu_seconds_total", "Time on processors.", cpu),
        Family::gauge::<0>("balancer_absent", "Nothing is known.", []),
    ])
}

fn id(address: &str) -> DriverId {
    DriverId {
        kind: DriverKind {
            key: "balancer",
            name: "Balancer",
        },
        address: address.into(),
    }
}

/// Two that are connected, and one that is not.
fn load_balancers() -> Vec<LoadBalancer> {
    let one = LoadBalancer {
        id: id("127.0.0.1:16000"),
        connected: true,
        in_sync: true,
        draining: 1,
        known: Some(Known {
            in_sync_since: 1_700_000_123.5,
            counters: counters(),
        }),
        statistics: Some(statistics()),
    };
    vec![
        one.clone(),
        LoadBalancer {
            id: id("127.0.0.1:16002"),
            known: None,
            ..one
        },
        LoadBalancer {
            id: id("127.0.0.1:16001"),
            connected: false,
            in_sync: false,
            draining: 0,
            known: None,
            statistics: None,
        },
    ]
}

fn values() -> Values {
    Values {
        core: site(),
        load_balancers: load_balancers(),
        hooks: HookStats {
            hooks: [(
                "node_hook",
                HookCounts {
                    succeeded: 6,
                    failed: 1,
                    dropped: 0,
                },
            )]
            .into(),
            health: 2,
            alerts: [("pool_short", 1)].into(),
            dropped_lines: 12,
        },
        listeners: vec![ListenerStats {
            listener: "status",
            open: 1,
            accepted: 12,
            responses: [0, 11, 0, 1, 0],
            rejected: [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0],
        }],
        process: Process {
            start: 1_700_000_000.25,
            cpu: Duration::from_millis(730),
            resident: Some(9_437_184),
            virtual_size: Some(104_857_600),
            threads: Some(4),
            open_files: Some(31),
            max_files: Some(1_024),
        },
        nodes: vec![Node {
            addr: "10.0.0.1:80".to_owned(),
            name: "a \"name\"".to_owned(),
            state: State::Member,
            pool: "api".to_owned(),
            took: Some(0.002),
        }],
    }
}

#[test]
fn a_small_site_is_rendered_literally() {
    let text = to_prometheus(&values().render().unwrap());
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let expected = include_str!("example.prom");
    for (line, expected) in text.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(text, expected);
}

/// Name and type of each family.
fn families(open_metrics: &str) -> Vec<(&str, &str)> {
    let types = open_metrics.lines();
    let types = types.filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|family| family.split_once(' ')).collect()
}

#[test]
fn no_two_families_have_one_name_not_even_by_the_names_of_their_samples() {
    let open_metrics = values().render().unwrap();
    assert!(open_metrics.ends_with("\n# EOF\n"));
    let mut names = BTreeSet::new();
    for (name, kind) in families(&open_metrics) {
        let suffixes: &[_] = match kind {
            "counter" => &["", "_total", "_created"],
            "histogram" => &["", "_bucket", "_count", "_sum", "_created"],
            _ => &[""],
        };
        for suffix in suffixes {
            assert!(
                names.insert(format!("{name}{suffix}")),
                "{name}{suffix} twice"
            );
        }
    }
}

#[test]
fn every_sample_belongs_to_the_family_above_it() {
    let text = to_prometheus(&values().render().unwrap());
    let mut family = "";
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            family = described.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let suffix = name
                .strip_prefix(family)
                .unwrap_or_else(|| panic!("{line}"));
            assert!(
                ["", "_bucket", "_count", "_sum"].contains(&suffix),
                "{line}"
            );
        }
    }
}

#[test]
fn what_is_unknown_is_absent() {
    let nothing = Values {
        load_balancers: load_balancers().split_off(2),
        ..Values::default()
    };
    let text = nothing.render().unwrap();
    assert!(text.contains("pollbal_lb_up{driver=\"balancer\",address=\"127.0.0.1:16001\"} 0\n"));
    for absent in [
        "balancer_sockets",
        "commands_total",
        "in_sync_since",
        "pollbal_node_",
        "process_threads",
    ] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
}

/// A changed order would report numbers under the wrong names.
#[test]
fn classes_and_reasons_are_reported_under_their_names() {
    let text = values().render().unwrap();
    assert_eq!(
        (CLASSES[1], RejectReason::ALL[3].name()),
        ("2xx", "rate_limit")
    );
    assert!(text.contains("pollbal_http_requests_total{listener=\"status\",code=\"2xx\"} 11\n"));
    assert!(
        text.contains("pollbal_http_rejected_total{listener=\"status\",reason=\"rate_limit\"} 2\n")
    );
}
