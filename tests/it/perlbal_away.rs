//! A Perlbal that is away, in each way that there is: what is reported of it meanwhile, and that it is right within a
//! second of its return.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::hole::Hole;
use crate::common::nodes::{Node, addrs, wait_rounds};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::relay::Relay;
use crate::common::run;
use crate::common::stage::Stage;
use crate::common::{Ends, SOON, clock, eventually, http};

/// From Perlbal's return to the right members.
const RETURN: Duration = Duration::from_secs(1);

/// What the API tells of the first Perlbal.
fn reported(stage: &Stage) -> Value {
    http::get(stage, "/v1/status").json()["load_balancers"][0].clone()
}

/// Waits until it is reported that Perlbal is so, with these words of the cause, and that these changes wait.
#[track_caller]
fn wait_reported(stage: &Stage, how: &str, cause: &str, waiting: &[&str]) -> Value {
    let what = format!("it is reported that Perlbal is {how} ({cause})");
    let mut last = Value::Null;
    let expected = json!(waiting);
    let away = eventually(SOON, &what, || {
        let away = reported(stage)["away"].clone();
        let is_it = away["state"] == how
            && away["cause"]
                .as_str()
                .is_some_and(|text| text.contains(cause))
            && away["not_applied"] == expected;
        if away != last && !is_it {
            eprintln!("reported: {away}");
        }
        last = away.clone();
        is_it.then_some(away)
    });
    assert_eq!(away["not_applied_count"], waiting.len());
    away
}

/// What `pollbal status` and `pollbal explain` say.
fn said(stage: &Stage, command: &[&str]) -> String {
    let socket = stage.admin_socket();
    let socket = socket.to_str().expect("a path in UTF-8");
    run::stdout(&run::pollbal(&[command, &["--socket", socket]].concat()))
}

/// Two nodes, a Perlbal that has both, and a pollbal that reaches it by `address` or its own.
fn site(stage: &Stage, address: Option<SocketAddrV4>, perlbal: &Perlbal) -> (Vec<Node>, Pollbal) {
    site_with(stage, address, perlbal, "1500ms")
}

/// The same with that `timeout`.
fn site_with(
    stage: &Stage,
    address: Option<SocketAddrV4>,
    perlbal: &Perlbal,
    timeout: &str,
) -> (Vec<Node>, Pollbal) {
    let nodes = stage.nodes(&["api", "api"]);
    let address = address.unwrap_or(perlbal.management());
    let config = json!({ "perlbal": { "address": address, "timeout": timeout } });
    let pollbal = Pollbal::start(stage, &config);
    perlbal.wait_members("api", &addrs(&nodes));
    (nodes, pollbal)
}

/// A moment within the back-off's longest wait that differs from test to test and round to round.
fn passes(time: Duration) {
    let since = Instant::now();
    eventually(SOON + time, "the time passes", || {
        (since.elapsed() >= time).then_some(())
    });
}

#[test]
fn one_that_is_killed_again_and_again_under_change_is_right_within_a_second_each_time() {
    let stage = Stage::alone();
    let mut perlbal = Config::new().pool("api").start(&stage);
    let (nodes, _pollbal) = site(&stage, None, &perlbal);
    for round in 0..14_u64 {
        perlbal.kill();
        let leaves = usize::from(round % 2 == 0);
        nodes[leaves].announce("api leaving");
        nodes[1 - leaves].announce("api");
        wait_rounds(&nodes, 2);
        passes(Duration::from_millis(round * 137 % 700));
        perlbal.start();
        perlbal.wait_members_for(RETURN, "api", &addrs(&nodes[1 - leaves..2 - leaves]));
    }
}

#[test]
fn one_that_is_gone_for_long_is_right_within_a_second() {
    let stage = Stage::alone();
    let mut perlbal = Config::new().pool("api").start(&stage);
    let (nodes, pollbal) = site(&stage, None, &perlbal);
    perlbal.kill();
    nodes[0].announce("api leaving");
    let leaver = format!("-{}", nodes[0].name());
    wait_reported(&stage, "not reachable", "Connection refused", &[&leaver]);
    passes(Duration::from_secs(7));
    perlbal.start();
    perlbal.wait_members_for(RETURN, "api", &addrs(&nodes[1..]));
    // It was tried some 30 times; of these the first two may have had two causes.
    assert!(pollbal.log_with(&["cannot reach Perlbal"]).len() <= 2);
}

