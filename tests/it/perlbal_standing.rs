//! What a driver reports to those who wait: a snapshot counts as sent when Perlbal has taken it, and a removed node as
//! drained when no request is under way there any more, never sooner, whatever breaks in between.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::common::client::{Traffic, failures, get_later};
use crate::common::manager::{Driven, of};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::relay::Relay;
use crate::common::stage::Stage;
use crate::common::{SOON, clock, eventually, runtime};

/// A Perlbal whose service `web` uses the pool `api`, which nobody fills.
fn perlbal(stage: &Stage) -> Perlbal {
    Perlbal::with_service(stage, "web", "api")
}

/// A request that takes its time.
struct Slow {
    answer: JoinHandle<Result<String, String>>,
    /// Which of the nodes works on it.
    at: usize,
}

impl Slow {
    /// Sends it and waits until it has reached a node.
    fn start(perlbal: &Perlbal, nodes: &[Node], path: &'static str) -> Self {
        let answer = get_later(perlbal.service("web"), path);
        let there = |node: &Node| {
            let arrivals = node.arrivals();
            arrivals
                .iter()
                .any(|arrival| path.starts_with(&arrival.path))
        };
        let at = eventually(SOON, "the request arrives", || nodes.iter().position(there));
        Self { answer, at }
    }

    /// Watches that the node does not look drained while the request is under way, until looks have shown it at work;
    /// then that it is drained soon after its end.
    #[track_caller]
    fn keeps_from_rest(self, driven: &Driven, addr: SocketAddrV4, since: u64) {
        let busy = || {
            let leavers = driven.view().leavers;
            leavers
                .iter()
                .any(|leaver| leaver.node == of(addr) && leaver.busy)
        };
        eventually(SOON, "a look shows the node at work", || {
            let drained = driven.is_drained(addr, since);
            assert!(!drained, "drained with a request under way");
            let observed = driven.status().acked >= since && busy();
            assert!(!self.answer.is_finished(), "the request took too short");
            observed.then_some(())
        });
        let answer = runtime()
            .block_on(self.answer)
            .expect("the client panicked");
        assert!(answer.is_ok(), "{answer:?}");
        driven.wait_drained(addr, since);
        assert!(driven.view().leavers.is_empty());
    }
}

/// The addresses of all nodes but one.
fn others(nodes: &[Node], but: usize) -> Vec<SocketAddrV4> {
    let others = nodes.iter().enumerate().filter(|(at, _)| *at != but);
    others.map(|(_, node)| node.addr()).collect()
}

fn all(nodes: &[Node]) -> Vec<SocketAddrV4> {
    nodes.iter().map(Node::addr).collect()
}

/// Starts a driver for the Perlbal at this address, with all of these nodes in the pool `api`, and returns it with the
/// serial by which that was acknowledged.
fn drive(stage: &Stage, management: SocketAddrV4, nodes: &[Node]) -> (Driven, u64) {
    let mut driven = Driven::start(stage, management);
    let serial = driven.set_desired("api", &all(nodes), &[]);
    driven.wait_acked(serial);
    (driven, serial)
}

#[test]
fn a_removed_node_at_work_is_not_drained_before_its_request_has_ended() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let perlbal = perlbal(&stage);
    let (mut driven, _) = drive(&stage, perlbal.management(), &nodes);
    assert_eq!(
        perlbal.members("api"),
        Some(addrs(&nodes)),
        "what is acknowledged is true"
    );

    let slow = Slow::start(&perlbal, &nodes, "/long?wait=1500");
    let addr = nodes[slow.at].addr();
    let out = driven.set_desired("api", &others(&nodes, slow.at), &[addr]);
    slow.keeps_from_rest(&driven, addr, out);
}

#[test]
fn a_removed_node_without_a_request_is_drained_behind_its_seal() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["api", "api"]);
    let perlbal = perlbal(&stage);
    let (mut driven, _) = drive(&stage, perlbal.management(), &nodes);
    // Both have idle connections that would be used again.
    let traffic = Traffic::start(perlbal.service("web"), 4);
    for node in &nodes {
        traffic.wait_answers_of(node.name(), 5);
    }
    assert_eq!(failures(&traffic.finish()), [""; 0]);

    let since = Instant::now();
    let out = driven.set_desired("api", &others(&nodes, 0), &[nodes[0].addr()]);
    driven.wait_drained(nodes[0].addr(), out);
    let took = clock::counted_since(since);
    assert!(took < Duration::from_millis(40), "{took:?}");
}

