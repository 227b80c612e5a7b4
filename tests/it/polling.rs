//! Polls: what is asked, on which connections, and answers that are odd but no failure.

mod hung;
mod requests;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pollbal::fd_limits::raise_open_files;
use serde_json::json;
use tokio::sync::watch;

use crate::common::http::get;
use crate::common::pollbal::Pollbal;
use crate::common::process::peak_memory;
use crate::common::raw_node::{Answer, RawNode, Reply};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays};

/// So long nodes wait until pollbal has a connection for them: longer than an answer takes on a busy machine.
const WAITED: Duration = Duration::from_secs(1);

fn services_lines<'a>(nodes: impl IntoIterator<Item = &'a RawNode>) -> Vec<String> {
    nodes.into_iter().map(RawNode::services_line).collect()
}

fn pool_lines<'a>(nodes: impl IntoIterator<Item = &'a RawNode>) -> Vec<String> {
    nodes.into_iter().map(RawNode::pool_line).collect()
}

#[test]
fn a_kept_connection_that_the_node_closes_is_no_failure() {
    let stage = Stage::new();
    let answers = [
        Answer::CloseBehind("website"),
        Answer::CloseAtSecond("website"),
    ];
    let nodes: Vec<_> = answers
        .into_iter()
        .zip(1..)
        .map(|(answer, number)| RawNode::start(stage.node_addr(number), "closing", answer))
        .collect();
    stage.write_services(&services_lines(&nodes));
    let config = json!({ "poll_interval": "50ms", "service_timeout": "2s" });
    let pollbal = Pollbal::start(&stage, &config);
    for node in &nodes {
        node.wait_polls(40);
    }
    assert_eq!(stage.lines("website.pool"), Some(pool_lines(&nodes)));
    let trouble = pollbal.log_with(&["failed:"]);
    assert!(trouble.is_empty(), "{trouble:?}");
}

#[test]
fn connections_are_kept_and_requests_are_as_promised() {
    let stage = Stage::new();
    let node = RawNode::start(stage.node_addr(1), "good", Answer::body("website"));
    stage.write_services(&[node.services_line()]);
    let _pollbal = Pollbal::start(&stage, &json!({ "poll_interval": "20ms" }));
    node.wait_polls(20);
    // The first two polls, and one in ten.
    assert!(node.connections() <= 4, "{}", node.connections());
    for request in node.requests() {
        assert!(request.starts_with("GET /pool HTTP/1.1\r\n"), "{request}");
        let request = request.to_lowercase();
        assert!(
            request.contains("\r\ncache-control: no-cache\r\n"),
            "{request}"
        );
        let host = format!("\r\nhost: {}\r\n", node.addr());
        assert!(request.contains(&host), "{request}");
    }
}

#[test]
fn nodes_for_which_no_connection_can_be_kept_are_polled_with_one_each() {
    let stage = Stage::new();
    let node = |number| RawNode::start(stage.node_addr(number), "good", Answer::body("website"));
    let nodes: Vec<_> = (1..=60).map(node).collect();
    stage.write_services(&services_lines(&nodes));
    let config = json!({ "poll_interval": "100ms", "service_timeout": "5s", "poll_reconnect": 0 });
    let pollbal = Pollbal::start_behind(&stage, &config, "ulimit -n 100");
    let reported = pollbal.wait_log(&["can be kept", "36 connections", "60 nodes"]);
    assert!(reported.contains("LimitNOFILE"), "{reported}");
    for node in &nodes {
        node.wait_polls(10);
    }
    let (kept, others): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.connections() == 1);
    assert_eq!((kept.len(), others.len()), (36, 24));
    for node in others {
        assert!(node.connections() >= 10, "{}", node.connections());
        let requests = node.requests();
        let close =
            |request: &&String| request.to_lowercase().contains("\r\nconnection: close\r\n");
        assert!(
            requests.iter().all(|request| close(&request)),
            "{requests:?}"
        );
    }
    assert_eq!(stage.lines("website.pool"), Some(pool_lines(&nodes)));
    assert_eq!(
        pollbal.log_with(&["cannot be polled"]),
        Vec::<String>::new()
    );
}

