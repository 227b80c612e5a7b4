//! Members come and go as they should: they join, move, leave, and are released at another version.

use crate::common::client::get_later;
use crate::common::{eventually, runtime};
use crate::harness::site::{DEADLINE, Site};
use crate::harness::world::{NODES, Part};

use super::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("join_of_a_node_that_starts", join_of_a_node_that_starts),
    Scenario::new("join_of_an_idle_node", join_of_an_idle_node),
    Scenario::new("move_to_another_pool", move_to_another_pool),
    Scenario::new("leave_and_drained", leave_and_drained),
    Scenario::new("roll_out_of_a_version", roll_out_of_a_version),
];

fn join_of_a_node_that_starts(site: &mut Site) {
    site.start_all_but(&[1]);
    site.wait_file("api.v23.pool", &[0]);
    site.answered_only_by("api", &[0]);
    site.world.start(Part::Node(1));
    site.wait_pool("api", &[0, 1]);
    site.wait_file("api.v24.pool", &[1]);
    site.answered_only_by("api", &[0, 1]);
}

fn join_of_an_idle_node(site: &mut Site) {
    site.start();
    site.announce(3, "pool=");
    site.wait_pool("website", &[2]);
    site.answered_only_by("website", &[2]);
    site.announce(3, "pool=website");
    site.wait_pool("website", &[2, 3]);
    site.rush("website", &[3]);
}

fn move_to_another_pool(site: &mut Site) {
    site.start();
    site.announce(3, "pool=api&version=v24");
    site.wait_pool("website", &[2]);
    site.wait_pool("api", &[0, 1, 3]);
    site.wait_file("api.v24.pool", &[1, 3]);
    site.rush("api", &[3]);
    site.answered_only_by("website", &[2]);
    site.announce(3, "pool=website&version=");
    site.wait_pool("api", &[0, 1]);
    site.wait_file("api.v24.pool", &[1]);
    site.wait_pool("website", &[2, 3]);
    site.rush("website", &[3]);
    site.answered_only_by("api", &[0, 1]);
}

/// A request that is under way ends normally, and when the node is drained nothing reaches it any more.
fn leave_and_drained(site: &mut Site) {
    site.start();
    let slow = get_later(site.world.service_addr("api"), "/slow?wait=4000");
    let node = site.wait_under_way("/slow");
    let mark = site.log().len();
    site.announce(node, "status=leaving");
    site.wait_pool("api", &[1 - node]);
    eventually(DEADLINE, "the request ends", || {
        let reported = site.log()[mark..].contains(" drained ");
        let over = slow.is_finished();
        assert!(
            over || !reported,
            "it is reported as drained while it is busy"
        );
        over.then_some(())
    });
    let answer = runtime().block_on(slow).expect("the client panicked");
    assert_eq!(answer.as_deref(), Ok(NODES[node].name));
    site.wait_drained(mark, node);
    site.stays_drained("api", node);
    site.answered_only_by("api", &[1 - node]);
}

/// As a deployment does it; no client notices, and no request reaches a drained node.
fn roll_out_of_a_version(site: &mut Site) {
    site.start();
    for node in [0, 1] {
        site.put_to_rest("api", node);
        site.world.kill(Part::Node(node));
        site.world.start_at(node, "v25");
        site.wait_pool("api", &[0, 1]);
        site.rush("api", &[node]);
    }
    site.wait_file("api.v25.pool", &[0, 1]);
    site.wait_file("api.v23.pool", &[]);
    site.wait_file("api.v24.pool", &[]);
    site.wait_disabled(&[]);
    site.answered_only_by("api", &[0, 1]);
}
