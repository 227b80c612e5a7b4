//! Nodes with IPv6 addresses: they are polled and served, named in commands, and leave; Perlbal goes on without them.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use crate::common::nodes::addrs;
use crate::common::perlbal::Config;
use crate::common::pollbal::Pollbal;
use crate::common::run::{pollbal, stdout};
use crate::common::stage::Stage;
use crate::common::wire::{HEADERS, dial, get, say};
use crate::common::{SOON, becomes, eventually};

/// A node at `[::1]` that announces `website`.
struct Node {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Node {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::default());
        let received = Arc::clone(&requests);
        // Ends with the test program; nothing waits for it.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that pollbal closes is none that fails here.
                _ = answer(&stream, &received);
            }
        });
        Self { addr, requests }
    }

    fn services_line(&self) -> String {
        format!("::1 {} # six", self.addr.port())
    }
}

/// Answers one request, and closes the connection.
fn answer(mut stream: &TcpStream, received: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = String::new();
    let mut reader = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    received.lock().unwrap().push(head);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nwebsite")
}

/// The output of a command that asks the running pollbal.
fn ask(stage: &Stage, arguments: &[&str]) -> String {
    let socket = stage.admin_socket();
    let socket = ["--socket", socket.to_str().unwrap()];
    stdout(&pollbal(
        &[&arguments[..1], &socket, &arguments[1..]].concat(),
    ))
}

#[test]
fn an_ipv6_node_is_polled_and_written_into_pool_files_in_the_services_format() {
    let stage = Stage::new();
    let (six, four) = (Node::start(), stage.node(1, "website"));
    stage.write_services(&[six.services_line(), four.services_line()]);
    let status_listen = stage.free_addr();
    let config = json!({
        "pool_file_format": "services",
        "status_listen": status_listen,
        "metrics_per_node": true,
    });
    let _pollbal = Pollbal::start(&stage, &config);
    let lines = vec![six.services_line(), four.services_line()];
    becomes(SOON, "both", &Some(lines), || stage.lines("website.pool"));
    let request = six.requests.lock().unwrap()[0].clone();
    let host = format!("\r\nHost: {}\r\n", six.addr);
    assert!(request.contains(&host), "{request}");
    let status = ask(&stage, &["status"]);
    assert!(status.contains("2 in pools"), "{status}");
    assert!(!status.contains("skipped"), "{status}");

    let page = get(dial(status_listen), &format!("/?node={}", six.addr));
    assert_eq!(page.status, 200);
    assert!(page.body.contains("six"), "{}", page.body);
    let metrics = get(dial(status_listen), "/metrics").body;
    let label = format!("node=\"{}\"", six.addr);
    assert!(metrics.contains(&label), "{label} in {metrics}");

    // It is named by its address in each form.
    let [addr, ip] = [six.addr.to_string(), "::1".to_owned()];
    for name in ["six", &addr, &ip] {
        let explained = ask(&stage, &["explain", name]);
        assert!(explained.contains("six"), "{name}: {explained}");
    }
    ask(&stage, &["disable", &addr, "--reason", "work", "--force"]);
    let one = vec![four.services_line()];
    becomes(SOON, "four", &Some(one), || stage.lines("website.pool"));
    let out = Some(vec![six.services_line()]);
    becomes(SOON, "six", &out, || stage.lines("disabled_services"));
    ask(&stage, &["enable", &ip, "--reason", "work"]);
    becomes(SOON, "both again", &Some(2), || {
        stage.lines("website.pool").map(|lines| lines.len())
    });
}

#[test]
fn an_ipv6_node_asks_for_leave_itself_and_other_addresses_are_rejected() {
    let stage = Stage::new();
    let (six, four) = (Node::start(), stage.node(1, "website"));
    stage.write_services(&[six.services_line(), four.services_line()]);
    let port = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let listener = port.local_addr().unwrap();
    drop(port);
    let config = json!({ "pool_file_format": "services", "node_listen": listener });
    let _pollbal = Pollbal::start(&stage, &config);
    becomes(SOON, "both", &Some(2), || {
        stage.lines("website.pool").map(|lines| lines.len())
    });
    let request = |method: &str| {
        let stream = TcpStream::connect(listener).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let head = format!("{method} /leave HTTP/1.1\r\n{HEADERS}connection: close\r\n\r\n");
        say(stream, &head)
    };
    let granted = request("POST");
    assert_eq!(granted.status, 200, "{granted:?}");
    let one = vec![four.services_line()];
    becomes(SOON, "four", &Some(one), || stage.lines("website.pool"));
    assert_eq!(request("DELETE").body, "stays\n");
    becomes(SOON, "both again", &Some(2), || {
        stage.lines("website.pool").map(|lines| lines.len())
    });

    // So does the command.
    let url = format!("http://{listener}");
    let left = pollbal(&["leave", "--from", "::1", &url]);
    assert!(left.status.success(), "{left:?}");
    assert_eq!(
        stage.lines("website.pool"),
        Some(vec![four.services_line()])
    );
    assert_eq!(request("DELETE").body, "stays\n");
    stage.write_services(&[four.services_line()]);
    // The list without it counts as soon as it is read.
    eventually(SOON, "it is no node", || {
        (request("POST").status == 403).then_some(())
    });
}

#[test]
fn perlbal_serves_the_ipv4_node_and_the_ipv6_one_is_reported() {
    let stage = Stage::new();
    let six = Node::start();
    let four = stage.node(1, "website");
    stage.write_services(&[six.services_line(), four.services_line()]);
    let perlbal = Config::new().pool("website").start(&stage);
    let status_listen = stage.free_addr();
    let config = json!({ "perlbal": perlbal.management(), "status_listen": status_listen });
    let daemon = Pollbal::start(&stage, &config);
    let served = addrs([&four]);
    perlbal.wait_members("website", &served);
    eventually(SOON, "it is ready", || {
        (get(dial(status_listen), "/readyz").status == 200).then_some(())
    });
    let skipped = format!(
        "cannot serve IPv6 nodes: {} in pool website skipped",
        six.addr
    );
    daemon.wait_log(&["Perlbal", &skipped]);
    eventually(SOON, "status says so", || {
        ask(&stage, &["status"]).contains(&skipped).then_some(())
    });
    assert_eq!(
        stage.lines("website.pool"),
        Some(vec![four.pool_line()]),
        "Perlbal could read it"
    );
    daemon.wait_log(&["pool files", &six.addr.to_string(), "pool_file_format"]);

    // Nothing waits for it.
    for order in ["disable", "enable"] {
        let socket = stage.admin_socket();
        let socket = socket.to_str().unwrap();
        let words = ["six", "--reason", "work", "--wait", "--socket", socket];
        let done = pollbal(&[&[order], &words[..]].concat());
        assert!(done.status.success(), "{done:?}");
    }
    assert_eq!(perlbal.members("website"), Some(served));
    assert_eq!(
        daemon.log_with(&[&skipped, "Perlbal"]).len(),
        1,
        "logged once"
    );
}

#[test]
fn once_ends_well_although_perlbal_skips_a_node() {
    let stage = Stage::new();
    let six = Node::start();
    let four = stage.node(1, "website");
    stage.write_services(&[six.services_line(), four.services_line()]);
    let perlbal = Config::new().start(&stage);
    let config = json!({ "perlbal": perlbal.management() });
    Pollbal::run(&stage, &config, &["--once"]).assert_code(0);
    assert_eq!(perlbal.members("website"), Some(addrs([&four])));
}
