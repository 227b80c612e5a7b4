//! What a driver replies to queries: what is desired, sent and observed in a Perlbal, and what Perlbal counts.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pollbal::drivers::StatisticsError;
use pollbal::drivers::perlbal::protocol::Endpoint;
use pollbal::drivers::perlbal::statistics::Nodes;
use pollbal::drivers::perlbal::view::{Connection, PoolView};

use crate::common::client::{Traffic, failures, get, get_later};
use crate::common::hole::Hole;
use crate::common::manager::{Driven, of};
use crate::common::nodes::Node;
use crate::common::perlbal::{Config, Perlbal};
use crate::common::raw_node::{Answer, RawNode};
use crate::common::relay::Relay;
use crate::common::stage::Stage;
use crate::common::{SOON, eventually};

/// A Perlbal whose service `web` uses the pool `api`, which nobody fills.
fn perlbal(stage: &Stage) -> Perlbal {
    Perlbal::with_service(stage, "web", "api")
}

fn all(nodes: &[Node]) -> Vec<SocketAddrV4> {
    nodes.iter().map(Node::addr).collect()
}

fn endpoints(nodes: &[Node]) -> BTreeSet<Endpoint> {
    nodes
        .iter()
        .map(|node| Endpoint::Node(of(node.addr())))
        .collect()
}

/// Waits until the pool is observed as it is.
#[track_caller]
fn wait_observed(driven: &Driven, nodes: &[Node]) -> PoolView {
    eventually(SOON, "the pool is observed", || {
        let pool = driven.pool_view("api");
        let observed = pool.observed.is_some() && pool.observed_members() == endpoints(nodes);
        observed.then_some(pool)
    })
}

#[test]
fn desired_sent_and_observed_are_the_same_when_all_is_well() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api", "api"]);
    let perlbal = perlbal(&stage);
    let before = Instant::now();
    let mut driven = Driven::start(&stage, perlbal.management());
    let first = driven.set_desired("api", &all(&nodes[..2]), &all(&nodes[2..]));
    let pool = wait_observed(&driven, &nodes[..2]);
    assert_eq!(pool.sent_members(), endpoints(&nodes[..2]));
    let counts = (pool.desired.len(), pool.sent_count(), pool.observed_count());
    assert_eq!(counts, (2, Some(2), Some(2)));
    assert_eq!(pool.services, ["web".parse().unwrap()]);
    assert!(pool.problems.is_empty());
    assert!(pool.observed.is_some_and(|observed| observed.at > before));

    driven.wait("it is in sync", |status| status.in_sync);
    let view = driven.view();
    assert_eq!(view.address, perlbal.management().to_string());
    assert!(matches!(view.connection, Connection::Connected { since } if since > before));
    assert_eq!(view.version.as_deref(), Some("1.80"));
    assert!(view.start.is_some());
    assert_eq!(
        (view.desired, view.sent, view.in_sync),
        (Some(first), first, true)
    );
    assert!(view.in_sync_since > before);
    assert_eq!(view.counters.commands["add"], 2);
    assert_eq!((view.counters.connections, view.counters.errors), (1, 0));
}

#[test]
fn what_was_sent_and_not_read_back_yet_is_not_observed() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api", "api"]);
    let perlbal = perlbal(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    driven.set_desired("api", &all(&nodes[..2]), &all(&nodes[2..]));
    let earlier = wait_observed(&driven, &nodes[..2])
        .observed
        .map(|observed| observed.at);
    // One goes, and another comes.
    let serial = driven.set_desired("api", &all(&nodes[1..]), &all(&nodes[..1]));
    driven.wait_acked(serial);
    let pool = driven.pool_view("api");
    assert_eq!(pool.sent_members(), endpoints(&nodes[1..]));
    // The reading that shows it comes a moment later.
    if pool.observed.as_ref().map(|observed| observed.at) == earlier {
        assert_eq!(pool.observed_members(), endpoints(&nodes[..2]));
    }
    let later = wait_observed(&driven, &nodes[1..])
        .observed
        .map(|observed| observed.at);
    assert!(later > earlier);
}

#[test]
fn a_pool_that_cannot_be_made_is_reported_with_its_problem() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "api"]);
    let perlbal = perlbal(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    let pools: [(&str, &[_]); 2] = [("web", &all(&nodes[..1])), ("api", &all(&nodes[1..]))];
    let serial = driven.set_desired_pools(&pools, &[], None);
    driven.wait_acked(serial);
    let pool = driven.pool_view("web");
    assert_eq!((pool.desired.len(), pool.sent_count()), (1, None));
    assert!(pool.sent_members().is_empty() && pool.observed_members().is_empty());
    assert!(pool.problems[0].contains("rename the service"));
    assert!(driven.pool_view("api").problems.is_empty());
    assert!(!driven.view().in_sync);
}

