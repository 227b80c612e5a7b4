//! The limits of the listeners: what is over them is refused with a plain reason or closed, whatever it is.

use std::cell::Cell;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use crate::common::pollbal::Pollbal;
use crate::common::process::{cpu_ticks, files, peak_memory};
use crate::common::stage::Stage;
use crate::common::wire::{
    HEADERS, Listeners, Wire, dial, dial_from, dial_socket, get, get_kept, hear, hear_all, say,
};
use crate::common::{SOON, client, clock, eventually};

/// A stage whose pollbal has all listeners open and one node, the first address.
struct Site {
    listeners: Listeners,
    pollbal: Pollbal,
    node: Ipv4Addr,
    stage: Stage,
}

impl Site {
    #[track_caller]
    fn new() -> Self {
        Self::on(Stage::new(), "true")
    }

    /// With commands of a shell before it, for limits of its own.
    #[track_caller]
    fn on(stage: Stage, before: &str) -> Self {
        let listeners = Listeners::new(&stage);
        let addr = stage.node_addr(1);
        stage.write_services(&[format!("{} {} # node-1", addr.ip(), addr.port())]);
        let pollbal = Pollbal::start_behind(&stage, &listeners.config(&json!({})), before);
        pollbal.wait_log(&["node listener listening on"]);
        Self {
            listeners,
            pollbal,
            node: *addr.ip(),
            stage,
        }
    }

    /// A connection to each listener, with its name.
    fn dial_all(&self) -> [(&'static str, Box<dyn Wire + Send>); 3] {
        [
            ("admin", Box::new(dial_socket(&self.listeners.admin))),
            ("status", Box::new(dial(self.listeners.status))),
            ("node", Box::new(self.dial_node())),
        ]
    }

    fn dial_node(&self) -> TcpStream {
        dial_from(self.node, self.listeners.node)
    }

    #[track_caller]
    fn assert_well(&mut self) {
        self.pollbal.assert_alive();
        assert_eq!(
            client::get(self.listeners.status, "/healthz").unwrap(),
            "ok"
        );
    }
}

#[test]
fn a_head_that_is_too_long_or_no_head_at_all_is_rejected() {
    let mut site = Site::new();
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(101));
    let path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    // The beginning of a TLS connection.
    let tls = "\u{16}\u{3}\u{1}\u{0}\u{a5}\u{1}\u{0}";
    for (text, status) in [
        (long.as_str(), 431),
        (&many, 431),
        (&path, 431),
        ("nonsense\r\n\r\n", 400),
        (tls, 400),
    ] {
        for (listener, wire) in site.dial_all() {
            assert_eq!(say(wire, text).status, status, "{listener}");
        }
    }
    let metrics = get(dial(site.listeners.status), "/metrics").body;
    for (reason, count) in [("head_too_long", 3), ("malformed", 2)] {
        for listener in ["admin", "status", "node"] {
            let counted = format!(
                "pollbal_http_rejected_total{{listener=\"{listener}\",reason=\"{reason}\"}} {count}\n"
            );
            assert!(metrics.contains(&counted), "{counted} in {metrics}");
        }
    }
    site.assert_well();
}

#[test]
fn a_body_that_is_too_long_is_rejected_unread() {
    let mut site = Site::new();
    let bodies = [("admin", 1024 * 1024), ("status", 0), ("node", 1024)];
    for (listener, limit) in bodies {
        let ask = |bytes: usize, body: &str| {
            let mut dialled = site.dial_all().into_iter();
            let (_, wire) = dialled.find(|(name, _)| *name == listener).unwrap();
            let head = format!(
                "POST /nowhere HTTP/1.1\r\n{HEADERS}connection: close\r\ncontent-length: {bytes}\r\n\r\n"
            );
            say(wire, &(head + body))
        };
        let accepted = ask(limit, &"x".repeat(limit));
        assert_eq!(accepted.status, 404, "{listener}: the maximum is accepted");
        // Its length is enough to reject it.
        let rejected = ask(limit + 1, "");
        if listener == "admin" {
            rejected.assert_json_refusal(413, "the maximum is 1048576 bytes");
        } else {
            rejected.assert_refusal(413, if limit == 0 { "no body" } else { "1024 bytes" });
        }
    }
    // If it claims to be huge, or does not end, no more is read than fits into buffers.
    let endless =
        "POST /nowhere HTTP/1.1\r\npollbal-request: true\r\ntransfer-encoding: chunked\r\n\r\n";
    let huge =
        "POST /nowhere HTTP/1.1\r\npollbal-request: true\r\ncontent-length: 9999999999\r\n\r\n";
    for head in [endless, huge] {
        for (listener, mut wire) in site.dial_all() {
            wire.write_all(head.as_bytes()).unwrap();
            let taken = write_until_refused(&mut wire);
            assert!(taken < 64 << 20, "{listener}: {taken} bytes");
        }
    }
    let peak = peak_memory(site.pollbal.pid());
    assert!(peak < 64 * 1024, "{peak} KiB");
    site.assert_well();
}

