//! SIGHUP: each key of the new configuration holds at once, and a bad configuration changes nothing.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::http::{accept_removals, post};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::Config;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays, text};

/// Makes this the configuration, and tells pollbal.
#[track_caller]
fn reload(stage: &Stage, pollbal: &Pollbal, config: &Value) {
    let mark = pollbal.mark();
    stage.write_config(config);
    pollbal.reload();
    pollbal.wait_log_after(mark, &["info", "reloaded"]);
}

#[track_caller]
fn wait_file(stage: &Stage, file: &str, lines: &[String]) {
    becomes(SOON, file, &Some(lines.to_vec()), || stage.lines(file));
}

fn pool_lines(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::pool_line).collect()
}

#[test]
fn poll_interval_and_service_timeout_change() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let slow = json!({ "poll_interval": "1h", "service_timeout": "5s" });
    let pollbal = Pollbal::start(&stage, &slow);
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    reload(
        &stage,
        &pollbal,
        &json!({ "poll_interval": "50ms", "service_timeout": "5s" }),
    );
    nodes[0].wait_polls(20);

    nodes[1].slow(Duration::from_millis(300));
    nodes[1].wait_polls(2);
    assert_eq!(stage.lines("website.pool"), Some(pool_lines(&nodes)));
    reload(
        &stage,
        &pollbal,
        &json!({ "poll_interval": "50ms", "service_timeout": "100ms" }),
    );
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    pollbal.wait_log(&["node-2", "service_timeout"]);
}

#[test]
fn the_pool_directory_changes_and_the_old_one_is_left_as_it_is() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api"]);
    let mut pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    let new = stage.path("made/if/missing");
    reload(&stage, &pollbal, &json!({ "pool_directory": new }));
    let read = |file: &str| fs::read_to_string(new.join(file)).ok();
    becomes(
        SOON,
        "the new file",
        &Some(text(&pool_lines(&nodes[..1]))),
        || read("website.pool"),
    );
    nodes[0].announce("api");
    becomes(
        SOON,
        "the new file",
        &Some(text(&pool_lines(&nodes))),
        || read("api.pool"),
    );
    assert_eq!(stage.lines("website.pool"), Some(pool_lines(&nodes[..1])));
    assert_eq!(stage.lines("api.pool"), Some(pool_lines(&nodes[1..])));

    // The old one is free for another pollbal.
    let other = Pollbal::start(&stage, &json!({ "admin_socket": "", "state_file": "" }));
    wait_file(&stage, "api.pool", &pool_lines(&nodes));
    assert_eq!(other.log_with(&["another pollbal"]), Vec::<String>::new());
    pollbal.assert_alive();
}

#[test]
fn pools_and_their_rules_change() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website", "other"]);
    let pollbal = Pollbal::start(&stage, &json!({ "empty_pool_grace": 0 }));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..2]));
    let first = stage.ip(1).to_string();
    let config = json!({
        "empty_pool_grace": 0,
        "pools": { "website": { "nodes": [first] }, "new": {} },
        "accept_undeclared_pools": false,
    });
    stage.write_config(&config);
    // It refuses members that serve.
    accept_removals(&stage);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    wait_file(&stage, "new.pool", &[]);
    pollbal.wait_log(&["error", "node-2", "pools.website.nodes"]);
    pollbal.wait_log(&["error", "node-3", "accept_undeclared_pools"]);
    let files = ["disabled_services", "new.pool", "website.pool"].map(str::to_owned);
    becomes(SOON, "files", &files.to_vec(), || stage.files());

    reload(&stage, &pollbal, &json!({ "empty_pool_grace": 0 }));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..2]));
    let files = ["disabled_services", "other.pool", "website.pool"].map(str::to_owned);
    becomes(SOON, "files", &files.to_vec(), || stage.files());
}

#[test]
fn fall_and_min_members_change() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let config = |fall: u32, min_members: u32| json!({ "fall": fall, "pools": { "website": { "min_members": min_members } } });
    let pollbal = Pollbal::start(&stage, &config(1_000, 0));
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    nodes[1].fail(500);
    nodes[1].wait_polls(5);
    assert_eq!(stage.lines("website.pool"), Some(pool_lines(&nodes)));
    reload(&stage, &pollbal, &config(1, 2));
    pollbal.wait_log(&["warn", "below min_members (2)"]);
    assert_eq!(stage.lines("website.pool"), Some(pool_lines(&nodes)));
    reload(&stage, &pollbal, &config(1, 1));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
}

