//! How nodes speak at the node listener: nudge and leave, each for itself alone.

mod restart;
mod speaker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::common::client::{Traffic, failures, get_later};
use crate::common::http::{Asked, Reply, ask_from, get, post};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::Config;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::website::Website;
use crate::common::{Ends, SOON, becomes, clock, eventually, stays};

const CLIENTS: usize = 12;

/// From a nudge to Perlbal it takes some milliseconds; a busy machine is no reason to fail, a poll interval would be.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Number of polls of a node.
const A_WHILE: u64 = 5;

impl Website {
    fn ask(&self, node: &Node, method: &str, path: &str) -> Reply {
        ask_from(*node.addr().ip(), self.node_listener, method, path)
    }

    /// A request of some seconds, under way at the node, which keeps it from being gone.
    fn keep_busy(&self, node: &Node) -> JoinHandle<Result<String, String>> {
        let request = get_later(self.perlbal.service("web"), "/?wait=3000");
        eventually(SOON, "the request", || {
            (!node.arrivals().is_empty()).then_some(())
        });
        request
    }

    /// The same, though there is another node, which serves only afterwards.
    fn keep_busy_alone(&self, node: &Node, other: &Node) -> JoinHandle<Result<String, String>> {
        other.announce("website leaving");
        self.wait_members([node]);
        let request = self.keep_busy(node);
        other.announce("website serving v1");
        self.wait_members([node, other]);
        request
    }

    /// Asks to leave until it is gone, and gives what was answered on the way.
    fn leave(&self, node: &Node) -> Vec<String> {
        let (mut answers, start) = (Vec::new(), Instant::now());
        while answers.last().is_none_or(|last| last != "gone") {
            assert!(clock::counted_since(start) < 6 * SOON, "{answers:?}");
            answers.push(self.ask(node, "POST", "/leave?wait=10s").ok().to_owned());
        }
        answers
    }

    /// Waits until pollbal has noticed that the node does not answer any more.
    #[track_caller]
    fn wait_away(&self, node: &Node) {
        let path = format!("/v1/explain?node={}", node.name());
        let failures = || get(&self.stage, &path).json()["failures"].as_u64();
        eventually(SOON, "the node fails", || {
            failures().filter(|failures| *failures > 0)
        });
    }
}

#[test]
fn a_node_hears_why_it_is_not_gone_yet() {
    let site = Website::start(Stage::new(), 2, &json!({"pools": {"website": {}}}));
    let [node, other] = &site.nodes[..] else {
        panic!("two nodes");
    };
    let request = site.keep_busy_alone(node, other);
    let why = format!(
        "granted still draining in {} after ",
        site.perlbal.management()
    );
    eventually(SOON, "the request under way is why", || {
        let answer = site.ask(node, "POST", "/leave");
        answer.ok().starts_with(&why).then_some(())
    });
    assert_eq!(site.leave(node).last().map(String::as_str), Some("gone"));
    drop(request);
}

#[test]
fn six_nodes_that_leave_at_once_go_one_by_one_and_no_client_notices() {
    let mut site = Website::start(
        Stage::alone(),
        6,
        &json!({"pools": {"website": {"min_members": 5}}}),
    );
    let traffic = Traffic::start(site.perlbal.service("web"), CLIENTS);
    for node in &site.nodes {
        traffic.wait_answers_of(node.name(), 10);
    }
    let mut nodes = std::mem::take(&mut site.nodes);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let members = site
                    .perlbal
                    .members("website")
                    .map_or(0, |members| members.len());
                assert!(members >= 5, "{members} members");
            }
        });
        let rolls: Vec<_> = nodes
            .iter_mut()
            .map(|node| {
                let (site, traffic) = (&site, &traffic);
                scope.spawn(move || {
                    site.leave(node);
                    let gone = Instant::now();
                    traffic.wait_answers(10 * CLIENTS);
                    assert_eq!(node.arrivals_after(gone).len(), 0, "{}", node.name());
                    // As a restart looks from outside.
                    node.die();
                    site.wait_away(node);
                    node.revive();
                    site.pollbal
                        .wait_log(&[node.name(), "the node has returned"]);
                })
            })
            .collect();
        for roll in rolls {
            roll.join().expect("a node's roll failed");
        }
    });
    site.nodes = nodes;
    site.wait_members(&site.nodes);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

#[test]
fn a_node_hears_why_it_has_to_wait_and_then_that_it_is_gone() {
    let site = Website::start(Stage::new(), 3, &json!({}));
    let [one, two, three] = &site.nodes[..] else {
        panic!("three nodes");
    };
    assert_eq!(site.leave(one).last().map(String::as_str), Some("gone"));
    site.wait_members([two, three]);
    let wait = site.ask(two, "POST", "/leave");
    assert_eq!(
        wait.ok(),
        "wait it would leave website with 1 of 2 members (min_members 2)"
    );
    assert_eq!(site.ask(one, "POST", "/leave").ok(), "gone");
    assert_eq!(site.ask(one, "DELETE", "/leave").ok(), "stays");
    assert_eq!(site.ask(one, "DELETE", "/leave").ok(), "had no leave");
    site.wait_members(&site.nodes);
}

#[test]
fn no_more_than_max_leaving_leave_at_a_time() {
    let keys = json!({"max_leaving": 2, "pools": {"website": {}}});
    let site = Website::start(Stage::new(), 4, &keys);
    for node in &site.nodes[..2] {
        site.leave(node);
    }
    assert_eq!(
        site.ask(&site.nodes[2], "POST", "/leave").ok(),
        "wait others of pool website are leaving already: node-1, node-2"
    );
    site.wait_members(&site.nodes[2..]);
}

