//! The commands where there are many nodes.

use crate::commands::site;

use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::http::post;
use crate::common::pollbal::Pollbal;
use crate::common::run::stderr;
use crate::common::stage::Stage;
use crate::common::wire::dial_socket;
use crate::common::{SOON, clock, eventually};
use site::ask;

/// A daemon of this many nodes, none of which answers.
fn silent_nodes(stage: &Stage, number: u16) -> (Pollbal, Vec<String>) {
    let nodes: Vec<_> = (0..number)
        .map(|index| format!("{}:{}", stage.ip(1), 20_000 + index))
        .collect();
    stage.write_services(&nodes);
    let pollbal = Pollbal::start(stage, &json!({ "poll_interval": "60s" }));
    pollbal.wait_log(&["first round done"]);
    (pollbal, nodes)
}

#[test]
fn a_wait_for_many_nodes_keeps_its_time() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let stage = Stage::new();
    let (_pollbal, nodes) = silent_nodes(&stage, 450);
    let socket = stage.admin_socket();
    let mut line = vec!["wait", "--until", "serving", "--timeout", "3s"];
    line.extend(nodes.iter().map(String::as_str));
    let start = Instant::now();
    let output = ask(socket.to_str().unwrap(), &line);
    let took = clock::counted_since(start);
    assert_eq!(output.status.code(), Some(1));
    let reported = stderr(&output);
    assert!(
        reported.contains("timed out after 3s: ") && reported.contains("; 440 more"),
        "{reported}"
    );
    // Five requests are needed to ask about all of them.
    assert!(took < 2 * TIMEOUT, "{took:?}");
}

#[test]
fn more_names_than_fit_are_refused_with_how_many_fit() {
    let stage = Stage::new();
    let (_pollbal, nodes) = silent_nodes(&stage, 1_000);
    let socket = stage.admin_socket();
    let status = |count: usize| {
        let mut line = vec!["status"];
        line.extend(nodes[..count].iter().map(String::as_str));
        ask(socket.to_str().unwrap(), &line)
    };
    let refused = status(nodes.len());
    assert_eq!(refused.status.code(), Some(64));
    let reported = stderr(&refused);
    let begin = "pollbal: 1000 names are too many for one request: the first ";
    let rest = reported.strip_prefix(begin).expect(&reported);
    let (fit, _) = rest.split_once(" fit; ").expect(&reported);
    let answered = status(fit.parse().unwrap());
    assert_eq!(
        (answered.status.code(), stderr(&answered)),
        (Some(1), String::new()),
        "they do not answer, which is a problem"
    );
}

#[test]
fn a_follower_of_events_gets_each_of_them() {
    const NODES: u16 = 1_200;
    let stage = Stage::new();
    let (_pollbal, nodes) = silent_nodes(&stage, NODES);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command
        .args(["events", "--follow", "--json", "-n", "0", "--socket"])
        .arg(stage.admin_socket());
    let follower = Pollbal::spawn(command, stage.admin_socket());
    // Nobody sees when it begins to listen.
    eventually(SOON, "an event", || {
        let storm = json!({ "reason": "storm" });
        post(&stage, "/v1/freeze", &storm).ok();
        post(&stage, "/v1/thaw", &storm).ok();
        (!follower.stdout().is_empty()).then_some(())
    });
    let order = json!({ "nodes": nodes, "reason": "move" });
    post(&stage, "/v1/disable", &order).ok();
    let last = nodes.last().unwrap();
    follower.wait_stdout(&["\"disabled\"", last]);
    let reported = follower.stdout();
    let ids: Vec<_> = reported
        .iter()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["id"].as_u64().unwrap()
        })
        .collect();
    assert!(ids.len() >= usize::from(NODES), "{} events", ids.len());
    let first = ids[0];
    let expected: Vec<_> = (first..first + ids.len() as u64).collect();
    assert_eq!(ids, expected);
}

#[test]
fn a_follower_that_continues_after_an_event_gets_all_that_came_after_it() {
    let stage = Stage::new();
    let (_pollbal, _) = silent_nodes(&stage, 1_200);
    let mut stream = dial_socket(&stage.admin_socket());
    let request = "GET /v1/events?follow=true&after=5 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let first = lines.find(|line| line.starts_with('{')).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["id"], 6, "{first}");
}
