//! Steady client traffic over kept-alive connections on both sides of Perlbal while members go and come: not one
//! request reaches a node later than 100 ms after it said that it leaves, and no client notices anything.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::client::{Traffic, failures, get_later};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, KEPT_ALIVE, Perlbal, USED_UP};
use crate::common::pollbal::Pollbal;
use crate::common::relay::Relay;
use crate::common::stage::Stage;
use crate::common::{SOON, clock, eventually, stays};

/// From a node's answer to the last request that may reach it.
const LIMIT: Duration = Duration::from_millis(100);

/// Busy and idle connections to every node at any moment.
const CLIENTS: usize = 12;

struct Site {
    traffic: Traffic,
    _pollbal: Pollbal,
    perlbal: Perlbal,
    nodes: Vec<Node>,
    _stage: Stage,
}

impl Site {
    /// Four nodes that serve `website` behind the service `web`, with traffic that reaches each of them.
    fn start(stage: Stage, pool: Config, options: &[(&str, &str)]) -> Self {
        let nodes = stage.nodes(&["website"; 4]);
        let mut all: Vec<(&str, &str)> = KEPT_ALIVE.to_vec();
        all.extend(options);
        let perlbal = pool
            .service_with(&stage, "web", "website", &all)
            .start(&stage);
        // A node that a busy machine keeps from answering must not count as failed.
        let config = json!({ "perlbal": perlbal.management(), "service_timeout": "5s" });
        let pollbal = Pollbal::start(&stage, &config);
        perlbal.wait_members("website", &addrs(&nodes));
        let traffic = Traffic::start(perlbal.service("web"), CLIENTS);
        for node in &nodes {
            traffic.wait_answers_of(node.name(), 10);
        }
        Self {
            traffic,
            _pollbal: pollbal,
            perlbal,
            nodes,
            _stage: stage,
        }
    }

    fn socket_only(stage: Stage, options: &[(&str, &str)]) -> Self {
        Self::start(stage, Config::new().pool("website"), options)
    }

    fn with_nodefile(stage: Stage, options: &[(&str, &str)]) -> Self {
        let pool = Config::new().nodefile_pool("website", &stage.pool_file("website"));
        Self::start(stage, pool, options)
    }

    /// Takes a busy node out by this line, waits for the answer that tells it, and proves that no later request arrives.
    #[track_caller]
    fn take_out(&self, node: &Node, line: &str) {
        self.traffic.wait_answers_of(node.name(), 10);
        let since = Instant::now();
        node.announce(line);
        let late = clock::after(node.wait_sent(line, since), LIMIT);
        self.no_request_after(node, late);
    }

    #[track_caller]
    fn no_request_after(&self, node: &Node, late: Instant) {
        self.traffic.wait_answers_after(late, 20 * CLIENTS);
        let arrivals = node.arrivals_after(late);
        let last = arrivals.last().map(|last| last.at.duration_since(late));
        let count = arrivals.len();
        assert_eq!(
            count,
            0,
            "{} got requests, the last {last:?} after the limit",
            node.name()
        );
    }

    /// Each node leaves and comes back, one after the other, as in a rolling release.
    fn roll(self) {
        for _ in 0..2 {
            for node in &self.nodes {
                self.take_out(node, "website leaving");
                node.announce("website");
            }
        }
        self.no_client_noticed();
    }

    fn no_client_noticed(self) {
        assert_eq!(failures(&self.traffic.finish()), [""; 0]);
    }
}

#[test]
fn a_leaving_node_gets_no_more_requests() {
    Site::socket_only(Stage::alone(), &[USED_UP]).roll();
}

#[test]
fn a_leaving_node_gets_no_more_requests_where_the_pool_follows_its_file() {
    Site::with_nodefile(Stage::alone(), &[USED_UP]).roll();
}

#[test]
fn a_leaving_node_gets_no_more_requests_where_backends_are_verified() {
    Site::socket_only(Stage::alone(), &[USED_UP, ("verify_backend", "on")]).roll();
}

#[test]
fn a_leaving_node_gets_no_more_requests_where_connections_are_made_ahead() {
    Site::with_nodefile(Stage::alone(), &[USED_UP, ("connect_ahead", "4")]).roll();
}

#[test]
fn a_node_that_moves_to_another_pool_gets_no_more_requests_of_the_first() {
    let site = Site::socket_only(Stage::alone(), &[]);
    site.take_out(&site.nodes[0], "api");
    site.perlbal.wait_members("api", &addrs(&site.nodes[..1]));
    site.no_client_noticed();
}

