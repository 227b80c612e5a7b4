//! Invented states, for tests of how the page shows them.

use crate::api::{
    Answer, Counts, Draining, Event, Explanation, Files, GoneOrders, Grant, HealthProblem,
    LoadBalancer, LoadBalancerPool, Node, NodeOnLoadBalancer, Pool, Reason, State, Status,
    VersionCount,
};
use crate::model::health::{Health, Severity};
use crate::model::node::Origin;
use crate::model::weight::WeightSource;

pub(super) const NOW: &str = "2026-07-30T02:03:04.567Z";

/// The verdict of [`night`].
const NIGHT: &str = "CRITICAL: pool shop has no members, its sorry server is active; pool images has 1 of its min_members of \
                     3; Balancer 10.0.9.2:8065 not connected; services file rejected";

/// A quiet site of two pools.
pub(super) fn quiet() -> Status {
    Status {
        version: "1.0.0".to_owned(),
        time: NOW.to_owned(),
        started: "2026-07-27T22:10:00.000Z".to_owned(),
        health: Health::Ok,
        verdict: "OK: 52 nodes: 52 in pools".to_owned(),
        problems: Vec::new(),
        site_health: Health::Ok,
        site_verdict: "OK: 52 nodes: 52 in pools".to_owned(),
        healthy: true,
        site_problems: Vec::new(),
        first_round_done: true,
        frozen: Vec::new(),
        counts: Counts {
            nodes: 52,
            members: 52,
            ..Counts::default()
        },
        pools: vec![
            pool("api", &[("v23", 40)]),
            pool("website", &[("2026-07-29", 12)]),
        ],
        nodes: Vec::new(),
        gone: vec![],
        files: Files { in_sync: true },
        load_balancers: vec![load_balancer("127.0.0.1:8065")],
        last_event: 60,
    }
}

/// A problem, the last of several.
pub(super) fn problem(severity: Severity, text: &str, since: Option<&str>) -> HealthProblem {
    HealthProblem {
        kind: "kind".to_owned(),
        severity,
        subject: "subject".to_owned(),
        text: text.to_owned(),
        since: since.map(str::to_owned),
    }
}

/// A site with a bit of everything.
pub(super) fn night() -> Status {
    let mut short = pool("images", &[("r7", 1)]);
    (short.min_members, short.short) = (3, true);
    let mut sorry = pool("shop", &[]);
    sorry.sorry = vec!["10.0.0.250:80".to_owned()];
    let mut deploy = pool("api", &[("v23", 4), ("v24", 31)]);
    (deploy.serving, deploy.min_members, deploy.leaving) = (34, 20, 2);
    Status {
        health: Health::Critical,
        verdict: NIGHT.to_owned(),
        problems: vec![
            problem(
                Severity::Critical,
                "pool shop has no member, and its sorry server is active: 10.0.0.250:80",
                Some("2026-07-30T02:00:04.567Z"),
            ),
            problem(
                Severity::Critical,
                "pool images below minimum: 1 serving, min_members 3",
                Some("2026-07-30T02:00:04.567Z"),
            ),
            problem(
                Severity::Critical,
                "Balancer 10.0.9.2:8065 unreachable",
                None,
            ),
            problem(
                Severity::Degraded,
                "/etc/pollbal.services was rejected; the last good list stays active",
                Some("2026-07-30T02:00:04.567Z"),
            ),
        ],
        site_health: Health::Critical,
        site_verdict: NIGHT.to_owned(),
        healthy: false,
        frozen: vec![reason(
            "network",
            Some("switch sw3 flaps, all racks of hall B"),
        )],
        counts: Counts {
            nodes: 52,
            members: 42,
            failing: 1,
            leaving: 2,
            idle: 1,
            failed: 3,
            refused: 1,
            disabled: 2,
            awaited: 1,
        },
        pools: vec![
            deploy,
            short,
            sorry,
            Pool {
                declared: false,
                ..pool("website", &[("2026-07-29", 9), ("", 1)])
            },
        ],
        nodes: night_nodes(),
        gone: vec![GoneOrders {
            node: "10.0.0.99:8080".to_owned(),
            reasons: vec![reason("disk", Some("sent away"))],
            grant: None,
            weight: None,
        }],
        load_balancers: night_load_balancers(),
        ..quiet()
    }
}

