//! `pollbal roll` through a pool with steady kept-alive clients: nobody notices anything, no node is asked for anything
//! while its command runs, and the pool never has fewer members than it needs.

mod common;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use common::client::{Traffic, failures, get_later};
use common::nodes::{Node, addrs};
use common::perlbal::{Config, Perlbal};
use common::pollbal::Pollbal;
use common::process::{children, runs};
use common::run::{pollbal, stderr, stdout};
use common::stage::Stage;
use common::{Ends, SOON, eventually, runtime};

const NODES: usize = 6;
const CLIENTS: usize = 12;

/// A command that says that it runs, and goes on when it may. It gives up by itself, should the test be gone.
const COMMAND: &str = "touch at-$POLLBAL_NODE_NAME; for i in $(seq 1000); do \
                       if [ -e go-$POLLBAL_NODE_NAME ]; then exit $(cat go-$POLLBAL_NODE_NAME); fi; sleep 0.02; done; exit 99";

/// A roll that takes so much longer than all of them together hangs.
const ROLL: Duration = Duration::from_secs(60);

struct Site {
    pollbal: Pollbal,
    perlbal: Perlbal,
    nodes: Vec<Node>,
    stage: Stage,
}

impl Site {
    /// Six nodes that serve `website`, which needs so many of them.
    fn start(min_members: usize) -> Self {
        let stage = Stage::new();
        let nodes = stage.nodes(&["website serving v7"; NODES]);
        // Perlbal opens a new connection now and then, by which a member that came back gets requests again.
        let options = [
            ("persist_client", "on"),
            ("persist_backend", "on"),
            ("backend_persist_cache", "64"),
            ("max_backend_uses", "100"),
        ];
        let perlbal = Config::new()
            .pool("website")
            .service_with(&stage, "web", "website", &options)
            .start(&stage);
        let pollbal = Pollbal::start(&stage, &Self::config(&perlbal, min_members));
        perlbal.wait_members("website", &addrs(&nodes));
        Self {
            pollbal,
            perlbal,
            nodes,
            stage,
        }
    }

    /// A node that a busy machine keeps from answering must not count as failed.
    fn config(perlbal: &Perlbal, min_members: usize) -> Value {
        json!({
            "perlbal": perlbal.management(),
            "service_timeout": "5s",
            "pools": { "website": { "min_members": min_members } },
        })
    }

    fn traffic(&self) -> Traffic {
        let traffic = Traffic::start(self.perlbal.service("web"), CLIENTS);
        for node in &self.nodes {
            traffic.wait_answers_of(node.name(), 5);
        }
        traffic
    }

    /// Begins a roll of the pool with [`COMMAND`].
    fn roll(&self, flags: &[&str]) -> Pollbal {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
        command
            .current_dir(self.stage.dir())
            .args(["roll", "website", "--socket"])
            .arg(self.stage.admin_socket())
            .args(flags)
            .args(["--", "sh", "-c", COMMAND]);
        Pollbal::spawn(command, self.stage.admin_socket())
    }

    /// Waits until the command runs for this node.
    #[track_caller]
    fn wait_at(&self, node: &Node) {
        let file = self.stage.path(&format!("at-{}", node.name()));
        eventually(
            SOON,
            &format!("the command runs for {}", node.name()),
            || file.exists().then_some(()),
        );
    }

    /// Lets the command end with this code.
    fn go(&self, node: &Node, code: u8) {
        let new = self.stage.path("new");
        fs::write(&new, code.to_string()).unwrap();
        fs::rename(new, self.stage.path(&format!("go-{}", node.name()))).unwrap();
    }

    fn ask(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let (name, others) = arguments.split_first().unwrap();
        let socket = self.stage.admin_socket();
        let socket = ["--socket", socket.to_str().unwrap()];
        let output = pollbal(&[&[*name], &socket[..], others].concat());
        (output.status.code(), stdout(&output), stderr(&output))
    }