#[test]
fn what_a_node_waits_for_a_connection_of_ours_is_no_time_of_its_own() {
    let stage = Stage::new();
    let (wake, until) = watch::channel(false);
    let node = |number| {
        let answer = Answer::HangUntil(until.clone(), "website", "website");
        RawNode::start(stage.node_addr(number), &format!("node-{number}"), answer)
    };
    let nodes: Vec<_> = (1..=90).map(node).collect();
    stage.write_services(&services_lines(&nodes));
    let config = json!({ "poll_interval": "1h", "service_timeout": "1h" });
    let _pollbal = Pollbal::start_behind(&stage, &config, "ulimit -n 100");
    // 36 that are kept, and 24 for one poll.
    let asked = || nodes.iter().filter(|node| node.polls() == 1).count();
    becomes(SOON, "nodes that are asked", &60, asked);
    let begun = Instant::now();
    stays(SOON, "nodes that are asked", &60, asked, || {
        begun.elapsed() >= WAITED
    });
    let waiting: Vec<_> = nodes.iter().filter(|node| node.polls() == 0).collect();
    wake.send_replace(true);
    for node in waiting {
        let path = format!("/v1/explain?node={}", node.name());
        let took = eventually(SOON, "the node is polled", || {
            get(&stage, &path).json()["answer"]["took_ms"].as_f64()
        });
        assert!(took < WAITED.as_secs_f64() * 1000.0, "{took} ms");
    }
}

#[test]
fn of_many_nodes_that_are_new_512_are_polled_at_a_time() {
    raise_open_files();
    let stage = Stage::new();
    let ports = [0, 1, 2].map(|_| stage.free_addr().port());
    let at = |port| (1..=200).map(move |host| (host, port));
    let addrs = ports.into_iter().flat_map(at);
    let listen = |(host, port)| TcpListener::bind((stage.ip(host), port)).unwrap();
    let nodes: Vec<_> = addrs.map(listen).collect();
    let lines = nodes.iter().map(|node| node.local_addr().unwrap());
    let lines: Vec<_> = lines
        .map(|addr| format!("{} {}", addr.ip(), addr.port()))
        .collect();
    stage.write_services(&lines);
    let config = json!({ "poll_interval": "1h", "service_timeout": "1h" });
    let _pollbal = Pollbal::start(&stage, &config);
    for node in &nodes {
        node.set_nonblocking(true).unwrap();
    }
    let mut polls = Vec::new();
    let polled = |polls: &mut Vec<_>| {
        polls.extend(nodes.iter().filter_map(|node| node.accept().ok()));
        polls.len()
    };
    let what = "nodes that are polled";
    becomes(SOON, what, &512, || polled(&mut polls));
    let begun = Instant::now();
    let waited = || begun.elapsed() >= WAITED;
    stays(SOON, what, &512, || polled(&mut polls), waited);
    // One that is done makes room for another.
    drop(polls.pop());
    becomes(SOON, what, &512, || polled(&mut polls));
}

#[test]
fn all_nodes_are_polled_at_once_and_then_spread_evenly_over_the_interval() {
    const INTERVAL: Duration = Duration::from_millis(1_200);
    let stage = Stage::alone();
    let node = |number| RawNode::start(stage.node_addr(number), "good", Answer::body("website"));
    let nodes: Vec<_> = (1..=4).map(node).collect();
    stage.write_services(&services_lines(&nodes));
    let _pollbal = Pollbal::start(&stage, &json!({ "poll_interval": 1200 }));
    for node in &nodes {
        node.wait_polls(4);
    }
    let times: Vec<_> = nodes.iter().map(RawNode::times).collect();
    let mut first: Vec<_> = times.iter().map(|times| times[0]).collect();
    first.sort();
    assert!(first[3] - first[0] < INTERVAL / 4, "not at once");
    // The third polls, in the order of the nodes' turns.
    let mut turns: Vec<_> = times.iter().map(|times| times[2]).collect();
    turns.sort();
    let gaps: Vec<_> = turns.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let even = INTERVAL / 8..INTERVAL * 3 / 8;
    assert!(gaps.iter().all(|gap| even.contains(gap)), "{gaps:?}");
}

#[test]
fn what_stands_behind_a_body_is_never_the_next_answer() {
    let stage = Stage::new();
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwebsite\
               HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napi";
    let node = RawNode::start(
        stage.node_addr(1),
        "two-faced",
        Answer::BytesAndOpen(two.into()),
    );
    stage.write_services(&[node.services_line()]);
    let pollbal = Pollbal::start(&stage, &json!({ "poll_interval": "50ms" }));
    node.wait_polls(20);
    assert_eq!(stage.lines("website.pool"), Some(vec![node.pool_line()]));
    assert_eq!(stage.files(), ["disabled_services", "website.pool"]);
    let trouble = pollbal.log_with(&["failed:"]);
    assert!(trouble.is_empty(), "{trouble:?}");
}

