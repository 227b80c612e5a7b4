//! How nodes speak at the node listener: nudge and leave, each for itself alone.

use std::fs;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::common::client::{Traffic, failures, get_later};
use crate::common::http::{Asked, Reply, ask_from, get, post};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{Ends, SOON, becomes, clock, eventually, stays};

const CLIENTS: usize = 12;

/// From a nudge to Perlbal it takes some milliseconds; a busy machine is no reason to fail, a poll interval would be.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Number of polls of a node.
const A_WHILE: u64 = 5;

/// Connections that are used again and again, idle ones without end.
const KEPT_ALIVE: [(&str, &str); 3] = [
    ("persist_client", "on"),
    ("persist_backend", "on"),
    ("backend_persist_cache", "64"),
];

struct Site {
    listener: SocketAddrV4,
    pollbal: Pollbal,
    perlbal: Perlbal,
    nodes: Vec<Node>,
    config: Value,
    stage: Stage,
}

impl Site {
    /// Nodes that serve `website`, two of which it needs.
    fn start(stage: Stage, count: usize, keys: &Value) -> Self {
        let nodes = stage.nodes(&vec!["website serving v1"; count]);
        let pool = Config::new().pool("website");
        let perlbal = pool
            .service_with(&stage, "web", "website", &KEPT_ALIVE)
            .start(&stage);
        let listener = stage.free_addr();
        let mut config = json!({
            "perlbal": perlbal.management(),
            "pools": { "website": { "min_members": 2 } },
            "node_listen": listener,
            // A node that a busy machine keeps from answering must not count as failed.
            "service_timeout": "5s",
        });
        for (key, value) in keys.as_object().expect("keys are an object") {
            config[key] = value.clone();
        }
        let pollbal = Pollbal::start(&stage, &config);
        perlbal.wait_members("website", &addrs(&nodes));
        Self {
            listener,
            pollbal,
            perlbal,
            nodes,
            config,
            stage,
        }
    }

    fn ask(&self, node: &Node, method: &str, path: &str) -> Reply {
        ask_from(*node.addr().ip(), self.listener, method, path)
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

    #[track_caller]
    fn wait_members<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) {
        self.perlbal.wait_members("website", &addrs(nodes));
    }
}

