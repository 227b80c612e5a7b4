//! Who is in which pool: what nodes say is what a real Perlbal has and what the pool files say.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, stays};

/// The pool lines of these nodes, as a pool file has them.
fn pool_lines<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<String> {
    nodes.into_iter().map(Node::pool_line).collect()
}

/// Waits until the pool file has exactly these nodes, in this order.
#[track_caller]
fn wait_file<'a>(stage: &Stage, pool: &str, nodes: impl IntoIterator<Item = &'a Node>) {
    let file = format!("{pool}.pool");
    becomes(SOON, &file, &Some(pool_lines(nodes)), || stage.lines(&file));
}

/// Waits until `disabled_services` has exactly these nodes.
#[track_caller]
fn wait_disabled<'a>(stage: &Stage, nodes: impl IntoIterator<Item = &'a Node>) {
    let lines = nodes.into_iter().map(Node::services_line).collect();
    becomes(SOON, "disabled_services", &Some(lines), || {
        stage.lines("disabled_services")
    });
}

/// Waits until Perlbal and the pool file agree on these members.
#[track_caller]
fn wait_members(stage: &Stage, perlbal: &Perlbal, pool: &str, nodes: &[&Node]) {
    perlbal.wait_members(pool, &addrs(nodes.iter().copied()));
    wait_file(stage, pool, nodes.iter().copied());
}

#[test]
fn nodes_that_serve_are_members_of_what_they_announce() {
    let stage = Stage::new();
    let nodes = stage.nodes(&[
        "website",
        "api serving v23",
        "website ok 1.2",
        "api serving v24",
    ]);
    let perlbal = Config::new().pool("website").start(&stage);
    let _pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));

    wait_members(&stage, &perlbal, "website", &[&nodes[0], &nodes[2]]);
    // This one was missing in Perlbal.
    wait_members(&stage, &perlbal, "api", &[&nodes[1], &nodes[3]]);
    wait_file(&stage, "website.1.2", [&nodes[2]]);
    wait_file(&stage, "api.v23", [&nodes[1]]);
    wait_file(&stage, "api.v24", [&nodes[3]]);
    wait_disabled(&stage, []);
    let files = [
        "api.pool",
        "api.v23.pool",
        "api.v24.pool",
        "disabled_services",
        "website.1.2.pool",
        "website.pool",
    ];
    assert_eq!(stage.files(), files);
    // A missing version pool is never created.
    let pools: Vec<String> = perlbal.pools().into_iter().collect();
    assert_eq!(pools, ["api", "website"]);
}

#[test]
fn a_leaving_node_is_no_member_until_it_serves_again() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api serving v23", "api serving v23"]);
    let perlbal = Config::new().pool("api").start(&stage);
    let mut pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    for word in ["leaving", "exiting", "quitting"] {
        wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1]]);
        wait_disabled(&stage, []);

        nodes[0].announce(&format!("api {word} v23"));
        wait_members(&stage, &perlbal, "api", &[&nodes[1]]);
        wait_file(&stage, "api.v23", [&nodes[1]]);
        wait_disabled(&stage, [&nodes[0]]);

        nodes[0].announce("api serving v23");
    }
    wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1]]);
    pollbal.assert_alive();
}

#[test]
fn an_idle_node_is_in_no_pool() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["", "api"]);
    let perlbal = Config::new().start(&stage);
    let _pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    wait_members(&stage, &perlbal, "api", &[&nodes[1]]);
    wait_disabled(&stage, [&nodes[0]]);

    nodes[0].announce("api");
    wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1]]);
    nodes[1].announce("");
    wait_members(&stage, &perlbal, "api", &[&nodes[0]]);
    wait_disabled(&stage, [&nodes[1]]);
}

/// Makes a node fail.
type Fail = fn(&mut Node);

#[test]
fn a_failed_node_is_no_member_until_it_answers_properly() {
    let failures: [(&str, Fail); 6] = [
        ("an error", |node| node.fail(500)),
        ("not found", |node| node.fail(404)),
        ("a word that is no status", |node| node.announce("api soon")),
        ("late", |node| node.slow(Duration::from_secs(2))),
        ("hanging", |node| node.hang()),
        ("dead", |node| node.die()),
    ];
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["api", "api"]);
    let perlbal = Config::new().pool("api").start(&stage);
    let config = json!({ "perlbal": perlbal.management(), "service_timeout": "300ms" });
    let _pollbal = Pollbal::start(&stage, &config);
    for (what, fail) in failures {
        eprintln!("a node is {what}");
        wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1]]);
        fail(&mut nodes[0]);
        wait_members(&stage, &perlbal, "api", &[&nodes[1]]);
        wait_disabled(&stage, [&nodes[0]]);

        nodes[0].recover();
        nodes[0].announce("api");
        if what == "dead" {
            nodes[0].revive();
        }
    }
    wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1]]);
}