/// One in each state.
fn night_nodes() -> Vec<Node> {
    vec![
        node(1, State::Leaving, "announced by the node"),
        Node {
            grant: Some(Grant {
                since: "2026-07-30T02:01:00.000Z".to_owned(),
                until: "2026-07-30T02:11:00.000Z".to_owned(),
            }),
            ..node(2, State::Leaving, "granted leave")
        },
        node(
            3,
            State::Failed,
            "no complete response within service_timeout (3s)",
        ),
        node(4, State::Failed, "connection refused"),
        Node {
            reasons: vec![
                reason("kernel", Some("new kernel, reboot under way")),
                Reason {
                    until: Some("2026-07-30T06:00:00.000Z".to_owned()),
                    ..reason("disk", None)
                },
            ],
            ..node(5, State::Disabled, "kernel, disk")
        },
        Node {
            failing: true,
            drained: None,
            ..node(
                6,
                State::Member,
                "failing, fewer than `fall` times in a row: status 503 Service Unavailable",
            )
        },
        node(7, State::Idle, "responded with an empty body"),
        node(8, State::Refused, "pool test is not declared"),
        Node {
            pool: None,
            version: None,
            since: None,
            ..node(9, State::Awaited, "not polled yet")
        },
    ]
}

/// One that is in sync, and one that is lost.
fn night_load_balancers() -> Vec<LoadBalancer> {
    let mut far = load_balancer("10.0.9.2:8065");
    (far.connected, far.in_sync) = (false, false);
    far.connection = "connection refused".to_owned();
    vec![
        LoadBalancer {
            draining: vec![Draining {
                node: "10.0.0.1:8080".to_owned(),
                pools: vec!["api".to_owned(), "api__v23".to_owned()],
                since: "2026-07-30T02:03:00.000Z".to_owned(),
            }],
            ..load_balancer("127.0.0.1:8065")
        },
        LoadBalancer {
            problems: vec!["pool api is not there, and create_pools is off".to_owned()],
            pools: vec![LoadBalancerPool {
                name: "api".to_owned(),
                desired: 35,
                sent: None,
                observed: Some(36),
                observed_at: Some("2026-07-30T02:00:54.000Z".to_owned()),
                services: vec!["web".to_owned(), "intern".to_owned()],
                sent_since: true,
                same: false,
            }],
            ..far
        },
    ]
}

/// A site with this number of nodes, all disabled.
pub(super) fn all_out(nodes: usize) -> Status {
    let node = |number| Node {
        reasons: vec![Reason {
            until: Some("2026-07-30T06:00:00.000Z".to_owned()),
            ..reason("maintenance", Some("hall B has no power until the morning"))
        }],
        ..node(number, State::Disabled, "maintenance")
    };
    let pools = (0..20).map(|number| Pool {
        short: true,
        ..pool(&format!("pool-{number}"), &[])
    });
    Status {
        health: Health::Critical,
        verdict: "CRITICAL: 20 pools without members".to_owned(),
        problems: (0..20)
            .map(|number| {
                let text = format!("pool pool-{number} has no members");
                problem(Severity::Critical, &text, Some(NOW))
            })
            .collect(),
        healthy: false,
        counts: Counts {
            nodes,
            disabled: nodes,
            ..Counts::default()
        },
        pools: pools.collect(),
        nodes: (0..nodes).map(node).collect(),
        load_balancers: vec![LoadBalancer {
            draining: (0..nodes)
                .map(|number| Draining {
                    node: addr(number),
                    pools: vec!["api".to_owned()],
                    since: NOW.to_owned(),
                })
                .collect(),
            ..load_balancer("127.0.0.1:8065")
        }],
        ..quiet()
    }
}

/// A pool with these numbers of members at each version.
pub(super) fn pool(name: &str, versions: &[(&str, usize)]) -> Pool {
    let version = |(name, members): &(&str, usize)| VersionCount {
        version: Some((*name).to_owned()).filter(|name| !name.is_empty()),
        members: *members,
    };
    let members = versions.iter().map(|(_, members)| members).sum();
    Pool {
        name: name.to_owned(),
        declared: true,
        members,
        serving: members,
        min_members: 0,
        short: false,
        versions: versions.iter().map(version).collect(),
        leaving: 0,
        sorry: Vec::new(),
    }
}

