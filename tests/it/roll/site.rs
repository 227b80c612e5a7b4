//! A pool of six nodes that is rolled, and a command for each that the test lets go.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::client::Traffic;
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;
use crate::common::{Ends, SOON, eventually};

pub(crate) const NODES: usize = 6;
pub(crate) const CLIENTS: usize = 12;

/// A command that says that it runs, and goes on when it may. It gives up by itself, should the test be gone.
pub(crate) const COMMAND: &str = "touch at-$POLLBAL_NODE_NAME; for i in $(seq 1000); do \
                       if [ -e go-$POLLBAL_NODE_NAME ]; then exit $(cat go-$POLLBAL_NODE_NAME); fi; sleep 0.02; done; exit 99";

/// A roll that takes so much longer than all of them together hangs.
pub(crate) const ROLL: Duration = Duration::from_secs(60);

pub(crate) struct Site {
    pub(crate) pollbal: Pollbal,
    pub(crate) perlbal: Perlbal,
    pub(crate) nodes: Vec<Node>,
    pub(crate) stage: Stage,
}

impl Site {
    /// Six nodes that serve `website`, which needs this many of them.
    pub(crate) fn start(min_members: usize) -> Self {
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
    pub(crate) fn config(perlbal: &Perlbal, min_members: usize) -> Value {
        json!({
            "perlbal": perlbal.management(),
            "service_timeout": "5s",
            "pools": { "website": { "min_members": min_members } },
        })
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let traffic = Traffic::start(self.perlbal.service("web"), CLIENTS);
        for node in &self.nodes {
            traffic.wait_answers_of(node.name(), 5);
        }
        traffic
    }

    /// Begins a roll of the pool with [`COMMAND`].
    pub(crate) fn roll(&self, flags: &[&str]) -> Pollbal {
        self.roll_with(flags, COMMAND)
    }

    /// Begins a roll of the pool with this command.
    pub(crate) fn roll_with(&self, flags: &[&str], command_line: &str) -> Pollbal {
        self.roll_by(flags, &["sh", "-c", command_line])
    }

    /// The same, with the words of the command.
    pub(crate) fn roll_by(&self, flags: &[&str], words: &[&str]) -> Pollbal {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
        command
            .current_dir(self.stage.dir())
            .args(["roll", "website", "--socket"])
            .arg(self.stage.admin_socket())
            .args(flags)
            .arg("--")
            .args(words);
        Pollbal::spawn(command, self.stage.admin_socket())
    }

    /// Waits until the command runs for this node.
    #[track_caller]
    pub(crate) fn wait_at(&self, node: &Node) {
        let file = self.stage.path(&format!("at-{}", node.name()));
        eventually(
            SOON,
            &format!("the command runs for {}", node.name()),
            || file.exists().then_some(()),
        );
    }

    /// Lets the command end with this code.
    pub(crate) fn go(&self, node: &Node, code: u8) {
        let new = self.stage.path("new");
        fs::write(&new, code.to_string()).unwrap();
        fs::rename(new, self.stage.path(&format!("go-{}", node.name()))).unwrap();
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let (name, others) = arguments.split_first().unwrap();
        let socket = self.stage.admin_socket();
        let socket = ["--socket", socket.to_str().unwrap()];
        let output = pollbal(&[&[*name], &socket[..], others].concat());
        (output.status.code(), stdout(&output), stderr(&output))
    }

    /// The names of the nodes that are out for a roll.
    pub(crate) fn disabled(&self) -> Vec<String> {
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
    pub(crate) fn fewest_members<T>(&self, what: impl FnOnce() -> T) -> (usize, T) {
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
