//! A daemon, and the commands for it.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::net::SocketAddrV4;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::nodes::Node;
use crate::common::perlbal::Perlbal;
use crate::common::pollbal::Pollbal;
use crate::common::process::catches;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;
use crate::common::website::Website;
use crate::common::{SOON, eventually};

/// A daemon with four nodes that serve `website`, which needs two of them.
pub(crate) struct Site {
    pub(crate) pollbal: Pollbal,
    pub(crate) perlbal: Perlbal,
    pub(crate) nodes: Vec<Node>,
    /// Where the nodes speak.
    pub(crate) node_listener: SocketAddrV4,
    pub(crate) stage: Stage,
}

impl Site {
    pub(crate) fn start() -> Self {
        let website = Website::start(Stage::new(), 4, &json!({}));
        let site = Self {
            pollbal: website.pollbal,
            perlbal: website.perlbal,
            nodes: website.nodes,
            node_listener: website.node_listener,
            stage: website.stage,
        };
        // Perlbal has it when the daemon does not know of that yet.
        eventually(SOON, "all is right", || {
            (site.ask(&["status"]).0 == 0).then_some(())
        });
        site
    }

    /// Exit code, standard output, standard error.
    #[track_caller]
    pub(crate) fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        let socket = self.stage.admin_socket();
        let output = ask(socket.to_str().unwrap(), arguments);
        let code = output.status.code().expect("the command ends by itself");
        (code, stdout(&output), stderr(&output))
    }

    /// What a command prints that ends well and has nothing to remark.
    #[track_caller]
    pub(crate) fn tell(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.ask(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    #[track_caller]
    pub(crate) fn tell_json(&self, arguments: &[&str]) -> Value {
        let (name, others) = arguments.split_first().unwrap();
        let text = self.tell(&[&[*name, "--json"], others].concat());
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"))
    }

    /// What is said when a command is refused.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.ask(arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}: {error}");
        error
    }

    /// Begins a command that goes on for a while.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Pollbal {
        Pollbal::begin(&self.stage, arguments)
    }

    /// A node, as commands name it.
    pub(crate) fn named(&self, number: usize) -> String {
        format!("node-{number} ({})", self.nodes[number - 1].addr())
    }
}

/// Runs a command with that socket; behind `--` a flag would be the other command's.
pub(crate) fn ask(socket: &str, arguments: &[&str]) -> Output {
    let (name, others) = arguments.split_first().unwrap();
    pollbal(&[&[name, "--socket", socket], others].concat())
}

/// Ctrl-C, as soon as the command is ready for it.
#[track_caller]
pub(crate) fn interrupt(command: &Pollbal) {
    eventually(SOON, "the command listens for Ctrl-C", || {
        catches(command.pid(), Signal::INT).then_some(())
    });
    command.signal(Signal::INT);
}

/// A command on a terminal.
pub(crate) fn on_terminal(site: &Site, environment: &[(&str, &str)], line: &str) -> Command {
    let line = format!("exec {} {line}", env!("CARGO_BIN_EXE_pollbal"));
    // Of the package bsdutils, which each Debian has.
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .env("POLLBAL_ADMIN_SOCKET", site.stage.admin_socket())
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    command
}
