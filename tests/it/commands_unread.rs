//! Commands whose output nobody reads, as behind a stopped pager or on a terminal in Ctrl-S: a signal ends them.

use crate::commands::site;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::nodes::addrs;
use crate::common::pipe::FullPipe;
use crate::common::pollbal::Pollbal;
use crate::common::process::{children, runs, waits_for};
use crate::common::{SOON, eventually};
use site::{Site, on_terminal};

/// Number of polls of a node that take more than two seconds.
const POLLS: u64 = 25;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

const SIGNALS: [(Signal, i32); 3] = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)];

#[track_caller]
fn wait_stuck(pid: Pid, descriptor: u32) {
    eventually(SOON, "the command waits for a reader", || {
        waits_for(pid, descriptor).then_some(())
    });
}

/// Begins a command of which nobody reads one output, and waits until it is held up by that.
#[track_caller]
fn stuck(site: &Site, pipe: &FullPipe, line: &str, descriptor: u32) -> Pollbal {
    let output = format!("{descriptor}>");
    let command = pipe.begin(&site.stage, line, &output);
    wait_stuck(command.pid(), descriptor);
    command
}

/// An exit code as shells have it.
fn code(status: ExitStatus) -> Option<i32> {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal)
}

#[track_caller]
fn assert_ends(command: &mut Pollbal, signal: Signal, expected: i32) {
    command.signal(signal);
    let ended = code(command.wait_end(SOON));
    assert_eq!(ended, Some(expected), "{signal:?}");
}

#[test]
fn what_only_shows_is_ended_by_each_signal() {
    let site = Site::start();
    let pipe = FullPipe::new(&site.stage);
    for line in [
        "members website",
        "events",
        "events --follow",
        "events --follow --json",
        "explain node-1",
        "status",
        "wait node-1 --until serving",
    ] {
        for (signal, code) in SIGNALS {
            let mut command = stuck(&site, &pipe, line, STDOUT);
            assert_ends(&mut command, signal, code);
        }
    }
    for (signal, code) in SIGNALS {
        let mut refused = stuck(&site, &pipe, "explain nobody", STDERR);
        assert_ends(&mut refused, signal, code);
    }
}

#[test]
fn a_watched_status_ends_as_the_view_says_that_nobody_reads() {
    let site = Site::start();
    let pipe = FullPipe::new(&site.stage);
    for line in ["status --watch", "status --watch --json"] {
        let mut watch = stuck(&site, &pipe, line, STDOUT);
        assert_ends(&mut watch, Signal::INT, 0);
    }
    for node in &site.nodes {
        node.announce("");
    }
    eventually(SOON, "a critical state", || {
        (site.ask(&["status"]).0 == 2).then_some(())
    });
    let mut watch = stuck(&site, &pipe, "status --watch", STDOUT);
    assert_ends(&mut watch, Signal::INT, 2);
}

#[test]
fn a_roll_brings_its_nodes_back_at_the_first_signal() {
    let site = Site::start();
    let pipe = FullPipe::new(&site.stage);
    let one = &site.nodes[1..];
    let two = &site.nodes[2..];
    for (signal, code) in SIGNALS {
        for (line, descriptor, others) in [
            // What was reported must be written before the command writes by itself.
            ("roll website -- true", STDOUT, one),
            // These wait with what the command says.
            ("roll website --parallel 2 -- echo hello", STDOUT, two),
            (
                "roll website --parallel 2 -- sh -c 'echo hello >&2'",
                STDERR,
                two,
            ),
            (
                "roll website --parallel 2 --json -- echo hello",
                STDERR,
                two,
            ),
        ] {
            let mut roll = stuck(&site, &pipe, line, descriptor);
            site.perlbal.wait_members("website", &addrs(others));
            assert_ends(&mut roll, signal, code);
            site.perlbal.wait_members("website", &addrs(&site.nodes));
        }
    }
}

#[test]
fn a_roll_whose_steps_nobody_reads_goes_on_and_ends_by_a_signal_as_it_went() {
    let site = Site::start();
    let pipe = FullPipe::new(&site.stage);
    let line = "roll website --json -- sh -c 'touch $POLLBAL_NODE_NAME'";
    let mut roll = stuck(&site, &pipe, line, STDOUT);
    eventually(SOON, "the last node is done", || {
        let done = site.stage.path("node-4").exists();
        (done && site.ask(&["status"]).0 == 0).then_some(())
    });
    assert_ends(&mut roll, Signal::TERM, 0);
    for (signal, code) in SIGNALS {
        let mut refused = stuck(&site, &pipe, "roll nowhere -- true", STDERR);
        assert_ends(&mut refused, signal, code);
    }
}

#[test]
fn a_second_signal_ends_a_command_that_waits_for_its_reader_itself() {
    let site = Site::start();
    let pipe = FullPipe::new(&site.stage);
    let mut roll = stuck(&site, &pipe, "roll website -- echo hello", STDOUT);
    site.perlbal
        .wait_members("website", &addrs(&site.nodes[1..]));
    roll.signal(Signal::INT);
    eventually(SOON, "the command waits", || {
        let commands = children(roll.pid());
        let mut commands = commands.into_iter();
        commands
            .any(|command| waits_for(command, STDOUT))
            .then_some(())
    });
    assert_ends(&mut roll, Signal::INT, 130);
    roll.wait_log(&["node-1", "stays disabled; bring it back: pollbal enable"]);
}