#[test]
fn a_node_moves_from_one_pool_to_another() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "website"]);
    let perlbal = Config::new().pool("api").pool("website").start(&stage);
    let _pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    wait_members(&stage, &perlbal, "api", &[&nodes[0]]);
    wait_members(&stage, &perlbal, "website", &[&nodes[1]]);

    nodes[0].announce("website");
    // The last member of `api`: its pool is empty at once, and so is its file, which stays for a while.
    wait_members(&stage, &perlbal, "api", &[]);
    wait_members(&stage, &perlbal, "website", &[&nodes[0], &nodes[1]]);

    nodes[1].announce("api");
    wait_members(&stage, &perlbal, "api", &[&nodes[1]]);
    wait_members(&stage, &perlbal, "website", &[&nodes[0]]);
    wait_disabled(&stage, []);
}

#[test]
fn a_version_pool_that_exists_follows_the_version() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api serving v1", "api serving v1", "api serving 2.0-rc+1"]);
    let stranger = stage.node_addr(9);
    let perlbal = Config::new()
        .pool("api")
        .pool_with("api__v1", &[stranger])
        .pool("api__2_0_rc_1")
        .start(&stage);
    let _pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1], &nodes[2]]);
    perlbal.wait_members("api__v1", &addrs(&nodes[..2]));
    perlbal.wait_members("api__2_0_rc_1", &addrs(&nodes[2..]));

    nodes[0].announce("api serving 2.0-rc+1");
    perlbal.wait_members("api__v1", &addrs(&nodes[1..2]));
    perlbal.wait_members("api__2_0_rc_1", &addrs([&nodes[0], &nodes[2]]));
    wait_file(&stage, "api.v1", [&nodes[1]]);
    wait_file(&stage, "api.2.0-rc+1", [&nodes[0], &nodes[2]]);

    // To a version that has no pool in Perlbal: it is in `api` only.
    nodes[1].announce("api serving v3");
    perlbal.wait_members("api__v1", &addrs([]));
    wait_file(&stage, "api.v3", [&nodes[1]]);
    wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1], &nodes[2]]);
    assert!(!perlbal.pools().contains("api__v3"));
}

#[test]
fn nothing_changes_before_every_node_has_answered_or_failed_once() {
    /// Far longer than the quick node takes for many polls.
    const TIMEOUT: Duration = Duration::from_secs(3);

    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    nodes[1].hang();
    let perlbal = Config::new()
        .pool_with("api", &[nodes[1].addr(), stage.node_addr(9)])
        .start(&stage);
    let before = perlbal.members("api");
    fs::create_dir(stage.pool_directory()).unwrap();
    fs::write(stage.pool_file("api"), nodes[1].pool_line() + "\n").unwrap();
    stage.own("api.pool");

    let started = Instant::now();
    let config = json!({ "perlbal": perlbal.management(), "service_timeout": "3s" });
    let _pollbal = Pollbal::start(&stage, &config);
    let polled_often = || nodes[0].polls() >= 5 && nodes[1].polls() >= 1;
    stays(
        SOON,
        "Perlbal",
        &before,
        || perlbal.members("api"),
        polled_often,
    );
    assert_eq!(stage.lines("api.pool"), Some(pool_lines([&nodes[1]])));
    assert_eq!(stage.files(), ["api.pool"]);
    assert!(started.elapsed() < TIMEOUT, "too slow a machine to tell");

    wait_members(&stage, &perlbal, "api", &[&nodes[0]]);
    assert!(
        started.elapsed() >= TIMEOUT,
        "the hanging node had not failed yet"
    );
    wait_disabled(&stage, [&nodes[1]]);
}

