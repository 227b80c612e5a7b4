//! docs/haproxy.md: what is written about it is what `HAProxy` and pollbal need.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::book::{Book, section};
use super::four_nodes;
use super::sandbox::Sandbox;
use crate::common::haproxy::Haproxy;
use crate::common::nodes::addrs;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, client, eventually};

#[test]
fn both_configurations_work_as_they_are_written() {
    let stage = Stage::new();
    let nodes = four_nodes(&stage);
    let sandbox = Sandbox::new(&stage);
    sandbox.write("/etc/pollbal.services", &section("Quick start")[1]);
    let mut book = Book::of("Configure both");
    sandbox.write("/etc/haproxy/haproxy.cfg", &book.next("text"));
    sandbox.write_config(&book.next("json"));
    assert!(book.is_read());

    let services = [("rest", sandbox.rest), ("www", sandbox.www)];
    let haproxy = Haproxy::of_file(
        sandbox.path("/etc/haproxy/haproxy.cfg"),
        sandbox.path("/run/haproxy/admin.sock"),
        &services,
    );
    let config = sandbox.path("/etc/pollbal.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command.arg("--config").arg(&config);
    let pollbal = Pollbal::spawn(command, config);
    haproxy.wait_members("api", &addrs(&nodes[..2]));
    haproxy.wait_members("website", &addrs(&nodes[2..]));
    for (service, names) in services.into_iter().zip([&nodes[..2], &nodes[2..]]) {
        let answer = client::get(service.1, "/").expect("it is served");
        assert!(names.iter().any(|node| node.name() == answer), "{answer}");
    }
    pollbal.wait_log(&["connected to HAProxy"]);
    // The weight is pollbal's default.
    assert!(
        haproxy
            .servers("api")
            .values()
            .all(|server| server.weight == 100)
    );
}

/// The configuration with the lines that `lines` has for its sections; those of backends take the place of their slots.
fn with_lines(configuration: &str, lines: &str) -> String {
    let mut text = configuration.to_owned();
    for section in lines.split("\n\n") {
        let (heading, line) = section.trim_end().split_once('\n').expect("a line");
        let (from, to) = if heading.starts_with("backend") {
            let slots = "  server-template pb 1-50 127.0.0.1:1 disabled".to_owned();
            (slots, line.to_owned())
        } else {
            (format!("{heading}\n"), format!("{heading}\n{line}\n"))
        };
        assert!(text.contains(&from), "{from} is not in {text}");
        text = text.replace(&from, &to);
    }
    text
}

#[test]
fn another_process_begins_with_the_state_that_is_kept() {
    let stage = Stage::new();
    let nodes = four_nodes(&stage);
    let sandbox = Sandbox::new(&stage);
    sandbox.write("/etc/pollbal.services", &section("Quick start")[1]);
    let mut configuration = Book::of("Configure both").next("text");
    let mut book = Book::of("Restart and reload");
    configuration.text = with_lines(&configuration.text, &book.next("text").text);
    sandbox.write("/etc/haproxy/haproxy.cfg", &configuration);
    sandbox.write_config(&book.next("json"));
    assert!(book.is_read());
    let mut haproxy = Haproxy::of_file(
        sandbox.path("/etc/haproxy/haproxy.cfg"),
        sandbox.path("/run/haproxy/admin.sock"),
        &[("rest", sandbox.rest), ("www", sandbox.www)],
    );
    let config = sandbox.path("/etc/pollbal.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command.arg("--config").arg(&config);
    let pollbal = Pollbal::spawn(command, config);
    haproxy.wait_members("api", &addrs(&nodes[..2]));
    haproxy.wait_members("website", &addrs(&nodes[2..]));
    eventually(SOON, "the state is kept", || {
        let kept = sandbox.path("/run/pollbal/haproxy.state");
        let kept = fs::read_to_string(kept).ok()?;
        let ready = kept.lines().filter(|row| row.contains(" 2 4 100 100 "));
        (ready.count() == 4).then_some(())
    });
    pollbal.signal(Signal::STOP);
    haproxy.kill();
    haproxy.start();
    let members = |backend| haproxy.members(backend).len();
    assert_eq!([members("api"), members("website")], [2, 2]);
}
