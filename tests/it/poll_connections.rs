//! The connections of polls: a kept one that says nothing of new ones, one that the node is tired of, and one to
//! itself.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use serde_json::{Value, json};

use crate::common::http::get;
use crate::common::pollbal::Pollbal;
use crate::common::raw_node::{Answer, RawNode};
use crate::common::small_node::Small;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays};

/// What `poll_reconnect` is by default.
const RECONNECT: usize = 10;

fn quick() -> Value {
    json!({ "poll_interval": "50ms", "service_timeout": "2s" })
}

fn start(stage: &Stage, answer: fn() -> Answer) -> Vec<RawNode> {
    let node = |number| {
        RawNode::start(
            stage.node_addr(number),
            &format!("node-{number}-"),
            answer(),
        )
    };
    // More than `poll_reconnect`, so that each is at another place between two new connections.
    let nodes: Vec<_> = (1..=12).map(node).collect();
    list(stage, &nodes);
    nodes
}

fn list(stage: &Stage, nodes: &[RawNode]) {
    let lines: Vec<_> = nodes.iter().map(RawNode::services_line).collect();
    stage.write_services(&lines);
}

fn pool(nodes: &[RawNode]) -> Vec<String> {
    nodes.iter().map(RawNode::pool_line).collect()
}

fn wait_pool(stage: &Stage, name: &str, nodes: &[RawNode]) {
    let file = format!("{name}.pool");
    becomes(SOON, &file, &Some(pool(nodes)), || stage.lines(&file));
}

#[test]
fn one_poll_in_ten_is_asked_on_a_new_connection_that_takes_the_place_of_the_kept_one() {
    let stage = Stage::new();
    let nodes = start(&stage, || Answer::body("website"));
    let pollbal = Pollbal::start(&stage, &quick());
    for node in &nodes {
        node.wait_polls(61);
    }
    for node in &nodes {
        let (connections, polls) = (node.connections(), node.polls() as u64);
        // The first two, and one in ten.
        let required = polls / 10 + 1..=polls / 10 + 3;
        assert!(
            required.contains(&connections),
            "{connections} for {polls} polls"
        );
    }
    assert_eq!(pollbal.log_with(&["failed"]), Vec::<String>::new());
    wait_pool(&stage, "website", &nodes);
}

#[test]
fn whether_a_node_takes_a_second_connection_is_known_from_the_second_poll_on() {
    let stage = Stage::new();
    let nodes = start(&stage, || Answer::body("website"));
    let _pollbal = Pollbal::start(&stage, &json!({ "poll_interval": "3s" }));
    for node in &nodes {
        node.wait_polls(2);
        assert_eq!(node.connections(), 2);
    }
}

#[test]
fn with_poll_reconnect_0_a_connection_is_kept_as_long_as_it_stands_and_with_1_never() {
    for (reconnect, kept) in [(0, true), (1, false)] {
        let stage = Stage::new();
        let nodes = start(&stage, || Answer::body("website"));
        let mut config = quick();
        config["poll_reconnect"] = json!(reconnect);
        let _pollbal = Pollbal::start(&stage, &config);
        for node in &nodes {
            node.wait_polls(25);
            let requests = node.requests();
            let closes = |request: &&String| request.contains("\r\nConnection: close\r\n");
            if kept {
                assert_eq!(node.connections(), 1);
            } else {
                assert!(node.connections() >= 25);
                assert_eq!(requests.iter().filter(closes).count(), requests.len());
            }
        }
    }
}

