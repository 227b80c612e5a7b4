//! What Perlbal does when nobody drives it: the facts that `pollbal` is built on, and the proof that the tests'
//! traffic, nodes and relay show a wrong thing when there is one.

mod common;

use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use common::client::{Traffic, failures, get};
use common::nodes::{Node, addrs};
use common::perlbal::{Config, Perlbal};
use common::relay::Relay;
use common::stage::Stage;
use common::{SOON, clock, eventually};

/// Perlbal with `website`, in which all nodes are, and a service with kept-alive connections on it.
fn perlbal_with(stage: &Stage, nodes: &[Node]) -> Perlbal {
    let members: Vec<_> = nodes.iter().map(Node::addr).collect();
    Config::new()
        .pool_with("website", &members)
        .service(stage, "web", "website")
        .start(stage)
}

#[test]
fn every_member_answers_clients() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = perlbal_with(&stage, &nodes);
    perlbal.wait_members("website", &addrs(&nodes));

    let traffic = Traffic::start(perlbal.service("web"), 4);
    for node in &nodes {
        traffic.wait_answers_of(node.name(), 10);
    }
    let record = traffic.finish();
    assert_eq!(failures(&record), [""; 0]);
    let arrived: usize = nodes.iter().map(|node| node.arrivals().len()).sum();
    assert_eq!(arrived, record.len(), "each request reached one node");
}

#[test]
fn kept_alive_connections_are_used_for_many_requests() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let perlbal = perlbal_with(&stage, &nodes);
    let traffic = Traffic::start(perlbal.service("web"), 1);
    traffic.wait_answers(50);
    traffic.finish();
    let connects = perlbal.ask(&format!("NODES {}", nodes[0].addr()));
    let connects = connects.iter().find(|line| line.contains(" connects "));
    let connects: Option<usize> = connects.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    // Perlbal may open a second connection while the first is under way; one per request would be fifty.
    assert!(connects.is_some_and(|number| number <= 2), "{connects:?}");
}

#[test]
fn a_member_removed_without_the_seal_goes_on_getting_requests() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = perlbal_with(&stage, &nodes);
    let traffic = Traffic::start(perlbal.service("web"), 4);
    traffic.wait_answers_of("node-1", 10);

    perlbal.remove("website", nodes[0].addr());
    let removed = Instant::now();
    perlbal.wait_members("website", &addrs(&nodes[1..]));
    traffic.wait_answers_of("node-1", 100);
    assert!(nodes[0].arrivals_after(removed).len() >= 100);
}

#[test]
fn a_member_removed_and_sealed_gets_no_more_requests() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = perlbal_with(&stage, &nodes);
    let traffic = Traffic::start(perlbal.service("web"), 4);
    traffic.wait_answers_of("node-1", 10);

    let remove = format!("POOL website REMOVE {}", nodes[0].addr());
    perlbal.tell_together(&[&remove, "SET web pool = website"]);
    let late = clock::after(Instant::now(), Duration::from_millis(100));
    traffic.wait_answers_after(late, 100);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    assert_eq!(nodes[0].arrivals_after(late).len(), 0);
}

#[test]
fn a_pool_file_is_read_when_it_is_set() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let perlbal = Config::new()
        .nodefile_pool("website", &stage.pool_file("website"))
        .service(&stage, "web", "website")
        .start(&stage);
    perlbal.wait_members("website", &addrs(&[]));
    std::fs::write(stage.pool_file("website"), nodes[0].pool_line() + "\n").unwrap();
    let file = stage.pool_file("website");
    perlbal.tell(&format!("SET website nodefile = {}", file.display()));
    assert_eq!(perlbal.members("website"), Some(addrs(&nodes)));
    assert_eq!(get(perlbal.service("web"), "/"), Ok("node-1".to_owned()));
}

#[test]
fn an_empty_pool_never_looks_at_its_file_again() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let [empty, control] = ["empty", "control"].map(|pool| stage.pool_file(pool));
    std::fs::create_dir(stage.pool_directory()).unwrap();
    std::fs::write(&control, nodes[0].pool_line() + "\n").unwrap();
    let not_kept = [("persist_client", "on")];
    let perlbal = Config::new()
        .nodefile_pool("empty", &empty)
        .nodefile_pool("control", &control)
        .service_with(&stage, "first", "empty", &not_kept)
        .service_with(&stage, "second", "control", &not_kept)
        .start(&stage);
    let pace = Duration::from_millis(20);
    let _first = Traffic::start_paced(perlbal.service("first"), 4, pace);
    let _second = Traffic::start_paced(perlbal.service("second"), 1, pace);
    // Both files change; that the one has been read again proves that it was time for the other, too.
    let later = SystemTime::now() + Duration::from_secs(5);
    for file in [&empty, &control] {
        std::fs::write(file, nodes[1].pool_line() + "\n").unwrap();
        let file = std::fs::File::options().append(true).open(file).unwrap();
        file.set_modified(later).unwrap();
    }
    perlbal.wait_members("control", &addrs(&nodes[1..]));
    // A new client comes to the empty pool, and is not served either.
    let served = get(perlbal.service("first"), "/");
    assert!(served.is_err(), "{served:?}");
    assert_eq!(perlbal.members("empty"), Some(addrs([])));
}

#[test]
fn perlbal_comes_back_on_the_same_ports_and_has_forgotten_the_socket() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let mut perlbal = Config::new().pool("website").start(&stage);
    perlbal.add("website", nodes[0].addr());
    assert_eq!(perlbal.members("website"), Some(addrs(&nodes)));
    assert_eq!(perlbal.members("nowhere"), None);
    perlbal.kill();
    perlbal.start();
    assert_eq!(perlbal.members("website"), Some(addrs(&[])));
}

#[test]
fn a_dead_node_answers_nobody_until_it_is_revived() {
    let stage = Stage::new();
    let mut node = stage.node(1, "website");
    assert_eq!(get(node.addr(), "/pool"), Ok("website".to_owned()));
    node.announce("website leaving v1");
    assert_eq!(
        get(node.addr(), "/pool"),
        Ok("website leaving v1".to_owned())
    );
    node.die();
    assert!(get(node.addr(), "/pool").is_err());
    node.revive();
    assert_eq!(get(node.addr(), "/other"), Ok("node-1".to_owned()));
    assert_eq!(node.arrivals().len(), 1, "polls are not traffic");
}

#[test]
fn the_relay_breaks_an_answer_where_it_is_told_to() {
    use std::io::{Read, Write};
    let stage = Stage::new();
    let perlbal = Config::new().pool("website").start(&stage);
    let relay = Relay::start(stage.free_addr(), perlbal.management());
    relay.limit([7]);
    for expected in ["website", "website nodes 0\r\n"] {
        let mut stream = TcpStream::connect(relay.addr()).unwrap();
        stream.write_all(b"SHOW POOL\r\n").unwrap();
        let mut seen = vec![0; expected.len()];
        stream.read_exact(&mut seen).unwrap();
        assert_eq!(String::from_utf8_lossy(&seen), expected);
        if expected.len() == 7 {
            assert!(
                !matches!(stream.read(&mut seen), Ok(1..)),
                "more than the limit"
            );
        }
    }
    relay.close();
    eventually(SOON, "the relay refuses", || {
        let mut stream = TcpStream::connect(relay.addr()).ok()?;
        (!matches!(stream.read(&mut [0]), Ok(1..))).then_some(())
    });
}
