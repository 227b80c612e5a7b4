//! The listeners: how they are opened, moved and closed, and who may connect.

mod reload;
mod socket;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::wire::{
    Listeners, dial, dial_from, dial_socket, get, get_kept, hear, say, try_dial, try_dial_socket,
};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Starts pollbal with all its listeners, and waits until they are open.
#[track_caller]
fn start(stage: &Stage, listeners: &Listeners, own: &Value) -> Pollbal {
    let pollbal = Pollbal::start(stage, &listeners.config(own));
    pollbal.wait_log(&["node listener listening on"]);
    pollbal
}

/// Makes this the configuration, and waits until it is active.
#[track_caller]
fn reload(stage: &Stage, pollbal: &Pollbal, config: &Value) {
    let mark = pollbal.mark();
    stage.write_config(config);
    pollbal.reload();
    pollbal.wait_log_after(mark, &["info", "reloaded"]);
}

/// That the start is refused with exit code 78 and a line that has these words.
#[track_caller]
fn assert_refused(stage: &Stage, config: &Value, words: &[&str]) {
    let ended = Pollbal::run(stage, config, &[]);
    ended.assert_code(78);
    let lines = ended.stderr.lines().filter(|line| line.contains("ERROR"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for word in words {
        assert!(lines[0].contains(word), "{word:?} in {:?}", lines[0]);
    }
}

/// Whether somebody answers at the admin socket.
fn lives(socket: &Path) -> bool {
    try_dial_socket(socket).is_ok_and(|stream| get(stream, "/nowhere").status == 404)
}

fn is_open(address: SocketAddrV4) -> bool {
    try_dial(LOCALHOST, address).is_ok()
}

#[test]
fn each_listener_answers_and_says_plainly_what_it_does_not_know() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let _nodes = stage.nodes(&["website"]);
    let _pollbal = start(&stage, &listeners, &json!({}));
    assert_eq!(client::get(listeners.status, "/healthz").unwrap(), "ok");

    let status = || dial(listeners.status);
    get(status(), "/nowhere").assert_refusal(404, "no such path: /nowhere");
    get(status(), "/v1/nowhere").assert_json_refusal(404, "no such path: /v1/nowhere");
    let post = "POST /healthz HTTP/1.1\r\nconnection: close\r\n\r\n";
    let answer = say(status(), post);
    answer.assert_refusal(405, "/healthz does not support POST, only GET,HEAD");
    assert!(answer.head.contains("allow: get,head"), "{}", answer.head);

    let admin = dial_socket(&listeners.admin);
    get(admin, "/nowhere").assert_json_refusal(404, "no such path: /nowhere");
    let node = dial_from(stage.ip(1), listeners.node);
    get(node, "/nowhere").assert_refusal(404, "no such path: /nowhere");

    let mut kept = status();
    for _ in 0..3 {
        assert_eq!(get_kept(&mut kept, "/healthz").body, "ok\n");
    }
}

#[test]
fn the_admin_socket_answers_all_that_the_status_listener_does() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    pollbal.wait_log(&["first round done"]);
    let ask = |path| get(dial_socket(&stage.admin_socket()), path);
    for (path, kind, words) in [
        ("/healthz", "text/plain", "ok\n"),
        ("/readyz", "text/plain", "ready\n"),
        ("/metrics", "text/plain", "pollbal_build_info"),
        ("/", "text/html", "website"),
        ("/?pool=website", "text/html", "node-1"),
        ("/v1/status?node=node-1", "application/json", "\"website\""),
    ] {
        let answer = ask(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let kind = format!("content-type: {kind}");
        assert!(answer.head.contains(&kind), "{path}: {}", answer.head);
        assert!(answer.body.contains(words), "{path}: {}", answer.body);
    }
    let mut stream = dial_socket(&stage.admin_socket());
    stream.write_all(b"GET /stream HTTP/1.1\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    let reported = lines.find(|line| line.as_ref().unwrap() == "event: changed");
    assert!(reported.is_some());
}

#[test]
fn answers_in_json_are_a_line_and_tell_the_start_alike() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    pollbal.wait_log(&["first round done"]);
    let ask = |path| {
        let answer = get(dial_socket(&stage.admin_socket()), path);
        let line = answer.body;
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{path}: {line:?}");
        line
    };
    for path in [
        "/v1/explain?node=node-1",
        "/v1/members?pool=website",
        "/v1/events",
        "/v1/wait?node=node-1&until=serving",
        "/v1/nowhere",
    ] {
        ask(path);
    }
    let mut starts: Vec<_> = (0..200)
        .map(|_| {
            let status: Value = serde_json::from_str(&ask("/v1/status")).unwrap();
            status["started"].to_string()
        })
        .collect();
    starts.dedup();
    assert_eq!(starts.len(), 1, "{starts:?}");
}

#[test]
fn a_single_round_and_a_dry_run_open_no_listener() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let _nodes = stage.nodes(&["website"]);
    // Not even one that could not be opened, beside a daemon that has them all.
    let _pollbal = start(
        &stage,
        &listeners,
        &json!({ "pool_directory": stage.path("other") }),
    );
    let config = listeners.config(&json!({}));
    for arguments in [&["--once"][..], &["--dry-run", "--once"]] {
        Pollbal::run(&stage, &config, arguments).assert_code(0);
    }
    let free = Listeners {
        admin: stage.path("free.sock"),
        ..Listeners::new(&stage)
    };
    let dry_run = Pollbal::start_with(&stage, &free.config(&json!({})), &["--dry-run"]);
    dry_run.wait_log(&["first round done"]);
    // Nor does a reload open one.
    let mark = dry_run.mark();
    dry_run.reload();
    dry_run.wait_log_after(mark, &["reloaded"]);
    assert!(!free.admin.exists() && !is_open(free.status) && !is_open(free.node));
    assert_eq!(dry_run.log_with(&["listener"]), [""; 0]);
}

