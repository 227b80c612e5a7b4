//! Nodes fail without a word: they die, stand still, or are cut off. Only requests that are under way with them at that
//! moment may fail with them.
//!
//! Where a machine is gone, or the network, they may fail until pollbal has made up for the connections that the load
//! balancer is making to it in vain ([`Site::vanish`] says why, and proves how long). Where no member was left, they may fail until
//! the load balancer has answered some again.

use crate::harness::site::Site;
use crate::harness::world::Part;

use super::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("node_killed", node_killed),
    Scenario::new("node_restarted_at_once", node_restarted_at_once),
    Scenario::new("node_paused", node_paused),
    Scenario::new("node_that_answers_errors", node_that_answers_errors),
    Scenario::new("network_cut_to_some_nodes", network_cut_to_some_nodes).with_cuts(),
    Scenario::new("network_cut_to_all_nodes", network_cut_to_all_nodes).with_cuts(),
    Scenario::new("all_nodes_of_a_pool_killed", all_nodes_of_a_pool_killed),
];

fn node_killed(site: &mut Site) {
    site.start();
    site.vanish(&["api"], &[0], |site| {
        site.world.kill(Part::Node(0));
        site.wait_pool("api", &[1]);
    });
    site.wait_file("api.v23.pool", &[]);
    site.wait_disabled(&[0]);
    site.answered_only_by("api", &[1]);
    site.world.start(Part::Node(0));
    site.wait_pool("api", &[0, 1]);
    site.rush("api", &[0]);
}

/// Whether a poll falls into the time between or not.
fn node_restarted_at_once(site: &mut Site) {
    site.start();
    site.accident(&["api"], |site| site.world.kill(Part::Node(0)));
    site.world.start_at(0, "v24");
    site.wait_file("api.v24.pool", &[0, 1]);
    site.wait_file("api.v23.pool", &[]);
    site.wait_pool("api", &[0, 1]);
    site.rush("api", &[0]);
}

fn node_paused(site: &mut Site) {
    site.start();
    // Until it is known, requests are sent to it and wait with it.
    site.accident(&["api"], |site| {
        site.world.pause(Part::Node(0));
        site.wait_pool("api", &[1]);
    });
    site.answered_only_by("api", &[1]);
    site.world.resume(Part::Node(0));
    site.wait_pool("api", &[0, 1]);
    site.rush("api", &[0]);
}

/// It goes on answering clients, so none of them notices that it is taken out.
fn node_that_answers_errors(site: &mut Site) {
    site.start();
    site.announce(0, "fail=500");
    site.wait_pool("api", &[1]);
    site.answered_only_by("api", &[1]);
    site.announce(0, "prompt");
    site.wait_pool("api", &[0, 1]);
    site.rush("api", &[0]);
}

fn network_cut_to_some_nodes(site: &mut Site) {
    site.start();
    site.vanish(&["api", "website"], &[1, 2], |site| {
        site.world.cut(&[1, 2]);
        site.wait_pool("api", &[0]);
        site.wait_pool("website", &[3]);
    });
    site.wait_file("api.v24.pool", &[]);
    site.answered_only_by("api", &[0]);
    site.answered_only_by("website", &[3]);
    site.world.heal(&[1, 2]);
    site.wait_pool("api", &[0, 1]);
    site.wait_pool("website", &[2, 3]);
    site.rush("api", &[1]);
    site.rush("website", &[2]);
}

/// Nobody can answer; when the network is back, so is everything else, by itself.
fn network_cut_to_all_nodes(site: &mut Site) {
    site.start();
    site.accident(&["api", "website"], |site| {
        site.world.cut(&[0, 1, 2, 3]);
        site.wait_pool("api", &[]);
        site.wait_pool("website", &[]);
        site.world.heal(&[0, 1, 2, 3]);
        site.wait_pool("api", &[0, 1]);
        site.wait_pool("website", &[2, 3]);
        site.rush("api", &[0, 1]);
        site.rush("website", &[2, 3]);
    });
    site.answered_only_by("api", &[0, 1]);
    site.answered_only_by("website", &[2, 3]);
}

/// The other pool does not notice.
fn all_nodes_of_a_pool_killed(site: &mut Site) {
    site.start();
    site.accident(&["api"], |site| {
        site.world.kill(Part::Node(0));
        site.world.kill(Part::Node(1));
        site.wait_pool("api", &[]);
        site.answered_only_by("website", &[2, 3]);
        site.world.start(Part::Node(1));
        site.wait_pool("api", &[1]);
        site.rush("api", &[1]);
    });
    site.answered_only_by("api", &[1]);
    site.world.start(Part::Node(0));
    site.wait_pool("api", &[0, 1]);
    site.rush("api", &[0]);
}
