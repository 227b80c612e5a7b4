//! Host names in the services file. Only `localhost`, which needs no name server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use serde_json::json;

use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;
use crate::common::{SOON, eventually};

/// A free address at which `localhost` is.
fn local_addr() -> SocketAddrV4 {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, free.local_addr().unwrap().port())
}

/// A node at `localhost`, and its line in the services file.
fn local_node() -> (Node, String) {
    let addr = local_addr();
    let node = Node::start(addr, "web", "website");
    (node, format!("localhost {} # web", addr.port()))
}

#[test]
fn a_host_name_is_resolved_and_its_node_polled_and_served() {
    let stage = Stage::new();
    let ((local, line), four) = (local_node(), stage.node(1, "website"));
    stage.write_services(&[four.services_line(), line.clone()]);
    let _pollbal = Pollbal::start(&stage, &json!({}));
    let has_both = |stage: &Stage| {
        let lines = stage.lines("website.pool").unwrap_or_default();
        // Where `localhost` is ::1 too, its name has the address appended.
        let resolved = format!("{} # web", local.addr());
        let is_local = |line: &String| line.starts_with(&resolved);
        (lines.contains(&four.pool_line()) && lines.iter().any(is_local)).then_some(())
    };
    eventually(SOON, "both", || has_both(&stage));

    // At a change of the file and at a reload too.
    stage.write_services(&[four.services_line()]);
    let one = Some(vec![four.pool_line()]);
    eventually(SOON, "one", || {
        (stage.lines("website.pool") == one).then_some(())
    });
    stage.write_services(&[line, four.services_line()]);
    eventually(SOON, "both again", || has_both(&stage));
}

#[test]
fn once_and_check_resolve_host_names_too() {
    let stage = Stage::new();
    let (local, line) = local_node();
    stage.write_services(&[line]);
    Pollbal::run(&stage, &json!({}), &["--once"]).assert_code(0);
    let lines = stage.lines("website.pool").unwrap();
    assert!(lines[0].starts_with(&local.addr().to_string()), "{lines:?}");
    let config = stage.write_config(&json!({}));
    let checked = pollbal(&["check", "--config", config.to_str().unwrap()]);
    let text = stdout(&checked);
    assert!(checked.status.success(), "{checked:?}");
    let resolved = text
        .lines()
        .find(|line| line.starts_with("host name localhost: "));
    assert!(resolved.unwrap().contains("127.0.0.1"), "{text}");
}

#[test]
fn an_address_that_two_lines_give_is_an_error_that_names_both() {
    let stage = Stage::new();
    fs::write(stage.services_file(), "localhost 80 # web\n127.0.0.1 80\n").unwrap();
    let config = stage.write_config(&json!({}));
    let checked = pollbal(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(78));
    let error = stderr(&checked);
    let expected =
        "line 1: has the address 127.0.0.1:80, which line 2 has too: \"localhost 80 # web\"";
    assert!(error.contains(expected), "{error}");
}