#[test]
fn a_reader_that_takes_its_time_gets_all_that_commands_say() {
    const LINES: usize = 8_000;
    let site = Site::start();
    let pipe = FullPipe::new(&site.stage);
    let line =
        format!("roll website --parallel 2 -- sh -c 'seq {LINES}; touch $POLLBAL_NODE_NAME'");
    let mut roll = stuck(&site, &pipe, &line, STDOUT);
    eventually(SOON, "the commands end", || {
        let mut names = ["node-1", "node-2"].iter();
        let all = names.all(|name| site.stage.path(name).exists());
        (all && children(roll.pid()).is_empty()).then_some(())
    });
    // Longer than a process that a command left behind may keep its output.
    site.nodes[3].wait_polls(POLLS);
    let lines = pipe.read();
    assert_eq!(roll.wait_end(SOON).code(), Some(0));
    eventually(SOON, "all that they said", || {
        let lines = lines.lock().unwrap();
        let mut names = site.nodes.iter().map(|node| format!("{}: ", node.name()));
        let all = names.all(|name| {
            let said = lines.iter().filter_map(|line| line.strip_prefix(&name));
            said.filter(|line| line.parse::<usize>().is_ok()).count() == LINES
        });
        (all && lines.last()?.starts_with("rolled 4 of 4 nodes")).then_some(())
    });
}

#[test]
fn a_leave_is_taken_back_at_a_signal() {
    let site = Site::start();
    let pipe = FullPipe::new(&site.stage);
    site.tell(&["disable", "node-1", "node-2", "--reason", "kernel"]);
    let (from, listener) = (site.nodes[2].addr().ip().to_owned(), site.node_listener);
    for (flags, descriptor) in [("", STDERR), ("--json", STDOUT)] {
        for (signal, code) in SIGNALS {
            let line = format!("leave {flags} --from {from} {listener} -- false");
            let mut leave = stuck(&site, &pipe, &line, descriptor);
            assert_ends(&mut leave, signal, code);
        }
    }
    // A node that may go goes, though nobody reads that.
    site.tell(&["enable", "node-1", "--reason", "kernel"]);
    let line = format!("leave --from {from} {listener} -- sh -c 'exit 5'");
    let mut leave = pipe.begin(&site.stage, &line, "2>");
    assert_eq!(leave.wait_end(SOON).code(), Some(5));
    let others = [&site.nodes[0], &site.nodes[3]];
    site.perlbal.wait_members("website", &addrs(others));
}

/// A command on a terminal that shows nothing more; dropped, both end.
struct Stopped {
    script: Child,
    command: Pid,
}

impl Stopped {
    #[track_caller]
    fn start(site: &Site, line: &str, descriptor: u32) -> Self {
        const CTRL_S: u8 = 0x13;
        let mut script = on_terminal(site, &[], line)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("failed to start script");
        let pid = Pid::from_child(&script);
        let command = eventually(SOON, "the command starts", || children(pid).pop());
        press(&mut script, CTRL_S);
        wait_stuck(command, descriptor);
        Self { script, command }
    }

    fn interrupt(&self) {
        kill_process(self.command, Signal::INT).expect("failed to signal the command");
    }

    /// Waits for its end; its exit code.
    #[track_caller]
    fn end(mut self) -> Option<i32> {
        const CTRL_Q: u8 = 0x11;
        eventually(SOON, "the command ends", || {
            (!runs(self.command)).then_some(())
        });
        press(&mut self.script, CTRL_Q);
        eventually(SOON, "script ends", || self.script.try_wait().unwrap()).code()
    }
}

fn press(script: &mut Child, key: u8) {
    let keys = script.stdin.as_mut().expect("its input is piped");
    keys.write_all(&[key]).expect("failed to press a key");
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Ok(None) = self.script.try_wait() {
            let _ = kill_process(self.command, Signal::KILL);
            let _ = self.script.kill();
            let _ = self.script.wait();
        }
    }
}

#[test]
fn on_a_stopped_terminal_what_moves_is_ended_by_a_signal() {
    let site = Site::start();
    for (line, descriptor, code) in [
        ("wait node-1 --until drained", STDERR, 130),
        ("status --watch", STDOUT, 0),
    ] {
        let command = Stopped::start(&site, line, descriptor);
        command.interrupt();
        assert_eq!(command.end(), Some(code), "{line}");
    }
    // The node comes back: its command goes on for as long as the test lets it.
    let go = site.stage.path("go");
    let wait = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    let roll = Stopped::start(
        &site,
        &format!("roll website -- timeout 20 sh -c '{wait}'"),
        STDERR,
    );
    site.perlbal
        .wait_members("website", &addrs(&site.nodes[1..]));
    roll.interrupt();
    fs::write(go, "").unwrap();
    assert_eq!(roll.end(), Some(130));
    site.perlbal.wait_members("website", &addrs(&site.nodes));
}
