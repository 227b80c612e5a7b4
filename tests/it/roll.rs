//! `pollbal roll` through a pool with steady kept-alive clients: nobody notices anything, no node is asked for anything
//! while its command runs, and the pool never has fewer members than it needs.

pub(crate) mod site;

use std::fs;
use std::time::Instant;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::common::client::{failures, get_later};
use crate::common::nodes::{Node, addrs};
use crate::common::process::{children, runs};
use crate::common::{SOON, becomes, eventually, runtime};
use site::{CLIENTS, COMMAND, NODES, ROLL, Site};

#[test]
fn a_pool_is_rolled_node_after_node_and_no_client_notices() {
    let site = Site::start(5);
    let traffic = site.traffic();
    let mut roll = site.roll(&[]);
    let (fewest, ()) = site.fewest_members(|| {
        for node in &site.nodes {
            site.wait_at(node);
            // It is drained by now, and stays so.
            let rest = Instant::now();
            traffic.wait_answers_after(rest, 10 * CLIENTS);
            assert_eq!(node.arrivals_after(rest).len(), 0, "{}", node.name());
            assert_eq!(site.disabled(), [node.name()]);
            site.go(node, 0);
        }
        assert_eq!(roll.wait_end(ROLL).code(), Some(0));
    });
    assert_eq!(fewest, 5);
    for node in &site.nodes {
        traffic.wait_answers_of(node.name(), 1);
    }
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    roll.wait_stdout(&["rolled 6 of 6 nodes of pool website in"]);
    let reported = roll.stdout_text();
    for node in &site.nodes {
        for step in ["disabled", "drained; running command", "done, in "] {
            let line = format!("{}: {step}", node.name());
            assert!(reported.contains(&line), "{line}:\n{reported}");
        }
    }
}

#[test]
fn the_command_does_not_run_before_the_last_request_at_its_node_has_ended() {
    let site = Site::start(5);
    let node = &site.nodes[0];
    let mut requests = Vec::new();
    eventually(SOON, "a long request reaches node-1", || {
        requests.push(get_later(site.perlbal.service("web"), "/?wait=1500"));
        (!node.arrivals().is_empty()).then_some(())
    });
    let mut roll = site.roll(&[]);
    roll.wait_stdout(&["node-1: waiting: still draining in", "after"]);
    site.wait_at(node);
    let under_way: Vec<_> = requests.iter().map(JoinHandle::is_finished).collect();
    let answers = requests.into_iter().map(|request| {
        let answer = runtime().block_on(request).expect("a client panicked");
        answer.expect("a request failed")
    });
    for (answer, ended) in answers.zip(under_way) {
        assert!(
            ended || answer != "node-1",
            "under way while the command ran"
        );
    }
    for node in &site.nodes {
        site.go(node, 0);
    }
    assert_eq!(roll.wait_end(ROLL).code(), Some(0));
}

#[test]
fn several_at_a_time_never_take_the_pool_below_its_min_members() {
    let site = Site::start(4);
    let traffic = site.traffic();
    // Three at a time, of which the pool can do without two only.
    let mut roll = site.roll(&["--parallel", "3"]);
    let (fewest, ()) = site.fewest_members(|| {
        roll.wait_stdout(&["node-", "waiting for its turn", "min_members 4"]);
        for node in &site.nodes {
            site.go(node, 0);
        }
        assert_eq!(roll.wait_end(ROLL).code(), Some(0));
    });
    assert_eq!(fewest, 4);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn the_node_that_waits_longest_goes_first_however_long_the_others_take() {
    let site = Site::start(5);
    let mut roll = site.roll(&["--parallel", "2", "--timeout", "3s"]);
    site.wait_at(&site.nodes[0]);
    roll.wait_stdout(&["node-2: waiting for its turn", "min_members 5"]);
    // Its time to be taken out does not run while a command of this roll does.
    site.nodes[0].wait_polls(40);
    for (number, node) in (1..).zip(&site.nodes) {
        site.wait_at(node);
        let later = format!("at-node-{}", number + 1);
        assert!(!site.stage.path(&later).exists(), "{later}");
        site.go(node, 0);
    }
    assert_eq!(roll.wait_end(ROLL).code(), Some(0));
    // What it said last is read behind its end.
    becomes(SOON, "nodes that are done", &NODES, || {
        let reported = roll.stdout_text();
        reported
            .lines()
            .filter(|line| line.contains(": done, in"))
            .count()
    });
}

#[test]
fn a_signal_ends_those_that_wait_for_their_turn() {
    let site = Site::start(5);
    let mut roll = site.roll(&["--parallel", "3"]);
    site.wait_at(&site.nodes[0]);
    // The third worker waits behind it.
    roll.wait_stdout(&["node-2: waiting for its turn"]);
    roll.signal(Signal::INT);
    roll.wait_log(&["finishing node-1"]);
    site.go(&site.nodes[0], 0);
    assert_eq!(roll.wait_end(SOON).code(), Some(130));
    roll.wait_log(&["not started: node-2, node-3, node-4, node-5, node-6"]);
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn one_signal_finishes_the_node_under_way_and_begins_no_other() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let site = Site::start(5);
        let mut roll = site.roll(&[]);
        site.wait_at(&site.nodes[0]);
        roll.signal(signal);
        roll.wait_log(&["finishing node-1"]);
        // It is done as if nothing had come: the command ends by itself, and the node serves again.
        assert_eq!(site.disabled(), ["node-1"]);
        site.go(&site.nodes[0], 0);
        assert_eq!(roll.wait_end(ROLL).code(), Some(code));
        roll.wait_stdout(&["node-1: done, in"]);
        roll.wait_log(&["not started: node-2, node-3, node-4, node-5, node-6"]);
        assert_eq!(site.disabled(), [""; 0]);
        assert!(!site.stage.path("at-node-2").exists());
    }
}

