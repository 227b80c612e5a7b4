//! All parts start, in any order, and in the end everything is as if each had found the others ready.

use crate::common::eventually;
use crate::harness::node::requests;
use crate::harness::site::{DEADLINE, Site, members_at_start};
use crate::harness::world::Part::{self, Balancer, Node, Pollbal};
use crate::harness::world::{NODES, POOLS};

use super::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("cold_start_nodes_first_balancer_last", |site| {
        cold_start(
            site,
            [Node(0), Node(1), Node(2), Node(3), Pollbal, Balancer],
        );
    }),
    Scenario::new("cold_start_balancer_first_nodes_last", |site| {
        cold_start(
            site,
            [Balancer, Pollbal, Node(0), Node(1), Node(2), Node(3)],
        );
    }),
    Scenario::new("cold_start_balancer_first_pollbal_last", |site| {
        cold_start(
            site,
            [Balancer, Node(0), Node(1), Node(2), Node(3), Pollbal],
        );
    }),
    Scenario::new("cold_start_pollbal_first_balancer_last", |site| {
        cold_start(
            site,
            [Pollbal, Node(0), Node(1), Node(2), Node(3), Balancer],
        );
    }),
    Scenario::new("cold_start_nodes_in_between", |site| {
        cold_start(
            site,
            [Node(3), Pollbal, Node(0), Balancer, Node(2), Node(1)],
        );
    }),
    Scenario::new("cold_start_all_at_once", all_at_once),
];

/// One part after the other; the next when those that run have done all that they can.
fn cold_start(site: &mut Site, order: [Part; 6]) {
    for (last, part) in order.into_iter().enumerate() {
        site.world.start(part);
        let running = &order[..=last];
        eventually(DEADLINE, &format!("all is there: {running:?}"), || {
            let mut each = running.iter();
            each.all(|part| is_there(site, *part, running))
                .then_some(())
        });
    }
    all_is_right(site);
}

/// A load balancer that starts from the files cannot serve before pollbal has made the files that it follows.
fn is_there(site: &Site, part: Part, running: &[Part]) -> bool {
    match part {
        Node(node) => {
            requests(site.world.node_addr(node));
            true
        }
        Pollbal => site.log().contains("polling 4 nodes"),
        Balancer => {
            let waits = site.balancer().starts_from_files() && !running.contains(&Pollbal);
            if waits {
                site.world.output(Balancer).contains("File not found")
            } else {
                site.members("api").is_ok()
            }
        }
    }
}

fn all_at_once(site: &mut Site) {
    for part in [Balancer, Pollbal] {
        site.world.start(part);
    }
    for node in 0..NODES.len() {
        site.world.start(Node(node));
    }
    all_is_right(site);
}

#[track_caller]
fn all_is_right(site: &mut Site) {
    for pool in POOLS {
        site.wait_pool(pool, &members_at_start(pool));
    }
    for (node, spec) in NODES.iter().enumerate() {
        if !spec.version.is_empty() {
            site.wait_file(&format!("{}.{}.pool", spec.pool, spec.version), &[node]);
        }
    }
    site.wait_disabled(&[]);
    site.start_clients();
    for pool in POOLS {
        site.answered_only_by(pool, &members_at_start(pool));
    }
}
