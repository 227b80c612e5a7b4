//! Requests that a web page or a webhook was made to send: refused at the status listener by their `Host`, at the node
//! listener by what they lack. And answers that are held, of which a few addresses cannot take all places.

use std::io::Write;
use std::net::TcpStream;

use rustix::system::uname;
use serde_json::json;

use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::wire::{Answer, HEADERS, Listeners, dial, dial_from, get, hear_all, say};
use crate::common::{SOON, eventually};

/// Asks the status listener by this name.
fn ask_as(listeners: &Listeners, host: &str) -> Answer {
    let request = format!("GET /v1/status HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    say(dial(listeners.status), &request)
}

#[test]
fn the_status_listener_answers_for_no_name_but_its_own() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let _nodes = stage.nodes(&["website"]);
    let hosts = |hosts: &[&str]| listeners.config(&json!({ "status_hosts": hosts }));
    let pollbal = Pollbal::start(&stage, &hosts(&["Status.example.com"]));
    pollbal.wait_log(&["first round done"]);
    let machine = uname().nodename().to_string_lossy().into_owned();
    let port = listeners.status.port();
    for host in [
        &format!("127.0.0.1:{port}"),
        &format!("localhost:{port}"),
        "[::1]",
        &machine,
        "status.example.com",
    ] {
        let answer = ask_as(&listeners, host);
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
    }
    // An old health check, which names nobody.
    let mut nameless = dial(listeners.status);
    nameless
        .write_all(b"GET /healthz HTTP/1.0\r\n\r\n")
        .expect("asked");
    let received = hear_all(nameless).expect("an end");
    assert!(received.starts_with("HTTP/1.0 200 "), "{received}");

    for host in [
        "rebound.example",
        &format!("127.0.0.1.rebound.example:{port}"),
    ] {
        let answer = ask_as(&listeners, host);
        answer.assert_json_refusal(421, "status_hosts");
        assert!(!answer.body.contains("website"), "{answer:?}");
    }
    // Who asks so may not look at the answer: a scraper, say.
    pollbal.wait_log(&[
        "warn",
        "rejected a request from 127.",
        "rebound.example",
        "status_hosts",
    ]);
    let metrics = get(dial(listeners.status), "/metrics").body;
    let counted = "pollbal_http_rejected_total{listener=\"status\",reason=\"unknown_host\"} 2";
    assert!(metrics.contains(counted), "{metrics}");

    let mark = pollbal.mark();
    stage.write_config(&hosts(&["*"]));
    pollbal.reload();
    pollbal.wait_log_after(mark, &["info", "reloaded"]);
    assert_eq!(ask_as(&listeners, "rebound.example").status, 200);
}

#[test]
fn the_node_listener_obeys_no_web_page_and_no_webhook() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let nodes = stage.nodes(&["website", "website"]);
    let pollbal = Pollbal::start(&stage, &listeners.config(&json!({})));
    pollbal.wait_log(&["first round done"]);
    let ask = |method: &str, path: &str, headers: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
        );
        say(dial_from(*nodes[0].addr().ip(), listeners.node), &request)
    };
    // As a webhook sends it, and as a browser does for a form and for a script.
    let webhook = "host: lb1:8099\r\ncontent-type: application/json\r\n";
    let form = "host: lb1:8099\r\norigin: null\r\n";
    let script = format!("{HEADERS}origin: http://rebound.example\r\n");
    for (method, path) in [("POST", "/leave"), ("DELETE", "/leave"), ("POST", "/nudge")] {
        ask(method, path, webhook).assert_refusal(403, "the header Pollbal-Request is missing");
        ask(method, path, form).assert_refusal(403, "requests from web pages");
        ask(method, path, &script).assert_refusal(403, "requests from web pages");
    }
    // Who sends a webhook may not look at the answer.
    pollbal.wait_log(&[
        "warn",
        &format!("rejected a request from {}", nodes[0].addr().ip()),
        "the header pollbal-request is missing",
    ]);
    assert_eq!(pollbal.log_with(&["granted leave from"]), [""; 0]);
    assert_eq!(ask("POST", "/leave", HEADERS).status, 200);
    pollbal.wait_log(&["node-1 granted leave from"]);
}

/// Asks for a leave whose answer is held.
fn hold(listeners: &Listeners, node: &Node) -> TcpStream {
    let mut wire = dial_from(*node.addr().ip(), listeners.node);
    let request = format!("POST /leave?wait=60s HTTP/1.1\r\n{HEADERS}content-length: 0\r\n\r\n");
    wire.write_all(request.as_bytes()).expect("asked");
    wire
}

/// Whether nothing is said yet.
fn is_held(wire: &TcpStream) -> bool {
    wire.set_nonblocking(true).expect("a socket");
    wire.peek(&mut [0])
        .is_err_and(|why| why.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn one_address_holds_few_answers_and_is_answered_at_once_beyond() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let nodes = stage.nodes(&["website", "website"]);
    let config = json!({ "pools": { "website": { "min_members": 2 } } });
    let pollbal = Pollbal::start(&stage, &listeners.config(&config));
    pollbal.wait_log(&["first round done"]);
    // A listener of full size holds 16 answers for one address.
    let wires: Vec<_> = (0..17).map(|_| hold(&listeners, &nodes[0])).collect();
    let answered = || wires.iter().filter(|wire| !is_held(wire)).count();
    eventually(SOON, "one is answered at once", || {
        (answered() == 1).then_some(())
    });
    // Which of them does not matter to others.
    let other = hold(&listeners, &nodes[1]);
    let nudged = say(
        dial_from(*nodes[1].addr().ip(), listeners.node),
        &format!("POST /nudge HTTP/1.1\r\n{HEADERS}connection: close\r\n\r\n"),
    );
    assert_eq!(nudged.body, "polled now\n");
    assert!(is_held(&other));
    assert_eq!(answered(), 1);
}
