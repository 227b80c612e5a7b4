//! When pool files appear, are emptied and are deleted: from the first moment of a run to the remains of the one
//! before.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::nodes::{Node, wait_rounds};
use crate::common::pollbal::Pollbal;
use crate::common::raw_node::{Answer, RawNode};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays};

fn pool_lines(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::pool_line).collect()
}

#[track_caller]
fn wait_file(stage: &Stage, file: &str, lines: &[String]) {
    becomes(SOON, file, &Some(lines.to_vec()), || stage.lines(file));
}

#[track_caller]
fn wait_deleted(stage: &Stage, file: &str) {
    eventually(SOON, &format!("{file} is deleted"), || {
        stage.lines(file).is_none().then_some(())
    });
}

/// Name and content of all that is in the pool directory, directories as none.
fn contents(stage: &Stage) -> Vec<(String, Option<String>)> {
    let read = |name: String| {
        let content = fs::read_to_string(stage.pool_directory().join(&name)).ok();
        (name, content)
    };
    stage.files().into_iter().map(read).collect()
}

fn left_behind(stage: &Stage, files: &[(&str, &str)]) {
    fs::create_dir_all(stage.pool_directory()).unwrap();
    for (file, content) in files {
        fs::write(stage.pool_directory().join(file), content).unwrap();
        stage.own(file);
    }
}

#[test]
fn an_undeclared_pools_file_is_emptied_at_once_and_deleted_after_the_grace() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "other"]);
    let grace = Duration::from_millis(1_500);
    let config = json!({ "poll_interval": "20ms", "empty_pool_grace": "1500ms" });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    let announced = Instant::now();
    nodes[0].announce("other");
    wait_file(&stage, "website.pool", &[]);
    let emptied = Instant::now();
    assert!(
        emptied - announced < grace,
        "emptied at once: {:?}",
        emptied - announced
    );
    wait_deleted(&stage, "website.pool");
    let stayed = announced.elapsed();
    assert!(stayed >= grace, "deleted after {stayed:?}");
    let stayed = emptied.elapsed();
    assert!(
        stayed < grace + Duration::from_secs(2),
        "deleted after {stayed:?} only"
    );
    pollbal.wait_log(&["info", "deleted website.pool"]);
}

#[test]
fn a_pool_that_comes_back_within_the_grace_keeps_its_file() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "other"]);
    let grace = Duration::from_millis(1_500);
    let config = json!({ "poll_interval": "20ms", "empty_pool_grace": "1500ms" });
    let _pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    nodes[0].announce("");
    wait_file(&stage, "website.pool", &[]);
    let emptied = Instant::now();
    nodes[0].announce("website");
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    let expected = Some(pool_lines(&nodes[..1]));
    stays(
        SOON,
        "the file",
        &expected,
        || stage.lines("website.pool"),
        || emptied.elapsed() > grace + Duration::from_millis(500),
    );
    // Emptied again, it has its whole grace again.
    let announced = Instant::now();
    nodes[0].announce("");
    wait_deleted(&stage, "website.pool");
    assert!(announced.elapsed() >= grace, "{:?}", announced.elapsed());
}

#[test]
fn declared_pools_have_a_file_before_the_first_round_and_for_ever() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "declared"]);
    nodes[1].hang();
    let config = json!({
        "poll_interval": "20ms",
        "service_timeout": "1h",
        "pools": { "declared": {}, "unheard-of": {} },
        "empty_pool_grace": 0,
    });
    let _pollbal = Pollbal::start(&stage, &config);
    let declared = ["declared.pool", "unheard-of.pool"]
        .map(str::to_owned)
        .to_vec();
    becomes(SOON, "files", &declared, || stage.files());
    let enough = nodes[0].polls() + 20;
    stays(
        SOON,
        "files",
        &declared,
        || stage.files(),
        || nodes[0].polls() >= enough,
    );
    assert_eq!(stage.lines("declared.pool"), Some(vec![]));

    // The hanging poll ends when the node dies; then it is a member, and then no more.
    nodes[1].recover();
    let mut nodes = nodes;
    nodes[1].die();
    nodes[1].revive();
    wait_file(&stage, "declared.pool", &pool_lines(&nodes[1..]));
    nodes[1].announce("website");
    wait_file(&stage, "declared.pool", &[]);
    wait_rounds(&nodes, 20);
    assert_eq!(stage.lines("declared.pool"), Some(vec![]));
    assert_eq!(stage.lines("unheard-of.pool"), Some(vec![]));
}

