//! The sorry server: in the pool while, and only while, no node is; no client notices how it comes and goes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Requests, Traffic, assert_answered_within, failures};
use crate::common::nodes::{Node, addrs, wait_rounds};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, clock};

/// From a node's answer to what must hold then.
const LIMIT: Duration = Duration::from_millis(100);

const CLIENTS: usize = 12;

/// Two nodes, and a sorry server that no services file knows.
fn nodes_and_sorry(stage: &Stage, announcement: &str) -> (Vec<Node>, Node) {
    (stage.nodes(&[announcement; 2]), stage.node(9, ""))
}

fn config(perlbal: &Perlbal, sorry: &Node) -> Value {
    json!({
        "perlbal": perlbal.management(),
        "pools": { "website": { "sorry": [sorry.addr()] } },
        // A node that a busy machine keeps from answering must not count as failed.
        "service_timeout": "5s",
    })
}

/// As a pool file has it.
fn sorry_line(sorry: &Node) -> String {
    format!("{} # sorry server", sorry.addr())
}

#[track_caller]
fn wait_file(stage: &Stage, lines: &[String]) {
    becomes(SOON, "website.pool", &Some(lines.to_vec()), || {
        stage.lines("website.pool")
    });
}

/// How often the log said that the sorry server takes over, and that it goes.
fn reported(pollbal: &Pollbal) -> [usize; 2] {
    [
        &["warn", "no member"][..],
        &["info", "again", "sorry server"],
    ]
    .map(|words| pollbal.log_with(words).len())
}

/// Under steady traffic all nodes leave and come back, again and again.
#[track_caller]
fn on_and_off(stage: &Stage, pool: Config) {
    let (nodes, sorry) = nodes_and_sorry(stage, "website serving v1");
    let perlbal = pool
        .pool("website__v1")
        .service(stage, "web", "website")
        .start(stage);
    let pollbal = Pollbal::start(stage, &config(&perlbal, &sorry));
    perlbal.wait_members("website", &addrs(&nodes));
    let traffic = Traffic::start(perlbal.service("web"), CLIENTS);
    for node in &nodes {
        traffic.wait_answers_of(node.name(), 10);
    }
    for round in 1..=3 {
        let since = Instant::now();
        for node in &nodes {
            node.announce("website leaving v1");
        }
        for node in &nodes {
            let late = clock::after(node.wait_sent("website leaving v1", since), LIMIT);
            traffic.wait_answers_of("node-9", 5 * CLIENTS);
            assert_eq!(node.arrivals_after(late).len(), 0, "{}", node.name());
        }
        wait_file(stage, &[sorry_line(&sorry)]);
        assert_eq!(perlbal.members("website"), Some(addrs([&sorry])));
        assert_eq!(perlbal.members("website__v1"), Some(addrs([])));
        assert_eq!(stage.lines("website.v1.pool"), Some(vec![]));

        let since = Instant::now();
        nodes[0].announce("website serving v1");
        let late = clock::after(nodes[0].wait_sent("website serving v1", since), LIMIT);
        traffic.wait_answers_of("node-1", 5 * CLIENTS);
        assert_eq!(sorry.arrivals_after(late).len(), 0);
        wait_file(stage, &[nodes[0].pool_line()]);
        nodes[1].announce("website serving v1");
        wait_file(
            stage,
            &nodes.iter().map(Node::pool_line).collect::<Vec<_>>(),
        );
        assert_eq!(reported(&pollbal), [round, round]);
    }
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    assert_eq!(sorry.polls(), 0, "it is no node");
}

#[test]
fn no_client_notices_how_it_comes_and_goes_where_only_the_socket_fills_the_pool() {
    on_and_off(&Stage::alone(), Config::new().pool("website"));
}

#[test]
fn no_client_notices_how_it_comes_and_goes_where_the_pool_follows_its_file() {
    let stage = Stage::alone();
    let pool = Config::new().nodefile_pool("website", &stage.pool_file("website"));
    on_and_off(&stage, pool);
}

