//! Many nodes that fail at a time: the log names the first ones and counts the others; events tell each.

use serde_json::json;

use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, http};

/// Maximum number of nodes that are named.
const NAMED: usize = 20;

/// How many nodes fail, at one address and at many.
const DEAD: usize = 300;

/// How many events of this kind there are.
fn events(stage: &Stage, kind: &str) -> usize {
    let events = http::get(stage, "/v1/events?limit=10000").json();
    let events = events["events"].as_array().unwrap();
    events.iter().filter(|event| event["kind"] == kind).count()
}

/// How many nodes the log counts in these words; a machine that is busy may take longer than one count.
fn counted(pollbal: &Pollbal, words: &str) -> usize {
    let lines = pollbal.log_with(&["warn", " more nodes ", words, "`pollbal status`"]);
    let number = |line: &String| -> usize {
        let before = line.split(" more nodes ").next().unwrap();
        before.rsplit(' ').next().unwrap().parse().unwrap()
    };
    lines.iter().map(number).sum()
}

#[test]
fn of_hundreds_of_ports_that_refuse_at_the_start_the_first_are_named_and_the_others_counted() {
    let stage = Stage::new();
    let ip = stage.ip(1);
    let ports = 1..=DEAD;
    let lines: Vec<_> = ports
        .map(|port| format!("{ip} {port} # dead-{port}"))
        .collect();
    stage.write_services(&lines);
    let pollbal = Pollbal::start(&stage, &json!({}));
    becomes(SOON, "the others", &(DEAD - NAMED), || {
        counted(&pollbal, "stayed out of all pools")
    });
    assert_eq!(pollbal.log_with(&["is in no pool"]).len(), NAMED);
    assert_eq!(events(&stage, "out"), DEAD);
}

#[test]
fn of_hundreds_of_members_that_fail_at_a_time_the_first_are_named_and_the_others_counted_also_at_the_end()
 {
    let stage = Stage::new();
    let lines = stage.write_dead_members("api", DEAD);
    stage.write_services(&lines);
    let mut pollbal = Pollbal::start(&stage, &json!({}));
    pollbal.wait_log(&["first round done"]);
    becomes(SOON, "events", &DEAD, || events(&stage, "left"));
    // Sooner than the count is due.
    pollbal.terminate();
    assert_eq!(counted(&pollbal, "left a pool"), DEAD - NAMED);
    assert_eq!(pollbal.log_with(&["removed from api"]).len(), NAMED);
}
