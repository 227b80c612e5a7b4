//! Answers that nobody reads: they fill no memory, however long they are, and nobody waits for them.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;

use crate::common::pollbal::Pollbal;
use crate::common::process::peak_memory;
use crate::common::stage::Stage;
use crate::common::wire::{Listeners, Wire, dial, dial_from, dial_socket, get, say};
use crate::common::{SOON, client, clock, eventually};

/// What a listener keeps of answers that are not read, in bytes.
const BUDGET: usize = 32 << 20;

/// Connections of which none is read.
const DEAF: u8 = 60;

/// Asks for this, and reads only the beginning of the answer; gives its status.
fn deaf(mut wire: impl Wire + Send + 'static, path: &str) -> (Box<dyn Wire + Send>, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    wire.write_all(request.as_bytes()).unwrap();
    let mut line = [0; 12];
    wire.read_exact(&mut line).unwrap();
    let status = String::from_utf8_lossy(&line[9..]).into_owned();
    (Box::new(wire), status)
}

/// A pool of 4,900 members that all fail, and that are held.
fn start_with_failing_members(stage: &Stage, listeners: &Listeners) -> Pollbal {
    let dead = stage.write_dead_members("api", 4_900);
    stage.write_services(&dead);
    let config = json!({ "pools": { "api": { "min_members": 4_900 } }, "poll_interval": "10s" });
    Pollbal::start(stage, &listeners.config(&config))
}

#[test]
fn answers_that_nobody_reads_fill_no_memory() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let _nodes = stage.nodes(&["api"]);
    let mut pollbal = Pollbal::start(&stage, &listeners.config(&json!({})));
    pollbal.wait_log(&["status listener listening on"]);
    let requests = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    let deaf: Vec<_> = (0..8)
        .map(|_| {
            let mut wire = dial(listeners.status);
            wire.set_write_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            let full = loop {
                if let Err(why) = wire.write_all(requests.as_bytes()) {
                    break why;
                }
            };
            assert_eq!(full.kind(), ErrorKind::WouldBlock, "{full}");
            wire
        })
        .collect();
    let peak = peak_memory(pollbal.pid());
    assert!(peak < 64 * 1024, "{peak} KiB");
    drop(deaf);
    pollbal.assert_alive();
    assert_eq!(client::get(listeners.status, "/healthz").unwrap(), "ok");
}

#[test]
fn long_answers_that_nobody_reads_are_bounded_and_nobody_waits_for_them() {
    // All are to be given before the first is given up, since nobody reads it.
    let stage = Stage::alone();
    let listeners = Listeners::new(&stage);
    let mut pollbal = start_with_failing_members(&stage, &listeners);
    // All fail, and are held.
    let all = "\"failing\":4900,";
    pollbal.wait_log(&["status listener listening on"]);
    let length = eventually(6 * SOON, "all were received", || {
        let status = get(dial(listeners.status), "/v1/status?pool=api");
        status.body.contains(all).then_some(status.body.len())
    });
    let before = peak_memory(pollbal.pid());
    // The system takes little off pollbal's hands at the admin socket, some megabytes at the status listener.
    let path = "/v1/status?pool=api";
    let admin = || dial_socket(&listeners.admin);
    let asked: Vec<_> = (0..DEAF).map(|_| deaf(admin(), path)).collect();
    let given = asked.iter().filter(|(_, status)| status == "200").count();
    // As many as fit, and what the system has taken of them.
    let fitting = BUDGET / length;
    let range = fitting..2 * fitting;
    assert!(range.contains(&given), "{given} of {DEAF}: {length} bytes");
    let refused = get(admin(), path);
    refused.assert_json_refusal(
        503,
        "this listener has too many large responses that have not been read yet",
    );
    let head = &refused.head;
    assert!(head.contains("retry-after: 1\r\n"), "{head}");
    // What is short is reported, and what is asked for at other listeners.
    assert_eq!(get(admin(), "/v1/members?pool=none").status, 404);
    assert_eq!(get(dial(listeners.status), "/healthz").status, 200);
    assert_eq!(get(dial(listeners.status), path).status, 200);
    drop(asked);
    eventually(SOON, "they are reported again", || {
        (get(admin(), path).status == 200).then_some(())
    });
    // Of a page there is one text for all who ask at nearly the same time.
    let page = "/?pool=api&all=1";
    let asked: Vec<_> = (0..DEAF)
        .map(|_| deaf(dial(listeners.status), page))
        .collect();
    assert!(asked.iter().all(|(_, status)| status == "200"));
    let peak = peak_memory(pollbal.pid());
    assert!(peak < before + 64 * 1024, "{before} and then {peak} KiB");
    pollbal.assert_alive();
}