#[test]
fn one_that_stands_still_is_reported_with_its_cause_and_what_waits_and_is_right_when_it_goes_on() {
    let stage = Stage::alone();
    let mut perlbal = Config::new().pool("api").start(&stage);
    let (nodes, pollbal) = site(&stage, None, &perlbal);
    perlbal.pause();
    nodes[0].announce("api leaving");
    let leaver = format!("-{}", nodes[0].name());
    let cause = "accepts connections, no reply within 1s 500ms";
    wait_reported(&stage, "not answering", cause, &[&leaver]);
    // Attempts go on, and none of them takes the cause away.
    let since = Instant::now();
    eventually(SOON, "the attempts go on", || {
        assert_eq!(reported(&stage)["away"]["state"], "not answering");
        (since.elapsed() > Duration::from_secs(4)).then_some(())
    });
    let text = format!("({cause}); not applied since: {leaver}");
    for command in [&["status"][..], &["explain", nodes[0].name()]] {
        let said = said(&stage, command);
        assert!(said.contains("not answering for "), "{said}");
        assert!(said.contains(&text), "{said}");
    }
    let page = http::get(&stage, "/").ok().to_owned();
    assert!(page.contains(cause) && page.contains(&leaver), "{page}");
    pollbal.wait_log(&["error", "not answering for", &text]);

    nodes[1].announce("website");
    wait_rounds(&nodes, 2);
    perlbal.go_on();
    perlbal.wait_members_for(RETURN, "website", &addrs(&nodes[1..]));
    perlbal.wait_members("api", &addrs([]));
    eventually(SOON, "nothing is reported any more", || {
        reported(&stage)["away"].is_null().then_some(())
    });
}

#[test]
fn one_that_stands_still_while_nothing_changes_is_noticed() {
    let stage = Stage::new();
    let mut perlbal = Config::new().pool("api").start(&stage);
    let (_nodes, _pollbal) = site(&stage, None, &perlbal);
    perlbal.pause();
    // By the comparison alone it would take half a minute.
    wait_reported(&stage, "not answering", "accepts connections", &[]);
    perlbal.go_on();
    eventually(SOON, "it is connected again", || {
        (reported(&stage)["connected"] == true).then_some(())
    });
}

#[test]
fn one_whose_packets_are_lost_is_right_within_a_second_whatever_the_timeout() {
    let stage = Stage::alone();
    let mut perlbal = Config::new().pool("api").start(&stage);
    // A kernel repeats a lost packet after 1, 3, 7 and 15 seconds, or 1, 2, 3, 4, 5, 7 and 11 (newer ones): the first
    // attempt alone would find it at the last of these.
    let (nodes, _pollbal) = site_with(&stage, None, &perlbal, "30s");
    perlbal.kill();
    let hole = Hole::at(perlbal.management());
    nodes[0].announce("api leaving");
    let cause = "no answer to a connection attempt within 2s";
    let leaver = format!("-{}", nodes[0].name());
    wait_reported(&stage, "not reachable", cause, &[&leaver]);
    passes(Duration::from_secs(6));
    drop(hole);
    perlbal.start();
    perlbal.wait_members_for(RETURN, "api", &addrs(&nodes[1..]));
}

