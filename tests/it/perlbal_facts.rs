//! What Perlbal does when nobody drives it: the facts that `pollbal` is built on, and the proof that the tests'
//! traffic, nodes and relay show a wrong thing when there is one.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use crate::common::client::{Requests, Traffic, assert_answered_within, failures, get, get_later};
use crate::common::hole::{Hole, close};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::raw_node::{Answer, RawNode};
use crate::common::relay::Relay;
use crate::common::stage::Stage;
use crate::common::{SOON, clock, eventually, stays};

/// Far more than what is done at once takes, and less than the second after which Perlbal tries a dead node again.
const AT_ONCE: Duration = Duration::from_millis(400);

/// What sets requests going that wait for the pool of the service `web`, whose `connect_ahead` is Perlbal's default.
const WAKE: &str = "SET web connect_ahead = 0";

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
fn a_connection_that_is_being_made_to_a_member_gets_no_request_once_that_is_sealed() {
    let stage = Stage::new();
    let (addr, unverified) = (stage.node_addr(1), [("verify_backend", "off")]);
    let node = TcpListener::bind(addr).unwrap();
    let before = close(&node, addr);
    let perlbal = Config::new()
        .pool_with("website", &[addr])
        .service_with(&stage, "web", "website", &unverified)
        .start(&stage);
    let client = get_later(perlbal.service("web"), "/");
    eventually(SOON, "Perlbal makes a connection", || {
        (!perlbal.ask("PENDING").is_empty()).then_some(())
    });
    // Until it is there it has no address, so a look cannot tell whose it is.
    let socks = perlbal.ask("SOCKS");
    let backend = socks.iter().find(|line| line.contains("BackendHTTP"));
    let backend = backend.expect("the connection is listed");
    assert!(backend.contains("connecting") && !backend.contains(&addr.to_string()));

    let remove = format!("POOL website REMOVE {addr}");
    perlbal.tell_together(&[&remove, "SET web pool = website"]);
    // Now the node lets everyone in, and Perlbal behind those who came first.
    for _ in &before {
        node.accept().unwrap();
    }
    let (mut connection, _) = node.accept().unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let mut said = String::new();
    connection.read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "it is closed as it is");
    assert!(!client.is_finished(), "the request waits for another node");
    client.abort();
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

/// Watches that all these requests go on waiting for a while.
#[track_caller]
fn go_on_waiting(perlbal: &Perlbal, service: &str, count: usize) {
    let since = Instant::now();
    let look = || perlbal.waiting(service);
    stays(SOON, "requests that wait", &count, look, || {
        clock::counted_since(since) > AT_ONCE
    });
}

#[test]
fn a_request_that_waits_for_an_empty_pool_is_set_going_by_connect_ahead_and_not_by_add() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = Perlbal::with_service(&stage, "web", "website");
    let requests = Requests::send(perlbal.service("web"), 1);
    perlbal.wait_waiting("web", 1);
    perlbal.add("website", nodes[0].addr());
    perlbal.tell("SET web pool = website");
    go_on_waiting(&perlbal, "web", 1);
    let reported = Instant::now();
    perlbal.tell(WAKE);
    assert_answered_within(AT_ONCE, reported, &requests.finish());
}

/// Fifty requests wait for an empty pool on a service with these options; then this member comes.
#[track_caller]
fn fifty_are_served(stage: &Stage, options: &[(&str, &str)], member: SocketAddrV4) {
    eprintln!("{options:?}");
    let perlbal = Config::new()
        .pool("website")
        .service_with(stage, "web", "website", options)
        .start(stage);
    let requests = Requests::send(perlbal.service("web"), 50);
    perlbal.wait_waiting("web", 50);
    let reported = Instant::now();
    perlbal.tell_together(&[&format!("POOL website ADD {member}"), WAKE]);
    assert_answered_within(AT_ONCE, reported, &requests.finish());
}

#[test]
fn all_that_wait_are_served_by_the_first_member_whatever_the_service_is_like() {
    let stage = Stage::alone();
    let keeps = stage.node(1, "website");
    let bytes = b"HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhere\n";
    let answer = Answer::Bytes(bytes.to_vec());
    let closes = RawNode::start(stage.node_addr(2), "node-2", answer);
    let kept = [("persist_client", "on"), ("persist_backend", "on")];
    let verified = [("persist_backend", "on"), ("verify_backend", "on")];
    for options in [&[], &kept[..], &verified[..]] {
        fifty_are_served(&stage, options, keeps.addr());
        fifty_are_served(&stage, options, closes.addr());
    }
}

