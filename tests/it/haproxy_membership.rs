//! Who gets requests: what nodes announce is what a real `HAProxy` has.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::common::client::get_later;
use crate::common::haproxy::{Config, Haproxy, slots};
use crate::common::nodes::addrs;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, run, runtime};

/// What slots have that have no node.
const EMPTY: &str = "127.0.0.1:1";

fn config(haproxy: &Haproxy) -> Value {
    json!({ "haproxy": haproxy.socket() })
}

/// Waits until a server is in this state, and has this address.
#[track_caller]
fn wait_server(haproxy: &Haproxy, backend: &str, name: &str, state: &str, addr: &str) {
    let expected = (state.to_owned(), addr.to_owned());
    becomes(SOON, name, &expected, || {
        let server = haproxy.server(backend, name);
        (server.state.to_owned(), server.addr)
    });
}

#[test]
fn nodes_get_slots_of_their_pool_and_of_their_version_where_these_are_declared() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "api serving v1", "web serving v9", "api serving v2"]);
    let haproxy = Config::new()
        .backend("web", &[&slots(3)])
        .backend("be:api", &[&slots(3)])
        .backend("be:api.v2", &[&slots(3)])
        .start(&stage);
    let mut config = config(&haproxy);
    config["pools"] = json!({ "api": { "haproxy_backend": "be:api" } });
    let pollbal = Pollbal::start(&stage, &config);
    haproxy.wait_members("web", &addrs([&nodes[0], &nodes[2]]));
    haproxy.wait_members("be:api", &addrs([&nodes[1], &nodes[3]]));
    haproxy.wait_members("be:api.v2", &addrs([&nodes[3]]));
    pollbal.wait_log(&["connected to HAProxy 2."]);

    nodes[1].announce("web serving v1");
    haproxy.wait_members("web", &addrs([&nodes[0], &nodes[1], &nodes[2]]));
    haproxy.wait_members("be:api", &addrs([&nodes[3]]));
    nodes[3].announce("");
    haproxy.wait_members("be:api", &BTreeSet::new());
    haproxy.wait_members("be:api.v2", &BTreeSet::new());
    assert_eq!(pollbal.log_with(&["outside pollbal"]), [""; 0]);
}

#[test]
fn a_node_that_leaves_drains_and_its_slot_is_free_once_its_requests_have_ended() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["web", "web"]);
    let haproxy = Config::new()
        .backend("web", &[&slots(2)])
        .service(&stage, "www", "web")
        .start(&stage);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    let slot = haproxy.server_of("web", nodes[0].addr());
    // Round robin: one of the two is at each node.
    let requests = [0, 1].map(|_| get_later(haproxy.service("www"), "/?wait=1500"));
    eventually(SOON, "both are busy", || {
        nodes
            .iter()
            .all(|node| !node.arrivals().is_empty())
            .then_some(())
    });

    nodes[0].announce("web leaving");
    let addr = nodes[0].addr().to_string();
    wait_server(&haproxy, "web", &slot, "drain", &addr);
    assert_eq!(pollbal.log_with(&["drained"]), [""; 0]);
    for request in requests {
        let answer = runtime().block_on(request).expect("a client panicked");
        answer.expect("requests in progress end normally");
    }
    pollbal.wait_log(&[&addr, "drained", "pool web"]);
    wait_server(&haproxy, "web", &slot, "maint", EMPTY);

    // Its place is taken by another one.
    nodes.push(stage.node(3, "web"));
    stage.list(&nodes);
    eventually(SOON, "the slot is used again", || {
        (haproxy.server("web", &slot).addr != EMPTY).then_some(())
    });
    assert_eq!(pollbal.log_with(&["outside pollbal"]), [""; 0]);
    assert_eq!(pollbal.log_with(&["rejected"]), [""; 0]);
}

#[test]
fn a_node_that_is_back_before_it_is_drained_gets_the_same_slot() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let haproxy = Config::new()
        .backend("web", &[&slots(5)])
        .service(&stage, "www", "web")
        .start(&stage);
    let _pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    let slot = haproxy.server_of("web", nodes[0].addr());
    let _requests = [0, 1].map(|_| get_later(haproxy.service("www"), "/?wait=3000"));
    eventually(SOON, "both are busy", || {
        nodes
            .iter()
            .all(|node| !node.arrivals().is_empty())
            .then_some(())
    });
    nodes[0].announce("web leaving");
    let addr = nodes[0].addr().to_string();
    wait_server(&haproxy, "web", &slot, "drain", &addr);
    nodes[0].announce("web");
    wait_server(&haproxy, "web", &slot, "ready", &addr);
    haproxy.wait_members("web", &addrs(&nodes));
}

