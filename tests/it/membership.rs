//! Who is in which pool, end to end: nodes answer by a script, the pool files and the log show what was decided.

use std::time::Duration;

use serde_json::json;

use crate::common::http::post;
use crate::common::nodes::{Node, wait_rounds};
use crate::common::pollbal::Pollbal;
use crate::common::raw_node::{Answer, RawNode, Reply};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays};

/// Polls of a scripted node that lie between what it did and what is looked at.
const FAR: usize = 5;

/// Answers each poll by its word: `ok` is the pool `website`, a number is a status, all else is the body; the last word
/// goes on for ever.
fn script(stage: &Stage, number: u8, words: &[&str]) -> RawNode {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let answer = Answer::says(move |poll| {
        let index = usize::try_from(poll - 1).unwrap().min(words.len() - 1);
        match words[index].as_str() {
            "ok" => Reply::Body("website".to_owned()),
            word => match word.parse() {
                Ok(status) => Reply::Status(status),
                Err(_) => Reply::Body(word.to_owned()),
            },
        }
    });
    RawNode::start(stage.node_addr(number), &format!("node-{number}"), answer)
}

fn pool_lines(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::pool_line).collect()
}

#[track_caller]
fn wait_file(stage: &Stage, file: &str, lines: &[String]) {
    becomes(SOON, file, &Some(lines.to_vec()), || stage.lines(file));
}

/// The log lines of the node's joins and exits so far.
fn ups_and_downs(pollbal: &Pollbal) -> (usize, usize) {
    let joins = pollbal.log_with(&["node-1 joins website"]).len();
    let exits = pollbal.log_with(&["node-1 removed from website"]).len();
    (joins, exits)
}

#[test]
fn rise_and_fall_cost_no_whole_intervals() {
    let stage = Stage::new();
    let words = ["ok", "500", "500", "500", "ok"];
    let node = script(&stage, 1, &words);
    stage.write_services(&[node.services_line()]);
    let config = json!({
        "poll_interval": "1h", "retry_interval": "200ms", "rise": 3, "fall": 3,
        // A node that a busy machine keeps from answering must not count as failed.
        "service_timeout": "5s",
    });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["node-1 joins website"]);
    let nudge = || assert_eq!(post(&stage, "/v1/nudge", &json!({})).status, 200);
    nudge();
    pollbal.wait_log(&["node-1 removed from website", "500"]);
    node.wait_polls(4);
    nudge();
    eventually(SOON, "it joins again", || {
        (ups_and_downs(&pollbal) == (2, 1)).then_some(())
    });
    let times = node.times();
    assert_eq!(times.len(), 7, "no more than rise and fall ask for");
    for again in [2, 3, 5, 6] {
        let pause = times[again] - times[again - 1];
        assert!(
            pause >= Duration::from_millis(160),
            "poll {again} after {pause:?}"
        );
    }
}

#[test]
fn a_failed_node_is_let_in_after_rise_answers_in_a_row() {
    let stage = Stage::new();
    let words = [
        "ok", "500", "ok", "ok", "500", "ok", "ok", "503", "ok", "ok", "ok",
    ];
    let node = script(&stage, 1, &words);
    stage.write_services(&[node.services_line()]);
    let pollbal = Pollbal::start(&stage, &json!({ "poll_interval": "100ms", "rise": 3 }));
    pollbal.wait_log(&["node-1 removed from website", "500"]);
    eventually(SOON, "it joins again", || {
        (ups_and_downs(&pollbal).0 == 2).then_some(())
    });
    assert!(node.polls() >= 11, "let in after poll {}", node.polls());
    node.wait_polls(11 + FAR);
    assert_eq!(ups_and_downs(&pollbal), (2, 1), "never in between");
    wait_file(&stage, "website.pool", &[node.pool_line()]);
}

#[test]
fn a_member_is_removed_after_fall_failures_in_a_row() {
    let stage = Stage::new();
    let words = [
        "ok", "500", "500", "ok", "a b", "500", "ok", "500", "500", "500",
    ];
    let node = script(&stage, 1, &words);
    stage.write_services(&[node.services_line()]);
    let pollbal = Pollbal::start(&stage, &json!({ "poll_interval": "100ms", "fall": 3 }));
    pollbal.wait_log(&["node-1 removed from website"]);
    assert!(node.polls() >= 10, "removed after poll {}", node.polls());
    assert_eq!(ups_and_downs(&pollbal), (1, 1), "never in between");
    wait_file(&stage, "website.pool", &[]);
}

