//! Runs the command once the node is gone from all load balancers.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{self, Child};
use tokio::signal::unix::{self, SignalKind, signal};

use super::super::format::cause;
use super::super::{CommandError, FAILED};

/// Exit code: the command cannot be executed, as in shells.
const NOT_EXECUTABLE: u8 = 126;
/// Exit code: there is no such command.
const NOT_FOUND: u8 = 127;

/// Replaces this process by the command. Returns only if that fails: the exit code and why.
pub(super) fn exec(command: &[OsString]) -> (u8, String) {
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    not_run(command, &error)
}

/// How the command ended.
pub(super) enum Outcome {
    /// It was not run; the exit code and why.
    NotRun(u8, String),
    Exited(ExitStatus),
}

/// Runs the command as a child, and passes signals on to it.
pub(super) async fn run(command: &[OsString], json: bool) -> Result<Outcome, CommandError> {
    let mut signals = Signals::listen().map_err(CommandError::signals)?;
    let mut child = match start(command, json) {
        Ok(child) => child,
        Err(error) => {
            let (code, why) = not_run(command, &error);
            return Ok(Outcome::NotRun(code, why));
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|error| CommandError::System("wait for the command", error))?;
                return Ok(Outcome::Exited(status));
            }
            signal = signals.next() => pass_on(&child, signal),
        }
    }
}

/// Starts the command in this process group, so that it may use the terminal.
fn start(command: &[OsString], json: bool) -> io::Result<Child> {
    let mut child = process::Command::new(&command[0]);
    child.args(&command[1..]);
    if json {
        // Standard output is reserved for JSON.
        child.stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
    }
    child.spawn()
}

/// The exit code for a command that cannot be run, as in shells, and why.
pub(super) fn not_run(command: &[OsString], error: &io::Error) -> (u8, String) {
    let program = command[0].to_string_lossy();
    let why = format!("failed to run {program}: {}", cause(error));
    let code = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    (code, why)
}

/// The command's exit code, or 128 plus the number of the signal that ended it.
pub(super) fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signal);
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(FAILED)
}

/// The signals with which people and service managers end a program.
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
    // Ctrl-C reaches the whole process group; many programs stop immediately if they receive it twice.
    if signal == Signal::INT && is_in_foreground() {
        return;
    }
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // The child may have just exited.
        _ = kill_process(pid, signal);
    }
}

/// Whether this process group is in the foreground of its terminal, so that Ctrl-C reaches the command too.
fn is_in_foreground() -> bool {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may contain anything: state, parent, group, session, terminal, and the terminal's
    // foreground group.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<_> = behind.split_whitespace().collect();
    matches!(fields[..], [_, _, group, _, _, foreground, ..] if group == foreground)
}