#[test]
fn nodes_that_take_no_new_connections_are_out_within_ten_polls_and_back_when_they_do() {
    let stage = Stage::new();
    let mut nodes = start(&stage, || Answer::body("website"));
    let pollbal = Pollbal::start(&stage, &quick());
    wait_pool(&stage, "website", &nodes);
    for node in &nodes {
        node.wait_polls(3);
    }
    nodes.iter().for_each(RawNode::stop_listening);
    let before: Vec<_> = nodes.iter().map(RawNode::polls).collect();
    wait_pool(&stage, "website", &[]);
    for (node, before) in nodes.iter().zip(before) {
        // The first of them may have been on its way over a connection that was new just before.
        let answered = node.polls() - before;
        assert!(
            answered <= RECONNECT,
            "{} answered {answered} more polls",
            node.name()
        );
        let reported = pollbal.wait_log(&[node.name(), "failed:"]);
        assert!(
            reported.contains("takes no new connections: Connection refused"),
            "{reported}"
        );
    }
    // The connection that is kept does not bring them back, nor is the reason another one later.
    pollbal.wait_log(&["wrote website.pool: 0 members"]);
    let mark = pollbal.mark();
    let polled = |path: &str| get(&stage, path).json()["failures"].as_u64();
    stays(
        SOON,
        "out",
        &Some(vec![]),
        || stage.lines("website.pool"),
        || polled("/v1/explain?node=node-1-") >= Some(30),
    );
    assert_eq!(pollbal.log().split_off(mark), Vec::<String>::new());

    let again = |node: RawNode| {
        let (addr, name) = (node.addr(), node.name().to_owned());
        drop(node);
        RawNode::start(addr, &name, Answer::body("website"))
    };
    nodes = nodes.into_iter().map(again).collect();
    wait_pool(&stage, "website", &nodes);
}

#[test]
fn another_process_that_took_over_the_address_is_heard_within_ten_polls() {
    let stage = Stage::new();
    let old = start(&stage, || Answer::body("old"));
    let _pollbal = Pollbal::start(&stage, &quick());
    wait_pool(&stage, "old", &old);
    for node in &old {
        node.wait_polls(3);
        node.stop_listening();
    }
    let before: Vec<_> = old.iter().map(RawNode::polls).collect();
    let take_over = |node: &RawNode| RawNode::start(node.addr(), node.name(), Answer::body("new"));
    let new: Vec<_> = old.iter().map(take_over).collect();
    wait_pool(&stage, "new", &new);
    for (node, before) in old.iter().zip(before) {
        let answered = node.polls() - before;
        assert!(
            answered < RECONNECT,
            "{} answered {answered} more polls",
            node.name()
        );
    }
    // Nobody is asked by the old connection any more.
    let polls: Vec<_> = old.iter().map(RawNode::polls).collect();
    for node in &new {
        node.wait_polls(2 * RECONNECT);
    }
    assert_eq!(old.iter().map(RawNode::polls).collect::<Vec<_>>(), polls);
}

#[test]
fn a_node_that_is_out_of_descriptors_is_out_of_its_pool_until_it_has_some() {
    // It keeps idle connections, or closes them: both, when that is the one descriptor that it lacks.
    for idle in [0.0, 0.5] {
        let stage = Stage::new();
        let node = Small::start(&stage, idle);
        stage.write_services(&[node.line().to_owned()]);
        let pollbal = Pollbal::start(&stage, &json!({ "service_timeout": "200ms" }));
        let members = || stage.lines("website.pool").map(|members| members.len());
        becomes(SOON, "a member", &Some(1), members);
        let answered = || Some(()).filter(|()| node.answers() >= 5);
        eventually(SOON, "it has answered often", answered);
        let before = node.answers();
        node.fill(true);
        becomes(SOON, "no member", &Some(0), members);
        let answered = node.answers() - before;
        assert!(answered < RECONNECT, "it answered {answered} more polls");
        let reported = pollbal.wait_log(&["small", "failed:", "new connection"]);
        let expected = "no complete response within service_timeout (200ms) on a new connection";
        assert!(reported.contains(expected), "{reported}");
        // Not even when the kept connection, or the first of two new ones, gives it a descriptor.
        let failures = || get(&stage, "/v1/explain?node=small").json()["failures"].as_u64();
        let enough = || failures() >= Some(30);
        stays(3 * SOON, "out", &Some(0), members, enough);
        node.fill(false);
        becomes(SOON, "a member again", &Some(1), members);
    }
}

