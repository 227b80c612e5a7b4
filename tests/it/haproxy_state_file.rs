//! `state_file`: another process of a real `HAProxy` begins with what the last one had.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::client::get;
use crate::common::haproxy::{Config, Haproxy, kept_slots, slots};
use crate::common::http;
use crate::common::nodes::addrs;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually};

fn file(stage: &Stage) -> PathBuf {
    stage.path("haproxy.state")
}

fn web(stage: &Stage, slots: &str) -> Haproxy {
    Config::new()
        .state_file(file(stage))
        .backend("web", &[slots])
        .service(stage, "www", "web")
        .start(stage)
}

fn config(stage: &Stage, haproxy: &Haproxy) -> Value {
    json!({ "haproxy": {
        "socket": haproxy.socket(), "state_file": file(stage), "resync_interval": "200ms",
    }})
}

/// Waits until the file has what `HAProxy` answers.
#[track_caller]
fn wait_kept(stage: &Stage, haproxy: &Haproxy) {
    let settings = |text: &str| -> Vec<String> {
        // Without the columns of times and checks.
        let rows = text.lines().map(|row| row.split(' ').take(8));
        rows.map(|row| row.collect::<Vec<_>>().join(" ")).collect()
    };
    eventually(SOON, "the state is kept", || {
        let kept = fs::read_to_string(file(stage)).ok()?;
        (settings(&kept) == settings(&haproxy.ask("show servers state"))).then_some(())
    });
}

/// The problems of the load balancer.
fn problems(stage: &Stage) -> Vec<String> {
    let status = http::get(stage, "/v1/status").json();
    let problems = status["load_balancers"][0]["problems"].as_array();
    let problems = problems.expect("a list").iter();
    problems
        .map(|problem| problem.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_reload_and_a_restart_begin_with_the_members_weights_and_states_that_were() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web weight=40", "web", "web"]);
    let mut haproxy = web(&stage, &kept_slots(5));
    let pollbal = Pollbal::start(&stage, &config(&stage, &haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    nodes[0].announce("web leaving");
    haproxy.wait_members("web", &addrs(&nodes[1..]));
    eventually(SOON, "the slot is free", || {
        let servers = haproxy.servers("web");
        let free = servers.values().filter(|server| server.state == "maint");
        (free.count() == 2).then_some(())
    });
    wait_kept(&stage, &haproxy);
    assert_eq!(problems(&stage), [""; 0]);
    let before = haproxy.servers("web");
    // It can do nothing about what follows.
    pollbal.signal(Signal::STOP);
    haproxy.reload();
    assert_eq!(haproxy.servers("web"), before, "a reload");
    get(haproxy.service("www"), "/").expect("it serves");
    haproxy.kill();
    haproxy.start();
    assert_eq!(haproxy.servers("web"), before, "a restart");
    get(haproxy.service("www"), "/").expect("it serves");
    pollbal.signal(Signal::CONT);

    nodes[0].announce("web");
    haproxy.wait_members("web", &addrs(&nodes));
    wait_kept(&stage, &haproxy);
    assert_eq!(pollbal.log_with(&["outside pollbal"]), [""; 0]);
}

#[test]
fn nothing_is_kept_for_slots_that_would_be_ready_at_the_wrong_address() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let haproxy = web(&stage, &slots(2));
    let _pollbal = Pollbal::start(&stage, &config(&stage, &haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    let problem = eventually(SOON, "a problem", || problems(&stage).pop());
    for word in ["state_file", "backend web", "init-addr last,127.0.0.1"] {
        assert!(problem.contains(word), "{word}: {problem}");
    }
    nodes[0].wait_polls(15);
    assert!(!file(&stage).exists());
}

#[test]
fn another_file_is_left_alone_and_a_problem_until_it_is_gone() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let haproxy = web(&stage, &kept_slots(2));
    let other = "global\n";
    fs::write(file(&stage), other).expect("failed to write the file");
    let pollbal = Pollbal::start(&stage, &config(&stage, &haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    let problem = eventually(SOON, "a problem", || problems(&stage).pop());
    assert!(
        problem.contains("haproxy.state is not written: "),
        "{problem}"
    );
    assert!(problem.contains("left alone"), "{problem}");
    pollbal.wait_log(&["ERROR", "haproxy.state is not written"]);
    assert_eq!(
        fs::read_to_string(file(&stage)).expect("it is there"),
        other
    );
    fs::remove_file(file(&stage)).expect("failed to remove the file");
    wait_kept(&stage, &haproxy);
    becomes(SOON, "the problems", &Vec::new(), || problems(&stage));
}