fn addr(number: usize) -> String {
    format!("10.0.{}.{}:8080", number / 200, number % 200)
}

/// A node that was in pool api.
pub(super) fn node(number: usize, state: State, why: &str) -> Node {
    Node {
        node: addr(number),
        name: format!("web-{number:04}"),
        state,
        pool: Some("api".to_owned()),
        version: Some("v23".to_owned()),
        why: Some(why.to_owned()).filter(|why| !why.is_empty()),
        since: Some("2026-07-30T02:00:54.123Z".to_owned()),
        failing: false,
        reasons: Vec::new(),
        grant: None,
        weight: 100,
        weight_source: WeightSource::Pool,
        weight_reason: None,
        ramp: None,
        next_ramp_ms: None,
        drained: (state != State::Member).then_some(number != 1),
    }
}

pub(super) fn reason(word: &str, note: Option<&str>) -> Reason {
    Reason {
        reason: word.to_owned(),
        note: note.map(ToOwned::to_owned),
        by: Some("ann".to_owned()),
        since: "2026-07-29T22:40:00.000Z".to_owned(),
        until: None,
    }
}

fn load_balancer(address: &str) -> LoadBalancer {
    LoadBalancer {
        driver: "balancer".to_owned(),
        address: address.to_owned(),
        connected: true,
        connection: "Balancer 1.80".to_owned(),
        away: None,
        in_sync: true,
        since: Some("2026-07-30T02:03:00.000Z".to_owned()),
        problems: Vec::new(),
        pools: Vec::new(),
        draining: Vec::new(),
    }
}

/// Events of all levels.
pub(super) fn events(count: u64) -> Vec<Event> {
    (1..=count)
        .map(|id| {
            let number = usize::try_from(id).unwrap_or_default();
            let (level, kind, text) = match id % 4 {
                0 => (
                    "warning",
                    "left",
                    "removed from api (v23): failed: no complete response within service_timeout (3s)",
                ),
                1 => ("info", "joined", "joins api (v24)"),
                2 => ("info", "left", "leaves api (v23): leaving"),
                _ => (
                    "error",
                    "out",
                    "is in no pool: refused: pool test is not declared",
                ),
            };
            event(id, level, kind, &format!("web-{number:04} {text}"))
        })
        .collect()
}

fn event(id: u64, level: &str, kind: &str, text: &str) -> Event {
    let name = text.split(' ').next().unwrap_or_default();
    Event {
        id,
        time: format!("2026-07-30T02:{:02}:{:02}.250Z", id / 60 % 60, id % 60),
        level: level.to_owned(),
        kind: kind.to_owned(),
        node: Some(addr(usize::try_from(id).unwrap_or_default())),
        name: Some(name.to_owned()),
        pool: Some("api".to_owned()),
        text: text.to_owned(),
    }
}

/// A node that is disabled for two reasons.
pub(super) fn explanation() -> Explanation {
    Explanation {
        time: NOW.to_owned(),
        health: Health::Ok,
        verdict: "OK: web-0005 is disabled".to_owned(),
        node: night().nodes.swap_remove(4),
        origin: Origin::ServicesFile,
        answer: Some(Answer {
            text: "api serving v23".to_owned(),
            time: "2026-07-30T02:03:02.000Z".to_owned(),
            took_ms: 3.25,
            interval_ms: 3_000,
            next: "next poll within 3s".to_owned(),
        }),
        failures: 0,
        answers: 1_234,
        comes_back: vec![
            "`pollbal enable web-0005 --reason kernel`".to_owned(),
            "`pollbal enable web-0005 --reason disk`".to_owned(),
        ],
        history: events(6),
        load_balancers: vec![NodeOnLoadBalancer {
            driver: "balancer".to_owned(),
            address: "127.0.0.1:8065".to_owned(),
            text: "removed, drained".to_owned(),
            acked: true,
            drained: Some(true),
            away: None,
        }],
    }
}
