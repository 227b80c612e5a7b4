//! A real Serf agent, and the commands that tell it something.

use std::fs::{self, File};
use std::net::{SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::nodes::Node;
use super::run::tool;
use super::stage::Stage;
use super::{SOON, eventually};

const GOSSIP_PORT: u16 = 7946;
const RPC_PORT: u16 = 7373;

/// The number of the agent that pollbal asks, behind those of the nodes.
pub(crate) const LB: u8 = 240;

/// What Serf needs to find that a member failed, on one machine and with few members.
pub(crate) const FAILED: Duration = Duration::from_secs(30);

/// Longer than until the agents exchange everything, each 30 s: of 100 changes of tags among four agents about two
/// reach one of them only then.
pub(crate) const EXCHANGED: Duration = Duration::from_secs(45);

/// A running agent; dropped, it is killed.
pub(crate) struct Agent {
    name: String,
    arguments: Vec<String>,
    rpc: SocketAddrV4,
    log: PathBuf,
    child: Option<Child>,
}

impl Agent {
    /// The agent that pollbal asks, which is no node.
    pub(crate) fn lb(stage: &Stage) -> Self {
        Self::start(stage, LB, "lb", &["-tag", "role=lb"])
    }

    /// An agent beside a node, which joins `other`.
    pub(crate) fn of_node(stage: &Stage, node: &Node, other: &Self, tags: &[&str]) -> Self {
        let (number, port) = (node.addr().ip().octets()[3], node.addr().port());
        Self::member(stage, number, node.name(), port, other, tags)
    }

    /// An agent of the number of a node, with that port and these tags, which joins `other`.
    pub(crate) fn member(
        stage: &Stage,
        number: u8,
        name: &str,
        port: u16,
        other: &Self,
        tags: &[&str],
    ) -> Self {
        let join = format!("-join={}", other.rpc.ip());
        let port = format!("port={port}");
        let mut options = vec![join.as_str(), "-tag", &port];
        options.extend(tags.iter().flat_map(|tag| ["-tag", tag]));
        Self::start(stage, number, name, &options)
    }

    /// An agent with these options, once it answers.
    pub(crate) fn start(stage: &Stage, number: u8, name: &str, options: &[&str]) -> Self {
        let (ip, rpc) = (stage.ip(number), Self::rpc_of(stage, number));
        let mut arguments = vec![
            "agent".to_owned(),
            "-profile=local".to_owned(),
            format!("-node={name}"),
            format!("-bind={ip}:{GOSSIP_PORT}"),
            format!("-rpc-addr={rpc}"),
        ];
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        Self::of_arguments(stage, number, name, arguments)
    }

    /// An agent with these arguments, which are those of the agent of that number, once it answers.
    pub(crate) fn of_arguments(
        stage: &Stage,
        number: u8,
        name: &str,
        arguments: Vec<String>,
    ) -> Self {
        let rpc = Self::rpc_of(stage, number);
        let mut agent = Self {
            name: name.to_owned(),
            arguments,
            rpc,
            log: stage.path(&format!("serf-{number}.log")),
            child: None,
        };
        agent.revive();
        agent
    }

    /// Starts it, without those of its options that make it join anyone.
    pub(crate) fn revive_alone(&mut self) {
        self.arguments
            .retain(|argument| !argument.starts_with("-join="));
        self.revive();
    }

    /// Starts it again, joining `other`, which knows those that it knew.
    pub(crate) fn revive_joining(&mut self, other: &Self) {
        self.arguments.push(format!("-join={}", other.rpc.ip()));
        self.revive();
    }

    /// Starts it as before, and waits until it answers.
    pub(crate) fn revive(&mut self) {
        self.kill();
        let log = File::create(&self.log).expect("failed to create a log");
        let errors = log.try_clone().expect("failed to share a log");
        let child = Command::new(tool("serf"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("failed to start Serf: say perlbal/setup test");
        self.child = Some(child);
        eventually(SOON, "Serf's agent answers", || {
            assert!(!self.has_ended(), "Serf ended:\n{}", self.log());
            TcpStream::connect(self.rpc).is_ok().then_some(())
        });
    }

    /// Where the agent of that number is asked.
    pub(crate) fn rpc_of(stage: &Stage, number: u8) -> SocketAddrV4 {
        SocketAddrV4::new(stage.ip(number), RPC_PORT)
    }

    /// Where it is asked.
    pub(crate) fn rpc(&self) -> SocketAddrV4 {
        self.rpc
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_none_or(|child| {
            child
                .try_wait()
                .expect("failed to look after Serf")
                .is_some()
        })
    }

    /// Sets these tags; others stay.
    #[track_caller]
    pub(crate) fn set_tags(&self, tags: &[&str]) {
        let set: Vec<_> = tags.iter().flat_map(|tag| ["-set", tag]).collect();
        self.run(&[&["tags"], &set[..]].concat());
    }

    /// Removes a tag.
    #[track_caller]
    pub(crate) fn delete_tag(&self, tag: &str) {
        self.run(&["tags", "-delete", tag]);
    }

    /// Says that it leaves, and ends; does not wait for its end.
    pub(crate) fn leave(&self) {
        self.signal(Signal::INT);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("Serf runs");
        kill_process(Pid::from_child(child), signal).expect("failed to signal Serf");
    }

    /// Ends at once, as in a crash.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing left but to reap it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Runs a command of the program for this agent.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let (command, options) = arguments.split_first().expect("a command");
        let output = Command::new(tool("serf"))
            .arg(command)
            .arg(format!("-rpc-addr={}", self.rpc))
            .args(options)
            .output()
            .expect("failed to run Serf");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}
