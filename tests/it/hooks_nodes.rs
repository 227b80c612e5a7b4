//! `node_hook`: when it runs, what it receives, and that no number of nodes harms anything.

use std::fs;

use serde_json::{Value, json};

use crate::common::http::accept_removals;
use crate::common::nodes::{Node, wait_rounds};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays};

/// A hook that writes what it receives into a file of its own, `run-…`, whole.
fn note(stage: &Stage) -> Value {
    let variables = "$POLLBAL_NODE|$POLLBAL_NODE_NAME|$POLLBAL_POOL|$POLLBAL_VERSION|$POLLBAL_STATE|\
                     $POLLBAL_REASON|$POLLBAL_FROM_POOL|$POLLBAL_FROM_VERSION|$POLLBAL_POOL_DIRECTORY";
    let script = format!(
        "{{ printf '%s\\n' \"{variables}\"; cat; }} > \"$0/new-$$\" && mv \"$0/new-$$\" \"$0/run-$$\""
    );
    json!(["sh", "-c", script, stage.dir()])
}

/// What each run received, in the order of the events: its variables, and its JSON.
fn noted(stage: &Stage) -> Vec<(String, Value)> {
    let entries = fs::read_dir(stage.dir()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_run = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("run-")
    };
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let (variables, json) = text.split_once('\n').unwrap();
        assert!(json.ends_with("}\n") && json.lines().count() == 1, "{json}");
        (variables.to_owned(), serde_json::from_str(json).unwrap())
    };
    let mut runs: Vec<(String, Value)> = paths.filter(is_run).map(read).collect();
    runs.sort_by_key(|(_, json)| json["id"].as_u64());
    runs
}

/// Waits for this many runs in all, and gives the last.
#[track_caller]
fn wait_run(stage: &Stage, count: usize) -> (String, Value) {
    becomes(SOON, "runs of node_hook", &count, || noted(stage).len());
    noted(stage).pop().unwrap()
}

#[test]
fn a_node_that_goes_in_out_or_elsewhere_is_reported_with_all_that_is_known_and_a_start_is_not() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api serving v1", "website", "api leaving"]);
    let mut pollbal = Pollbal::start(&stage, &json!({ "node_hook": note(&stage) }));
    pollbal.wait_log(&["first round done"]);
    wait_rounds(&nodes, 3);
    assert_eq!(noted(&stage), [], "nobody knows what was before");
    let (addr, pool) = (
        nodes[0].addr(),
        stage.pool_directory().display().to_string(),
    );

    nodes[0].announce("api leaving v1");
    let (variables, out) = wait_run(&stage, 1);
    assert_eq!(
        variables,
        format!("{addr}|node-1|api|v1|out|leaving|||{pool}")
    );
    let time = out["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() == 24, "{time}");
    let required = json!({
        "id": out["id"], "time": time, "level": "info", "kind": "left", "node": addr, "name": "node-1", "pool": "api",
        "text": "node-1 leaves api (v1): leaving", "state": "out", "version": "v1", "from_pool": null,
        "from_version": null, "reason": "leaving",
    });
    assert_eq!(out, required);

    nodes[0].announce("api serving v2");
    let (variables, json) = wait_run(&stage, 2);
    assert_eq!(variables, format!("{addr}|node-1|api|v2|in||||{pool}"));
    assert_eq!(
        (&json["state"], &json["kind"]),
        (&json!("in"), &json!("joined"))
    );

    nodes[0].announce("website");
    let (variables, json) = wait_run(&stage, 3);
    assert_eq!(
        variables,
        format!("{addr}|node-1|website||moved||api|v2|{pool}")
    );
    assert_eq!(
        [
            &json["state"],
            &json["from_pool"],
            &json["from_version"],
            &json["version"]
        ],
        [&json!("moved"), &json!("api"), &json!("v2"), &Value::Null]
    );

    nodes[1].fail(503);
    let (variables, json) = wait_run(&stage, 4);
    let reason = "failed: HTTP 503, expected 200";
    let addr = nodes[1].addr();
    assert_eq!(
        variables,
        format!("{addr}|node-2|website||out|{reason}|||{pool}")
    );
    assert_eq!(json["level"], "warning");
    pollbal.wait_log(&["removed from website", reason]);

    stage.list(&nodes[1..]);
    // The last member of its pool goes only if that is accepted.
    accept_removals(&stage);
    let (variables, _) = wait_run(&stage, 5);
    let addr = nodes[0].addr();
    assert_eq!(
        variables,
        format!("{addr}|node-1|website||out|no longer in the services file|||{pool}")
    );
    pollbal.assert_alive();
}