#[test]
fn between_two_nodes_it_pauses_and_a_signal_ends_the_pause() {
    let site = Site::start(5);
    let mut roll = site.roll(&["--pause", "1h"]);
    for node in &site.nodes {
        site.go(node, 0);
    }
    roll.wait_stdout(&["node-1: done, in"]);
    site.nodes[0].wait_polls(10);
    assert!(!site.stage.path("at-node-2").exists());
    roll.signal(Signal::INT);
    assert_eq!(roll.wait_end(SOON).code(), Some(130));
    roll.wait_log(&["not started: node-2, node-3, node-4, node-5, node-6"]);
}

#[test]
fn a_node_that_is_out_from_the_start_is_left_out_and_the_sum_says_so() {
    let site = Site::start(4);
    site.nodes[4].fail(500);
    let others = site.nodes.iter().filter(|node| node.name() != "node-5");
    site.perlbal.wait_members("website", &addrs(others));
    let (code, out, error) = site.ask(&["roll", "website", "--", "true"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(
        out.contains("rolled 5 of 6 nodes of pool website in "),
        "{out}"
    );
    let sum = "; 1 was already out and was not rolled: node-5\n";
    assert!(out.ends_with(sum), "{out}");
    let note = "not rolled, already out: node-5 (failed: ";
    assert!(error.contains(note), "{error}");
}

#[test]
fn two_signals_stop_it_at_once_and_say_who_stays_disabled() {
    let site = Site::start(4);
    let mut roll = site.roll(&["--parallel", "2"]);
    site.wait_at(&site.nodes[0]);
    site.wait_at(&site.nodes[1]);
    let commands = children(roll.pid());
    assert_eq!(commands.len(), 2);
    roll.signal(Signal::INT);
    roll.wait_log(&["finishing node-1, node-2"]);
    roll.signal(Signal::INT);
    assert_eq!(roll.wait_end(SOON).code(), Some(130));
    for node in ["node-1", "node-2"] {
        roll.wait_log(&[node, "stays disabled; bring it back: pollbal enable"]);
        roll.wait_log(&[node, "was interrupted: command terminated"]);
    }
    assert_eq!(site.disabled(), ["node-1", "node-2"]);
    eventually(SOON, "the commands end", || {
        let mut commands = commands.iter();
        commands.all(|command| !runs(*command)).then_some(())
    });
}

#[test]
fn two_signals_end_a_command_that_does_not_want_to_with_all_its_children() {
    let site = Site::start(5);
    // The second one is not the roll's child, and outlives the shell that started it.
    let deaf =
        format!("trap '' TERM; (sh -c 'echo $$ > child; {COMMAND}') & echo $$ > parent; {COMMAND}");
    let mut roll = site.roll_with(&[], &deaf);
    site.wait_at(&site.nodes[0]);
    let pid = |file: &str| {
        let path = site.stage.path(file);
        eventually(SOON, "the command tells its number", || {
            let number = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
            Pid::from_raw(number)
        })
    };
    let commands = [pid("parent"), pid("child")];
    roll.signal(Signal::INT);
    roll.wait_log(&["finishing node-1"]);
    roll.signal(Signal::INT);
    assert_eq!(roll.wait_end(SOON).code(), Some(130));
    roll.wait_log(&["node-1 was interrupted: command terminated"]);
    eventually(SOON, "the commands are gone", || {
        let mut commands = commands.iter();
        commands.all(|command| !runs(*command)).then_some(())
    });
    assert_eq!(site.disabled(), ["node-1"]);
}

#[test]
fn the_command_knows_its_node_and_its_output_stands_where_it_belongs() {
    let site = Site::start(4);
    let print = "echo $POLLBAL_NODE $POLLBAL_NODE_NAME $POLLBAL_NODE_IP $POLLBAL_NODE_PORT $POLLBAL_POOL \
                 $POLLBAL_VERSION; echo and an error >&2";
    let reported = |node: &Node| {
        let (addr, name) = (node.addr(), node.name());
        format!("{addr} {name} {} {} website v7", addr.ip(), addr.port())
    };
    // As it is, where one talks at a time; with names, where several do; beside JSON, to standard error.
    let (code, alone, error) = site.ask(&["roll", "website", "--", "sh", "-c", print]);
    assert_eq!(code, Some(0), "{error}");
    let (_, together, _) = site.ask(&[
        "roll",
        "website",
        "--parallel",
        "2",
        "--",
        "sh",
        "-c",
        print,
    ]);
    let (code, json, beside) = site.ask(&["roll", "website", "--json", "--", "sh", "-c", print]);
    assert_eq!(code, Some(0));
    assert_eq!(error, "and an error\n".repeat(NODES));
    for node in &site.nodes {
        let reported = reported(node);
        assert!(alone.lines().any(|line| line == reported), "{alone}");
        let with_name = format!("{}: {reported}", node.name());
        assert!(together.lines().any(|line| line == with_name), "{together}");
        assert!(beside.lines().any(|line| line == reported), "{beside}");
    }
    let steps: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first: Vec<_> = steps
        .iter()
        .filter(|step| step["name"] == "node-1" && step["step"] != "waiting")
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(first, ["disabled", "command", "enabled", "done"]);
    let last = steps.last().unwrap();
    assert_eq!(
        (&last["step"], &last["node"]),
        (&json!("ended"), &Value::Null)
    );
}