#[test]
fn under_traffic_a_drained_node_can_be_stopped_and_no_client_notices() {
    const ROUNDS: usize = 30;
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["api", "api", "api"]);
    let perlbal = perlbal(&stage);
    let (mut driven, _) = drive(&stage, perlbal.management(), &nodes);
    let traffic = Traffic::start(perlbal.service("web"), 8);
    for round in 0..ROUNDS {
        let at = round % nodes.len();
        let (addr, others) = (nodes[at].addr(), others(&nodes, at));
        traffic.wait_answers_of(nodes[at].name(), 3);
        let before = Instant::now();
        let mut long = Vec::new();
        eventually(SOON, "a long request is there", || {
            long.push(get_later(perlbal.service("web"), "/long?wait=60"));
            let arrivals = nodes[at].arrivals_after(before);
            arrivals.into_iter().find(|one| one.path == "/long")
        });
        let out = driven.set_desired("api", &others, &[addr]);
        driven.wait_drained(addr, out);
        let since = Instant::now();
        nodes[at].die();
        traffic.wait_answers_after(since, 10);
        assert_eq!(nodes[at].arrivals_after(since).len(), 0, "round {round}");
        for answer in long {
            let answer = runtime().block_on(answer).expect("a client panicked");
            assert!(answer.is_ok(), "round {round}: {answer:?}");
        }
        nodes[at].revive();
        let back = driven.set_desired("api", &all(&nodes), &[]);
        driven.wait_acked(back);
    }
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

#[test]
fn a_node_of_a_pool_that_no_service_uses_is_drained_when_that_is_acknowledged_and_read() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "other"]);
    let perlbal = perlbal(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    let (api, other) = (nodes[0].addr(), nodes[1].addr());
    let reported = driven.set_desired_pools(&[("api", &[api]), ("other", &[other])], &[], None);
    driven.wait_acked(reported);
    let out = driven.set_desired_pools(&[("api", &[api]), ("other", &[])], &[other], None);
    driven.wait_drained(other, out);
}

#[test]
fn what_is_removed_while_the_connection_is_away_is_not_drained_when_it_is_back() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let perlbal = perlbal(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let (mut driven, reported) = drive(&stage, relay.addr(), &nodes);
    let slow = Slow::start(&perlbal, &nodes, "/long?wait=2500");
    let addr = nodes[slow.at].addr();

    relay.close();
    let lost = driven.wait("the loss is reported", |status| !status.connected);
    assert!(lost.acked == reported && !lost.in_sync, "{lost:?}");
    let out = driven.set_desired("api", &others(&nodes, slow.at), &[addr]);
    relay.open();
    slow.keeps_from_rest(&driven, addr, out);
}

#[test]
fn what_others_remove_while_the_connection_is_away_is_not_drained_when_it_is_back() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let perlbal = perlbal(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let (mut driven, _) = drive(&stage, relay.addr(), &nodes);
    let slow = Slow::start(&perlbal, &nodes, "/long?wait=2500");
    let addr = nodes[slow.at].addr();

    relay.close();
    driven.wait("the loss is reported", |status| !status.connected);
    let out = driven.set_desired("api", &others(&nodes, slow.at), &[addr]);
    perlbal.remove("api", addr);
    relay.open();
    slow.keeps_from_rest(&driven, addr, out);
}

#[test]
fn a_node_that_was_at_work_when_the_connection_was_lost_still_is_when_it_is_back() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let perlbal = perlbal(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let (mut driven, _) = drive(&stage, relay.addr(), &nodes);
    let slow = Slow::start(&perlbal, &nodes, "/long?wait=2500");
    let addr = nodes[slow.at].addr();
    let out = driven.set_desired("api", &others(&nodes, slow.at), &[addr]);
    driven.wait_acked(out);

    relay.cut();
    driven.wait("the loss is reported", |status| !status.connected);
    slow.keeps_from_rest(&driven, addr, out);
    // Not by the relay's: attempts to connect overlap where an answer is slow in coming.
    assert_eq!(driven.view().counters.connections, 2);
}

