//! Since when a node is where it is, over a restart of pollbal: the time stays where the node is found where it was.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::common::http;
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::run;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

const HOUR: Duration = Duration::from_secs(3_600);

/// It is written every ten seconds at most.
const WRITTEN: Duration = Duration::from_secs(20);

fn start(stage: &Stage) -> Pollbal {
    let pollbal = Pollbal::start(stage, &json!({ "pools": { "api": { "min_members": 2 } } }));
    pollbal.wait_log(&["first round done"]);
    pollbal
}

/// What `status` tells of a node: where it is, and since when.
fn status(stage: &Stage, node: &Node) -> (String, Option<SystemTime>) {
    let explained = http::get(stage, &format!("/v1/explain?node={}", node.addr())).json();
    let node = &explained["node"];
    let since = node["since"].as_str();
    let since = since.map(|since| humantime::parse_rfc3339(since).unwrap());
    (node["state"].as_str().unwrap().to_owned(), since)
}

#[track_caller]
fn wait_state(stage: &Stage, node: &Node, expected: &str) {
    let found = || status(stage, node).0;
    becomes(SOON, node.name(), &expected.to_owned(), found);
}

fn kept(stage: &Stage) -> Value {
    let text = fs::read_to_string(stage.path("state.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Makes everything that the state file tells of nodes so much older.
fn age(stage: &Stage, by: i64) {
    let mut kept = kept(stage);
    let older = |since: &mut Value| *since = (since.as_i64().unwrap() - by * 1_000).into();
    for place in kept["nodes"]["places"].as_array_mut().unwrap() {
        let nodes = place["since"].as_object_mut().unwrap();
        nodes.values_mut().for_each(older);
    }
    let failing = kept["nodes"].get_mut("failing").into_iter();
    let failing = failing.filter_map(Value::as_object_mut);
    failing.flat_map(|nodes| nodes.values_mut()).for_each(older);
    fs::write(stage.path("state.json"), kept.to_string()).unwrap();
}

#[track_caller]
fn assert_lasts(stage: &Stage, node: &Node, word: &str, least: Duration) {
    let (found, since) = status(stage, node);
    let lasts = since.unwrap().elapsed().expect("it began in the past");
    assert_eq!(found, word, "{}", node.name());
    assert!(lasts >= least, "{}: {lasts:?}", node.name());
    assert!(lasts < least + HOUR, "{}: {lasts:?}", node.name());
}

#[test]
fn what_a_node_was_before_it_still_is_since_then() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["api serving v1", "api", "api", "web", "", "api"]);
    let mut pollbal = start(&stage);
    let socket = stage.admin_socket();
    let socket = socket.to_str().unwrap();
    let out = [
        "disable",
        nodes[5].name(),
        "--reason",
        "disk",
        "--socket",
        socket,
    ];
    assert!(run::pollbal(&out).status.success());
    // Two of the pool are left, as many as it needs: the next one is held.
    nodes[2].announce("api leaving");
    wait_state(&stage, &nodes[2], "leaving");
    nodes[1].fail(500);
    nodes[3].fail(500);
    wait_state(&stage, &nodes[3], "failed");
    pollbal.wait_log(&["api would drop below min_members"]);
    assert!(pollbal.terminate().success());
    age(&stage, 3_600);
    // Meanwhile two come elsewhere.
    nodes[2].announce("web");
    nodes[4].announce("web");
    let pollbal = start(&stage);
    assert_lasts(&stage, &nodes[0], "member", HOUR);
    assert_lasts(&stage, &nodes[1], "member", HOUR);
    assert_lasts(&stage, &nodes[2], "member", Duration::ZERO);
    assert_lasts(&stage, &nodes[3], "failed", HOUR);
    assert_lasts(&stage, &nodes[4], "member", Duration::ZERO);
    assert_lasts(&stage, &nodes[5], "disabled", HOUR);
    // Once it is noted, a crash does not lose it.
    let note = || {
        kept(&stage)["nodes"]
            .to_string()
            .contains(&nodes[4].addr().to_string())
    };
    becomes(WRITTEN, "it is noted", &true, note);
    pollbal.kill();
    nodes[0].die();
    let _pollbal = start(&stage);
    assert_lasts(&stage, &nodes[5], "disabled", HOUR);
}

#[test]
fn a_time_in_the_future_is_now() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let mut pollbal = start(&stage);
    // They are to be taken over as members.
    let members = || stage.lines("api.pool").unwrap_or_default().len();
    becomes(SOON, "members", &2, members);
    assert!(pollbal.terminate().success());
    age(&stage, -7_200);
    let before = SystemTime::now() - Duration::from_secs(1);
    let pollbal = start(&stage);
    let (found, since) = status(&stage, &nodes[0]);
    let (since, now) = (since.unwrap(), SystemTime::now());
    assert_eq!(found, "member");
    assert!(since >= before && since <= now, "{since:?}, at {now:?}");
    assert_eq!(pollbal.log_with(&["error"]), [""; 0]);
}