#[test]
fn the_services_file_says_who_is_polled_at_all() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["api", "api"]);
    let perlbal = Config::new().start(&stage);
    let mut pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1]]);

    nodes.push(stage.node(3, "api"));
    stage.list(&nodes);
    wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1], &nodes[2]]);

    // The first is gone, the order is another, nobody announced a change.
    nodes.swap(1, 2);
    stage.list(&nodes[1..]);
    wait_members(&stage, &perlbal, "api", &[&nodes[1], &nodes[2]]);
    wait_disabled(&stage, []);

    // A file that is not understood leaves the last good one active.
    stage.write_services(&["10.0.0.256 80 # nonsense".to_owned()]);
    let line = pollbal.wait_log(&["10.0.0.256"]);
    assert!(
        line.to_lowercase().contains("services"),
        "names the file: {line}"
    );
    nodes[1].wait_polls(3);
    pollbal.assert_alive();
    wait_members(&stage, &perlbal, "api", &[&nodes[1], &nodes[2]]);
}

#[test]
fn failures_below_min_members_remove_nobody_but_leaving_does() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api", "api"]);
    let perlbal = Config::new().start(&stage);
    let config = json!({
        "perlbal": perlbal.management(),
        "pools": { "api": { "min_members": 2 } },
    });
    let pollbal = Pollbal::start(&stage, &config);
    wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1], &nodes[2]]);

    nodes[0].fail(500);
    wait_members(&stage, &perlbal, "api", &[&nodes[1], &nodes[2]]);
    nodes[1].fail(500);
    pollbal.wait_log(&["warn", "api", "min_members"]);
    let polls = nodes[1].polls() + 5;
    let both = Some(addrs(&nodes[1..]));
    let what = "the last members";
    stays(
        SOON,
        what,
        &both,
        || perlbal.members("api"),
        || nodes[1].polls() >= polls,
    );
    assert_eq!(
        pollbal.log_with(&["warn", "min_members"]).len(),
        1,
        "one warning"
    );

    nodes[2].announce("api leaving");
    becomes(SOON, "the leaving node", &false, || {
        perlbal
            .members("api")
            .unwrap_or_default()
            .contains(&nodes[2].addr())
    });
}

#[test]
fn a_file_that_cannot_be_written_holds_back_no_command() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "website"]);
    // No file can take the place of a directory, no matter who runs the test.
    fs::create_dir_all(stage.pool_file("api").join("full")).unwrap();
    let perlbal = Config::new().start(&stage);
    let pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    perlbal.wait_members("api", &addrs(&nodes[..1]));
    wait_members(&stage, &perlbal, "website", &[&nodes[1]]);
    pollbal.wait_log(&["error", "api.pool"]);

    nodes[0].announce("api leaving");
    perlbal.wait_members("api", &addrs([]));
    nodes[0].announce("api");
    perlbal.wait_members("api", &addrs(&nodes[..1]));
    fs::remove_dir_all(stage.pool_file("api")).unwrap();
    wait_file(&stage, "api", [&nodes[0]]);
}

#[test]
fn hooks_that_take_long_hold_back_nothing() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let perlbal = Config::new().start(&stage);
    let asleep = json!(["sleep", "60"]);
    let config = json!({
        "perlbal": perlbal.management(),
        "pre_init_hook": asleep,
        "file_update_hook": asleep,
        "file_remove_hook": asleep,
    });
    let mut pollbal = Pollbal::start(&stage, &config);
    wait_members(&stage, &perlbal, "api", &[&nodes[0], &nodes[1]]);
    nodes[0].announce("api leaving");
    wait_members(&stage, &perlbal, "api", &[&nodes[1]]);
    assert_eq!(pollbal.terminate().code(), Some(0));
}

#[test]
fn a_steady_state_logs_nothing() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api serving v1", "website", ""]);
    nodes[1].fail(500);
    let perlbal = Perlbal::with_service(&stage, "web", "api");
    let config = json!({
        "perlbal": { "address": perlbal.management(), "resync_interval": "100ms" },
    });
    let pollbal = Pollbal::start(&stage, &config);
    wait_members(&stage, &perlbal, "api", &[&nodes[0]]);
    wait_disabled(&stage, [&nodes[1], &nodes[2]]);
    // What is still to be said of the start is said within the first polls.
    nodes[1].wait_polls(5);
    let log = pollbal.log();
    let polls = nodes[1].polls() + 20;
    stays(
        SOON,
        "the log",
        &log,
        || pollbal.log(),
        || nodes[1].polls() >= polls,
    );
}
