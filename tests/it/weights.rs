//! Weights of nodes: who gives them, and what is shown of them.

use std::fs;

use serde_json::json;

use crate::commands::site::Site;
use crate::common::http::get;
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

/// A node's weight, and who gives it.
fn weight(stage: &Stage, node: &Node) -> (u64, String) {
    let explained = get(stage, &format!("/v1/explain?node={}", node.name())).json();
    let node = &explained["node"];
    let source = node["weight_source"].as_str();
    let source = source.expect("a source").to_owned();
    (node["weight"].as_u64().expect("a weight"), source)
}

#[track_caller]
fn wait_weight(stage: &Stage, node: &Node, expected: u64, source: &str) {
    let expected = (expected, source.to_owned());
    becomes(SOON, "the weight", &expected, || weight(stage, node));
}

#[test]
fn a_node_announces_its_weight_and_a_key_that_is_not_known_is_logged_once() {
    let site = Site::start();
    let [node, other, ..] = &site.nodes[..] else {
        panic!("there are four nodes")
    };
    wait_weight(&site.stage, node, 100, "pool");
    node.announce("website serving v1 weight=50 zone=a");
    wait_weight(&site.stage, node, 50, "node");
    other.announce("website serving v1 zone=b");
    other.wait_polls(3);
    let lines = site.pollbal.log_with(&["unknown key \"zone\""]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let text = site.tell(&["explain", "node-1"]);
    for line in [
        "\nweight    50, announced by the node\n",
        "node-1 has weight 50 in website (v1) now",
    ] {
        assert!(text.contains(line), "{line}\n---\n{text}");
    }
    // What is no weight is no announcement.
    node.announce("website serving v1 weight=0");
    let wrong = "weight: expected a weight from 1 to 256";
    site.pollbal.wait_log(&["node-1", wrong]);
    assert_eq!(weight(&site.stage, node), (50, "node".to_owned()));
}

#[test]
fn the_services_file_and_the_pool_give_weights_and_check_prints_them() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let [first, second] = &nodes[..] else {
        panic!("there are two nodes")
    };
    let with_weight = |weight: &str| {
        let line = first.services_line().replace(" #", &format!(" {weight} #"));
        stage.write_services(&[line, second.services_line()]);
    };
    with_weight("weight=200");
    let config = json!({ "weight": 150, "pools": { "web": { "weight": 20 } } });
    let daemon = Pollbal::start(&stage, &config);
    daemon.wait_log(&["first round done"]);
    wait_weight(&stage, first, 200, "services_file");
    wait_weight(&stage, second, 20, "pool");

    let config = daemon.config_file().to_str().expect("a path");
    let checked = pollbal(&["check", "--config", config]);
    let checked = stdout(&checked);
    for line in [
        format!("  {} weight=200 # node-1\n", first.addr()),
        "at least 0 members, weight 20\n".to_owned(),
        "at most 100, weight 150\n".to_owned(),
    ] {
        assert!(checked.contains(&line), "{line}\n---\n{checked}");
    }

    with_weight("weight=0");
    let checked = stderr(&pollbal(&["check", "--config", config]));
    let wrong = "line 1: weight: expected a weight from 1 to 256";
    assert!(checked.contains(wrong), "{checked}");
    with_weight("weight=7");
    daemon.reload();
    wait_weight(&stage, first, 7, "services_file");
}

#[test]
fn an_operator_gives_nodes_a_weight_that_outlives_a_restart_and_takes_it_back() {
    let mut site = Site::start();
    let give = ["weight", "node-1", "node-2", "20", "--reason", "canary"];
    let given = site.tell(&[&give[..], &["--note", "v24"]].concat());
    let lines = [1, 2].map(|number| format!("{}: weight 20\n", site.named(number)));
    assert_eq!(given, lines.concat());
    wait_weight(&site.stage, &site.nodes[0], 20, "override");

    let config = site.pollbal.config_file().clone();
    let config = serde_json::from_str(&fs::read_to_string(config).unwrap()).unwrap();
    site.pollbal.terminate();
    site.pollbal = Pollbal::start(&site.stage, &config);
    site.pollbal.wait_log(&["first round done"]);
    wait_weight(&site.stage, &site.nodes[1], 20, "override");
    let status = site.ask(&["status"]).1;
    let row = "weight 20: canary by";
    assert_eq!(status.matches(row).count(), 2, "{status}");
    let explained = site.ask(&["explain", "node-1"]).1;
    let line = "\nweight    20: canary by";
    assert!(explained.contains(line), "{explained}");

    site.tell(&["weight", "node-1", "--reset"]);
    wait_weight(&site.stage, &site.nodes[0], 100, "pool");
    // Of a node that is not listed any more it can be taken back, too.
    site.stage.list(&site.nodes[2..]);
    let refused = site.refused(&["weight", "node-9", "20", "--reason", "canary"]);
    assert!(refused.contains("node-9"), "{refused}");
}

#[test]
fn a_command_line_without_a_valid_weight_is_an_error_that_changes_nothing() {
    let site = Site::start();
    for (words, expected) in [
        (
            &["node-1", "0"][..],
            "expected a weight from 1 to 256 behind the nodes, found \"0\"",
        ),
        (&["node-1", "node-2"], "found \"node-2\""),
        (
            &["20"],
            "expected nodes, and behind them a weight from 1 to 256",
        ),
    ] {
        let line = [&["weight"], words, &["--reason", "canary"]].concat();
        let (code, out, error) = site.ask(&line);
        assert_eq!((code, out.as_str()), (64, ""), "{words:?}");
        assert!(error.contains(expected), "{words:?}: {error}");
    }
    assert_eq!(
        weight(&site.stage, &site.nodes[0]),
        (100, "pool".to_owned())
    );
}
