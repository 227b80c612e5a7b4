//! Requests that wait for a pool without members: they are served as soon as one comes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::client::{Requests, assert_answered_within};
use crate::common::nodes::{Node, addrs, wait_rounds};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;

/// From a node's answer to the last answer to a request that waited for it.
const LIMIT: Duration = Duration::from_millis(100);

/// A Perlbal whose pool only the socket fills, and one whose pool follows our file.
fn perlbals(stage: &Stage) -> [Perlbal; 2] {
    let pools = [
        Config::new().pool("website"),
        Config::new().nodefile_pool("website", &stage.pool_file("website")),
    ];
    pools.map(|pool| pool.service(stage, "web", "website").start(stage))
}

fn pollbal(stage: &Stage, perlbals: &[Perlbal]) -> Pollbal {
    let managements: Vec<_> = perlbals.iter().map(Perlbal::management).collect();
    // A node that a busy machine keeps from answering must not count as failed.
    let config = json!({ "perlbal": managements, "service_timeout": "5s" });
    Pollbal::start(stage, &config)
}

/// Requests to each of these Perlbals, which wait.
#[track_caller]
fn waiting(perlbals: &[Perlbal], count: usize) -> Vec<Requests> {
    let send = |perlbal: &Perlbal| Requests::send(perlbal.service("web"), count);
    let requests = perlbals.iter().map(send).collect();
    for perlbal in perlbals {
        perlbal.wait_waiting("web", count);
    }
    requests
}

/// The node says this, and with its answer all these requests are served.
#[track_caller]
fn served_when(node: &Node, says: &str, requests: Vec<Requests>) {
    let since = Instant::now();
    node.announce(says);
    let reported = node.wait_sent(says, since);
    for requests in requests {
        assert_answered_within(LIMIT, reported, &requests.finish());
    }
}

#[test]
fn a_request_that_waits_is_served_when_the_first_node_joins_and_when_the_last_one_comes_back() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website leaving", "website leaving"]);
    let perlbals = perlbals(&stage);
    let _pollbal = pollbal(&stage, &perlbals);
    wait_rounds(&nodes, 2);
    served_when(&nodes[0], "website", waiting(&perlbals, 1));
    for perlbal in &perlbals {
        perlbal.wait_members("website", &addrs(&nodes[..1]));
    }
    nodes[0].announce("website leaving");
    for perlbal in &perlbals {
        perlbal.wait_members("website", &addrs([]));
    }
    served_when(&nodes[1], "website", waiting(&perlbals, 20));
}

#[test]
fn requests_that_wait_are_served_when_pollbal_comes_and_fills_the_pool() {
    let stage = Stage::alone();
    // Enough changes that the second Perlbal has to read its file.
    let nodes = stage.nodes(&["website"; 40]);
    let perlbals = perlbals(&stage);
    let requests = waiting(&perlbals, 20);
    let _pollbal = pollbal(&stage, &perlbals);
    for (perlbal, requests) in perlbals.iter().zip(requests) {
        perlbal.wait_members("website", &addrs(&nodes));
        assert_answered_within(LIMIT, Instant::now(), &requests.finish());
    }
}

#[test]
fn each_service_is_set_going_and_keeps_its_connect_ahead() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website leaving"]);
    let perlbal = Config::new()
        .pool("website")
        .service_with(&stage, "web", "website", &[("connect_ahead", "3")])
        .service_with(&stage, "shop", "website", &[])
        .start(&stage);
    let _pollbal = pollbal(&stage, std::slice::from_ref(&perlbal));
    wait_rounds(&nodes, 2);
    let requests = ["web", "shop"].map(|name| Requests::send(perlbal.service(name), 5));
    perlbal.wait_waiting("web", 5);
    perlbal.wait_waiting("shop", 5);
    served_when(&nodes[0], "website", requests.into());
    let ahead = |line: &&String| line.contains("connect_ahead");
    let dump = perlbal.ask("DUMPCONFIG");
    let ahead: Vec<_> = dump.iter().filter(ahead).collect();
    assert_eq!(ahead, ["  SET connect_ahead = 3"]);
}