#[test]
fn a_held_answer_comes_when_it_changes() {
    let site = Website::start(Stage::new(), 3, &json!({}));
    site.leave(&site.nodes[0]);
    thread::scope(|scope| {
        let waits = scope.spawn(|| site.ask(&site.nodes[1], "POST", "/leave?wait=60s"));
        // It holds, as long as the first is away.
        let polls = site.nodes[2].polls() + A_WHILE;
        let over = || site.nodes[2].polls() >= polls;
        stays(SOON, "the answer", &false, || waits.is_finished(), over);
        site.ask(&site.nodes[0], "DELETE", "/leave").ok();
        let answer = waits.join().expect("no answer");
        // On a slow machine it may be drained as soon as it is out.
        assert!(["granted", "gone"].contains(&answer.word()), "{answer:?}");
    });
}

#[test]
fn a_node_that_stands_in_as_a_sorry_server_is_not_gone() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website", "api"]);
    let perlbal = Config::new()
        .pool("website")
        .pool("api")
        .service(&stage, "web", "website")
        .service(&stage, "rest", "api")
        .start(&stage);
    let listener = stage.free_addr();
    let stands_in = nodes[0].addr().to_string();
    let pools = json!({ "website": {}, "api": { "sorry": [stands_in] } });
    let config = json!({
        "perlbal": perlbal.management(), "pools": pools, "node_listen": listener,
        "service_timeout": "5s",
    });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["warn", "a sorry server should not be a node"]);
    let leave = |path: &str| ask_from(*nodes[0].addr().ip(), listener, "POST", path);
    nodes[2].announce("api leaving");
    perlbal.wait_members("api", &addrs(&nodes[..1]));
    let why = "granted it serves as sorry server of pool api";
    assert_eq!(leave("/leave?wait=10s").ok(), why);
    perlbal.wait_members("website", &addrs(&nodes[1..2]));
    let enough = nodes[1].polls() + A_WHILE;
    let drained =
        || get(&stage, "/v1/explain?node=node-1").json()["load_balancers"][0]["drained"].clone();
    stays(SOON, "drained", &json!(false), drained, || {
        nodes[1].polls() >= enough
    });
    assert_eq!(leave("/leave").ok(), why);
    nodes[2].announce("api");
    assert_eq!(leave("/leave?wait=10s").ok(), "gone");
}

#[test]
fn a_held_answer_asks_for_no_leave_again_that_was_taken_back() {
    let site = Website::start(Stage::new(), 2, &json!({"pools": {"website": {}}}));
    let [node, other] = &site.nodes[..] else {
        panic!("two nodes");
    };
    let request = site.keep_busy_alone(node, other);
    assert_eq!(site.ask(node, "POST", "/leave").word(), "granted");
    let held = Asked::from(
        *node.addr().ip(),
        site.node_listener,
        "POST",
        "/leave?wait=60s",
    );
    // Behind it in the listener's queue.
    assert_eq!(site.ask(node, "POST", "/nudge").ok(), "polled now");
    assert_eq!(site.ask(node, "DELETE", "/leave").ok(), "stays");
    assert_eq!(held.reply().ok(), "wait the leave has ended");
    site.wait_members([node, other]);
    drop(request);
}

#[test]
fn a_nudge_under_load_brings_the_answer_to_perlbal_at_once() {
    let site = Website::start(Stage::alone(), 4, &json!({"poll_interval": "60s"}));
    let traffic = Traffic::start(site.perlbal.service("web"), CLIENTS);
    let mut times = Vec::new();
    for round in 0..20 {
        let node = &site.nodes[round % 4];
        traffic.wait_answers_of(node.name(), 1);
        let others: Vec<_> = site
            .nodes
            .iter()
            .filter(|other| other.name() != node.name())
            .collect();
        let all: Vec<_> = site.nodes.iter().collect();
        for (line, members) in [("website leaving", others), ("website serving v1", all)] {
            node.announce(line);
            let begin = Instant::now();
            site.ask(node, "POST", "/nudge").ok();
            site.wait_members(members);
            times.push(clock::counted_since(begin));
        }
    }
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    times.sort();
    assert!(times[times.len() / 2] < AT_ONCE, "{times:?}");
}

#[test]
fn a_pools_last_serving_member_waits_until_another_serves_or_an_operator_lets_it_go() {
    let stage = Stage::new();
    let listener = stage.free_addr();
    let nodes = stage.nodes(&["website", "website leaving"]);
    let pollbal = Pollbal::start(&stage, &json!({ "node_listen": listener }));
    pollbal.wait_log(&["wrote website.pool"]);
    let ask = |path: &str| ask_from(*nodes[0].addr().ip(), listener, "POST", path);
    let waits =
        "wait it would leave website with 0 of 1 members (min_members 0, requests would wait)";
    assert_eq!(ask("/leave").ok(), waits);
    // As soon as another serves, a request that is held is answered.
    thread::scope(|scope| {
        let held = scope.spawn(|| ask("/leave?wait=60s"));
        nodes[1].announce("website");
        assert_ne!(held.join().expect("it was answered").word(), "wait");
    });
    let stays = ask_from(*nodes[0].addr().ip(), listener, "DELETE", "/leave");
    assert_eq!(stays.ok(), "stays");
    nodes[1].announce("website leaving");
    let alone = Some(vec![nodes[0].pool_line()]);
    becomes(SOON, "its pool", &alone, || stage.lines("website.pool"));
    assert_eq!(ask("/leave").ok(), waits);
    let order = json!({ "nodes": ["node-1"], "reason": "move", "force": true });
    assert_eq!(post(&stage, "/v1/disable", &order).status, 200);
    assert_eq!(ask("/leave?wait=10s").ok(), "gone");
}