#[test]
fn a_node_that_failed_is_in_maintenance_at_once_and_with_leave_maint_so_is_one_that_leaves() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["web", "web", "web"]);
    let make = || {
        let config = Config::new().backend("web", &[&slots(3)]);
        config.service(&stage, "www", "web").start(&stage)
    };
    let (draining, abrupt) = (make(), make());
    let config = json!({ "haproxy": [
        draining.socket(), { "socket": abrupt.socket(), "leave": "maint" },
    ]});
    let _pollbal = Pollbal::start(&stage, &config);
    for haproxy in [&draining, &abrupt] {
        haproxy.wait_members("web", &addrs(&nodes));
    }
    let slot = draining.server_of("web", nodes[0].addr());
    nodes[0].die();
    becomes(SOON, &slot, &"maint", || {
        draining.server("web", &slot).state
    });
    draining.wait_members("web", &addrs(&nodes[1..]));
    abrupt.wait_members("web", &addrs(&nodes[1..]));

    // Busy, so that it is not freed, which is maintenance, too.
    let requests = [&draining, &abrupt]
        .map(|haproxy| [0, 1].map(|_| get_later(haproxy.service("www"), "/?wait=3000")));
    eventually(SOON, "each is busy for both", || {
        let mut others = nodes[1..].iter();
        others.all(|node| node.arrivals().len() == 2).then_some(())
    });
    let addr = nodes[1].addr();
    let slots = [&draining, &abrupt].map(|haproxy| haproxy.server_of("web", addr));
    nodes[1].announce("web leaving");
    wait_server(&draining, "web", &slots[0], "drain", &addr.to_string());
    wait_server(&abrupt, "web", &slots[1], "maint", &addr.to_string());
    let mut requests = requests.iter().flatten();
    assert!(requests.all(|request| !request.is_finished()));
}

#[test]
fn where_a_backend_has_no_slots_servers_are_added_by_their_nodes_names_and_deleted_again() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let haproxy = Config::new()
        .backend("web", &["balance leastconn"])
        .service(&stage, "www", "web")
        .start(&stage);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    let server = haproxy.server_of("web", nodes[0].addr());
    assert_eq!(server, format!("node-1_{}", nodes[0].addr()));
    assert_eq!(haproxy.server("web", &server).weight, 100);
    // Connections to both nodes are kept.
    for _ in 0..4 {
        let answer = get_later(haproxy.service("www"), "/");
        runtime().block_on(answer).unwrap().expect("it is served");
    }
    nodes[0].announce("web leaving");
    eventually(SOON, "the server is deleted", || {
        (!haproxy.servers("web").contains_key(&server)).then_some(())
    });
    nodes[0].announce("web");
    haproxy.wait_members("web", &addrs(&nodes));
    assert_eq!(pollbal.log_with(&["outside pollbal"]), [""; 0]);
    assert_eq!(pollbal.log_with(&["rejected"]), [""; 0]);
}

#[test]
fn servers_of_the_operator_keep_everything_but_the_state_of_those_that_are_nodes() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web", "api"]);
    let other = stage.free_addr();
    let [one, two, third] = [0, 1, 2].map(|index: usize| nodes[index].addr());
    let haproxy = Config::new()
        .backend(
            "web",
            &[
                &format!("server one {one} weight 7"),
                &format!("server third {third}"),
                &format!("server other {other}"),
                &format!("server backup {two} backup"),
                &slots(2),
            ],
        )
        .start(&stage);
    let _pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &[one, two, other].into());
    assert_eq!(haproxy.server("web", "one").weight, 7);
    let before = haproxy.server("web", "backup");
    nodes[0].announce("web leaving");
    nodes[1].announce("web leaving");
    haproxy.wait_members("web", &[other].into());
    assert_eq!(haproxy.server("web", "one").addr, one.to_string());
    assert_eq!(haproxy.server("web", "backup"), before);
    nodes[0].announce("web");
    haproxy.wait_members("web", &[one, other].into());
    assert_eq!(haproxy.server_of("web", one), "one");
}

#[test]
fn weights_that_differ_from_the_slots_are_set_unless_the_algorithm_takes_none() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "api"]);
    let light = "server-template pb 1-2 127.0.0.1:1 disabled";
    let haproxy = Config::new()
        .backend("web", &[light])
        .backend("api", &["balance source", light])
        .start(&stage);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes[..1]));
    haproxy.wait_members("api", &addrs(&nodes[1..]));
    let weight = |backend: &str, node: usize| {
        let slot = haproxy.server_of(backend, nodes[node].addr());
        haproxy.server(backend, &slot).weight
    };
    assert_eq!((weight("web", 0), weight("api", 1)), (100, 1));
    eventually(SOON, "all is well", || {
        let status = run::pollbal(&["status", "--socket", stage.admin_socket().to_str()?]);
        status.status.success().then_some(())
    });
    assert_eq!(pollbal.log_with(&["rejected"]), [""; 0]);
}

#[test]
fn an_ipv6_server_gets_a_slot_and_is_added() {
    let stage = Stage::new();
    let node = stage.nodes(&["web"]);
    let filled = Config::new().backend("web", &[&slots(2)]).start(&stage);
    let grown = Config::new().backend("web", &[]).start(&stage);
    let ipv6 = "[::1]:9";
    let config = json!({
        "haproxy": [{ "socket": filled.socket(), "servers": "slots" }, grown.socket()],
        "pools": { "web": { "sorry": [ipv6] } },
    });
    let _pollbal = Pollbal::start(&stage, &config);
    for haproxy in [&filled, &grown] {
        haproxy.wait_members("web", &addrs(&node));
    }
    node[0].announce("web leaving");
    let sorry: BTreeSet<String> = [ipv6.to_owned()].into();
    becomes(SOON, "the slot", &sorry, || filled.members("web"));
    becomes(SOON, "the added server", &sorry, || {
        let added = grown.standby("web").into_values();
        added.map(|server| server.addr).collect()
    });
}
