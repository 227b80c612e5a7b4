//! `pollbal roll` while a Perlbal is away: no node is begun, and one whose command has run comes back.

use crate::roll::site;

use crate::common::nodes::{Node, addrs};
use crate::common::{SOON, becomes};
use site::{NODES, ROLL, Site};

/// Kills Perlbal, and waits until pollbal has noticed.
fn lose_perlbal(site: &mut Site) {
    let mark = site.pollbal.mark();
    site.perlbal.kill();
    site.pollbal
        .wait_log_after(mark, &["cannot reach Perlbal", "not reachable"]);
}

fn pool_lines(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::pool_line).collect()
}

#[test]
fn while_a_perlbal_is_away_nothing_is_rolled() {
    let mut site = Site::start(1);
    lose_perlbal(&mut site);
    let mut roll = site.roll(&[]);
    assert_eq!(roll.wait_end(SOON).code(), Some(1));
    roll.wait_log(&[
        "rejected, nothing changed: load balancer",
        "not reachable",
        "fix that first",
    ]);
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn a_node_whose_command_has_run_comes_back_though_perlbal_is_away() {
    let mut site = Site::start(1);
    let mut roll = site.roll(&["--timeout", "3s"]);
    site.wait_at(&site.nodes[0]);
    lose_perlbal(&mut site);
    site.go(&site.nodes[0], 0);
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    roll.wait_log(&[
        "node-1 failed: not serving within 3s: no connection to Perlbal",
        "the node is in its pool again and stays there",
    ]);
    assert_eq!(roll.log_with(&["stays disabled"]), [""; 0]);
    roll.wait_log(&["not started: node-2"]);
    assert!(!site.stage.path("at-node-2").exists());
    assert_eq!(site.disabled(), [""; 0]);
    assert_eq!(
        site.stage.lines("website.pool"),
        Some(pool_lines(&site.nodes))
    );
    site.perlbal.start();
    site.perlbal.wait_members("website", &addrs(&site.nodes));
}

#[test]
fn a_perlbal_that_is_back_in_time_holds_up_a_roll_and_does_not_end_it() {
    let mut site = Site::start(1);
    let mut roll = site.roll(&[]);
    site.wait_at(&site.nodes[0]);
    lose_perlbal(&mut site);
    for node in &site.nodes {
        site.go(node, 0);
    }
    roll.wait_stdout(&["node-1: waiting: no connection to Perlbal"]);
    assert!(!site.stage.path("at-node-2").exists());
    site.perlbal.start();
    assert_eq!(roll.wait_end(ROLL).code(), Some(0));
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn no_node_is_begun_before_a_perlbal_is_back() {
    // None may go before the last one serves.
    let mut site = Site::start(NODES - 1);
    site.nodes[5].fail(500);
    site.perlbal
        .wait_members("website", &addrs(&site.nodes[..5]));
    let mut roll = site.roll(&[]);
    roll.wait_stdout(&["node-1: waiting for its turn", "min_members 5"]);
    lose_perlbal(&mut site);
    roll.wait_stdout(&[
        "node-1: waiting for its turn: load balancer",
        "not reachable",
    ]);
    site.nodes[5].recover();
    becomes(SOON, "members", &Some(pool_lines(&site.nodes)), || {
        site.stage.lines("website.pool")
    });
    // As often as it asks whether it may go, and more.
    site.nodes[0].wait_polls(5);
    assert_eq!(site.disabled(), [""; 0]);
    for node in &site.nodes {
        site.go(node, 0);
    }
    site.perlbal.start();
    assert_eq!(roll.wait_end(ROLL).code(), Some(0));
    assert_eq!(site.disabled(), [""; 0]);
}