#[test]
fn format_and_grace_change() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api"]);
    let pollbal = Pollbal::start(&stage, &json!({ "empty_pool_grace": "1h" }));
    wait_file(&stage, "api.pool", &pool_lines(&nodes[1..]));
    nodes[1].announce("website");
    wait_file(&stage, "api.pool", &[]);
    reload(
        &stage,
        &pollbal,
        &json!({ "pool_file_format": "services", "empty_pool_grace": 100 }),
    );
    let lines: Vec<_> = nodes.iter().map(Node::services_line).collect();
    wait_file(&stage, "website.pool", &lines);
    eventually(SOON, "the empty file is deleted", || {
        stage.lines("api.pool").is_none().then_some(())
    });
}

#[test]
fn hooks_change() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let echo = |word: &str| json!({ "file_update_hook": ["echo", word] });
    let pollbal = Pollbal::start(&stage, &echo("before"));
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    pollbal.wait_log(&["file_update_hook", "before"]);
    reload(&stage, &pollbal, &echo("after"));
    let mark = pollbal.mark();
    nodes[0].announce("api");
    pollbal.wait_log_after(mark, &["file_update_hook", "after"]);
    // Of both files: one that the node joins, and one that it leaves.
    becomes(SOON, "the runs", &2, || {
        pollbal.log_with(&["file_update_hook", "after"]).len()
    });
    reload(&stage, &pollbal, &json!({}));
    let mark = pollbal.mark();
    nodes[0].announce("website");
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    nodes[0].wait_polls(5);
    let new = pollbal.log().split_off(mark);
    assert!(!new.iter().any(|line| line.contains("_hook")), "{new:#?}");
}

#[test]
fn the_services_file_changes_and_the_old_one_is_watched_no_more() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 3]);
    stage.list(&nodes[..1]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    let other = stage.path("other");
    let list = |nodes: &[Node]| {
        let lines: Vec<_> = nodes.iter().map(Node::services_line).collect();
        fs::write(&other, text(&lines)).unwrap();
    };
    list(&nodes[1..2]);
    reload(&stage, &pollbal, &json!({ "services_file": other }));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[1..2]));
    stage.list(&nodes[..1]);
    let written = Instant::now();
    let expected = Some(pool_lines(&nodes[1..2]));
    stays(
        SOON,
        "the new list",
        &expected,
        || stage.lines("website.pool"),
        || written.elapsed() > Duration::from_millis(2_500),
    );
    list(&nodes[1..]);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[1..]));
}

#[test]
fn a_services_file_is_read_at_once_by_sighup() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 2]);
    stage.list(&nodes[..1]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    stage.list(&nodes);
    reload(&stage, &pollbal, &json!({}));
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
}

#[test]
fn a_bad_configuration_is_refused_whole_and_the_old_stays() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 2]);
    stage.list(&nodes[..1]);
    let mut pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    let elsewhere = stage.path("elsewhere");
    let bad = [
        (json!({ "pool_directory": elsewhere, "rise": 0 }), "rise"),
        (
            json!({ "pool_directory": elsewhere, "wrong_key": 0 }),
            "wrong_key",
        ),
        (
            json!({ "pool_directory": elsewhere, "services_file": stage.path("none") }),
            "none",
        ),
    ];
    for (config, words) in bad {
        let mark = pollbal.mark();
        stage.write_config(&config);
        pollbal.reload();
        pollbal.wait_log_after(mark, &["error", words]);
        pollbal.wait_log_after(mark, &["error", "reload rejected", "old state stays"]);
        nodes[0].wait_polls(5);
        pollbal.assert_alive();
        assert_eq!(stage.lines("website.pool"), Some(pool_lines(&nodes[..1])));
    }
    // Nor does a bad or empty services file pass, nor half of a JSON text.
    for services in ["oops\n", ""] {
        let mark = pollbal.mark();
        fs::write(stage.path("bad"), services).unwrap();
        stage.write_config(
            &json!({ "pool_directory": elsewhere, "services_file": stage.path("bad") }),
        );
        pollbal.reload();
        pollbal.wait_log_after(mark, &["error", "bad"]);
        pollbal.wait_log_after(mark, &["error", "reload rejected"]);
    }
    let mark = pollbal.mark();
    fs::write(pollbal.config_file(), "{ \"rise\":").unwrap();
    pollbal.reload();
    pollbal.wait_log_after(mark, &["error", "is not valid JSON"]);
    pollbal.wait_log_after(mark, &["error", "reload rejected"]);

    // The old services file is still watched, and a good configuration is still taken.
    stage.list(&nodes);
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    assert!(!elsewhere.exists());
    reload(&stage, &pollbal, &json!({ "pool_directory": elsewhere }));
    eventually(SOON, "the new directory", || {
        elsewhere.join("website.pool").exists().then_some(())
    });
}

