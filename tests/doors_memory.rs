//! Answers that nobody reads: they fill no memory, however long they are, and nobody waits for them.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;

use common::pollbal::Pollbal;
use common::process::peak_memory;
use common::stage::Stage;
use common::wire::{Doors, dial, dial_socket, get};
use common::{SOON, client, clock, eventually};

/// Connections of which none is read.
const DEAF: u8 = 100;

/// Asks for this several times, since the system itself takes some megabytes off pollbal's hands, and reads only the
/// beginning of the first answer.
fn deaf(from: Ipv4Addr, to: SocketAddrV4, path: &str) -> (TcpStream, String) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_socket_recv_buffer_size(&socket, 4_096).unwrap();
    bind(&socket, &SocketAddr::from((from, 0))).unwrap();
    connect(&socket, &SocketAddr::from(to)).unwrap();
    let mut wire = TcpStream::from(socket);
    wire.set_read_timeout(Some(SOON)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: pollbal\r\n\r\n");
    wire.write_all(request.repeat(20).as_bytes()).unwrap();
    let mut line = [0; 12];
    wire.read_exact(&mut line).unwrap();
    let status = String::from_utf8_lossy(&line[9..]).into_owned();
    (wire, status)
}

/// Many who ask and do not read, and how many of them are not refused.
fn ask_all(to: SocketAddrV4, path: impl Fn(u8) -> String) -> (Vec<TcpStream>, usize) {
    let ask = |number| deaf(Ipv4Addr::LOCALHOST, to, &path(number));
    let (wires, statuses): (Vec<_>, Vec<_>) = (0..DEAF).map(ask).unzip();
    for status in &statuses {
        assert!(["200", "503"].contains(&status.as_str()), "{status}");
    }
    let given = statuses.iter().filter(|status| *status == "200");
    let given = given.count();
    (wires, given)
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
    let wire = || dial(doors.status);
    // Of a page there is one text for all who ask at nearly the same time.
    let same = ask_all(doors.status, |_| "/?pool=api&all=1".to_owned());
    assert_eq!(same.1, usize::from(DEAF));
    drop(same);
    for path in [
        |_| "/v1/status?pool=api".to_owned(),
        |number| format!("/?pool=api&all={number}"),
    ] {
        let (told, given) = ask_all(doors.status, path);
        assert!((8..50).contains(&given), "{given} of {}", path(1));
        // As soon as the system takes one off pollbal's hands, who asked for it asks for the next.
        let refusal = eventually(SOON, "what is long is refused", || {
            let answer = get(wire(), &path(DEAF));
            (answer.status == 503).then_some(answer)
        });
        let (head, body) = (&refusal.head, &refusal.body);
        assert!(body.contains("too many long answers of this door are not read yet"));
        let json = head.contains("content-type: application/json");
        assert_eq!(json, path(1).starts_with("/v1/"), "{head}");
        // What is short is told, and what is asked for at other doors.
        assert_eq!(get(wire(), "/?pool=api").status, 200);
        assert_eq!(get(wire(), "/healthz").status, 200);
        let admin = get(dial_socket(&doors.admin), "/v1/status?pool=api");
        assert!(admin.status == 200 && admin.body.contains(all));
        drop(told);
        eventually(SOON, "they are told again", || {
            (get(wire(), &path(1)).status == 200).then_some(())
        });
    }
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
    let answer = common::wire::say(
        common::wire::dial_from(*node.addr().ip(), doors.node),
        nudge,
    );
    let took = clock::counted_since(asked);
    assert_eq!(answer.status, 200, "{answer:?}");
    // All twenty take twenty times as long as one.
    assert!(took < 5 * long, "{took:?}, and a page takes {long:?}");
    drop(readers);
}