#[test]
fn requests_that_wait_are_served_when_a_reload_brings_a_sorry_server() {
    let stage = Stage::alone();
    let (nodes, sorry) = nodes_and_sorry(&stage, "website leaving");
    let perlbal = Perlbal::with_service(&stage, "web", "website");
    let with_sorry = config(&perlbal, &sorry);
    let mut without = with_sorry.clone();
    without["pools"] = json!({});
    let pollbal = Pollbal::start(&stage, &without);
    wait_rounds(&nodes, 2);
    let requests = Requests::send(perlbal.service("web"), 20);
    perlbal.wait_waiting("web", 20);
    stage.write_config(&with_sorry);
    pollbal.reload();
    pollbal.wait_log(&["pool website has no member", &sorry.addr().to_string()]);
    let on = Instant::now();
    let record = requests.finish();
    assert_answered_within(LIMIT, on, &record);
    assert!(
        record
            .iter()
            .all(|one| one.outcome.as_deref() == Ok("node-9"))
    );
    wait_file(&stage, &[sorry_line(&sorry)]);

    // Another, and none again.
    let other = stage.node(10, "");
    stage.write_config(&config(&perlbal, &other));
    pollbal.reload();
    wait_file(&stage, &[sorry_line(&other)]);
    perlbal.wait_members("website", &addrs([&other]));
    stage.write_config(&without);
    pollbal.reload();
    perlbal.wait_members("website", &addrs([]));
    wait_file(&stage, &[]);
    pollbal.wait_log(&["no sorry server any more"]);
}

#[test]
fn requests_that_wait_for_nodes_that_died_are_served_by_the_sorry_server() {
    let stage = Stage::alone();
    let (mut nodes, sorry) = nodes_and_sorry(&stage, "website");
    let perlbal = Perlbal::with_service(&stage, "web", "website");
    // Long enough for requests to wait before the deaths are noticed.
    let mut config = config(&perlbal, &sorry);
    config["poll_interval"] = json!("1s");
    let pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("website", &addrs(&nodes));
    wait_rounds(&nodes, 1);
    for node in &mut nodes {
        node.die();
    }
    let requests = Requests::send(perlbal.service("web"), 20);
    pollbal.wait_log(&["pool website has no member"]);
    let on = Instant::now();
    assert_answered_within(LIMIT, on, &requests.finish());
    nodes[1].revive();
    perlbal.wait_members("website", &addrs(&nodes[1..]));
}

#[test]
fn a_restart_takes_what_its_files_hold_for_what_it_is() {
    let stage = Stage::new();
    let (mut nodes, sorry) = nodes_and_sorry(&stage, "website leaving");
    let perlbal = Perlbal::with_service(&stage, "web", "website");
    let with_sorry = config(&perlbal, &sorry);
    let mut pollbal = Pollbal::start(&stage, &with_sorry);
    perlbal.wait_members("website", &addrs([&sorry]));
    wait_file(&stage, &[sorry_line(&sorry)]);
    pollbal.terminate();

    // The file names the sorry server alone, and a node that hangs holds up the first round.
    nodes[0].announce("website");
    nodes[1].hang();
    let mut pollbal = Pollbal::start(&stage, &with_sorry);
    nodes[0].wait_polls(3);
    assert_eq!(stage.lines("website.pool"), Some(vec![sorry_line(&sorry)]));
    // The hanging poll ends with its node's connections.
    nodes[1].die();
    wait_file(&stage, &[nodes[0].pool_line()]);
    perlbal.wait_members("website", &addrs(&nodes[..1]));
    pollbal.terminate();

    // The file names a node, which is not polled yet: the sorry server does not come meanwhile.
    nodes[1].revive();
    let mut pollbal = Pollbal::start(&stage, &with_sorry);
    nodes[0].wait_polls(3);
    assert_eq!(
        stage.lines("website.pool"),
        Some(vec![nodes[0].pool_line()])
    );
    nodes[0].announce("");
    nodes[1].die();
    wait_file(&stage, &[sorry_line(&sorry)]);
    perlbal.wait_members("website", &addrs([&sorry]));
    pollbal.terminate();

    // What is configured no more goes, also from a pool that no node announces any more.
    let mut without = with_sorry;
    without["pools"] = json!({ "website": {} });
    let _pollbal = Pollbal::start(&stage, &without);
    wait_file(&stage, &[]);
    perlbal.wait_members("website", &addrs([]));
}
