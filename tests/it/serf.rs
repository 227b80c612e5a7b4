//! Serf as a source of nodes: real agents, whose members are polled.

mod reported;
mod scripted;
mod trouble;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::haproxy::{Config, slots};
use crate::common::http::get;
use crate::common::nodes::{Node, addrs};
use crate::common::pollbal::Pollbal;
use crate::common::run::{pollbal, stdout};
use crate::common::serf::{Agent, EXCHANGED, FAILED};
use crate::common::stage::Stage;
use crate::common::{becomes, eventually};

/// Maximum time from what happens in Serf to what a load balancer does.
const PROMPT: Duration = Duration::from_millis(1_500);

/// Serf alone says which nodes there are.
fn config(lb: &Agent) -> Value {
    json!({ "serf": lb.rpc().to_string(), "services_file": null })
}

/// Waits until a pool has these nodes, and no others.
#[track_caller]
fn wait_pool(stage: &Stage, pool: &str, nodes: &[&Node]) {
    wait_pool_within(EXCHANGED, stage, pool, nodes);
}

#[track_caller]
fn wait_pool_within(deadline: Duration, stage: &Stage, pool: &str, nodes: &[&Node]) {
    let expected: BTreeSet<String> = nodes.iter().map(|node| node.pool_line()).collect();
    becomes(deadline, pool, &Some(expected), || members(stage, pool));
}

/// The lines of a pool file.
fn members(stage: &Stage, pool: &str) -> Option<BTreeSet<String>> {
    let lines = stage.lines(&format!("{pool}.pool"))?;
    Some(lines.into_iter().collect())
}

/// The text of a problem, if there is one of that kind.
fn problem(stage: &Stage, kind: &str) -> Option<String> {
    let status = get(stage, "/v1/status").json();
    let problems = status["site_problems"].as_array()?.iter();
    let mut problems = problems.filter(|problem| problem["kind"] == kind);
    Some(problems.next()?["text"].as_str()?.to_owned())
}

#[track_caller]
fn wait_problem(stage: &Stage, kind: &str) -> String {
    eventually(EXCHANGED, kind, || problem(stage, kind))
}

#[track_caller]
fn wait_no_problem(stage: &Stage, kind: &str) {
    eventually(FAILED, &format!("no {kind}"), || {
        problem(stage, kind).is_none().then_some(())
    });
}

/// What `pollbal explain` says of a node.
fn explain(stage: &Stage, node: &str) -> String {
    let socket = stage.admin_socket().display().to_string();
    stdout(&pollbal(&["explain", node, "--socket", &socket]))
}

#[test]
fn a_member_that_joins_is_polled_and_served_and_one_that_leaves_is_drained_although_it_answers() {
    let stage = Stage::alone();
    let nodes = [1, 2].map(|number| stage.node(number, "web serving"));
    let haproxy = Config::new().backend("web", &[&slots(3)]).start(&stage);
    let lb = Agent::lb(&stage);
    let first = Agent::of_node(&stage, &nodes[0], &lb, &["role=web"]);
    let mut config = config(&lb);
    config["haproxy"] = json!(haproxy.socket());
    let pollbal = Pollbal::start(&stage, &config);
    wait_pool(&stage, "web", &[&nodes[0]]);

    let began = Instant::now();
    let second = Agent::of_node(&stage, &nodes[1], &lb, &["role=web"]);
    haproxy.wait_members("web", &addrs(&nodes));
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
    let text = explain(&stage, "node-2");
    assert!(text.contains("source    Serf\n"), "{text}");
    assert!(text.contains("polled    "), "{text}");

    let began = Instant::now();
    second.leave();
    haproxy.wait_members("web", &addrs([&nodes[0]]));
    pollbal.wait_log(&["node-2 leaves web: leaving"]);
    pollbal.wait_log(&[&nodes[1].addr().to_string(), "drained"]);
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
    // It would serve on, by its own answer.
    let polls = nodes[1].polls();
    nodes[0].wait_polls(20);
    assert_eq!(nodes[1].polls(), polls, "Serf speaks for it");
    wait_pool(&stage, "web", &[&nodes[0]]);
    let text = explain(&stage, "node-2");
    assert!(text.contains("announced in Serf"), "{text}");
    assert!(text.contains("reported  "), "{text}");
    assert_eq!(pollbal.log_with(&["error"]), [""; 0]);

    drop(second);
    let _second = Agent::of_node(&stage, &nodes[1], &lb, &["role=web"]);
    haproxy.wait_members("web", &addrs(&nodes));
    drop(first);
}

