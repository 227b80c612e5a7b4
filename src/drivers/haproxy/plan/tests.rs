use super::super::state::placeholder;
use super::*;
use crate::model::weight::Weight;

mod convergence;
mod problems;
mod sorry;

const BACKEND: &str = "api";

fn name(text: &str) -> HaproxyName {
    text.parse().unwrap()
}

fn node(host: u8) -> NodeAddr {
    format!("10.0.0.{host}:80").parse().unwrap()
}

/// Nodes 1 to 9 are known, and do not fail.
fn desired(members: &[u8]) -> Desired {
    let members = members.iter().map(|host| {
        let member = DesiredMember::new(&format!("web-{host}"), Weight::default());
        (node(*host), member)
    });
    let target = DesiredBackend {
        needed_by: Some("api".parse().unwrap()),
        members: members.collect(),
        sorry: Vec::new(),
        is_unserved: false,
    };
    let known: BTreeSet<_> = (1..10).map(node).collect();
    Desired {
        backends: [(name(BACKEND), target)].into(),
        healthy: known.clone(),
        known,
        servers: ServerMode::Auto,
        slot_prefix: name("pb"),
        leave: Leave::Drain,
        keeps_state: false,
    }
}

/// The same with sorry servers, which are no nodes if their number is above 9.
fn with_sorry(mut desired: Desired, hosts: &[u8]) -> Desired {
    for target in desired.backends.values_mut() {
        let sorry = hosts.iter().map(|host| {
            let member = DesiredMember::new("sorry server", Weight::default());
            (node(*host), member)
        });
        target.sorry = sorry.collect();
    }
    desired
}

fn server(kind: Kind, node: Option<NodeAddr>, admin: Admin) -> Server {
    Server {
        kind,
        node,
        admin,
        weight: 100,
        is_quiet: admin == Admin::Maint,
    }
}

fn slot(number: u32, node: Option<NodeAddr>, admin: Admin) -> (HaproxyName, Server) {
    let server = server(Kind::Slot(number), node, admin);
    (name(&format!("pb{number}")), server)
}

fn free(number: u32) -> (HaproxyName, Server) {
    slot(number, Some(placeholder()), Admin::Maint)
}

fn actual(servers: impl IntoIterator<Item = (HaproxyName, Server)>) -> Actual {
    let backend = ActualBackend {
        servers: servers.into_iter().collect(),
        has_fixed_weights: false,
        refuses_servers: false,
        forgets_addresses: false,
    };
    Actual {
        backends: [(name(BACKEND), backend)].into(),
    }
}

fn draining(hosts: &[u8]) -> BTreeSet<Member> {
    let members = hosts.iter().map(|host| (BACKEND.into(), node(*host)));
    members.collect()
}

/// The steps, without the backend's name.
fn steps(desired: &Desired, actual: &Actual, draining: &BTreeSet<Member>) -> Vec<String> {
    let plan = plan(desired, actual, draining);
    let steps = plan.batches.iter().flatten();
    let steps = steps.map(|step| step.to_string().replace("server api/", ""));
    steps.collect()
}

#[test]
fn a_node_takes_the_first_free_slot() {
    let actual = actual([
        free(1),
        slot(2, Some(node(2)), Admin::Ready),
        free(10),
        free(3),
    ]);
    let steps = steps(&desired(&[1, 2, 3]), &actual, &BTreeSet::new());
    let expected = [
        "set pb1 addr 10.0.0.1 port 80; set pb1 state ready",
        "set pb3 addr 10.0.0.3 port 80; set pb3 state ready",
    ];
    assert_eq!(steps, expected);
}

#[test]
fn who_comes_in_is_ready_before_anyone_leaves() {
    let actual = actual([slot(1, Some(node(1)), Admin::Ready), free(2)]);
    let steps = steps(&desired(&[2]), &actual, &BTreeSet::new());
    let expected = [
        "set pb2 addr 10.0.0.2 port 80; set pb2 state ready",
        "set pb1 state drain",
    ];
    assert_eq!(steps, expected);
}

#[test]
fn a_node_that_leaves_drains_and_its_slot_is_released_once_it_is_drained() {
    let desired = desired(&[]);
    let mut actual = actual([slot(1, Some(node(1)), Admin::Drain)]);
    assert_eq!(steps(&desired, &actual, &draining(&[1])), [""; 0]);
    let release = "set pb1 state maint; set pb1 addr 127.0.0.1 port 1";
    assert_eq!(steps(&desired, &actual, &draining(&[])), [release]);
    let plan = plan(&desired, &actual, &draining(&[]));
    plan.batches
        .iter()
        .flatten()
        .for_each(|step| actual.apply(step));
    // Its connections are still to be read.
    assert_eq!(steps(&desired, &actual, &draining(&[])), [""; 0]);
}