#[test]
fn a_node_that_fails_its_polls_gets_no_more_requests() {
    let site = Site::with_nodefile(Stage::alone(), &[]);
    let node = &site.nodes[0];
    let since = Instant::now();
    node.fail(500);
    let late = clock::after(node.wait_sent("500", since), LIMIT);
    site.no_request_after(node, late);
    site.no_client_noticed();
}

#[test]
fn all_members_but_one_leave_at_once_and_get_no_more_requests() {
    let site = Site::socket_only(Stage::alone(), &[]);
    let since = Instant::now();
    for node in &site.nodes[1..] {
        node.announce("website leaving");
    }
    for node in &site.nodes[1..] {
        let late = clock::after(node.wait_sent("website leaving", since), LIMIT);
        site.no_request_after(node, late);
    }
    site.no_client_noticed();
}

#[test]
fn every_service_on_the_pool_is_sealed() {
    let stage = Stage::alone();
    let options: Vec<(&str, &str)> = KEPT_ALIVE.into_iter().chain([USED_UP]).collect();
    let pool = Config::new()
        .pool("website")
        .service_with(&stage, "shop", "website", &options)
        .service_with(&stage, "blog", "website", &options);
    let site = Site::start(stage, pool, &[USED_UP]);
    let others = ["shop", "blog"].map(|name| {
        let service = site.perlbal.service(name);
        Traffic::start_paced(service, CLIENTS, Duration::from_millis(20))
    });
    let node = &site.nodes[0];
    for traffic in &others {
        traffic.wait_answers_of(node.name(), 10);
    }
    site.take_out(node, "website leaving");
    let left = Instant::now();
    for traffic in &others {
        traffic.wait_answers_after(left, 100);
    }
    assert_eq!(node.arrivals_after(left).len(), 0);
    for traffic in others {
        assert_eq!(failures(&traffic.finish()), [""; 0]);
    }
    site.no_client_noticed();
}

#[test]
fn a_member_that_others_removed_without_the_seal_gets_no_more_requests_once_pollbal_is_there() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website", "website leaving", "website"]);
    let members: Vec<_> = nodes.iter().map(Node::addr).collect();
    let perlbal = Config::new()
        .pool_with("website", &members)
        .service_with(&stage, "web", "website", &KEPT_ALIVE)
        .start(&stage);
    let traffic = Traffic::start(perlbal.service("web"), CLIENTS);
    traffic.wait_answers_of("node-2", 10);
    perlbal.remove("website", nodes[1].addr());
    traffic.wait_answers_of("node-2", 50);

    // The members are what they should be; only the connections tell that something is wrong.
    let ready = stage.path("ready");
    let config = json!({ "perlbal": perlbal.management(), "post_init_hook": ["touch", ready] });
    let _pollbal = Pollbal::start(&stage, &config);
    eventually(SOON, "pollbal is ready", || ready.exists().then_some(()));
    let late = clock::after(Instant::now(), LIMIT);
    traffic.wait_answers_after(late, 20 * CLIENTS);
    assert_eq!(nodes[1].arrivals_after(late).len(), 0);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

#[test]
fn a_request_in_flight_on_a_leaving_node_ends_normally_and_then_it_is_drained() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = Perlbal::with_service(&stage, "web", "website");
    let relay = Relay::before(&perlbal, &stage);
    let pollbal = Pollbal::start(&stage, &json!({ "perlbal": relay.addr() }));
    perlbal.wait_members("website", &addrs(&nodes));

    let answer = get_later(perlbal.service("web"), "/long?wait=3500");
    let on_the_way = |node: &&Node| node.arrivals().iter().any(|one| one.path == "/long");
    let node = eventually(SOON, "the request arrives", || {
        nodes.iter().find(on_the_way)
    });
    let addr = node.addr().to_string();
    node.announce("website leaving");
    let removal = format!("POOL website REMOVE {addr}");
    let removals = || relay.said().iter().filter(|line| **line == removal).count();
    // While it is busy it is sealed again each second, for a request may have come in between.
    eventually(SOON, "it is removed and sealed again", || {
        (removals() >= 3).then_some(())
    });
    assert!(
        !answer.is_finished(),
        "sealed again while the request was under way"
    );
    assert_eq!(pollbal.log_with(&[" drained ", &addr]), [""; 0]);

    let answer = crate::common::runtime()
        .block_on(answer)
        .expect("the client panicked");
    assert_eq!(answer.as_deref(), Ok(node.name()));
    pollbal.wait_log(&[" drained ", &addr]);
    // Then there is silence: for longer than a second nothing more is said of it.
    let (sealed, polls) = (removals(), node.polls() + 15);
    stays(SOON, "the removals", &sealed, removals, || {
        node.polls() >= polls
    });
    assert_eq!(
        pollbal.log_with(&[" drained ", &addr]).len(),
        1,
        "said once"
    );
}