#[test]
fn a_node_hears_why_it_is_not_gone_yet() {
    let site = Site::start(Stage::new(), 2, &json!({"pools": {"website": {}}}));
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
    let mut site = Site::start(
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
    let site = Site::start(Stage::new(), 3, &json!({}));
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
    let site = Site::start(Stage::new(), 4, &keys);
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
    let site = Site::start(Stage::new(), 3, &json!({}));
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
    let at_rest =
        || get(&stage, "/v1/explain?node=node-1").json()["load_balancers"][0]["drained"].clone();
    stays(SOON, "drained", &json!(false), at_rest, || {
        nodes[1].polls() >= enough
    });
    assert_eq!(leave("/leave").ok(), why);
    nodes[2].announce("api");
    assert_eq!(leave("/leave?wait=10s").ok(), "gone");
}

#[test]
fn a_held_answer_asks_for_no_leave_again_that_was_taken_back() {
    let site = Site::start(Stage::new(), 2, &json!({"pools": {"website": {}}}));
    let [node, other] = &site.nodes[..] else {
        panic!("two nodes");
    };
    let request = site.keep_busy_alone(node, other);
    assert_eq!(site.ask(node, "POST", "/leave").word(), "granted");
    let held = Asked::from(*node.addr().ip(), site.listener, "POST", "/leave?wait=60s");
    // Behind it in the listener's queue.
    assert_eq!(site.ask(node, "POST", "/nudge").ok(), "polled now");
    assert_eq!(site.ask(node, "DELETE", "/leave").ok(), "stays");
    assert_eq!(held.reply().ok(), "wait the leave has ended");
    site.wait_members([node, other]);
    drop(request);
}

#[test]
fn nobody_is_gone_before_pollbal_knows_its_nodes_again() {
    let mut site = Site::start(Stage::new(), 3, &json!({"service_timeout": "3s"}));
    site.leave(&site.nodes[0]);
    site.pollbal.kill();
    site.nodes[1].hang();
    site.pollbal = Pollbal::start(&site.stage, &site.config);
    site.pollbal.wait_log(&["connected to Perlbal"]);
    let reported = || {
        let explained = get(&site.stage, "/v1/explain?node=node-1").json();
        ["acked", "drained"].map(|key| explained["load_balancers"][0][key].clone())
    };
    let enough = site.nodes[2].polls() + A_WHILE;
    let no = [json!(false), json!(false)];
    stays(SOON, "reported, drained", &no, reported, || {
        site.nodes[2].polls() >= enough
    });
    assert_eq!(site.ask(&site.nodes[0], "POST", "/leave").word(), "granted");
    let answer = site.ask(&site.nodes[0], "POST", "/leave?wait=20s");
    assert_eq!(answer.ok(), "gone");
}

#[test]
fn a_leave_survives_a_restart_and_ends_with_its_time() {
    let mut site = Site::start(Stage::new(), 3, &json!({"leave_timeout": "3s"}));
    site.leave(&site.nodes[0]);
    site.pollbal.kill();
    site.pollbal = Pollbal::start(&site.stage, &site.config);
    site.pollbal.wait_log(&["first round done"]);
    assert_eq!(
        site.perlbal.members("website"),
        Some(addrs(&site.nodes[1..]))
    );
    site.pollbal.wait_log(&["node-1", "leave", "expired"]);
    site.wait_members(&site.nodes);
}

#[test]
fn a_nudge_under_load_brings_the_answer_to_perlbal_at_once() {
    let site = Site::start(Stage::alone(), 4, &json!({"poll_interval": "60s"}));
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
fn a_node_speaks_for_itself_alone() {
    let site = Site::start(Stage::new(), 3, &json!({}));
    let [one, two, _] = &site.nodes[..] else {
        panic!("three nodes");
    };
    for path in ["/leave", "/nudge"] {
        let path = format!("{path}?node={}", two.addr());
        let refused = site.ask(one, "POST", &path);
        assert_eq!(refused.status, 403, "{}", refused.body);
        assert!(refused.body.contains("only for itself"), "{}", refused.body);
    }
    let stranger = ask_from(site.stage.ip(200), site.listener, "POST", "/leave");
    assert_eq!(stranger.status, 403, "{}", stranger.body);
    assert_eq!(site.ask(one, "POST", "/leave?port=1").status, 404);
    // Seconds for one, milliseconds for another.
    for wait in ["soon", "2"] {
        let path = format!("/leave?wait={wait}");
        let refused = site.ask(one, "POST", &path);
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert!(refused.body.contains("such as 30s"), "{}", refused.body);
    }
    assert_eq!(
        site.ask(one, "GET", "/v1/status").status,
        404,
        "nothing else is here"
    );
    let polls = one.polls() + A_WHILE;
    let observed = || site.perlbal.members("website");
    let members = Some(addrs(&site.nodes));
    stays(SOON, "the members", &members, observed, || {
        one.polls() >= polls
    });
    let own = format!("/leave?node={}&port={}", one.name(), one.addr().port());
    assert_eq!(site.ask(one, "POST", &own).status, 200);
}

#[test]
fn a_node_may_call_itself_by_a_name_that_others_have_too() {
    let stage = Stage::new();
    let listener = stage.free_addr();
    let nodes = [stage.node(1, "website"), stage.node(2, "website")];
    let beside = SocketAddrV4::new(stage.ip(2), stage.free_addr().port());
    let twin = |addr: SocketAddrV4| format!("{} {} # twin", addr.ip(), addr.port());
    stage.write_services(&[nodes[0].addr(), nodes[1].addr(), beside].map(twin));
    let pollbal = Pollbal::start(
        &stage,
        &json!({ "node_listen": listener, "poll_interval": "1h" }),
    );
    pollbal.wait_log(&["first round done"]);
    let ask = |host, path| ask_from(stage.ip(host), listener, "POST", path);
    let polls = nodes[1].polls();
    let one = nodes[0].polls() + 1;
    assert_eq!(ask(1, "/nudge?node=twin").ok(), "polled now");
    eventually(SOON, "the node is polled", || {
        (nodes[0].polls() == one).then_some(())
    });
    assert_eq!(ask(1, "/leave?node=twin").status, 200);
    let several = ask(2, "/nudge?node=twin");
    assert_eq!(several.status, 404, "{}", several.body);
    assert!(
        several.body.contains(&beside.to_string()),
        "{}",
        several.body
    );
    assert_eq!(nodes[1].polls(), polls, "nobody else is polled");
}

#[test]
fn a_leave_is_reported_only_when_the_state_file_holds_it() {
    let stage = Stage::new();
    let (listener, state_file) = (stage.free_addr(), stage.path("state.json"));
    let nodes = stage.nodes(&["website"; 2]);
    let config = json!({ "node_listen": listener, "state_file": state_file });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    let node = nodes[0].addr();
    let ask = |method| ask_from(*node.ip(), listener, method, "/leave");
    for _ in 0..20 {
        assert_ne!(ask("POST").word(), "wait");
        let text = fs::read_to_string(&state_file).unwrap();
        let kept: Value = serde_json::from_str(&text).unwrap();
        let granted = &kept["orders"]["granted"][node.to_string()];
        assert!(granted.is_object(), "{text}");
        assert_eq!(ask("DELETE").ok(), "stays");
    }
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

#[test]
fn of_several_nodes_at_one_address_the_port_tells_which_leaves() {
    let stage = Stage::new();
    let listener = stage.free_addr();
    let first = stage.node(1, "website");
    let second = SocketAddrV4::new(stage.ip(1), stage.free_addr().port());
    // Another one serves, so that the pool can do without it.
    let other = stage.node(2, "website");
    let lines = [
        first.services_line(),
        format!("{second} # beside-it"),
        other.services_line(),
    ];
    stage.write_services(&lines);
    let pollbal = Pollbal::start(&stage, &json!({"node_listen": listener}));
    // A pool that was never written would have no file when its last member is gone.
    pollbal.wait_log(&["wrote website.pool"]);
    let ask = |path: &str| ask_from(stage.ip(1), listener, "POST", path);
    let which = ask("/leave");
    assert_eq!(which.status, 400);
    assert!(
        which.body.contains("select one with ?port="),
        "{}",
        which.body
    );
    assert_eq!(ask("/nudge").status, 200, "both are asked");
    let port = first.addr().port();
    assert_eq!(ask(&format!("/leave?port={port}&wait=5s")).status, 200);
    let left = Some(vec![other.pool_line()]);
    becomes(SOON, "the pool file", &left, || stage.lines("website.pool"));
}
