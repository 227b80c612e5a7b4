//! pollbal itself stands still, as when its cgroup is frozen or its machine is paused: what was in time meanwhile is in
//! time.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::common::http::{ask_from, get};
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::raw_node::{Answer, RawNode};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, stays};

fn start_nodes(stage: &Stage, answer: fn() -> Answer) -> Vec<RawNode> {
    let node = |number| {
        RawNode::start(
            stage.node_addr(number),
            &format!("node-{number}-"),
            answer(),
        )
    };
    let nodes: Vec<_> = (1..=12).map(node).collect();
    let lines: Vec<_> = nodes.iter().map(RawNode::services_line).collect();
    stage.write_services(&lines);
    nodes
}

/// Watches for this long that the members stay.
#[track_caller]
fn members_stay(stage: &Stage, expected: &Vec<String>, millis: u64) {
    let (begun, time) = (Instant::now(), Duration::from_millis(millis));
    stays(
        SOON,
        "members",
        expected,
        || members(stage),
        || begun.elapsed() >= time,
    );
}

fn members(stage: &Stage) -> Vec<String> {
    stage.lines("website.pool").unwrap_or_default()
}

#[test]
fn a_pause_is_no_failure_of_nodes() {
    let stage = Stage::alone();
    let nodes = start_nodes(&stage, || {
        Answer::Slow(Duration::from_millis(300), "website")
    });
    let config = json!({ "poll_interval": "1s", "service_timeout": "500ms" });
    let pollbal = Pollbal::start(&stage, &config);
    let expected = nodes.iter().map(RawNode::pool_line).collect();
    becomes(SOON, "members", &expected, || members(&stage));
    for pause in [2_000, 700, 450, 2_000, 1_100] {
        pollbal.signal(Signal::STOP);
        members_stay(&stage, &expected, pause);
        pollbal.signal(Signal::CONT);
        members_stay(&stage, &expected, 1_300);
    }
    assert_eq!(pollbal.log_with(&["failed:"]), Vec::<String>::new());
    // One that takes no connections all the same is found.
    nodes[0].stop_listening();
    pollbal.wait_log(&["node-1-", "failed:"]);
}

#[test]
fn a_hook_that_ended_in_a_pause_was_in_time() {
    let stage = Stage::new();
    let begun = stage.path("begun");
    let ended = stage.path("ended");
    let script = format!(
        "echo > {}; sleep 0.7; echo > {}",
        begun.display(),
        ended.display()
    );
    let config = json!({ "pre_init_hook": ["sh", "-c", script], "hook_timeout": "1s" });
    stage.write_services(&[format!("{} 80", stage.ip(1))]);
    let pollbal = Pollbal::start(&stage, &config);
    becomes(SOON, "the hook has begun", &true, || begun.exists());
    pollbal.signal(Signal::STOP);
    becomes(SOON, "the hook has ended", &true, || ended.exists());
    let paused = Instant::now();
    stays(
        SOON,
        "it stands still",
        &true,
        || fs::exists(&ended).unwrap(),
        || paused.elapsed() >= Duration::from_secs(1),
    );
    pollbal.signal(Signal::CONT);
    pollbal.wait_log(&["first round done"]);
    assert_eq!(pollbal.log_with(&["pre_init_hook"]), Vec::<String>::new());
}

/// Has pollbal stand still for so long, in which something happens.
#[track_caller]
fn pause(stage: &Stage, pollbal: &Pollbal, millis: u64, meanwhile: impl FnOnce()) {
    pollbal.signal(Signal::STOP);
    meanwhile();
    members_stay(stage, &members(stage), millis);
    pollbal.signal(Signal::CONT);
}

#[test]
fn a_leave_is_not_over_because_pollbal_stood_still() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website", "website"]);
    let lines: Vec<_> = nodes.iter().map(Node::pool_line).collect();
    let listener = stage.free_addr();
    let config = json!({ "node_listen": listener, "leave_timeout": "4s" });
    let pollbal = Pollbal::start(&stage, &config);
    becomes(SOON, "members", &lines, || members(&stage));
    let granted = ask_from(*nodes[0].addr().ip(), listener, "POST", "/leave");
    assert_eq!(granted.status, 200, "{}", granted.body);
    let others = lines[1..].to_vec();
    becomes(SOON, "members", &others, || members(&stage));
    pause(&stage, &pollbal, 5_000, || {});
    members_stay(&stage, &others, 1_500);
    pollbal.wait_log(&["pollbal was suspended for", "extended 1 leave"]);
    becomes(SOON, "members", &lines, || members(&stage));
    pollbal.wait_log(&["leave", "expired"]);
}

#[test]
fn what_was_over_before_it_had_lasted_is_no_alert_because_pollbal_stood_still() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website", "website", "website"]);
    let lines: Vec<_> = nodes.iter().map(Node::pool_line).collect();
    let reported = stage.path("reported");
    let script = "echo \"$POLLBAL_ALERT $POLLBAL_ALERT_STATE\" >> \"$0\"";
    let config = json!({
        "alert_hook": ["sh", "-c", script, &reported],
        "alert_nodes_down_after": "3s",
    });
    let pollbal = Pollbal::start(&stage, &config);
    becomes(SOON, "members", &lines, || members(&stage));
    let down = || {
        get(&stage, "/v1/status")
            .json()
            .to_string()
            .contains("1 of 3 nodes down")
    };
    nodes[0].fail(500);
    becomes(SOON, "it is known that a node is down", &true, down);
    // Long enough for it to be counted, and not as long as it must last.
    nodes[0].wait_polls(15);
    pause(&stage, &pollbal, 4_000, || nodes[0].recover());
    becomes(SOON, "members", &lines, || members(&stage));
    let alerts = || fs::read_to_string(&reported).unwrap_or_default();
    let went_on = Instant::now();
    let watched = || went_on.elapsed() >= Duration::from_secs(4);
    stays(SOON, "alerts", &String::new(), alerts, watched);
    // One that stays down is reported.
    nodes[0].fail(500);
    becomes(SOON, "alerts", &"nodes_down begin\n".to_owned(), alerts);
}