#[test]
fn a_removed_node_at_work_is_reported() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    let perlbal = perlbal(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    let serial = driven.set_desired("api", &all(&nodes), &[]);
    driven.wait_acked(serial);
    let answer = get_later(perlbal.service("web"), "/long?wait=1000");
    eventually(SOON, "the request arrives", || nodes[0].arrivals().pop());
    let before = Instant::now();
    let out = driven.set_desired("api", &[], &all(&nodes));
    driven.wait_acked(out);
    let leaver = eventually(SOON, "a look shows it at work", || {
        assert!(!answer.is_finished(), "the request took too short");
        driven.view().leavers.pop().filter(|leaver| leaver.busy)
    });
    assert_eq!(
        (leaver.pool.as_str(), leaver.node),
        ("api", of(nodes[0].addr()))
    );
    assert!(leaver.since > before);
    let draining = driven.status().draining;
    let since = draining[&leaver.node].get(leaver.pool.as_str());
    assert_eq!(since, Some(&leaver.since));
    driven.wait_drained(nodes[0].addr(), out);
}

#[test]
fn without_a_connection_queries_are_answered_with_the_cause_and_what_is_desired() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let perlbal = perlbal(&stage);
    let relay = Relay::before(&perlbal, &stage);
    relay.close();
    let before = Instant::now();
    let mut driven = Driven::start(&stage, relay.addr());
    assert_eq!(driven.statistics(false), Err(StatisticsError::NotConnected));
    assert!(driven.view().pools.is_empty(), "nothing is desired yet");
    driven.set_desired("api", &all(&nodes), &[]);
    let pool = driven.pool_view("api");
    assert_eq!((pool.desired.len(), pool.sent_count()), (2, None));
    eventually(SOON, "the reason is reported", || {
        let Connection::NotConnected { since, why } = driven.view().connection else {
            panic!("there is a connection");
        };
        assert!(since > before);
        // Whether the relay's end came before our first command decides which.
        let whys = ["Perlbal closed the connection", "the connection broke"];
        whys.iter().any(|known| why.contains(known)).then_some(())
    });

    relay.open();
    wait_observed(&driven, &nodes);
    relay.close();
    driven.wait("the loss is reported", |status| !status.connected);
    // What was known is reported still, and the latest snapshot.
    let latest = driven.set_desired("api", &all(&nodes[..1]), &all(&nodes[1..]));
    let view = driven.view();
    assert_eq!((view.desired, view.sent), (Some(latest), latest - 1));
    assert_eq!(view.version.as_deref(), Some("1.80"));
    let pool = driven.pool_view("api");
    assert_eq!((pool.desired.len(), pool.sent_count()), (1, Some(2)));
    assert_eq!(pool.sent_members(), endpoints(&nodes));
    assert_eq!(driven.statistics(true), Err(StatisticsError::NotConnected));
    relay.open();
    wait_observed(&driven, &nodes[..1]);
    assert_eq!(driven.view().counters.connections, 2);
}

#[test]
fn the_time_that_perlbal_takes_to_be_updated_is_counted() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    let perlbal = perlbal(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    driven.wait("it is connected", |status| status.connected);
    let times = |driven: &Driven| {
        let counters = driven.view().counters;
        [counters.apply, counters.propagation]
    };
    let ago = Duration::from_millis(300);
    let answered = Instant::now().checked_sub(ago);
    let serial = driven.set_desired_pools(&[("api", &all(&nodes))], &[], answered);
    driven.wait_acked(serial);
    let [snapshot, answer] = times(&driven);
    assert_eq!((snapshot.count(), answer.count()), (1, 1));
    assert!(answer.sum() >= ago && snapshot.sum() < answer.sum());
    // Nothing to change, and nothing that a node said.
    let serial = driven.set_desired_pools(&[("api", &all(&nodes))], &[], Some(Instant::now()));
    driven.wait_acked(serial);
    let serial = driven.set_desired("api", &[], &all(&nodes));
    driven.wait_acked(serial);
    let [snapshot, answer] = times(&driven);
    assert_eq!((snapshot.count(), answer.count()), (2, 1));
}

#[test]
fn statistics_are_printed_as_they_are_read() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    let perlbal = Config::new()
        .pool_with("api", &all(&nodes))
        .service(&stage, "web", "api")
        .start(&stage);
    assert!(get(perlbal.service("web"), "/").is_ok());
    let addr = nodes[0].addr();
    let has = |command: &str, line: &str| {
        let lines = perlbal.ask(command);
        assert!(
            lines.iter().any(|one| one.starts_with(line)),
            "{command}: {lines:?}"
        );
    };
    has("QUEUES", "web-normal.count 0");
    has("QUEUES", "web-normal.age 0");
    has("STATES", "Perlbal::BackendHTTP bored 1");
    has("PROC", "reqs: 1 (");
    has(&format!("NODES {addr}"), &format!("{addr} requests 1"));
    has(
        &format!("NODES {addr}"),
        &format!("{addr} responsecodes 200 1"),
    );
    has("BACKENDS", &format!("{addr} 1"));
    for command in ["PENDING", "NOVERIFY", "NODES 127.0.0.1:1"] {
        assert!(perlbal.ask(command).is_empty(), "{command}");
    }
}

