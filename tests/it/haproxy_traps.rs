//! What a real `HAProxy` does that drivers of it do not expect.

use std::net::SocketAddrV4;

use serde_json::json;

use crate::common::client::get_later;
use crate::common::haproxy::{Config, Haproxy, slots};
use crate::common::http;
use crate::common::nodes::addrs;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::wire::{dial, say};
use crate::common::{SOON, becomes, eventually, runtime};

/// Waits until there is nothing to do and to report.
#[track_caller]
fn wait_all_well(stage: &Stage) {
    eventually(SOON, "all is well", || {
        let status = http::get(stage, "/v1/status").json();
        (status["load_balancers"][0]["in_sync"] == true).then_some(())
    });
}

#[track_caller]
fn assert_quiet(pollbal: &Pollbal) {
    for words in ["outside pollbal", "rejected"] {
        assert_eq!(pollbal.log_with(&[words]), [""; 0]);
    }
}

/// A request of a client with this cookie: who answers, and the cookie that it has then.
fn ask(service: SocketAddrV4, cookie: Option<&str>) -> (String, Option<String>) {
    let cookie = cookie.map_or_else(String::new, |cookie| format!("cookie: {cookie}\r\n"));
    let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{cookie}\r\n");
    let answer = say(dial(service), &request);
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut lines = answer.head.lines();
    let set = lines.find_map(|line| line.strip_prefix("set-cookie: "));
    let set = set.and_then(|set| Some(set.split(';').next()?.to_owned()));
    (answer.body.trim_end().to_owned(), set)
}

/// The server of a client's session leaves while it is busy: who serves the client before and afterwards.
fn sessions(lines: &[&str], leave: &str) -> [String; 2] {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let slots = slots(2);
    let lines: Vec<&str> = lines.iter().copied().chain([&*slots]).collect();
    let haproxy = Config::new()
        .backend("web", &lines)
        .service(&stage, "www", "web")
        .start(&stage);
    let config = json!({ "haproxy": { "socket": haproxy.socket(), "leave": leave } });
    let _pollbal = Pollbal::start(&stage, &config);
    haproxy.wait_members("web", &addrs(&nodes));
    let www = haproxy.service("www");
    let (before, cookie) = ask(www, None);
    let node = nodes.iter().find(|node| node.name() == before);
    let node = node.expect("a node answers");
    // One for each, or both for the one that the table has.
    let busy = [0, 1].map(|_| get_later(www, "/busy?wait=3000"));
    eventually(SOON, "it is busy", || {
        let arrivals = node.arrivals();
        arrivals.iter().any(|one| one.path == "/busy").then_some(())
    });
    for _ in 0..5 {
        assert_eq!(ask(www, cookie.as_deref()).0, before, "there is a session");
    }
    let slot = haproxy.server_of("web", node.addr());
    node.announce("web leaving");
    becomes(SOON, &slot, &leave.to_owned(), || {
        haproxy.server("web", &slot).state.to_owned()
    });
    let (after, _) = ask(www, cookie.as_deref());
    // Its slot is in maintenance afterwards, whichever way it left.
    let is_busy = busy.iter().all(|request| !request.is_finished());
    assert!(is_busy, "it has not left before it was drained");
    for request in busy {
        let ended = runtime().block_on(request).expect("a client panicked");
        ended.expect("requests in progress end normally");
    }
    [before, after]
}

const TABLE: [&str; 2] = ["stick-table type ip size 100 expire 1m", "stick on src"];

/// A cookie for each address, so for each node that gets a slot.
const COOKIES: [&str; 2] = [
    "cookie srv insert indirect nocache dynamic",
    "dynamic-cookie-key secret",
];

#[test]
fn sessions_of_stick_tables_and_cookies_go_on_where_servers_drain() {
    for lines in [&TABLE, &COOKIES] {
        let [before, after] = sessions(lines, "drain");
        assert_eq!(before, after, "{lines:?}");
    }
}