#[test]
fn what_serf_holds_for_failed_is_a_member_as_long_as_it_answers_polls() {
    let stage = Stage::new();
    let mut nodes = [1, 2, 3].map(|number| stage.node(number, "web"));
    let lb = Agent::lb(&stage);
    let mut agents: Vec<_> = nodes
        .iter()
        .map(|node| Agent::of_node(&stage, node, &lb, &[]))
        .collect();
    // So far apart that what comes sooner comes by Serf.
    let mut config = config(&lb);
    config["poll_interval"] = json!("1h");
    let _pollbal = Pollbal::start(&stage, &config);
    wait_pool(&stage, "web", &nodes.each_ref());
    // One dies with its agent, of another the agent alone.
    let polls = nodes[1].polls();
    agents[0].kill();
    agents[1].kill();
    nodes[0].die();
    wait_pool_within(FAILED, &stage, "web", &[&nodes[1], &nodes[2]]);
    eventually(FAILED, "the other is polled too", || {
        (nodes[1].polls() > polls).then_some(())
    });
    wait_pool(&stage, "web", &[&nodes[1], &nodes[2]]);
    // Back in Serf, it is polled at once too.
    nodes[0].revive();
    agents[0].revive();
    wait_pool(&stage, "web", &nodes.each_ref());
}

#[test]
fn tags_select_the_members_that_are_nodes() {
    let stage = Stage::new();
    let nodes = [1, 2, 3].map(|number| stage.node(number, "web"));
    let lb = Agent::lb(&stage);
    let roles = ["role=web-1", "role=api", "role=mail"];
    let agents: Vec<_> = nodes
        .iter()
        .zip(roles)
        .map(|(node, role)| Agent::of_node(&stage, node, &lb, &[role]))
        .collect();
    let mut config = config(&lb);
    config["serf"] =
        json!({ "address": lb.rpc().to_string(), "tags": { "role": "web-[0-9]|api" } });
    config["max_removed"] = json!("100%");
    let pollbal = Pollbal::start(&stage, &config);
    wait_pool(&stage, "web", &[&nodes[0], &nodes[1]]);
    agents[1].set_tags(&["role=apis"]);
    wait_pool(&stage, "web", &[&nodes[0]]);
    agents[2].set_tags(&["role=api"]);
    wait_pool(&stage, "web", &[&nodes[0], &nodes[2]]);
    agents[2].delete_tag("port");
    let text = wait_problem(&stage, "members_rejected");
    assert!(text.contains("\"node-3\": it has no tag port"), "{text}");
    pollbal.wait_log(&["warn", "\"node-3\": it has no tag port"]);
}

#[test]
fn the_services_file_counts_where_it_lists_the_same() {
    let stage = Stage::new();
    let nodes = [1, 2, 3].map(|number| stage.node(number, "web"));
    stage.list(&nodes[..1]);
    let lb = Agent::lb(&stage);
    let shared = Agent::member(&stage, 1, "other", nodes[0].addr().port(), &lb, &[]);
    let _second = Agent::of_node(&stage, &nodes[1], &lb, &[]);
    let config = json!({ "serf": lb.rpc().to_string() });
    let pollbal = Pollbal::start(&stage, &config);
    wait_pool(&stage, "web", &[&nodes[0], &nodes[1]]);
    let warning = pollbal.wait_log(&["warn", "is in the services file", "as other"]);
    assert!(warning.contains(&nodes[0].addr().to_string()), "{warning}");
    // Both change, each by itself.
    stage.write_services(&[nodes[0].services_line(), nodes[2].services_line()]);
    wait_pool(&stage, "web", &nodes.each_ref());
    shared.leave();
    nodes[0].wait_polls(20);
    wait_pool(&stage, "web", &nodes.each_ref());
    assert_eq!(pollbal.log_with(&["is in the services file"]).len(), 1);
}