#[test]
fn a_declared_pools_file_of_the_run_before_is_not_emptied_at_the_start() {
    let stage = Stage::new();
    let node = RawNode::start(stage.node_addr(1), "hanging", Answer::Hang);
    stage.write_services(&[node.services_line()]);
    left_behind(&stage, &[("declared.pool", "10.0.0.1 80 # earlier\n")]);
    let config = json!({
        "service_timeout": "1h",
        "pools": { "declared": {}, "new": {} },
    });
    let _pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "new.pool", &[]);
    assert_eq!(
        stage.lines("declared.pool"),
        Some(vec!["10.0.0.1 80 # earlier".to_owned()])
    );
}

#[test]
fn nothing_is_touched_before_every_node_has_answered_or_failed_once() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["website", "website", "api"]);
    nodes[2].hang();
    let earlier = "10.0.0.9 80 # earlier\n";
    left_behind(
        &stage,
        &[
            ("website.pool", earlier),
            ("old.pool", earlier),
            ("old.v1.pool", ""),
        ],
    );
    let before = contents(&stage);
    let config = json!({
        "poll_interval": "20ms", "service_timeout": "1h", "empty_pool_grace": 0,
    });
    let pollbal = Pollbal::start(&stage, &config);
    nodes[0].wait_polls(1);
    let enough = nodes[0].polls() + 40;
    stays(
        SOON,
        "files",
        &before,
        || contents(&stage),
        || nodes[0].polls() >= enough,
    );
    assert_eq!(
        pollbal.log_with(&["first round done"]),
        Vec::<String>::new()
    );
    nodes[2].die();
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..2]));
    pollbal.wait_log(&["first round done", "2 members"]);
    wait_deleted(&stage, "old.pool");
}

#[test]
fn a_node_that_fails_its_first_poll_does_not_hold_back_the_first_round() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website", "website"]);
    nodes[1].hang();
    nodes[2].fail(500);
    let config = json!({ "fall": 1000, "service_timeout": "200ms" });
    let _pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
}

#[test]
fn files_of_earlier_runs_are_emptied_and_deleted_and_all_others_left_alone() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let earlier = "10.0.0.9 80 # earlier\n";
    let ours = [
        ("old.pool", earlier),
        ("old.v1.pool", earlier),
        ("empty.pool", ""),
    ];
    let broken = [("no-list.pool", "what is this?\n")];
    let others = [
        ("notes.txt", "mine\n"),
        ("website.pool.bak", earlier),
        ("a b.pool", earlier),
        (".hidden.pool", earlier),
        ("old..pool", earlier),
        (".pool", earlier),
        ("Makefile", "all:\n"),
        ("services", earlier),
    ];
    for files in [&ours[..], &broken, &others] {
        left_behind(&stage, files);
    }
    fs::create_dir(stage.pool_directory().join("directory.pool")).unwrap();
    // Long enough that each is observed while it is empty.
    let config = json!({ "poll_interval": "20ms", "empty_pool_grace": "3s" });
    let _pollbal = Pollbal::start(&stage, &config);
    for file in ["old.pool", "old.v1.pool", "no-list.pool"] {
        wait_file(&stage, file, &[]);
    }
    for file in ["old.pool", "old.v1.pool", "no-list.pool", "empty.pool"] {
        wait_deleted(&stage, file);
    }
    let mut expected: Vec<_> = others
        .map(|(name, content)| (name.to_owned(), Some(content.to_owned())))
        .to_vec();
    expected.push(("directory.pool".to_owned(), None));
    expected.push(("disabled_services".to_owned(), Some(String::new())));
    expected.push(("website.pool".to_owned(), Some(nodes[0].pool_line() + "\n")));
    expected.sort();
    assert_eq!(contents(&stage), expected);
}