#[test]
fn a_node_that_left_before_pollbal_came_is_not_drained_before_its_request_has_ended() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let perlbal = Config::new()
        .pool_with("api", &all(&nodes))
        .service(&stage, "web", "api")
        .start(&stage);
    let slow = Slow::start(&perlbal, &nodes, "/long?wait=1500");
    let addr = nodes[slow.at].addr();
    perlbal.remove("api", addr);

    let mut driven = Driven::start(&stage, perlbal.management());
    // Read before it is known who is expected.
    driven.wait("it is connected", |status| status.connected);
    let out = driven.set_desired("api", &others(&nodes, slow.at), &[addr]);
    slow.keeps_from_rest(&driven, addr, out);
}

#[test]
fn a_new_perlbal_knows_nothing_of_old_requests_and_gets_everything_again() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let mut perlbal = perlbal(&stage);
    let (mut driven, _) = drive(&stage, perlbal.management(), &nodes);
    let slow = Slow::start(&perlbal, &nodes, "/long?wait=4000");
    let addr = nodes[slow.at].addr();
    let out = driven.set_desired("api", &others(&nodes, slow.at), &[addr]);
    driven.wait_acked(out);
    assert!(!driven.is_drained(addr, out));
    // Its start time, by which a new one is known, is in whole seconds.
    let started = perlbal.ask("UPTIME");
    eventually(SOON, "a second passes", || {
        let now = perlbal.ask("UPTIME");
        (now[1] != started[1]).then_some(())
    });

    perlbal.kill();
    driven.wait("the loss is reported", |status| !status.connected);
    perlbal.start();
    driven.wait_drained(addr, out);
    let there = addrs(nodes.iter().filter(|node| node.addr() != addr));
    assert_eq!(perlbal.members("api"), Some(there));
}

#[test]
fn a_snapshot_of_which_a_change_was_rejected_is_not_acknowledged() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "late"]);
    let perlbal = perlbal(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    let (api, late) = (nodes[0].addr(), nodes[1].addr());
    let reported = driven.set_desired("api", &[api], &[late]);
    driven.wait_acked(reported);
    // Pools and services share one namespace; pollbal has read Perlbal before this one came.
    perlbal.tell("CREATE SERVICE late");
    let refused = driven.set_desired_pools(&[("api", &[api]), ("late", &[late])], &[], None);
    let errors = || driven.view().counters.errors;
    eventually(SOON, "Perlbal refuses", || (errors() > 0).then_some(()));
    // Nor is one behind it that wants the same.
    driven.set_desired_pools(&[("api", &[api]), ("late", &[late])], &[], None);
    eventually(
        SOON,
        "it is acknowledged once it is known what can be",
        || {
            let status = driven.status();
            // Looked at behind the standing: what is known by now was known then, or has come since.
            let known = !driven.pool_view("late").problems.is_empty();
            assert!(status.acked < refused || known, "{status:?}");
            (status.acked > refused).then_some(())
        },
    );
    assert!(!driven.status().in_sync);
    let problems = driven.pool_view("late").problems;
    assert!(
        problems[0].contains("a service has this name"),
        "{problems:?}"
    );
}

#[test]
fn a_node_that_somebody_put_into_another_pool_unnoticed_does_not_look_drained() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let addrs = all(&nodes);
    let perlbal = Config::new()
        .pool("api")
        .pool("mine")
        .service(&stage, "web", "api")
        .service(&stage, "by_hand", "mine")
        .start(&stage);
    let mut driven = Driven::start(&stage, perlbal.management());
    let all_in = driven.set_desired("api", &addrs, &[]);
    driven.wait("the members are shown", |status| status.observed >= all_in);
    // No change of pollbal's makes it look there, and the next reading would be a minute away.
    perlbal.add("mine", addrs[0]);
    let out = driven.set_desired("api", &addrs[1..], &addrs[..1]);
    eventually(SOON, "what is there is read again", || {
        assert!(!driven.is_drained(addrs[0], out));
        (driven.status().observed >= out).then_some(())
    });
    let strays = driven.status().strays;
    let stray = strays.get(&of(addrs[0])).expect("it is noticed");
    assert_eq!((&*stray.pool, stray.is_managed()), ("mine", false));
    assert!(!driven.is_drained(addrs[0], out));
    perlbal.remove("mine", addrs[0]);
    // Whatever is sent next is read again likewise.
    driven.set_desired("api", &[], &addrs);
    driven.wait_drained(addrs[0], out);
}
