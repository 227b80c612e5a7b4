//! Nodes that hang: how they are polled meanwhile, and afterwards.

use std::io::Read;
use std::net::{SocketAddrV4, TcpListener};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{pool_lines, services_lines};
use crate::common::http::{ask_from, get};
use crate::common::pollbal::Pollbal;
use crate::common::raw_node::{Answer, RawNode};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, overlay};

#[test]
fn a_node_that_hangs_is_not_flooded_with_connections_and_is_back_as_soon_as_it_answers() {
    let stage = Stage::new();
    let (wake, until) = watch::channel(false);
    let answer = Answer::HangUntil(until, "late", "website");
    let hanging = RawNode::start(stage.node_addr(1), "hanging", answer);
    let good = RawNode::start(stage.node_addr(2), "good", Answer::body("website"));
    stage.write_services(&services_lines([&hanging, &good]));
    let config = json!({ "poll_interval": "200ms", "service_timeout": "150ms" });
    let pollbal = Pollbal::start(&stage, &config);
    good.wait_polls(24);
    let connections = hanging.connections();
    // 3, and one each when 4, 8 and 16 polls were left without an answer.
    assert!((5..9).contains(&connections), "{connections}");
    wake.send_replace(true);
    becomes(SOON, "members", &Some(2), || {
        Some(stage.lines("website.pool")?.len())
    });
    assert_eq!(pollbal.log_with(&["joins late"]), Vec::<String>::new());
    let (connections, polls) = (hanging.connections(), hanging.polls());
    hanging.wait_polls(polls + 10);
    // But for an answer that the machine was late with.
    assert!(hanging.connections() <= connections + 2);
}

/// A node that hung until no new connection is made for the next polls, and the listener at which it may speak.
struct Hung {
    node: RawNode,
    wake: watch::Sender<bool>,
    listener: SocketAddrV4,
    pollbal: Pollbal,
    stage: Stage,
}

impl Hung {
    /// From then on these keys hold.
    fn start(keys: &Value) -> Self {
        let stage = Stage::new();
        let (wake, until) = watch::channel(false);
        let answer = Answer::DeadUntil(until, "website");
        let node = RawNode::start(stage.node_addr(1), "hung", answer);
        stage.write_services(&[node.services_line()]);
        let listener = stage.free_addr();
        let mut config = json!({
            "poll_interval": "50ms", "service_timeout": "40ms", "node_listen": listener,
        });
        let pollbal = Pollbal::start(&stage, &config);
        pollbal.wait_log(&["node listener listening on"]);
        // The next is made after 32.
        eventually(SOON, "the node hangs", || {
            let explained = get(&stage, "/v1/explain?node=hung").json();
            (explained["failures"].as_u64()? >= 17).then_some(())
        });
        overlay(&mut config, keys);
        let mark = pollbal.mark();
        stage.write_config(&config);
        pollbal.reload();
        pollbal.wait_log_after(mark, &["reloaded"]);
        Self {
            node,
            wake,
            listener,
            pollbal,
            stage,
        }
    }

    fn nudge(&self) {
        let reply = ask_from(*self.node.addr().ip(), self.listener, "POST", "/nudge");
        assert_eq!(reply.ok(), "polled now");
    }

    #[track_caller]
    fn wait_member(&self) {
        self.pollbal.wait_log(&["hung joins website"]);
    }
}

#[test]
fn a_node_that_hung_and_nudges_is_asked_on_a_new_connection() {
    let hung = Hung::start(&json!({ "poll_interval": "1h" }));
    let connections = hung.node.connections();
    hung.wake.send_replace(true);
    hung.nudge();
    hung.wait_member();
    assert_eq!(hung.node.connections(), connections + 1);
    let member = Some(pool_lines([&hung.node]));
    becomes(SOON, "the pool file", &member, || {
        hung.stage.lines("website.pool")
    });
}

#[test]
fn a_nudge_ends_a_poll_that_waits_for_what_the_node_owes() {
    // Its next polls open no connections, which would be counted too.
    let hung = Hung::start(&json!({ "service_timeout": "1h", "poll_reconnect": 0 }));
    let connections = hung.node.connections();
    hung.wake.send_replace(true);
    hung.nudge();
    hung.wait_member();
    assert_eq!(hung.node.connections(), connections + 1);
}

#[test]
fn the_poll_of_a_node_that_is_gone_from_the_services_file_ends_at_once() {
    let stage = Stage::new();
    let listener = TcpListener::bind(stage.node_addr(1)).unwrap();
    let good = RawNode::start(stage.node_addr(2), "good", Answer::body("website"));
    let hanging = format!(
        "{} {} # hanging",
        stage.node_addr(1).ip(),
        stage.node_addr(1).port()
    );
    stage.write_services(&[hanging, good.services_line()]);
    let _pollbal = Pollbal::start(&stage, &json!({ "service_timeout": "1h" }));
    let (mut poll, _) = listener.accept().unwrap();
    stage.write_services(&[good.services_line()]);
    poll.set_read_timeout(Some(SOON)).unwrap();
    let mut request = String::new();
    poll.read_to_string(&mut request).unwrap();
    assert!(request.starts_with("GET /pool"), "{request}");
}