#[test]
fn a_pool_may_have_its_own_rise_and_fall() {
    let stage = Stage::new();
    let patient = script(&stage, 1, &["ok", "500", "500", "ok"]);
    let other = script(&stage, 2, &["api", "500", "api"]);
    let slow = script(&stage, 3, &["500", "slow"]);
    stage.write_services(&[&patient, &other, &slow].map(RawNode::services_line));
    let config = json!({
        "poll_interval": "50ms",
        "fall": 1,
        "pools": { "website": { "fall": 3 }, "slow": { "rise": 15 } },
    });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["node-2 removed from api"]);
    pollbal.wait_log(&["node-3 joins slow"]);
    assert!(slow.polls() >= 16, "{}", slow.polls());
    patient.wait_polls(4 + FAR);
    assert_eq!(ups_and_downs(&pollbal), (1, 0));
    wait_file(&stage, "api.pool", &[other.pool_line()]);
}

#[test]
fn a_node_that_leaves_or_serves_nothing_is_out_at_once_whatever_fall_says() {
    let stage = Stage::new();
    let words = [
        "website leaving",
        "website exiting",
        "website quitting v2",
        "",
    ];
    let nodes = stage.nodes(&["website"; 5]);
    let config = json!({ "poll_interval": "100ms", "fall": 1000 });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    for (node, word) in nodes.iter().zip(words) {
        node.announce(word);
    }
    wait_file(&stage, "website.pool", &pool_lines(&nodes[4..]));
    let reported = |why| pollbal.log_with(&["leaves website", why]).len();
    becomes(SOON, "the reasons", &(3, 1), || {
        (reported("leaving"), reported("idle"))
    });
    // And in at once, whatever rise says: they did not fail.
    for node in &nodes {
        node.announce("website ok");
    }
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
}

#[test]
fn a_node_moves_between_pools_and_versions() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website ok v1", "website ok v1"]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "website.v1.pool", &pool_lines(&nodes));
    nodes[0].announce("api ok v2");
    wait_file(&stage, "website.pool", &pool_lines(&nodes[1..]));
    wait_file(&stage, "website.v1.pool", &pool_lines(&nodes[1..]));
    wait_file(&stage, "api.pool", &pool_lines(&nodes[..1]));
    wait_file(&stage, "api.v2.pool", &pool_lines(&nodes[..1]));
    pollbal.wait_log(&["node-1 moves from website (v1) to api (v2)"]);
    nodes[0].announce("api");
    wait_file(&stage, "api.v2.pool", &[]);
    wait_file(&stage, "api.pool", &pool_lines(&nodes[..1]));
}

#[test]
fn failures_do_not_take_a_pool_below_min_members_and_one_warning_says_so() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["website"; 4]);
    let config = json!({
        "poll_interval": "100ms",
        "pools": { "website": { "min_members": 2 } },
    });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    nodes[0].fail(500);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[1..]));
    assert_eq!(pollbal.log_with(&["min_members"]), Vec::<String>::new());
    nodes[1].hang();
    nodes[2].die();
    nodes[3].fail(503);
    let held = || stage.lines("website.pool").map(|lines| lines.len());
    let reported = pollbal.wait_log(&["website would drop below min_members (2)"]);
    assert!(reported.contains("WARN"), "{reported}");
    becomes(SOON, "members", &Some(2), held);
    let enough = nodes[3].polls() + 30;
    stays(SOON, "members", &Some(2), held, || {
        nodes[3].polls() >= enough
    });
    assert_eq!(pollbal.log_with(&["warn", "min_members"]).len(), 1);

    // Those who are well again take the places of those who are held.
    nodes[0].recover();
    nodes[2].revive();
    let well = [nodes[0].pool_line(), nodes[2].pool_line()];
    wait_file(&stage, "website.pool", &well);
    pollbal.wait_log(&["website no longer keeps failed members in"]);
}

