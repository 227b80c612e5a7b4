//! Answers that no specification allows and that clients are served with all the same: whatever curl and Perlbal take,
//! pollbal takes. (The check of `HAProxy` 2.6 takes most of them too.)

use std::net::SocketAddrV4;
use std::process::Command;

use serde_json::json;

use crate::common::perlbal::Config;
use crate::common::pollbal::Pollbal;
use crate::common::raw_node::{Answer, RawNode};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

fn odd_answers() -> Vec<Vec<u8>> {
    const OPEN: &str = "HTTP/1.1 200 OK\r\n";
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n7\r\nwebsite\r\n0\r\n\r\n";
    let field = |field: &[u8]| {
        let end = b"\r\nContent-Length: 7\r\n\r\nwebsite";
        [OPEN.as_bytes(), field, end].concat()
    };
    let line = |line: &str| format!("{line}\r\nContent-Length: 7\r\n\r\nwebsite").into_bytes();
    let long = |bytes: usize| {
        (b'a'..)
            .take(bytes / 1_000)
            .map(|name| format!("X-{}: {}\r\n", name as char, "x".repeat(993)))
    };
    let long = |bytes| field(long(bytes).collect::<String>().trim_end().as_bytes());
    vec![
        field(b"X: a\r\n folded\r\n\tline"),
        field(b"X: a\r\n "),
        field(b"X: control \x01\x1b[2J\x7f"),
        field(b"X: not ASCII \xe9\xff"),
        field(b"X: a\rb"),
        field(b"X: a\r"),
        field(b"X\xe9: not ASCII"),
        field(format!("X: {}", "x".repeat(12_000)).as_bytes()),
        long(12_000),
        long(15_000),
        line("HTTP/1.1 200 O\x01K"),
        line("HTTP/1.1  200 OK"),
        line("HTTP/2.0 200 OK"),
        format!("HTTP/1.0 200 OK\r\n{CHUNKED}").into_bytes(),
        format!("{OPEN}Content-Length: 7\r\n{CHUNKED}").into_bytes(),
        format!("{OPEN}Transfer-Encoding: chunked\r\n\r\n7\nwebsite\n0\n\n").into_bytes(),
        format!("{OPEN}Transfer-Encoding: chunked\r\n\r\n7 x\r\nwebsite\r\n0\r\n\r\n").into_bytes(),
        b"HTTP/1.1 200 OK\nContent-Length: 7\n\nwebsite".to_vec(),
    ]
}

/// What curl makes of it.
fn by_curl(addr: SocketAddrV4) -> String {
    let curl = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--max-time",
            "10",
        ])
        .arg(format!("http://{addr}/pool"))
        .output()
        .expect("failed to start curl");
    assert!(curl.status.success(), "{curl:?}");
    String::from_utf8(curl.stdout).unwrap()
}

#[test]
fn answers_that_curl_and_perlbal_take_are_taken() {
    let stage = Stage::new();
    let nodes: Vec<_> = (1..)
        .zip(odd_answers())
        .map(|(number, bytes)| {
            let name = format!("odd-{number}-");
            RawNode::start(stage.node_addr(number), &name, Answer::Bytes(bytes))
        })
        .collect();
    let mut config = Config::new();
    for (number, node) in nodes.iter().enumerate() {
        let pool = format!("odd_{number}");
        config = config.pool_with(&pool, &[node.addr()]);
        config = config.service_with(&stage, &format!("service_{number}"), &pool, &[]);
    }
    let perlbal = config.start(&stage);
    for (number, node) in nodes.iter().enumerate() {
        assert_eq!(by_curl(node.addr()), "website", "{}", node.name());
        let service = perlbal.service(&format!("service_{number}"));
        assert_eq!(
            by_curl(service),
            "website",
            "{} behind Perlbal",
            node.name()
        );
    }
    let lines: Vec<_> = nodes.iter().map(RawNode::services_line).collect();
    stage.write_services(&lines);
    let pollbal = Pollbal::start(&stage, &json!({ "service_timeout": "4s" }));
    let members: Vec<_> = nodes.iter().map(RawNode::pool_line).collect();
    becomes(SOON, "members", &Some(members), || {
        stage.lines("website.pool")
    });
    let polls: Vec<_> = nodes.iter().map(RawNode::polls).collect();
    for (node, polls) in nodes.iter().zip(polls) {
        node.wait_polls(polls + 5);
    }
    assert_eq!(pollbal.log_with(&["failed:"]), Vec::<String>::new());
}
