//! The command that is run when the node is gone from all load balancers.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{self, Child};
use tokio::signal::unix::{self, SignalKind, signal};

use super::super::words::cause;
use super::super::{ClientError, FAILED};

/// The command is there but cannot be run, as shells say it.
const NOT_RUN: u8 = 126;
/// There is no such command.
const NOT_FOUND: u8 = 127;

/// It takes the place of this program, so that signals and its end are its own. Returns the exit
/// code for one that cannot be run, and why.
pub(super) fn become_it(command: &[OsString]) -> (u8, String) {
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    not_run(command, &error)
}

/// What became of a child.
pub(super) enum Ended {
    /// It never ran; the exit code for that, and why.
    NotRun(u8, String),
    With(ExitStatus),
}

/// Runs it to its end as a child, which hears the signals that this program hears.
pub(super) async fn run(command: &[OsString], json: bool) -> Result<Ended, ClientError> {
    let mut heard = Signals::listen().map_err(ClientError::signals)?;
    let mut child = match start(command, json) {
        Ok(child) => child,
        Err(error) => {
            let (code, why) = not_run(command, &error);
            return Ok(Ended::NotRun(code, why));
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|error| ClientError::System("wait for the command", error))?;
                return Ok(Ended::With(status));
            }
            signal = heard.next() => pass_on(&child, signal),
        }
    }
}

/// In this program's process group, so that a terminal is the command's as well as ours.
fn start(command: &[OsString], json: bool) -> io::Result<Child> {
    let mut child = process::Command::new(&command[0]);
    child.args(&command[1..]);
    if json {
        // Standard output is for JSON.
        child.stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
    }
    child.spawn()
}

/// The exit code for one that cannot be run, as of shells, and why.
pub(super) fn not_run(command: &[OsString], error: &io::Error) -> (u8, String) {
    let program = command[0].to_string_lossy();
    let why = format!("failed to run {program}: {}", cause(error));
    let code = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_RUN,
    };
    (code, why)
}

/// Its exit code, or 128 and the number of the signal that ended it.
pub(super) fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signal);
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(FAILED)
}

/// The signals by which people and service managers end a program.
struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

fn pass_on(child: &Child, signal: Signal) {
    // Ctrl-C reaches the whole group; twice, it means "at once" to many a program.
    if signal == Signal::INT && is_in_foreground() {
        return;
    }
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // It may have ended by itself just now.
        _ = kill_process(pid, signal);
    }
}

/// Whether Ctrl-C at the terminal reaches this program, and so the command too.
fn is_in_foreground() -> bool {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may be anything: state, parent, group, session, terminal, and the
    // terminal's foreground group.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<_> = behind.split_whitespace().collect();
    matches!(fields[..], [_, _, group, _, _, foreground, ..] if group == foreground)
}