#[test]
fn a_node_that_serves_one_connection_at_a_time_is_not_out_for_good() {
    let stage = Stage::new();
    let node = RawNode::start(stage.node_addr(1), "single", Answer::OneAtATime("website"));
    stage.write_services(&[node.services_line()]);
    let config = json!({ "poll_interval": "50ms", "service_timeout": "100ms" });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["single", "failed:", "on a new connection"]);
    pollbal.wait_log(&["polled with a connection each time from now on"]);
    let mark = pollbal.mark();
    wait_pool(&stage, "website", std::slice::from_ref(&node));
    let polls = node.polls() + 5 * RECONNECT;
    let required = Some(pool(std::slice::from_ref(&node)));
    let look = || stage.lines("website.pool");
    stays(SOON, "a member", &required, look, || node.polls() >= polls);
    let left = pollbal.log().split_off(mark);
    assert!(
        !left.iter().any(|line| line.contains("failed:")),
        "{left:?}"
    );
}

#[test]
fn a_node_that_is_tired_of_waiting_just_when_it_is_asked_is_asked_once_more() {
    const HEAD: &str = "HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n";
    let stage = Stage::new();
    let tired = [
        "HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\n<html>too slow</html>\n",
        "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 408 Request Timeout\r\nContent-Length: 99\r\n\r\nbroken off",
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 9\r\n\r\n",
        HEAD,
    ];
    let nodes: Vec<_> = (1..)
        .zip(tired)
        .map(|(number, bytes)| {
            let answer = Answer::TiredAtSecond(bytes, "website");
            RawNode::start(stage.node_addr(number), &format!("tired-{number}"), answer)
        })
        .collect();
    list(&stage, &nodes);
    let pollbal = Pollbal::start(&stage, &quick());
    for node in &nodes {
        node.wait_polls(40);
    }
    assert_eq!(pollbal.log_with(&["failed:"]), Vec::<String>::new());
    wait_pool(&stage, "website", &nodes);
}

#[test]
fn an_answer_that_is_none_of_tiredness_counts_at_once() {
    let stage = Stage::new();
    let answers = [
        (
            "HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "HTTP 500",
        ),
        ("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", "HTTP 400"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nweb",
            "closed before the response was complete",
        ),
    ];
    let nodes: Vec<_> = (1..)
        .zip(answers)
        .map(|(number, (bytes, _))| {
            let answer = Answer::TiredAtSecond(bytes, "website");
            RawNode::start(stage.node_addr(number), &format!("bad-{number}-"), answer)
        })
        .collect();
    list(&stage, &nodes);
    let pollbal = Pollbal::start(&stage, &quick());
    for (node, (_, words)) in nodes.iter().zip(answers) {
        pollbal.wait_log(&[node.name(), "failed:", words]);
    }
}

/// The range of local ports.
fn local_ports() -> (u16, u16) {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let mut range = range.split_whitespace().map(|port| port.parse().unwrap());
    (range.next().unwrap(), range.next().unwrap())
}

#[test]
fn a_dead_node_whose_port_is_a_local_one_is_refused_when_it_is_connected_to_itself() {
    let stage = Stage::new();
    let (first, last) = local_ports();
    // The system gives connections even ports first. Only this address is its own source.
    let dead = (first..=last).rev().filter(|port| port % 2 == 0);
    let dead = dead.map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let dead: Vec<_> = dead
        .filter(|addr| TcpListener::bind(addr).is_ok())
        .take(200)
        .collect();
    let lines: Vec<_> = dead
        .iter()
        .map(|addr| format!("{} {}", addr.ip(), addr.port()))
        .collect();
    stage.write_services(&lines);
    let pollbal = Pollbal::start(&stage, &json!({ "poll_interval": "10ms" }));
    let reported = eventually(6 * SOON, "one is connected to itself", || {
        let reported = pollbal.log_with(&["connected to itself"]);
        reported.into_iter().next()
    });
    assert!(
        reported.contains("cannot connect: nobody listens there"),
        "{reported}"
    );
    assert!(reported.contains("ip_local_reserved_ports"), "{reported}");
    assert_eq!(pollbal.log_with(&["not HTTP"]), Vec::<String>::new());
}