/// `Api` is announced, and `api` is declared; or an address is mistyped.
#[test]
fn rules_that_would_empty_a_pool_are_refused_whole_until_a_person_accepts_that() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["Api", "Api", "web"]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "Api.pool", &pool_lines(&nodes[..2]));
    let away = ["192.0.2.1"];
    let slip = json!({ "pools": { "Api": { "nodes": away }, "new": {} } });
    stage.write_config(&slip);
    let reply = post(&stage, "/v1/reload", &json!({}));
    assert_ne!(reply.status, 200);
    for part in [
        "lose all its 2 members",
        "node-1, node-2",
        "pools.Api.nodes",
        "--accept-removals",
    ] {
        assert!(reply.body.contains(part), "{}", reply.body);
    }
    pollbal.wait_log(&["error", "reload rejected"]);
    nodes[0].wait_polls(2);
    assert_eq!(stage.lines("Api.pool"), Some(pool_lines(&nodes[..2])));
    assert_eq!(stage.lines("new.pool"), None, "nothing of it is active");

    accept_removals(&stage);
    wait_file(&stage, "Api.pool", &[]);
    wait_file(&stage, "new.pool", &[]);
}

/// What is driven with the same settings goes on over its connection: another address, or another
/// interval, is no reason to read everything of the other Perlbals again.
#[test]
fn only_the_perlbals_whose_settings_differ_are_connected_again() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbals = [0; 3].map(|_| Config::new().pool("website").start(&stage));
    let [first, second, third] = perlbals
        .each_ref()
        .map(|perlbal| perlbal.management().to_string());
    let pollbal = Pollbal::start(&stage, &json!({ "perlbal": [&first, &second] }));
    let connections = |address: &String| {
        let address = format!("perlbal={address}");
        pollbal.log_with(&["connected to Perlbal", &address]).len()
    };
    for perlbal in &perlbals[..2] {
        perlbal.wait_members("website", &addrs(&nodes));
    }

    reload(&stage, &pollbal, &json!({ "perlbal": [&third, &first] }));
    perlbals[2].wait_members("website", &addrs(&nodes));
    nodes[1].announce("website leaving");
    for perlbal in [&perlbals[0], &perlbals[2]] {
        perlbal.wait_members("website", &addrs(&nodes[..1]));
    }
    // Nobody notified the one that was removed.
    perlbals[1].wait_members("website", &addrs(&nodes));
    assert_eq!([&first, &second, &third].map(connections), [1, 1, 1]);

    let changed = json!({ "address": first, "resync_interval": "10s" });
    reload(&stage, &pollbal, &json!({ "perlbal": [&third, changed] }));
    becomes(SOON, "its settings are new", &[2, 1], || {
        [&first, &third].map(connections)
    });
    nodes[1].announce("website");
    for perlbal in [&perlbals[0], &perlbals[2]] {
        perlbal.wait_members("website", &addrs(&nodes));
    }
    assert_eq!([&first, &third].map(connections), [2, 1]);
}

#[test]
fn another_grace_restarts_the_pool_files_alone() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = Config::new().pool("website").start(&stage);
    let management = perlbal.management().to_string();
    let config = |grace: &str| json!({ "perlbal": management, "empty_pool_grace": grace });
    let pollbal = Pollbal::start(&stage, &config("60s"));
    perlbal.wait_members("website", &addrs(&nodes));

    reload(&stage, &pollbal, &config("50s"));
    nodes[1].announce("website leaving");
    perlbal.wait_members("website", &addrs(&nodes[..1]));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    assert_eq!(pollbal.log_with(&["connected to Perlbal"]).len(), 1);
}