    /// The names of the nodes that are out for a roll.
    fn disabled(&self) -> Vec<String> {
        let (_, text, _) = self.ask(&["status", "--json"]);
        let status: Value = serde_json::from_str(&text).unwrap();
        let nodes = status["nodes"].as_array().unwrap().iter();
        let rolled = nodes.filter(|node| {
            let mut reasons = node["reasons"].as_array().unwrap().iter();
            reasons.any(|given| given["reason"] == "roll")
        });
        rolled
            .map(|node| node["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Watches how many members the pool has in Perlbal while something is done; gives the fewest.
    fn fewest_members<T>(&self, what: impl FnOnce() -> T) -> (usize, T) {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut fewest = usize::MAX;
                while !done.load(Ordering::Relaxed) {
                    let members = self.perlbal.members("website").unwrap();
                    fewest = fewest.min(members.len());
                }
                fewest
            });
            let end = Ends(&done);
            let value = what();
            drop(end);
            (watch.join().unwrap(), value)
        })
    }
}

#[test]
fn a_pool_is_rolled_node_after_node_and_no_client_notices() {
    let site = Site::start(5);
    let traffic = site.traffic();
    let mut roll = site.roll(&[]);
    let (fewest, ()) = site.fewest_members(|| {
        for node in &site.nodes {
            site.wait_at(node);
            // It is at rest by now, and stays so.
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
    let told = roll.stdout_text();
    for node in &site.nodes {
        for step in ["disabled", "at rest; the command runs", "done, in "] {
            let line = format!("{}: {step}", node.name());
            assert!(told.contains(&line), "{line}:\n{told}");
        }
    }
    assert!(
        told.contains("rolled 6 of 6 nodes of pool website in"),
        "{told}"
    );
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
    roll.wait_stdout(&["node-1: waits: not at rest in", "after"]);
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
        roll.wait_stdout(&["node-", "waits until it may go", "min_members is 4"]);
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
fn a_failure_in_the_middle_ends_it_and_leaves_that_node_disabled() {
    let site = Site::start(5);
    let mut roll = site.roll(&[]);
    site.go(&site.nodes[0], 0);
    site.go(&site.nodes[1], 3);
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    assert_eq!(site.disabled(), ["node-2"]);
    roll.wait_log(&["rolled 1 of 6 nodes"]);
    roll.wait_log(&["node-2 failed: the command ended with exit code 3"]);
    roll.wait_log(&["not begun: node-3, node-4, node-5, node-6"]);
    let told = roll.wait_log(&["node-2 stays disabled; bring it back: pollbal enable node-2"]);

    // Nobody rolls over it,
    let (code, out, error) = site.ask(&["roll", "website", "--", "true"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let expected = "node-2 (ADDRESS) is still disabled by roll (";
    let expected = expected.replace("ADDRESS", &site.nodes[1].addr().to_string());
    assert!(error.contains(&expected), "{error}");

    // and what was said brings it back.
    let (_, line) = told.split_once("pollbal enable").unwrap();
    let line = format!("{} enable {line} --wait", env!("CARGO_BIN_EXE_pollbal"));
    let back = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(stdout(&back), "serving: node-2\n");
    site.perlbal.wait_members("website", &addrs(&site.nodes));
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
        roll.wait_log(&["not begun: node-2, node-3, node-4, node-5, node-6"]);
        assert_eq!(site.disabled(), [""; 0]);
        assert!(!site.stage.path("at-node-2").exists());
    }
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
    }
    assert_eq!(site.disabled(), ["node-1", "node-2"]);
    eventually(SOON, "the commands end", || {
        let mut commands = commands.iter();
        commands.all(|command| !runs(*command)).then_some(())
    });
}

#[test]
fn a_node_that_others_keep_out_is_left_to_them() {
    let site = Site::start(4);
    let mut roll = site.roll(&[]);
    site.wait_at(&site.nodes[0]);
    let (code, ..) = site.ask(&["disable", "node-2", "--reason", "disk", "--force"]);
    assert_eq!(code, Some(0));
    for node in &site.nodes {
        site.go(node, 0);
    }
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    roll.wait_log(&["rolled 5 of 6 nodes"]);
    roll.wait_log(&["node-2 was passed over", "disk"]);
    assert!(!site.stage.path("at-node-2").exists());
    let (_, text, _) = site.ask(&["status"]);
    assert!(text.contains("disabled  0 s ago  disk"), "{text}");
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn a_node_that_others_take_out_while_its_command_runs_is_left_to_them_at_once() {
    let site = Site::start(4);
    let mut roll = site.roll(&[]);
    site.wait_at(&site.nodes[0]);
    let (code, ..) = site.ask(&["disable", "node-1", "--reason", "disk"]);
    assert_eq!(code, Some(0));
    for node in &site.nodes {
        site.go(node, 0);
    }
    // Well before its five minutes are over.
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    roll.wait_log(&["rolled 5 of 6 nodes"]);
    roll.wait_log(&["node-1 was passed over", "disk"]);
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn a_node_that_another_roll_has_out_is_not_taken_for_its_own() {
    // None may go yet.
    let site = Site::start(NODES);
    let mut roll = site.roll(&["--json"]);
    roll.wait_stdout(&["node-1", "waits until it may go"]);
    // Another roll comes first: it gives the same word.
    let other = ["disable", "node-1", "--reason", "roll", "--note", "another"];
    let (code, ..) = site.ask(&[&other[..], &["--force"]].concat());
    assert_eq!(code, Some(0));
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    let why = "it is being rolled, or was left out, by roll (";
    let told = roll.wait_stdout(&["\"failed\"", why, "another"]);
    assert!(!told.contains("stays disabled"), "{told}");
    assert!(
        roll.stdout_text()
            .contains(&format!("node-1 failed: {why}"))
    );
    assert_eq!(site.disabled(), ["node-1"]);
    assert!(!site.stage.path("at-node-1").exists());
}

#[test]
fn a_roll_outlives_a_restart_of_the_daemon() {
    let mut site = Site::start(5);
    let mut roll = site.roll(&[]);
    site.wait_at(&site.nodes[0]);
    site.pollbal.terminate();
    // Nobody is there when it wants to bring the node back.
    site.go(&site.nodes[0], 0);
    roll.wait_stdout(&["node-1: the command is done"]);
    let config = Site::config(&site.perlbal, 5);
    site.pollbal = Pollbal::start(&site.stage, &config);
    for node in &site.nodes {
        site.go(node, 0);
    }
    assert_eq!(roll.wait_end(ROLL).code(), Some(0));
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn a_node_that_does_not_come_back_is_kept_out() {
    let site = Site::start(5);
    let mut roll = site.roll(&["--timeout", "1s", "--json"]);
    site.wait_at(&site.nodes[0]);
    site.nodes[0].fail(500);
    site.go(&site.nodes[0], 0);
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    roll.wait_stdout(&["node-1 failed: not serving within 1s", "500"]);
    let told = roll.wait_stdout(&["node-1 stays disabled"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["step"], &told["name"]),
        (&json!("ended"), &json!("node-1"))
    );
    assert_eq!(site.disabled(), ["node-1"]);
}

#[test]
fn a_pool_that_can_do_without_nobody_is_not_rolled() {
    let site = Site::start(NODES);
    let mut roll = site.roll(&["--timeout", "1s"]);
    let (fewest, ()) = site.fewest_members(|| {
        assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    });
    assert_eq!(fewest, NODES);
    roll.wait_stdout(&["node-1: waits until it may go", "min_members is 6"]);
    roll.wait_log(&["node-1 failed: it could not be taken out within 1s"]);
    assert_eq!(site.disabled(), [""; 0]);
    assert!(!site.stage.path("at-node-1").exists());
}

#[test]
fn the_command_knows_its_node_and_its_output_stands_where_it_belongs() {
    let site = Site::start(4);
    let print = "echo $POLLBAL_NODE $POLLBAL_NODE_NAME $POLLBAL_NODE_IP $POLLBAL_NODE_PORT $POLLBAL_POOL \
                 $POLLBAL_VERSION; echo and an error >&2";
    let told = |node: &Node| {
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
        let told = told(node);
        assert!(alone.lines().any(|line| line == told), "{alone}");
        let with_name = format!("{}: {told}", node.name());
        assert!(together.lines().any(|line| line == with_name), "{together}");
        assert!(beside.lines().any(|line| line == told), "{beside}");
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