#[test]
fn requests_that_wait_are_set_going_behind_a_reload_of_the_file_too() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website"]);
    let file = stage.pool_file("website");
    let perlbal = Config::new()
        .nodefile_pool("website", &file)
        .service(&stage, "web", "website")
        .start(&stage);
    let requests = Requests::send(perlbal.service("web"), 20);
    perlbal.wait_waiting("web", 20);
    std::fs::write(&file, nodes[0].pool_line() + "\n").unwrap();
    let reported = Instant::now();
    let load = format!("SET website nodefile = {}", file.display());
    perlbal.tell_together(&[&load, WAKE]);
    assert_answered_within(AT_ONCE, reported, &requests.finish());
}

#[test]
fn each_service_has_requests_of_its_own_to_be_set_going() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website"]);
    let perlbal = Config::new()
        .pool("website")
        .service(&stage, "web", "website")
        .service(&stage, "shop", "website")
        .start(&stage);
    let [web, shop] = ["web", "shop"].map(|name| Requests::send(perlbal.service(name), 5));
    perlbal.wait_waiting("web", 5);
    perlbal.wait_waiting("shop", 5);
    perlbal.add("website", nodes[0].addr());
    perlbal.tell(WAKE);
    assert_eq!(failures(&web.finish()), [""; 0]);
    go_on_waiting(&perlbal, "shop", 5);
    let reported = Instant::now();
    perlbal.tell("SET shop connect_ahead = 0");
    assert_answered_within(AT_ONCE, reported, &shop.finish());
}

#[test]
fn requests_that_wait_for_a_dead_member_are_set_going_when_another_has_its_place() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website"]);
    let dead = stage.node_addr(9);
    let perlbal = Config::new()
        .pool_with("website", &[dead])
        .service(&stage, "web", "website")
        .start(&stage);
    let requests = Requests::send(perlbal.service("web"), 5);
    perlbal.wait_waiting("web", 5);
    let reported = Instant::now();
    perlbal.tell_together(&[
        &format!("POOL website ADD {}", nodes[0].addr()),
        &format!("POOL website REMOVE {dead}"),
        "SET web pool = website",
        WAKE,
    ]);
    assert_answered_within(AT_ONCE, reported, &requests.finish());
}

#[test]
fn a_connection_to_a_member_that_vanished_counts_against_a_pool_of_as_many_members() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website", "website"]);
    let vanished = stage.node_addr(9);
    let _hole = Hole::at(vanished);
    let perlbal = Config::new()
        .pool_with("website", &[vanished])
        .service(&stage, "web", "website")
        .start(&stage);
    let requests = Requests::send(perlbal.service("web"), 5);
    perlbal.wait_waiting("web", 5);
    perlbal.tell_together(&[
        &format!("POOL website ADD {}", nodes[0].addr()),
        &format!("POOL website REMOVE {vanished}"),
        "SET web pool = website",
        WAKE,
    ]);
    go_on_waiting(&perlbal, "web", 5);
    // One member more than there are such connections is enough.
    let reported = Instant::now();
    let add = format!("POOL website ADD {}", nodes[1].addr());
    perlbal.tell_together(&[&add, WAKE]);
    assert_answered_within(AT_ONCE, reported, &requests.finish());
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
fn the_relay_breaks_a_response_where_it_is_set_to() {
    let stage = Stage::new();
    let perlbal = Config::new().pool("website").start(&stage);
    let relay = Relay::before(&perlbal, &stage);
    relay.limit([7]);
    for expected in ["website", "website nodes 0\r\n"] {
        let mut stream = TcpStream::connect(relay.addr()).unwrap();
        stream.write_all(b"SHOW POOL\r\n").unwrap();
        let mut observed = vec![0; expected.len()];
        stream.read_exact(&mut observed).unwrap();
        assert_eq!(String::from_utf8_lossy(&observed), expected);
        if expected.len() == 7 {
            assert!(
                !matches!(stream.read(&mut observed), Ok(1..)),
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