#[test]
fn a_restart_is_no_change_of_a_node() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let config = json!({ "node_hook": note(&stage) });
    let mut pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    assert_eq!(pollbal.terminate().code(), Some(0));
    nodes[1].announce("");
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    nodes[0].announce("website");
    wait_run(&stage, 1);
    assert_eq!(noted(&stage).len(), 1, "{:?}", noted(&stage));
}

#[test]
fn hooks_that_hang_on_nodes_hold_back_neither_files_nor_their_hooks() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 40]);
    let config = json!({
        "node_hook": ["sleep", "1000"],
        "file_update_hook": ["sh", "-c", "echo >> \"$0/updates\"", stage.dir()],
    });
    let mut pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    for node in &nodes {
        node.announce("api");
    }
    let all: Vec<_> = nodes.iter().map(Node::pool_line).collect();
    becomes(SOON, "api.pool", &Some(all), || stage.lines("api.pool"));
    let updates = || fs::read_to_string(stage.path("updates")).unwrap_or_default();
    eventually(SOON, "the hooks of files", || {
        // website.pool and disabled_services at the start, api.pool and website.pool again.
        (updates().lines().count() >= 4).then_some(())
    });
    // Sixteen of forty run; the end says once what never does.
    assert_eq!(pollbal.terminate().code(), Some(0));
    pollbal.wait_log(&["error", "24 runs of node_hook are dropped"]);
}

#[test]
fn runs_of_one_node_follow_one_another_and_hold_up_no_other() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 2]);
    let script = "cd \"$0\"; said=\"$POLLBAL_NODE_NAME $POLLBAL_STATE\"
        echo \"$said\" begins >> runs
        while [ $POLLBAL_NODE_NAME = node-1 ] && [ ! -e go ]; do sleep 0.01; done
        echo \"$said\" ends >> runs";
    let hook = json!(["sh", "-c", script, stage.dir()]);
    let pollbal = Pollbal::start(&stage, &json!({ "node_hook": hook }));
    pollbal.wait_log(&["first round done"]);
    let of = |node: &Node| -> Vec<String> {
        let runs = fs::read_to_string(stage.path("runs")).unwrap_or_default();
        let runs = runs.lines().filter_map(|run| run.strip_prefix(node.name()));
        runs.map(|run| run.trim().to_owned()).collect()
    };
    let goes = |node: &Node, announcement, event| {
        let mark = pollbal.mark();
        node.announce(announcement);
        pollbal.wait_log_after(mark, &[event]);
    };
    goes(&nodes[0], "", "node-1 leaves website");
    goes(&nodes[0], "website", "node-1 joins website");
    goes(&nodes[1], "", "node-2 leaves website");
    let both = |state: &str| [format!("{state} begins"), format!("{state} ends")];
    becomes(SOON, "runs of node-2", &both("out").to_vec(), || {
        of(&nodes[1])
    });
    assert_eq!(of(&nodes[0]), ["out begins"]);
    fs::write(stage.path("go"), "").unwrap();
    let all = [both("out"), both("in")].concat();
    becomes(SOON, "runs of node-1", &all, || of(&nodes[0]));
}

#[test]
fn a_hook_that_does_not_read_is_no_trouble() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let script = "echo ran >> \"$0/ran\"";
    let hook = json!(["sh", "-c", script, stage.dir()]);
    let mut pollbal = Pollbal::start(&stage, &json!({ "node_hook": hook }));
    pollbal.wait_log(&["first round done"]);
    for round in 1..=5 {
        nodes[0].announce(["website", ""][round % 2]);
        let ran = || fs::read_to_string(stage.path("ran")).unwrap_or_default();
        eventually(SOON, "a run of the hook", || {
            (ran().lines().count() == round).then_some(())
        });
    }
    assert_eq!(pollbal.log_with(&["node_hook"]), Vec::<String>::new());
    pollbal.assert_alive();
}

#[test]
fn a_dry_run_runs_no_node_hook() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let config = json!({ "node_hook": note(&stage) });
    let pollbal = Pollbal::start_with(&stage, &config, &["--dry-run"]);
    pollbal.wait_log(&["first round done"]);
    nodes[0].announce("api");
    pollbal.wait_log(&["node-1 moves"]);
    let enough = nodes[0].polls() + 5;
    let polled = || nodes[0].polls() >= enough;
    stays(SOON, "runs", &0, || noted(&stage).len(), polled);
}
