//! What a poll requests, and of whom.

use std::process::Command;

use serde_json::json;

use super::services_lines;
use crate::common::pollbal::Pollbal;
use crate::common::raw_node::{Answer, RawNode};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

#[test]
fn redirects_are_not_followed_and_no_proxy_is_taken_from_the_environment() {
    let stage = Stage::new();
    let trap = RawNode::start(stage.node_addr(1), "trap", Answer::body("trapped"));
    let redirect = |to| {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: http://{to}/pool\r\n");
        Answer::BytesAndOpen(format!("{head}Content-Length: 7\r\n\r\nwebsite").into_bytes())
    };
    let to_trap = RawNode::start(stage.node_addr(2), "to-trap", redirect(trap.addr()));
    let loop_addr = stage.node_addr(3);
    let to_itself = RawNode::start(loop_addr, "to-itself", redirect(loop_addr));
    let good = RawNode::start(stage.node_addr(4), "good", Answer::body("website"));
    stage.write_services(&services_lines([&to_trap, &to_itself, &good]));
    let config = stage.write_config(&json!({ "poll_interval": "50ms" }));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command.arg("--config").arg(&config);
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(variable, format!("http://{}", trap.addr()));
    }
    let pollbal = Pollbal::spawn(command, config);
    for node in [&to_trap, &to_itself, &good] {
        node.wait_polls(10);
    }
    assert_eq!(stage.lines("website.pool"), Some(vec![good.pool_line()]));
    assert_eq!(pollbal.log_with(&["in no pool", "302"]).len(), 2);
    // One poll, one request: a loop would have made more.
    assert!(
        to_itself.polls() < 2 * good.polls(),
        "{}",
        to_itself.polls()
    );
    assert_eq!(trap.connections(), 0);
}

#[test]
fn the_poll_path_is_asked_for() {
    let stage = Stage::new();
    let node = RawNode::start(stage.node_addr(1), "node", Answer::body("website"));
    stage.write_services(&[node.services_line()]);
    let _pollbal = Pollbal::start(&stage, &json!({ "poll_path": "/which/pool?short=1" }));
    becomes(SOON, "a member", &Some(vec![node.pool_line()]), || {
        stage.lines("website.pool")
    });
    let requests = node.requests();
    assert!(
        requests[0].starts_with("GET /which/pool?short=1 HTTP/1.1\r\n"),
        "{requests:?}"
    );
}

#[test]
fn poll_headers_are_sent_to_all_nodes_and_a_pools_own_to_those_that_it_lists_from_the_first_poll_on()
 {
    let stage = Stage::new();
    let node = |number| RawNode::start(stage.node_addr(number), "node", Answer::body("website"));
    let nodes: Vec<_> = (1..=3).map(node).collect();
    stage.write_services(&services_lines(&nodes));
    let mut config = json!({
        "poll_headers": { "Host": "www.example.com", "X-Poll": "1" },
        "pools": {
            "website": {},
            "shop": { "nodes": [stage.ip(2)], "poll_headers": { "Host": "shop.example.com" } },
        },
    });
    let pollbal = Pollbal::start(&stage, &config);
    for node in &nodes {
        node.wait_polls(3);
    }
    let hosts = |node: &RawNode| -> Vec<String> {
        let requests = node.requests();
        let lines = requests.iter().flat_map(|request| request.lines());
        let hosts = lines.filter_map(|line| line.strip_prefix("Host: "));
        hosts.map(str::to_owned).collect()
    };
    for (node, host) in nodes.iter().zip(["www", "shop", "www"]) {
        let asked = hosts(node);
        assert!(
            asked
                .iter()
                .all(|asked| *asked == format!("{host}.example.com")),
            "{asked:?}"
        );
        assert_eq!(asked.len(), node.requests().len());
        let requests = node.requests();
        assert!(
            requests
                .iter()
                .all(|request| request.contains("\r\nX-Poll: 1\r\n")),
            "{requests:?}"
        );
    }
    config["poll_headers"] = json!({});
    stage.write_config(&config);
    pollbal.reload();
    let own = Some(nodes[0].addr().to_string());
    becomes(SOON, "the node's own address", &own, || {
        hosts(&nodes[0]).pop()
    });
    assert_eq!(hosts(&nodes[1]).pop().as_deref(), Some("shop.example.com"));
}
