//! docs/haproxy.md: what is written about it is what `HAProxy` and pollbal need.

use std::process::Command;

use super::book::{Book, section};
use super::four_nodes;
use super::sandbox::Sandbox;
use crate::common::client;
use crate::common::haproxy::Haproxy;
use crate::common::nodes::addrs;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;

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
