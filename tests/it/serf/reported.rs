//! Members that are not polled: their tags are their announcement.

use std::net::{SocketAddrV4, TcpListener};
use std::time::Instant;

use serde_json::{Value, json};

use super::{PROMPT, explain, problem, wait_problem};
use crate::common::haproxy::{Config, slots};
use crate::common::http::get;
use crate::common::pollbal::Pollbal;
use crate::common::serf::{Agent, FAILED};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays};

const PORT: u16 = 8080;

fn config(lb: &Agent) -> Value {
    let serf = json!({ "address": lb.rpc().to_string(), "poll": false });
    json!({ "serf": serf, "services_file": null, "max_removed": "100%" })
}

fn agent(stage: &Stage, number: u8, lb: &Agent, tags: &[&str]) -> Agent {
    Agent::member(stage, number, &format!("node-{number}"), PORT, lb, tags)
}

fn addr(stage: &Stage, number: u8) -> SocketAddrV4 {
    SocketAddrV4::new(stage.ip(number), PORT)
}

fn lines(stage: &Stage, numbers: &[u8]) -> Vec<String> {
    let line = |number: &u8| format!("{} # node-{number}", addr(stage, *number));
    numbers.iter().map(line).collect()
}

#[track_caller]
fn wait_file(stage: &Stage, file: &str, numbers: &[u8]) {
    becomes(FAILED, file, &Some(lines(stage, numbers)), || {
        stage.lines(file)
    });
}

/// A field of a node.
fn field(stage: &Stage, number: u8, field: &str) -> Value {
    let status = get(stage, "/v1/status").json();
    let mut nodes = status["nodes"].as_array().expect("nodes").iter();
    let name = format!("node-{number}");
    let node = nodes.find(|node| node["name"] == name.as_str());
    node.map_or(Value::Null, |node| node[field].clone())
}

#[test]
fn role_version_weight_and_status_are_the_announcement_and_nobody_is_polled() {
    let stage = Stage::alone();
    // Whoever polls is noticed here.
    let polled = TcpListener::bind(addr(&stage, 1)).unwrap();
    polled.set_nonblocking(true).unwrap();
    let haproxy = Config::new()
        .backend("web", &[&slots(3)])
        .backend("api", &[&slots(3)])
        .start(&stage);
    let lb = Agent::lb(&stage);
    let agents = [
        agent(&stage, 1, &lb, &["role=web", "version=v7", "weight=50"]),
        agent(&stage, 2, &lb, &["role=web"]),
    ];
    let mut config = config(&lb);
    config["haproxy"] = json!(haproxy.socket());
    let pollbal = Pollbal::start(&stage, &config);
    haproxy.wait_members("web", &[1, 2].map(|number| addr(&stage, number)).into());
    wait_file(&stage, "web.v7.pool", &[1]);
    let server = haproxy.server_of("web", addr(&stage, 1));
    becomes(SOON, "the weight", &50, || {
        haproxy.server("web", &server).weight
    });
    let text = explain(&stage, "node-1");
    assert!(text.contains("it is not polled"), "{text}");
    assert!(text.contains("web serving v7"), "{text}");

    let began = Instant::now();
    agents[1].set_tags(&["status=leaving"]);
    haproxy.wait_members("web", &[addr(&stage, 1)].into());
    pollbal.wait_log(&[&addr(&stage, 2).to_string(), "drained"]);
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
    let began = Instant::now();
    agents[1].set_tags(&["status=ok", "role=api"]);
    haproxy.wait_members("api", &[addr(&stage, 2)].into());
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
    agents[0].set_tags(&["weight=200", "version=v8"]);
    wait_file(&stage, "web.v8.pool", &[1]);
    becomes(SOON, "the weight", &200, || {
        haproxy.server("web", &server).weight
    });
    agents[0].delete_tag("role");
    haproxy.wait_members("web", &[].into());
    assert_eq!(field(&stage, 1, "state"), "idle");
    assert!(polled.accept().is_err(), "nobody is polled");
}