/// Writes chunks for as long as they are taken; gives the bytes.
fn write_until_refused(wire: &mut impl Write) -> usize {
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut written = 0;
    while wire.write_all(chunk.as_bytes()).is_ok() {
        written += chunk.len();
        assert!(written < 1 << 30, "no end");
    }
    written
}

#[test]
fn a_request_that_comes_byte_by_byte_is_cut_off() {
    let site = Site::new();
    thread::scope(|scope| {
        for (listener, mut wire) in site.dial_all() {
            scope.spawn(move || {
                let begun = Instant::now();
                for byte in "GET / HTTP/1.1\r\nhost: localhost\r\n".bytes() {
                    // It comes to its end, and then to errors.
                    if wire.write_all(&[byte]).is_err() || begun.elapsed() > SOON {
                        break;
                    }
                    thread::sleep(Duration::from_secs(1));
                }
                let took = begun.elapsed();
                assert!(took < SOON, "{listener}: {took:?}");
                let received = hear_all(wire).unwrap();
                assert!(received.contains(" 408 "), "{listener}: {received:?}");
                assert!(received.contains("did not arrive within 5s"), "{received}");
            });
        }
    });
}

#[test]
fn one_address_has_a_part_of_the_places_and_others_still_get_in() {
    let mut site = Site::new();
    let mut kept: Vec<_> = (0..64).map(|_| site.dial_node()).collect();
    // Asked, so that it is known to have its place.
    assert_eq!(get_kept(&mut kept[63], "/nowhere").status, 404);
    let refused = hear(site.dial_node());
    refused.assert_refusal(503, &format!("{} already has 64 connections", site.node));
    assert!(refused.head.contains("retry-after: 1\r\n"));
    site.pollbal
        .wait_log(&["warn", "node listener", "64 connections"]);
    drop(kept);
    eventually(SOON, "there is a place again", || {
        (get(site.dial_node(), "/nowhere").status == 404).then_some(())
    });

    let browser = site.stage.ip(77);
    let status = site.listeners.status;
    let mut kept: Vec<_> = (0..128).map(|_| dial_from(browser, status)).collect();
    assert_eq!(get_kept(&mut kept[127], "/healthz").status, 200);
    hear(dial_from(browser, status)).assert_refusal(503, "already has 128 connections");
    // From another address.
    site.assert_well();
}

#[test]
fn with_few_files_there_are_few_places_and_polls_and_other_listeners_have_theirs() {
    let site = Site::on(Stage::new(), "ulimit -n 256");
    let admin = || dial_socket(&site.listeners.admin);
    let mut kept: Vec<_> = (0..4).map(|_| admin()).collect();
    assert_eq!(get_kept(&mut kept[3], "/nowhere").status, 404);
    hear(admin()).assert_json_refusal(503, "this listener already has 4 connections");
    assert_eq!(
        client::get(site.listeners.status, "/healthz").unwrap(),
        "ok"
    );
    kept.pop();
    eventually(SOON, "there is a place again", || {
        (get(admin(), "/nowhere").status == 404).then_some(())
    });
}

#[test]
fn a_client_with_too_many_requests_to_the_node_listener_gets_a_time_to_retry() {
    let mut site = Site::new();
    let mut wire = site.dial_node();
    let answers: Vec<_> = (0..200).map(|_| get_kept(&mut wire, "/nowhere")).collect();
    let (refused, passed): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 429);
    assert!(passed.len() >= 40, "{} passed", passed.len());
    let refused = refused.last().expect("some are refused");
    refused.assert_refusal(429, &format!("{} sends too many requests", site.node));
    assert!(
        refused.head.contains("retry-after: 1\r\n"),
        "{}",
        refused.head
    );
    eventually(SOON, "it may ask again", || {
        (get_kept(&mut wire, "/nowhere").status == 404).then_some(())
    });
    // Others are not held back, and the other listeners have no such limit.
    let mut wire = dial(site.listeners.status);
    for _ in 0..200 {
        assert_eq!(get_kept(&mut wire, "/healthz").status, 200);
    }
    site.assert_well();
}

#[test]
fn without_descriptors_it_says_so_once_and_goes_on_when_there_are_some_again() {
    let mut site = Site::new();
    let pid = site.pollbal.pid();
    let limit = |current| Rlimit {
        current: Some(current),
        maximum: Some(20_000),
    };
    let open = eventually(SOON, "it is idle", || {
        let [first, second] = [files(pid), files(pid)];
        (first == second).then_some(first)
    });
    prlimit(Some(pid), Resource::Nofile, limit(open)).unwrap();
    // The limit is one of the numbers of descriptors, and lower ones may be free.
    let mut waiting = Vec::new();
    let words = [
        "error",
        "status listener failed to accept",
        "too many open files",
        "limitnofile",
    ];
    eventually(SOON, "it says so", || {
        waiting.push(dial(site.listeners.status));
        let said = site.pollbal.log_with(&words);
        (!said.is_empty()).then_some(())
    });
    // It tries again now and then, and neither works nor writes for that all the time.
    let ticks = cpu_ticks(pid);
    clock::after(Instant::now(), Duration::from_millis(500));
    let worked = cpu_ticks(pid) - ticks;
    assert!(worked < 20, "{worked} hundredths of a second");
    assert_eq!(site.pollbal.log_with(&["failed to accept"]).len(), 1);
    prlimit(Some(pid), Resource::Nofile, limit(20_000)).unwrap();
    for wire in waiting {
        assert_eq!(get(wire, "/healthz").body, "ok\n");
    }
    site.assert_well();
}