#[test]
fn leaving_and_idle_count_whatever_min_members_says() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 3]);
    let config = json!({ "pools": { "website": { "min_members": 3 } } });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    nodes[0].fail(500);
    pollbal.wait_log(&["below min_members (3)"]);
    nodes[1].announce("website leaving");
    wait_file(
        &stage,
        "website.pool",
        &[nodes[0].pool_line(), nodes[2].pool_line()],
    );
    nodes[2].announce("");
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    // Even the one that was held.
    nodes[0].recover();
    nodes[0].announce("website leaving");
    wait_file(&stage, "website.pool", &[]);
}

#[test]
fn only_the_nodes_that_a_pool_lists_may_join_it() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website", "website", "website", "api"]);
    // Node 1 by its address, nodes 2 and 3 by their block.
    let block = format!("{}/31", stage.ip(2));
    let config = json!({
        "poll_interval": "50ms",
        "pools": { "website": { "nodes": [stage.ip(1), block] }, "closed": { "nodes": [] } },
    });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..3]));
    wait_file(&stage, "api.pool", &pool_lines(&nodes[4..]));
    wait_file(&stage, "disabled_services", &[nodes[3].services_line()]);
    nodes[4].announce("closed");
    pollbal.wait_log(&["error", "node-5", "pools.closed.nodes"]);
    wait_file(&stage, "closed.pool", &[]);
    wait_rounds(&nodes, 20);
    let reported = pollbal.log_with(&["node-4", "pools.website.nodes"]);
    assert_eq!(reported.len(), 1, "{reported:?}");
    // Where it may be, it is welcome.
    nodes[3].announce("api");
    wait_file(&stage, "api.pool", &pool_lines(&nodes[3..4]));
}

#[test]
fn undeclared_pools_can_be_refused() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "other", "Website"]);
    let config = json!({
        "poll_interval": "50ms",
        "accept_undeclared_pools": false,
        "pools": { "website": {} },
    });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    pollbal.wait_log(&["error", "node-2", "pool other", "accept_undeclared_pools"]);
    wait_rounds(&nodes, 20);
    assert_eq!(pollbal.log_with(&["node-2"]).len(), 1);
    assert_eq!(stage.files(), ["disabled_services", "website.pool"]);
    let out: Vec<_> = nodes[1..].iter().map(Node::services_line).collect();
    assert_eq!(stage.lines("disabled_services"), Some(out));
    // A member that then announces what it may not is out.
    nodes[0].announce("other");
    wait_file(&stage, "website.pool", &[]);
}

#[test]
fn a_crash_and_restart_while_a_node_is_down_changes_nothing_for_the_others() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["website"; 3]);
    nodes[1].die();
    let config = json!({ "poll_interval": "50ms" });
    let up = [nodes[0].pool_line(), nodes[2].pool_line()].to_vec();
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &up);
    pollbal.kill();
    let look = || stage.lines("website.pool");
    let pollbal = Pollbal::start(&stage, &config);
    let polls = nodes[0].polls();
    stays(SOON, "members", &Some(up), look, || {
        nodes[0].polls() > polls + 20
    });
    pollbal.wait_log(&["node-2 is in no pool", "connect"]);
    nodes[1].revive();
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
}

#[test]
fn members_of_the_run_before_are_held_by_min_members_and_fall() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["website ok v1", "website", "api"]);
    let config = json!({
        "poll_interval": "50ms",
        "pools": { "website": { "min_members": 2 }, "api": { "fall": 15 } },
    });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..2]));
    wait_file(&stage, "website.v1.pool", &pool_lines(&nodes[..1]));
    wait_file(&stage, "api.pool", &pool_lines(&nodes[2..]));
    pollbal.kill();
    nodes[0].die();
    nodes[1].fail(500);
    nodes[2].fail(500);
    let before = nodes[2].polls();
    let look = || (stage.lines("website.pool"), stage.lines("website.v1.pool"));
    let expected = look();
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["warn", "below min_members (2)"]);
    pollbal.wait_log(&["node-3 removed from api"]);
    assert!(
        nodes[2].polls() >= before + 15,
        "removed after {}",
        nodes[2].polls() - before
    );
    assert_eq!(look(), expected);
    wait_file(&stage, "api.pool", &[]);
}