#[test]
fn a_member_that_failed_is_out_and_one_that_is_alive_again_is_in() {
    let stage = Stage::new();
    let lb = Agent::lb(&stage);
    let mut agents = [1, 2, 3].map(|number| agent(&stage, number, &lb, &["role=web"]));
    let _pollbal = Pollbal::start(&stage, &config(&lb));
    wait_file(&stage, "web.pool", &[1, 2, 3]);
    agents[1].kill();
    wait_file(&stage, "web.pool", &[1, 3]);
    assert_eq!(field(&stage, 2, "state"), "failed");
    assert_eq!(field(&stage, 2, "why"), "Serf says that it failed");
    agents[1].revive();
    wait_file(&stage, "web.pool", &[1, 2, 3]);
}

#[test]
fn hostile_tags_make_no_announcement_and_reach_nobody_unescaped() {
    let stage = Stage::new();
    let lb = Agent::lb(&stage);
    let _first = agent(&stage, 1, &lb, &["role=web"]);
    let tags = [
        ["role=../../etc/passwd", "status=ok"],
        ["role=web ok v1", "status="],
        ["role=web", "status=\u{1b}[2J\nSHUTDOWN"],
        ["role=web", "version=v1 weight=1"],
        ["role=web", "weight=1000"],
        ["role=shut\r\ndown", "status=\u{202e}"],
    ];
    let _agents: Vec<_> = tags
        .iter()
        .zip(2..)
        .map(|(tags, number)| agent(&stage, number, &lb, tags))
        .collect();
    let pollbal = Pollbal::start(&stage, &config(&lb));
    wait_file(&stage, "web.pool", &[1]);
    for number in 2..8 {
        eventually(SOON, "it is refused", || {
            (field(&stage, number, "state") == "failed").then_some(())
        });
        let why = field(&stage, number, "why").to_string();
        assert!(why.contains("which are not understood"), "{why}");
        let text = explain(&stage, &format!("node-{number}"));
        let is_plain = |c: char| c == '\n' || (!c.is_control() && c != '\u{202e}');
        assert!(text.chars().all(is_plain), "{text:?}");
    }
    let files = stage.files();
    assert_eq!(files, ["disabled_services", "web.pool"]);
    let hostile = |line: &String| line.contains(['\u{1b}', '\u{202e}', '\r']);
    assert!(!pollbal.log().iter().any(hostile), "{:?}", pollbal.log());
    assert!(
        pollbal.log_with(&["node-4", "failed"]).len() < 3,
        "once per change"
    );
}

#[test]
fn undeclared_pools_and_nodes_rules_hold_for_members_too() {
    let stage = Stage::new();
    let lb = Agent::lb(&stage);
    let roles = [["role=web"], ["role=web"], ["role=mine"]];
    let _agents: Vec<_> = roles
        .iter()
        .zip(1..)
        .map(|(tags, number)| agent(&stage, number, &lb, tags))
        .collect();
    let mut config = config(&lb);
    config["accept_undeclared_pools"] = json!(false);
    let allowed = format!("{}/32", stage.ip(1));
    config["pools"] = json!({ "web": { "nodes": [allowed] } });
    let _pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "web.pool", &[1]);
    let text = wait_problem(&stage, "nodes_refused");
    assert!(text.contains("2 of 3"), "{text}");
}

#[test]
fn while_the_agent_is_away_members_stay_also_over_a_restart_of_pollbal() {
    let stage = Stage::new();
    let mut lb = Agent::lb(&stage);
    let agents = [1, 2].map(|number| agent(&stage, number, &lb, &["role=web"]));
    let config = config(&lb);
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "web.pool", &[1, 2]);
    lb.kill();
    wait_problem(&stage, "source_lost");
    pollbal.kill();
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["admin socket listening"]);
    let problem = || problem(&stage, "source_lost");
    eventually(SOON, "the problem", problem);
    let began = Instant::now();
    let expected = Some(lines(&stage, &[1, 2]));
    stays(
        SOON,
        "web.pool",
        &expected,
        || stage.lines("web.pool"),
        || began.elapsed() > PROMPT,
    );
    assert_eq!(pollbal.log_with(&["first round done"]), [""; 0]);
    lb.revive_joining(&agents[0]);
    pollbal.wait_log(&["first round done: 2 members"]);
    assert_eq!(stage.lines("web.pool"), expected);
}
