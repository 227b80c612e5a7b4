//! Answers that nobody reads: they fill no memory, however long they are, and nobody waits for them.

mod common;

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use common::pollbal::Pollbal;
use common::process::peak_memory;
use common::stage::Stage;
use common::wire::{Doors, Wire, dial, dial_from, dial_socket, get, say};
use common::{SOON, client, clock, eventually};

/// Connections of which none is read.
const DEAF: u8 = 60;

/// Asks for this, and reads only the beginning of the answer; gives its status.
fn deaf(mut wire: impl Wire + Send + 'static, path: &str) -> (Box<dyn Wire + Send>, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: pollbal\r\n\r\n");
    wire.write_all(request.as_bytes()).unwrap();
    let mut line = [0; 12];
    wire.read_exact(&mut line).unwrap();
    let status = String::from_utf8_lossy(&line[9..]).into_owned();
    (Box::new(wire), status)
}

#[test]
fn answers_that_nobody_reads_fill_no_memory() {
    let stage = Stage::new();
    let doors = Doors::new(&stage);
    let _nodes = stage.nodes(&["api"]);
    let mut pollbal = Pollbal::start(&stage, &doors.config(&json!({})));
    pollbal.wait_log(&["the status door is open"]);
    let requests = "GET /healthz HTTP/1.1\r\nhost: pollbal\r\n\r\n".repeat(100);
    let deaf: Vec<_> = (0..8)
        .map(|_| {
            let mut wire = dial(doors.status);
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
    assert_eq!(client::get(doors.status, "/healthz").unwrap(), "ok");
}

#[test]
fn long_answers_that_nobody_reads_are_bounded_and_nobody_waits_for_them() {
    let stage = Stage::new();
    let doors = Doors::new(&stage);
    let dead = stage.write_dead_members("api", 4_900);
    stage.write_services(&dead);
    let config = json!({ "pools": { "api": { "min_members": 4_900 } }, "poll_interval": "10s" });
    let mut pollbal = Pollbal::start(&stage, &doors.config(&config));
    // All fail, and are held.
    let all = "\"failing\":4900,";
    pollbal.wait_log(&["the status door is open"]);
    eventually(2 * SOON, "all were heard", || {
        let status = get(dial(doors.status), "/v1/status?pool=api");
        status.body.contains(all).then_some(())
    });
    let before = peak_memory(pollbal.pid());
    // The system takes little off pollbal's hands at the admin door, some megabytes at the status door.
    let path = "/v1/status?pool=api";
    let admin = || dial_socket(&doors.admin);
    let asked: Vec<_> = (0..DEAF).map(|_| deaf(admin(), path)).collect();
    let given = asked.iter().filter(|(_, status)| status == "200").count();
    // 32 MB of them.
    assert!((20..35).contains(&given), "{given} of {DEAF}");
    let refused = get(admin(), path);
    refused.assert_json_refusal(503, "too many long answers of this door are not read yet");
    let head = &refused.head;
    assert!(head.contains("retry-after: 1\r\n"), "{head}");
    // What is short is told, and what is asked for at other doors.
    assert_eq!(get(admin(), "/v1/members?pool=none").status, 404);
    assert_eq!(get(dial(doors.status), "/healthz").status, 200);
    assert_eq!(get(dial(doors.status), path).status, 200);
    drop(asked);
    eventually(SOON, "they are told again", || {
        (get(admin(), path).status == 200).then_some(())
    });
    // Of a page there is one text for all who ask at nearly the same time.
    let page = "/?pool=api&all=1";
    let asked: Vec<_> = (0..DEAF).map(|_| deaf(dial(doors.status), page)).collect();
    assert!(asked.iter().all(|(_, status)| status == "200"));
    let peak = peak_memory(pollbal.pid());
    assert!(peak < before + 64 * 1024, "{before} and then {peak} KiB");
    pollbal.assert_alive();
}

#[test]
fn no_nudge_waits_for_long_answers_to_be_made() {
    let stage = Stage::alone();
    let doors = Doors::new(&stage);
    let node = stage.node(249, "api");
    let mut lines = stage.write_dead_members("api", 4_900);
    lines.push(node.services_line());
    stage.write_services(&lines);
    let config = json!({ "pools": { "api": { "min_members": 4_901 } }, "poll_interval": "10s" });
    let pollbal = Pollbal::start(&stage, &doors.config(&config));
    pollbal.wait_log(&["the status door is open"]);
    eventually(2 * SOON, "all were heard", || {
        let status = get(dial(doors.status), "/v1/status?pool=api");
        status.body.contains("\"failing\":4900,").then_some(())
    });
    let asked = Instant::now();
    assert_eq!(get(dial(doors.status), "/?pool=api&all=1").status, 200);
    let long = clock::counted_since(asked);
    let readers: Vec<_> = (0..20)
        .map(|number| {
            let mut wire = dial(doors.status);
            // Each asks for a page of its own.
            let path = format!("/?pool=api&all={number}");
            let request = format!("GET {path} HTTP/1.1\r\nhost: pollbal\r\n\r\n");
            wire.write_all(request.as_bytes()).unwrap();
            wire
        })
        .collect();
    let asked = Instant::now();
    let nudge = "POST /nudge HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let answer = say(dial_from(*node.addr().ip(), doors.node), nudge);
    let took = clock::counted_since(asked);
    assert_eq!(answer.status, 200, "{answer:?}");
    // All twenty take twenty times as long as one.
    assert!(took < 5 * long, "{took:?}, and a page takes {long:?}");
    drop(readers);
}
