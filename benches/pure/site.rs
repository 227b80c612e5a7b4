//! The site that is measured: many nodes, spread over pools, each at a version.

use std::fmt::Write;
use std::time::{Duration, Instant};

use pollbal::model::announcement::Announcement;
use pollbal::model::membership::Membership;
use pollbal::model::naming::Namings;
use pollbal::model::node::{Node, NodeAddr};
use pollbal::model::observation::{Observation, Poll};
use pollbal::model::overrides::Overrides;
use pollbal::model::pools::Pools;
use pollbal::model::ramp::RampRules;
use pollbal::model::rules::{PoolRules, Rules};
use pollbal::model::services;
use pollbal::model::weight::Weight;

/// How many nodes there are.
pub(crate) const NODES: usize = 10_000;

/// Over how many pools they are spread: one big pool, and many of the usual size.
pub(crate) const POOLS: [usize; 2] = [1, 100];

/// The address of a node.
pub(crate) fn addr(node: usize) -> NodeAddr {
    let (third, fourth) = (node / 250, node % 250 + 1);
    format!("10.0.{third}.{fourth}:8080").parse().unwrap()
}

/// A services file that names this many nodes.
pub(crate) fn services_file(nodes: usize) -> String {
    let mut text = String::new();
    for node in 0..nodes {
        let addr = addr(node);
        writeln!(text, "{} {} # node-{node}", addr.ip(), addr.port()).unwrap();
    }
    text
}

/// What a node says of itself on a site of this many pools.
pub(crate) fn announcement(node: usize, pools: usize, version: &str) -> String {
    format!("service-{} serving {version}\n", node % pools)
}

/// What a poll of a node gives when it says this.
pub(crate) fn poll(body: &str) -> Poll {
    let observation = match Announcement::parse(body.as_bytes()).unwrap() {
        Some(announcement) => Observation::Announced(announcement),
        None => Observation::Nothing,
    };
    Poll::at(Instant::now(), observation)
}

/// All nodes in their pools at `v23`, and the snapshot of it taken.
pub(crate) fn serving(pools: usize) -> (Membership, Pools) {
    let mut membership = Membership::new(rules(), Overrides::default());
    membership.set_nodes(nodes(), Instant::now());
    let snapshot = announce_all(&mut membership, pools, "v23");
    (membership, snapshot)
}

/// Every node announces the version; gives the snapshot after it.
pub(crate) fn announce_all(membership: &mut Membership, pools: usize, version: &str) -> Pools {
    for node in 0..NODES {
        let said = poll(&announcement(node, pools, version));
        membership.observe(addr(node), said, Instant::now());
    }
    membership.take_changed().expect("something changed")
}

/// One node announces the version; gives the snapshot after it.
pub(crate) fn announce_one(membership: &mut Membership, pools: usize, version: &str) -> Pools {
    let node = NODES / 2;
    let said = poll(&announcement(node, pools, version));
    membership.observe(addr(node), said, Instant::now());
    membership.take_changed().expect("something changed")
}

fn nodes() -> Vec<Node> {
    services::parse(&services_file(NODES)).unwrap()
}

fn rules() -> Rules {
    Rules {
        undeclared: PoolRules {
            rise: 1,
            fall: 1,
            min_members: 0,
            max_leaving: 1,
            max_versions: 100,
            nodes: None,
            weight: Weight::default(),
            ramp: RampRules::default(),
            sorry: Vec::new(),
        },
        declared: [].into(),
        accept_undeclared: true,
        max_undeclared: 1_000,
        grace: Duration::from_secs(60),
        namings: Namings::default(),
    }
}