#[test]
fn a_node_that_failed_is_in_maintenance_at_once_also_while_it_drains() {
    let mut desired = desired(&[]);
    desired.healthy.remove(&node(1));
    for admin in [Admin::Ready, Admin::Drain] {
        let actual = actual([slot(1, Some(node(1)), admin)]);
        assert_eq!(
            steps(&desired, &actual, &draining(&[1])),
            ["set pb1 state maint"]
        );
    }
    let mut busy = actual([slot(1, Some(node(1)), Admin::Maint)]);
    let servers = &mut busy.backends.get_mut(&name(BACKEND)).unwrap().servers;
    servers.get_mut(&name("pb1")).unwrap().is_quiet = false;
    assert_eq!(steps(&desired, &busy, &draining(&[1])), [""; 0]);
    let release = "set pb1 state maint; set pb1 addr 127.0.0.1 port 1";
    assert_eq!(steps(&desired, &busy, &draining(&[])), [release]);
}

#[test]
fn with_leave_maint_nobody_drains_in_place() {
    let mut desired = desired(&[]);
    desired.leave = Leave::Maint;
    let actual = actual([slot(1, Some(node(1)), Admin::Ready)]);
    assert_eq!(
        steps(&desired, &actual, &BTreeSet::new()),
        ["set pb1 state maint"]
    );
}

#[test]
fn a_node_that_is_back_gets_the_same_slot() {
    for admin in [Admin::Drain, Admin::Maint] {
        let actual = actual([free(1), slot(2, Some(node(1)), admin)]);
        let steps = steps(&desired(&[1]), &actual, &draining(&[1]));
        assert_eq!(steps, ["set pb2 state ready"]);
    }
}

#[test]
fn what_is_an_operators_is_left_alone_but_for_the_state_of_nodes() {
    let declared = |text: &str, node, admin| (name(text), server(Kind::Declared, node, admin));
    let mut heavy = server(Kind::Declared, Some(node(3)), Admin::Maint);
    heavy.weight = 7;
    let actual = actual([
        declared("other", Some("192.0.2.1:80".parse().unwrap()), Admin::Ready),
        declared("nameless", None, Admin::Ready),
        declared("one", Some(node(1)), Admin::Ready),
        declared("two", Some(node(2)), Admin::Drain),
        (name("three"), heavy),
        (
            name("spare"),
            server(Kind::Backup, Some(node(4)), Admin::Ready),
        ),
        free(1),
    ]);
    let steps = steps(&desired(&[3, 4]), &actual, &BTreeSet::new());
    let expected = [
        "set three state ready",
        "set pb1 addr 10.0.0.4 port 80; set pb1 state ready",
        "set one state drain",
        "set two state maint",
    ];
    assert_eq!(steps, expected);
}

#[test]
fn where_a_backend_has_no_slots_servers_are_added_and_deleted() {
    let added = |host, admin| {
        let server = server(Kind::Added(node(host)), Some(node(host)), admin);
        (HaproxyName::of_added("web", node(host)), server)
    };
    let actual = actual([
        added(1, Admin::Ready),
        added(2, Admin::Drain),
        added(3, Admin::Maint),
    ]);
    let steps = steps(&desired(&[4]), &actual, &BTreeSet::new());
    let expected = [
        "add web-4_10.0.0.4:80 10.0.0.4:80 weight 100 pool-max-conn 1000 pool-purge-delay 5s; set web-4_10.0.0.4:80 state ready",
        "set web_10.0.0.1:80 state drain",
        "set web_10.0.0.2:80 state maint; set web_10.0.0.2:80 addr 127.0.0.1 port 1",
        "del web_10.0.0.3:80",
    ];
    assert_eq!(steps, expected);
}

#[test]
fn weights_are_set_where_they_differ_and_can_be() {
    let mut actual = actual([slot(1, Some(node(1)), Admin::Ready), free(2)]);
    let backend = actual.backends.get_mut(&name(BACKEND)).unwrap();
    for server in backend.servers.values_mut() {
        server.weight = 1;
    }
    let desired = desired(&[1, 2]);
    let expected = [
        "set pb1 weight 100",
        "set pb2 addr 10.0.0.2 port 80; set pb2 weight 100; set pb2 state ready",
    ];
    assert_eq!(steps(&desired, &actual, &BTreeSet::new()), expected);
    let backend = actual.backends.get_mut(&name(BACKEND)).unwrap();
    backend.has_fixed_weights = true;
    let expected = ["set pb2 addr 10.0.0.2 port 80; set pb2 state ready"];
    assert_eq!(steps(&desired, &actual, &BTreeSet::new()), expected);
}

#[test]
fn in_a_pool_in_which_no_node_has_served_nothing_is_changed() {
    let mut desired = desired(&[]);
    for target in desired.backends.values_mut() {
        target.is_unserved = true;
    }
    let actual = actual([slot(1, Some(node(1)), Admin::Ready)]);
    assert_eq!(steps(&desired, &actual, &BTreeSet::new()), [""; 0]);
    assert!(desired.members().is_empty());
}