#[test]
fn one_behind_a_relay_that_takes_connections_and_loses_them_is_right_within_a_second() {
    let stage = Stage::alone();
    let perlbal = Config::new().pool("api").start(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let (nodes, _pollbal) = site(&stage, Some(relay.addr()), &perlbal);
    for round in 0..4_usize {
        relay.mute();
        nodes[round % 2].announce("api leaving");
        nodes[1 - round % 2].announce("api");
        eventually(SOON, "the cause is reported", || {
            (reported(&stage)["away"]["state"] == "not answering").then_some(())
        });
        passes(Duration::from_millis(200 * round as u64));
        relay.unmute();
        let back = Instant::now();
        let stays = 1 - round % 2;
        let left = RETURN.saturating_sub(clock::counted_since(back));
        perlbal.wait_members_for(left, "api", &addrs(&nodes[stays..=stays]));
    }
}

#[test]
fn one_that_closes_connections_is_reported_as_that() {
    let stage = Stage::alone();
    let perlbal = Config::new().pool("api").start(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let (nodes, _pollbal) = site(&stage, Some(relay.addr()), &perlbal);
    relay.close();
    nodes[0].announce("website");
    let moved = format!("{} (moved)", nodes[0].name());
    wait_reported(&stage, "closing connections", "the connection", &[&moved]);
    relay.open();
    perlbal.wait_members_for(RETURN, "website", &addrs(&nodes[..1]));
}

/// Something that is no Perlbal listens in its place.
#[track_caller]
fn in_its_place(says: &[u8], cause: &str) {
    let stage = Stage::alone();
    let mut perlbal = Config::new().pool("api").start(&stage);
    let (nodes, _pollbal) = site(&stage, None, &perlbal);
    perlbal.kill();
    nodes[0].announce("api leaving");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let listener = TcpListener::bind(perlbal.management()).expect("failed to listen");
        listener.set_nonblocking(true).expect("failed to set up");
        let end = Ends(&stop);
        scope.spawn(|| {
            let listener = listener;
            while !stop.load(Ordering::Relaxed) {
                if let Ok((stream, _)) = listener.accept() {
                    answer(stream, says);
                }
                thread::yield_now();
            }
        });
        let leaver = format!("-{}", nodes[0].name());
        wait_reported(&stage, "not a Perlbal", cause, &[&leaver]);
        drop(end);
    });
    perlbal.start();
    perlbal.wait_members_for(RETURN, "api", &addrs(&nodes[1..]));
}

/// Hears a line, answers, and hangs up.
fn answer(mut stream: TcpStream, says: &[u8]) {
    _ = stream.set_nonblocking(false);
    _ = stream.set_read_timeout(Some(SOON));
    _ = stream.read(&mut [0; 100]);
    _ = stream.write_all(says);
}

#[test]
fn a_web_server_in_its_place_is_no_perlbal() {
    in_its_place(
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        "it sent \"HTTP/1.1 400 Bad Request\"",
    );
}

#[test]
fn what_speaks_no_lines_in_its_place_is_no_perlbal() {
    in_its_place(
        b"\x15\x03\x01\x00\x02\x02\x46",
        "it sent \"\\u{15}\\u{3}\\u{1}",
    );
}

#[test]
fn an_endless_line_in_its_place_is_no_perlbal() {
    in_its_place(&vec![b'x'; 1 << 20], "it sent \"xxx");
}

#[test]
fn a_name_that_does_not_resolve_is_reported_as_that() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    // A label that is too long: the resolver knows without asking anybody.
    let name = "x".repeat(70);
    let config = json!({ "perlbal": format!("{name}:16000") });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    let cause = format!("the name {name} does not resolve");
    // Of a Perlbal that was never read it is not known what it has.
    wait_reported(&stage, "not reachable", &cause, &[]);
    assert_eq!(nodes.len(), 1);
}

#[test]
fn a_connection_that_comes_and_goes_does_not_flood_the_log() {
    let stage = Stage::new();
    let perlbal = Config::new().pool("api").start(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let (_nodes, pollbal) = site(&stage, Some(relay.addr()), &perlbal);
    for connection in 2..50 {
        relay.cut();
        eventually(SOON, "it is connected again", || {
            let again = relay.connections() >= connection && reported(&stage)["connected"] == true;
            again.then_some(())
        });
    }
    pollbal.wait_log(&["the connection to Perlbal comes and goes too often"]);
    let lines = pollbal.log_with(&["connect", "Perlbal"]).len();
    assert!(lines <= 32, "{lines}");
}