#[test]
fn sessions_of_stick_tables_and_cookies_move_at_once_with_leave_maint() {
    for lines in [&TABLE, &COOKIES] {
        let [before, after] = sessions(lines, "maint");
        assert_ne!(before, after, "{lines:?}");
    }
}

/// The column of a server in `show stat`.
fn stat(haproxy: &Haproxy, server: &str, column: &str) -> String {
    let answer = haproxy.ask("show stat web 4 -1");
    let mut rows = answer
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>());
    let header = rows.next().expect("a header");
    let column = header.iter().position(|name| *name == column);
    let row = rows.find(|row| row.get(1) == Some(&server));
    row.expect("the server's row")[column.expect("the column")].to_owned()
}

#[test]
fn a_slow_start_is_left_to_haproxy() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let lines = format!("{} slowstart 60s", slots(2));
    let haproxy = Config::new().backend("web", &[&lines]).start(&stage);
    let config = json!({ "haproxy": { "socket": haproxy.socket(), "resync_interval": "200ms" } });
    let pollbal = Pollbal::start(&stage, &config);
    haproxy.wait_members("web", &addrs(&nodes));
    wait_all_well(&stage);
    let slot = haproxy.server_of("web", nodes[0].addr());
    // Some resyncs, of which none sets a weight: that would be the end of it.
    nodes[0].wait_polls(10);
    let percent = stat(&haproxy, &slot, "throttle");
    let percent: u8 = percent.parse().expect("it starts slowly");
    assert!((1..100).contains(&percent), "{percent} %");
    assert_eq!(haproxy.server("web", &slot).weight, 100);
    wait_all_well(&stage);
    assert_quiet(&pollbal);
}

#[test]
fn names_may_be_as_long_as_two_of_them_fit_into_a_command() {
    let stage = Stage::new();
    // More than are sent at once.
    let nodes = stage.nodes(&["web"; 70]);
    let lines = nodes.iter().map(|node| {
        let addr = node.addr();
        let (ip, port) = (addr.ip(), addr.port());
        format!("{ip} {port} # {}{}", node.name(), "n".repeat(90))
    });
    stage.write_services(&lines.collect::<Vec<_>>());
    let backend = "b".repeat(4_096);
    let haproxy = Config::new().backend(&backend, &[]).start(&stage);
    let config = json!({
        "haproxy": haproxy.socket(),
        "pools": { "web": { "haproxy_backend": backend } },
    });
    let pollbal = Pollbal::start(&stage, &config);
    haproxy.wait_members(&backend, &addrs(&nodes));
    for node in &nodes[1..] {
        node.announce("web leaving");
    }
    haproxy.wait_members(&backend, &addrs(&nodes[..1]));
    eventually(SOON, "their servers are deleted", || {
        (haproxy.servers(&backend).len() == 1).then_some(())
    });
    assert_quiet(&pollbal);
}

#[test]
fn a_plus_is_in_no_name_of_haproxys_and_keeps_nobody_out() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web serving 1.0+5", "web serving 1.0"]);
    let lines = nodes.iter().map(|node| {
        let addr = node.addr();
        let (ip, port) = (addr.ip(), addr.port());
        format!("{ip} {port} # {}+x", node.name())
    });
    stage.write_services(&lines.collect::<Vec<_>>());
    let haproxy = Config::new()
        .backend("web", &[])
        .backend("web.1.0", &[&slots(2)])
        .start(&stage);
    let pollbal = Pollbal::start(&stage, &json!({ "haproxy": haproxy.socket() }));
    haproxy.wait_members("web", &addrs(&nodes));
    haproxy.wait_members("web.1.0", &addrs(&nodes[1..]));
    let addr = nodes[0].addr();
    assert_eq!(haproxy.server_of("web", addr), format!("node-1-x_{addr}"));
    wait_all_well(&stage);
    assert_quiet(&pollbal);
}
