//! `pollbal leave --back`: a node whose restart takes less than a poll is in again when it is done.

use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually};

/// Says that it runs, and goes on when it may. It gives up by itself, should the test be gone.
const COMMAND: &str = "trap 'exit 7' TERM INT HUP; touch at; \
                       for i in $(seq 1000); do if [ -e go ]; then exit 0; fi; sleep 0.02; done; exit 99";

/// A load balancer's pollbal, which asks its nodes nearly never.
struct Balancer {
    listener: SocketAddrV4,
    pollbal: Pollbal,
}

impl Balancer {
    fn start(stage: &Stage, listener: SocketAddrV4) -> Self {
        let own = |name: &str| stage.path(&format!("{}.{name}", listener.port()));
        let config = json!({
            "pool_directory": own("pools"),
            "admin_socket": own("socket"),
            "state_file": own("state"),
            "node_listen": listener,
            "poll_interval": "1h",
        });
        let pollbal = Pollbal::start(stage, &config);
        pollbal.wait_log(&["first round done: 2 members"]);
        Self { listener, pollbal }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener)
    }
}

struct Site {
    /// In the order in which they are asked.
    balancers: Vec<Balancer>,
    nodes: Vec<Node>,
    stage: Stage,
}

impl Site {
    fn start() -> Self {
        let stage = Stage::new();
        let nodes = stage.nodes(&["website", "website"]);
        let mut listeners = [stage.free_addr(), stage.free_addr()];
        listeners.sort_by_key(ToString::to_string);
        let balancers = listeners.map(|listener| Balancer::start(&stage, listener));
        Self {
            balancers: balancers.into(),
            nodes,
            stage,
        }
    }

    /// Begins a leave of the first node at all load balancers. A terminal is no part of it.
    fn leave(&self, arguments: &[&str]) -> Pollbal {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
        command
            .current_dir(self.stage.dir())
            .process_group(0)
            .args(["leave", "--from", &self.nodes[0].addr().ip().to_string()])
            .args(self.balancers.iter().map(Balancer::url))
            .args(arguments);
        Pollbal::spawn(command, self.stage.path("no configuration"))
    }

    /// The same, when its command runs.
    fn runs(&self, arguments: &[&str]) -> Pollbal {
        let leave = self.leave(&[arguments, &["--", "sh", "-c", COMMAND]].concat());
        let at = self.stage.path("at");
        eventually(SOON, "the command runs", || at.exists().then_some(()));
        fs::remove_file(at).unwrap();
        leave
    }

    /// Waits until this load balancer has just these nodes in the pool.
    #[track_caller]
    fn wait_members(&self, balancer: &Balancer, nodes: &[Node]) {
        let lines: String = nodes.iter().map(|node| node.pool_line() + "\n").collect();
        let file = format!("{}.pools/website.pool", balancer.listener.port());
        becomes(SOON, "the members", &lines, || {
            fs::read_to_string(self.stage.path(&file)).unwrap_or_default()
        });
    }

    #[track_caller]
    fn wait_members_everywhere(&self, nodes: &[Node]) {
        for balancer in &self.balancers {
            self.wait_members(balancer, nodes);
        }
    }
}

#[test]
fn a_restart_that_takes_less_than_a_poll_brings_the_node_back_at_once() {
    let site = Site::start();
    let mut leave = site.leave(&["--", "true"]);
    assert_eq!(leave.wait_end(SOON).code(), Some(0));
    site.wait_members_everywhere(&site.nodes[1..]);

    // It is gone already.
    let mut leave = site.leave(&["--back", "--json", "--", "echo", "restarted"]);
    assert_eq!(leave.wait_end(SOON).code(), Some(0));
    site.wait_members_everywhere(&site.nodes);
    leave.wait_log(&["restarted"]);
    let reported: Vec<_> = leave.stdout().iter().map(|line| step(line)).collect();
    let urls: Vec<_> = site.balancers.iter().map(Balancer::url).collect();
    let [first, last] = [&urls[0], &urls[1]].map(String::as_str);
    let step = |url: &str, answer: &str| (url.to_owned(), answer.to_owned());
    let gone = [step(first, "gone"), step(last, "gone")];
    let back = [step(last, "back"), step(first, "back")];
    assert_eq!(reported, [gone, back].concat());
}

/// The load balancer and its answer.
fn step(line: &str) -> (String, String) {
    let step: Value = serde_json::from_str(line).unwrap();
    let text = |key: &str| step[key].as_str().unwrap().to_owned();
    (text("load_balancer"), text("answer"))
}

#[test]
fn a_node_whose_command_failed_stays_out_until_it_is_brought_back_by_hand() {
    let site = Site::start();
    for (command, code) in [("exit 3", 3), ("kill -TERM $$", 143)] {
        let mut leave = site.leave(&["--back", "--", "sh", "-c", command]);
        assert_eq!(leave.wait_end(SOON).code(), Some(code));
        let line = leave.wait_log(&["sh failed with", "the node stays out"]);
        assert_eq!(leave.log_with(&["reported that the node is back"]), [""; 0]);
        site.wait_members_everywhere(&site.nodes[1..]);
        for balancer in &site.balancers {
            assert_eq!(balancer.pollbal.log_with(&["cancelled"]).len(), 0);
        }
        if code == 3 {
            continue;
        }
        let by_hand = line
            .split("to bring it back: ")
            .nth(1)
            .expect("no way back");
        let reported = Command::new("sh").args(["-c", by_hand]).output().unwrap();
        assert_eq!(reported.stdout, b"stays\nstays\n", "{reported:?}");
        site.wait_members_everywhere(&site.nodes);
    }
}

#[test]
fn signals_are_the_commands_and_its_end_is_that_of_the_program() {
    let site = Site::start();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut leave = site.runs(&["--back"]);
        leave.signal(signal);
        assert_eq!(leave.wait_end(SOON).code(), Some(7), "{signal:?}");
        leave.wait_log(&["sh failed with exit code 7"]);
    }
    site.wait_members_everywhere(&site.nodes[1..]);
}

#[test]
fn a_load_balancer_that_died_meanwhile_is_reported_and_the_others_bring_the_node_back() {
    let mut site = Site::start();
    // Those that are notified after it are notified as well.
    let mut leave = site.runs(&["--back", "--skip-dead=1s"]);
    let dead = site.balancers.pop().expect("two load balancers");
    let url = dead.url();
    dead.pollbal.kill();
    fs::write(site.stage.path("go"), "").unwrap();
    assert_eq!(leave.wait_end(SOON).code(), Some(1));
    leave.wait_log(&[&url, "no response", "the node stays out there"]);
    site.wait_members_everywhere(&site.nodes);
}