#[test]
fn a_listener_that_cannot_be_opened_ends_the_start_before_anything_is_done() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let listeners = Listeners::new(&stage);
    let _taken = TcpListener::bind(listeners.status).unwrap();
    let hook = json!({ "pre_init_hook": ["touch", stage.path("touched")] });
    let at = listeners.status.to_string();
    assert_refused(
        &stage,
        &listeners.config(&hook),
        &[
            "failed to open status_listen",
            &at,
            "another program is listening there",
            "in use",
        ],
    );
    let elsewhere = json!({ "node_listen": "192.0.2.1:8099" });
    assert_refused(
        &stage,
        &elsewhere,
        &[
            "node_listen 192.0.2.1:8099",
            "an address of this machine",
            "Cannot assign",
        ],
    );
    let missing = stage.path("missing/admin.sock");
    assert_refused(
        &stage,
        &json!({ "admin_socket": missing }),
        &[
            "admin_socket",
            "missing is missing",
            "create it for the user",
        ],
    );
    assert!(
        !listeners.admin.exists(),
        "the listeners that were open are closed again"
    );
    assert!(!stage.path("missing").exists() && !stage.path("touched").exists());
    assert!(!stage.pool_directory().exists());
    assert_eq!(nodes[0].polls(), 0);
}

#[test]
fn the_node_listener_is_for_addresses_of_the_services_file() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    stage.list(&nodes[..1]);
    let listeners = Listeners::new(&stage);
    let pollbal = start(&stage, &listeners, &json!({}));
    let (own, foreign) = (stage.ip(1), stage.ip(2));
    // Before it says anything.
    let refused = hear(dial_from(foreign, listeners.node));
    refused.assert_refusal(403, &format!("{foreign} is not a listed node"));
    get(dial_from(foreign, listeners.node), "/nowhere").assert_refusal(403, "not a listed node");
    pollbal.wait_log(&["warn", "node listener", &foreign.to_string(), "listed node"]);
    assert_eq!(
        pollbal.log_with(&["warn", "node listener"]).len(),
        1,
        "not logged each time"
    );

    let counted = "pollbal_http_rejected_total{listener=\"node\",reason=\"unknown_source\"} 2\n";
    let metrics = get(dial(listeners.status), "/metrics").body;
    assert!(metrics.contains(counted), "{metrics}");

    let mut kept = dial_from(own, listeners.node);
    assert_eq!(get_kept(&mut kept, "/nowhere").status, 404);
    stage.list(&nodes[1..]);
    // When the other is in its place.
    pollbal.wait_log(&["1 node", "removed now"]);
    get_kept(&mut kept, "/nowhere").assert_refusal(403, &format!("{own} is not a listed node"));
    assert_eq!(kept.read(&mut [0]).unwrap(), 0, "nothing more is taken");
    assert_eq!(
        get(dial_from(foreign, listeners.node), "/nowhere").status,
        404
    );
    get(dial_from(own, listeners.node), "/nowhere").assert_refusal(403, "not a listed node");
}

#[test]
fn ipv4_addresses_are_known_at_a_listener_for_both() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    // As at [::], but at one address, so that it is in nobody's way.
    let at = stage.free_addr();
    let both = SocketAddr::from((at.ip().to_ipv6_mapped(), at.port()));
    let pollbal = Pollbal::start(&stage, &json!({ "node_listen": both }));
    pollbal.wait_log(&["node listener listening on [::ffff:"]);
    get(dial_from(stage.ip(1), at), "/nowhere").assert_refusal(404, "no such path: /nowhere");
    let foreign = stage.ip(2);
    let refused = get(dial_from(foreign, at), "/nowhere");
    refused.assert_refusal(403, &format!("{foreign} is not a listed node"));
}

#[test]
fn the_end_does_not_wait_for_connections() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let mut pollbal = start(&stage, &listeners, &json!({}));
    let mut idle = dial(listeners.status);
    assert_eq!(get_kept(&mut idle, "/healthz").status, 200);
    let mut slow = dial_socket(&listeners.admin);
    std::io::Write::write_all(&mut slow, b"POST /v1 HTTP/1.1\r\ncontent-length: 9\r\n\r\n")
        .unwrap();
    let begun = Instant::now();
    assert!(pollbal.terminate().success());
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert!(!listeners.admin.exists());
}