/// Requests as they should be, to be spoilt. Of a stream only the head: it has no end to wait for.
const REQUESTS: [&str; 12] = [
    "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /v1/status?pool=api&node=node-1 HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n\r\n",
    "GET /?node=%6eode-1&fragment=1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /?pool=api&all=1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /v1/explain?node=node-1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /v1/events?after=1&limit=2 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: application/openmetrics-text;q=0.9\r\n\r\n",
    "HEAD /stream HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n",
    "POST /leave?wait=30s HTTP/1.1\r\npollbal-request: true\r\ncontent-length: 0\r\n\r\n",
    "POST /v1/disable HTTP/1.1\r\nhost: localhost\r\ncontent-length: 15\r\n\r\n{\"reason\":\"x\"}\n",
    "POST /nudge HTTP/1.1\r\npollbal-request: true\r\ntransfer-encoding: chunked\r\n\r\n4\r\nword\r\n0\r\n\r\n",
    "PUT / HTTP/1.1\r\nexpect: 100-continue\r\nupgrade: x\r\ncontent-length: 4\r\n\r\nword",
];

/// Bytes that mean something in HTTP.
const MARKS: [u8; 14] = *b"\r\n :;,/?%\0\xff\t19";

/// Where a request is spoilt, and how.
#[derive(Clone, Debug)]
enum Spoil {
    Replace(usize, u8),
    Insert(usize, u8),
    Delete(usize),
    CutAt(usize),
    Repeat(usize, usize),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let at = || 0..200_usize;
    let byte = || prop_oneof![select(&MARKS[..]), any::<u8>()];
    prop_oneof![
        (at(), byte()).prop_map(|(at, byte)| Spoil::Replace(at, byte)),
        (at(), byte()).prop_map(|(at, byte)| Spoil::Insert(at, byte)),
        at().prop_map(Spoil::Delete),
        at().prop_map(Spoil::CutAt),
        (at(), 1..2_000_usize).prop_map(|(at, times)| Spoil::Repeat(at, times)),
    ]
}

fn spoilt(mut bytes: Vec<u8>, spoils: &[Spoil]) -> Vec<u8> {
    for spoil in spoils {
        if bytes.is_empty() {
            break;
        }
        let end = bytes.len();
        match *spoil {
            Spoil::Replace(at, byte) => bytes[at % end] = byte,
            Spoil::Insert(at, byte) => bytes.insert(at % end, byte),
            Spoil::Delete(at) => _ = bytes.remove(at % end),
            Spoil::CutAt(at) => bytes.truncate(at % end),
            Spoil::Repeat(at, times) => {
                let repeated = vec![bytes[at % end]; times];
                bytes.splice(at % end..at % end, repeated);
            }
        }
    }
    bytes
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let spoilt = (select(&REQUESTS[..]), vec(spoil(), 0..6))
        .prop_map(|(request, spoils)| spoilt(request.into(), &spoils));
    let together = vec(spoilt, 1..4).prop_map(|requests| requests.concat());
    prop_oneof![
        8 => together,
        1 => vec(any::<u8>(), 0..3_000),
        1 => vec(select(&MARKS[..]), 0..300),
    ]
}

#[test]
fn whatever_is_sent_to_a_listener_is_answered_or_closed() {
    let mut site = Site::new();
    let config = Config {
        cases: 2_000,
        failure_persistence: None,
        ..Config::default()
    };
    let answered = Cell::new(0);
    let result = TestRunner::new(config).run(&request(), |bytes| {
        let admin = dial_socket(&site.listeners.admin);
        let (status, node) = (dial(site.listeners.status), site.dial_node());
        // Nothing more will come: it need not wait for the time to be over.
        (&admin).write_all(&bytes).ok();
        admin.shutdown(std::net::Shutdown::Write).ok();
        for wire in [&status, &node] {
            (&mut &*wire).write_all(&bytes).ok();
            wire.shutdown(std::net::Shutdown::Write).ok();
        }
        for received in [hear_all(admin), hear_all(status), hear_all(node)] {
            let received = received.map_err(TestCaseError::fail)?;
            let proper = received.is_empty()
                || received.starts_with("HTTP/1.1 ")
                || received.starts_with("HTTP/1.0 ");
            prop_assert!(proper, "{received:?}");
            prop_assert!(!received.contains(" 500 "), "{received:?}");
            answered.set(answered.get() + u32::from(!received.is_empty()));
        }
        Ok(())
    });
    result.unwrap_or_else(|why| panic!("{why}"));
    assert!(answered.get() > 2_000, "{} were answered", answered.get());
    let peak = peak_memory(site.pollbal.pid());
    assert!(peak < 64 * 1024, "{peak} KiB");
    site.assert_well();
}