#[test]
fn an_empty_or_blank_answer_means_idle_at_once_whatever_fall_says() {
    let stage = Stage::new();
    let bodies = ["", "\r\n", " \t \n\n"];
    let nodes: Vec<_> = bodies
        .into_iter()
        .zip(1..)
        .map(|(empty, number)| {
            let answer = Answer::says(move |poll| {
                Reply::Body(if poll < 5 { "website" } else { empty }.to_owned())
            });
            RawNode::start(stage.node_addr(number), &format!("idle-{number}"), answer)
        })
        .collect();
    stage.write_services(&services_lines(&nodes));
    let config = json!({ "poll_interval": "50ms", "fall": 1000 });
    let pollbal = Pollbal::start(&stage, &config);
    for node in &nodes {
        pollbal.wait_log(&[node.name(), "leaves website", "idle"]);
    }
    becomes(SOON, "the pool is empty", &Some(vec![]), || {
        stage.lines("website.pool")
    });
    let all = Some(services_lines(&nodes));
    becomes(SOON, "all are disabled", &all, || {
        stage.lines("disabled_services")
    });
}

#[test]
fn a_node_that_invents_pools_gets_max_undeclared_pools_and_one_error() {
    let stage = Stage::new();
    let inventor = Answer::says(|poll| Reply::Body(format!("invented-{poll}")));
    let inventor = RawNode::start(stage.node_addr(1), "inventor", inventor);
    let good = RawNode::start(stage.node_addr(2), "good", Answer::body("website"));
    stage.write_services(&services_lines([&good, &inventor]));
    let config = json!({
        "poll_interval": "30ms",
        "max_undeclared_pools": 3,
        "empty_pool_grace": "1h",
        "pools": { "declared": {} },
    });
    let pollbal = Pollbal::start(&stage, &config);
    let reported = pollbal.wait_log(&["error", "inventor", "max_undeclared_pools"]);
    assert!(reported.contains("declare it in `pools`"), "{reported}");
    let then = inventor.polls();
    inventor.wait_polls(then + 30);
    assert_eq!(pollbal.log_with(&["max_undeclared_pools"]).len(), 1);
    let pools: Vec<_> = stage
        .files()
        .into_iter()
        .filter(|name| *name != "disabled_services")
        .collect();
    // Three, and the declared one; a pool that was left before the files were looked at never gets one.
    assert!((2..=4).contains(&pools.len()), "{pools:?}");
    assert_eq!(stage.lines("website.pool"), Some(vec![good.pool_line()]));
    assert_eq!(
        stage.lines("disabled_services"),
        Some(vec![inventor.services_line()])
    );

    // Past the limit, what is declared or known goes on.
    let late = ["declared", "website", "one-more"];
    let late: Vec<_> = late
        .into_iter()
        .zip(11..)
        .map(|(pool, number)| {
            let name = format!("late-{pool}");
            RawNode::start(stage.node_addr(number), &name, Answer::body(pool))
        })
        .collect();
    let mut lines = services_lines([&good, &inventor]);
    lines.extend(services_lines(&late));
    stage.write_services(&lines);
    pollbal.wait_log(&["late-one-more", "max_undeclared_pools"]);
    let website = pool_lines([&good, &late[1]]);
    becomes(SOON, "the known pool", &Some(website), || {
        stage.lines("website.pool")
    });
    becomes(
        SOON,
        "the declared pool",
        &Some(pool_lines(&late[..1])),
        || stage.lines("declared.pool"),
    );
}

#[test]
fn a_node_that_invents_versions_stays_a_member_and_floods_neither_directory_nor_log() {
    let stage = Stage::new();
    let inventor = Answer::says(|poll| Reply::Body(format!("website ok v{poll}")));
    let inventor = RawNode::start(stage.node_addr(1), "inventor", inventor);
    let good = RawNode::start(
        stage.node_addr(2),
        "good",
        Answer::body("website ok stable"),
    );
    stage.write_services(&services_lines([&good, &inventor]));
    let config = json!({ "poll_interval": "30ms", "empty_pool_grace": 0 });
    let pollbal = Pollbal::start(&stage, &config);
    let both = Some(pool_lines([&good, &inventor]));
    becomes(SOON, "both are members", &both, || {
        stage.lines("website.pool")
    });
    let look = || {
        let versions = stage
            .files()
            .into_iter()
            .filter(|name| name.starts_with("website.v"));
        let bounded = versions.count() <= 4;
        (
            bounded,
            stage.lines("website.pool"),
            stage.lines("website.stable.pool"),
        )
    };
    let expected = (true, both, Some(vec![good.pool_line()]));
    becomes(SOON, "files of versions", &expected, look);
    pollbal.wait_log(&["warn", "inventor", "in no version pool", "many new names"]);
    let mark = pollbal.mark();
    let enough = inventor.polls() + 100;
    stays(SOON, "files of versions", &expected, look, || {
        inventor.polls() >= enough
    });
    assert_eq!(pollbal.log().split_off(mark), Vec::<String>::new());
    let peak = peak_memory(pollbal.pid());
    assert!(peak < 80 * 1024, "{peak} KiB");
}