/// Connects from that address with as little room for what is not read yet as the system has: what is written stays in
/// pollbal.
fn dial_narrow(from: Ipv4Addr, to: SocketAddrV4) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_socket_recv_buffer_size(&socket, 1).unwrap();
    bind(&socket, &SocketAddr::from((from, 0))).unwrap();
    connect(&socket, &SocketAddr::from(to)).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

#[test]
fn long_answers_that_one_address_does_not_read_keep_no_other_from_its_own() {
    // As many as one address may have are to be waiting before the first is given up.
    let stage = Stage::alone();
    let listeners = Listeners::new(&stage);
    let mut pollbal = start_with_failing_members(&stage, &listeners);
    pollbal.wait_log(&["status listener listening on"]);
    let path = "/v1/status?pool=api";
    eventually(6 * SOON, "all were received", || {
        let status = get(dial(listeners.status), path);
        status.body.contains("\"failing\":4900,").then_some(())
    });
    let reader = stage.ip(77);
    // The system takes the first two or three of each connection, pollbal has the next; all together more than 8 MB.
    let requests = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(5);
    let deaf: Vec<_> = (0..12)
        .map(|_| {
            let mut wire = dial_narrow(reader, listeners.status);
            wire.write_all(requests.as_bytes()).unwrap();
            wire
        })
        .collect();
    let none = "pollbal_http_rejected_total{listener=\"status\",reason=\"response_budget\"} 0\n";
    eventually(2 * SOON, "one is refused", || {
        let metrics = get(dial(listeners.status), "/metrics").body;
        (!metrics.contains(none)).then_some(())
    });
    let refused = get(dial_from(reader, listeners.status), path);
    let reason = format!("{reader} has too many large responses that have not been read yet");
    refused.assert_json_refusal(503, &reason);
    let other = get(dial(listeners.status), path);
    assert_eq!(other.status, 200, "{}", other.head);
    drop(deaf);
    eventually(2 * SOON, "it is reported again", || {
        (get(dial_from(reader, listeners.status), path).status == 200).then_some(())
    });
    pollbal.assert_alive();
}

#[test]
fn events_that_are_followed_and_not_read_fill_no_memory() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let mut pollbal = start_with_failing_members(&stage, &listeners);
    pollbal.wait_log(&["admin socket listening on"]);
    eventually(2 * SOON, "an event for each", || {
        let events = get(dial_socket(&listeners.admin), "/v1/events?limit=10000").body;
        (events.len() > 700_000).then_some(())
    });
    let before = peak_memory(pollbal.pid());
    let path = "/v1/events?follow=true&after=1";
    let followers: Vec<_> = (0..DEAF)
        .map(|_| {
            let (mut wire, status) = deaf(dial_socket(&listeners.admin), path);
            assert_eq!(status, "200");
            // Of the events too.
            wire.read_exact(&mut [0; 1_000]).unwrap();
            wire
        })
        .collect();
    let peak = peak_memory(pollbal.pid());
    assert!(peak < before + 16 * 1024, "{before} and then {peak} KiB");
    drop(followers);
    pollbal.assert_alive();
}

#[test]
fn no_nudge_waits_for_long_answers_to_be_made() {
    let stage = Stage::alone();
    let listeners = Listeners::new(&stage);
    let node = stage.node(249, "api");
    let mut lines = stage.write_dead_members("api", 4_900);
    lines.push(node.services_line());
    stage.write_services(&lines);
    let config = json!({ "pools": { "api": { "min_members": 4_901 } }, "poll_interval": "10s" });
    let pollbal = Pollbal::start(&stage, &listeners.config(&config));
    pollbal.wait_log(&["status listener listening on"]);
    eventually(6 * SOON, "all were received", || {
        let status = get(dial(listeners.status), "/v1/status?pool=api");
        status.body.contains("\"failing\":4900,").then_some(())
    });
    let asked = Instant::now();
    assert_eq!(get(dial(listeners.status), "/?pool=api&all=1").status, 200);
    let long = clock::counted_since(asked);
    let readers: Vec<_> = (0..20)
        .map(|number| {
            let mut wire = dial(listeners.status);
            // Each asks for a page of its own.
            let path = format!("/?pool=api&all={number}");
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            wire.write_all(request.as_bytes()).unwrap();
            wire
        })
        .collect();
    let asked = Instant::now();
    let nudge = "POST /nudge HTTP/1.1\r\npollbal-request: true\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let answer = say(dial_from(*node.addr().ip(), listeners.node), nudge);
    let took = clock::counted_since(asked);
    assert_eq!(answer.status, 200, "{answer:?}");
    // All twenty take twenty times as long as one.
    assert!(took < 5 * long, "{took:?}, and a page takes {long:?}");
    drop(readers);
}