#[test]
fn statistics_of_a_perlbal_under_traffic() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api", "api"]);
    let perlbal = perlbal(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    let serial = driven.set_desired("api", &all(&nodes[..2]), &all(&nodes[2..]));
    driven.wait_acked(serial);
    let traffic = Traffic::start(perlbal.service("web"), 6);
    for node in &nodes[..2] {
        traffic.wait_answers_of(node.name(), 20);
    }
    let statistics = driven.statistics(true).unwrap();
    let record = traffic.finish();
    assert_eq!(failures(&record), [""; 0]);

    assert_eq!(statistics.version.as_deref(), Some("1.80"));
    assert!(statistics.start.is_some() && statistics.uptime < Some(SOON));
    let process = &statistics.process;
    assert!(process.pid.is_some() && process.user_time > Some(Duration::ZERO));
    let answered: usize = nodes.iter().map(|node| node.arrivals().len()).sum();
    let range = 40..=answered as u64;
    assert!(
        process
            .requests
            .is_some_and(|requests| range.contains(&requests))
    );
    let kinds: BTreeSet<_> = statistics.sockets.keys().map(|(kind, _)| kind).collect();
    assert!(kinds.contains(&"BackendHTTP".to_owned()), "{kinds:?}");
    assert!(statistics.queues.contains_key(&"web".parse().unwrap()));
    let Nodes::Known(per_node) = &statistics.nodes else {
        panic!("no statistics per node: {statistics:?}");
    };
    assert_eq!(per_node.len(), 2, "members only");
    for node in &nodes[..2] {
        let node = &per_node[&of(node.addr())];
        assert!(node.connections >= 1 && node.requests >= 20, "{node:?}");
        assert!(node.statuses[&200] >= 20 && node.last_response.is_some());
    }
}

#[test]
fn statistics_tell_what_waits_and_who_failed_verification() {
    let stage = Stage::new();
    let [full, closing] = [1, 2].map(|number| stage.node_addr(number));
    let _full = Hole::at(full);
    let once = b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    let _closing = RawNode::start(closing, "closing", Answer::Bytes(once));
    let verified = [("persist_backend", "on"), ("verify_backend", "on")];
    let perlbal = Config::new()
        .pool_with("full", &[full])
        .pool_with("closing", &[closing])
        .service_with(&stage, "to_full", "full", &verified)
        .service_with(&stage, "to_closing", "closing", &verified)
        .start(&stage);
    let driven = Driven::start(&stage, perlbal.management());
    driven.wait("it is connected", |status| status.connected);
    let waiting = get_later(perlbal.service("to_full"), "/");
    let failed = get_later(perlbal.service("to_closing"), "/");
    for command in ["PENDING", "NOVERIFY"] {
        eventually(SOON, command, || {
            (!perlbal.ask(command).is_empty()).then_some(())
        });
    }
    let statistics = driven.statistics(false).unwrap();
    let to_full = "to_full".parse().unwrap();
    assert_eq!(statistics.queues[&to_full].normal.count, 1);
    assert_eq!(statistics.queues[&to_full].high_priority.count, 0);
    assert_eq!(statistics.pending[&to_full].count, 1);
    let failures: Vec<_> = statistics.failed_verifications.keys().collect();
    assert_eq!(failures, [&of(closing)]);
    let connecting = ("BackendHTTP".to_owned(), "connecting".to_owned());
    assert!(statistics.sockets[&connecting] >= 1);
    for client in [waiting, failed] {
        client.abort();
    }
}

#[test]
fn statistics_are_read_again_after_a_while_and_given_to_all_meanwhile() {
    let stage = Stage::new();
    let perlbal = perlbal(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let driven = Driven::start(&stage, relay.addr());
    driven.wait("it is connected", |status| status.connected);
    let asked = || relay.said().iter().filter(|line| *line == "STATES").count();
    let first = driven.statistics(false).unwrap();
    assert!(Arc::ptr_eq(&first, &driven.statistics(false).unwrap()));
    assert_eq!((asked(), &first.nodes), (1, &Nodes::NotRequested));
    // What is asked for by node was not read.
    let per_node = driven.statistics(true).unwrap();
    assert!(matches!(per_node.nodes, Nodes::Known(_)));
    assert!(Arc::ptr_eq(&per_node, &driven.statistics(false).unwrap()));
    assert_eq!(asked(), 2);
    let later = eventually(SOON, "they are read again", || {
        let statistics = driven.statistics(false).ok()?;
        (!Arc::ptr_eq(&per_node, &statistics)).then_some(statistics)
    });
    assert!(later.at - per_node.at >= Duration::from_secs(5));
    assert_eq!(asked(), 3);
}
