//! Runs the command of a roll for one node.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::format::cause;
use super::Rollout;
use super::queue::Target;
use crate::model::node::NodeAddr;
use crate::model::text::printable;

/// Maximum length of a line of output, in bytes; longer lines are split.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Maximum time, after the command has exited, for the rest of its output, which a process in the background may keep
/// open forever; and maximum time for a process group to end before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// Maximum amount of output that is unread when the command exits, in bytes: a full pipe, and what was read ahead.
const MAX_UNREAD_BYTES: usize = 64 * 1024 + 8 * 1024;

/// Interval at which the command is checked for being stopped.
const STOPPED_INTERVAL: Duration = Duration::from_millis(200);

/// Interval at which process groups that are being ended are checked. Short, since someone waits for that.
const ENDED_INTERVAL: Duration = Duration::from_millis(20);

/// The failure of a command that read from the terminal, and what to do about it.
const STOPPED: &str = "the command was stopped, as happens when it reads from a terminal, which it does not have \
                       (ssh -o BatchMode=yes, sudo -n)";

/// Why the command failed, for people.
pub(super) enum CommandFailure {
    /// It was not run: nothing was done to the node.
    NotRun(String),
    Failed(String),
}

/// The message about a command that cannot be run.
pub(super) fn cannot_be_run(program: &OsStr, error: &io::Error) -> String {
    let program = program.to_string_lossy();
    format!("cannot run {program}: {}", cause(error))
}

/// Runs the command to its end.
pub(super) async fn run(rollout: &Rc<Rollout>, target: &Target) -> Result<(), CommandFailure> {
    if inherits(rollout) {
        // Steps so far come before the command's output.
        rollout.report.flush(&rollout.cancel).await;
    }
    let mut child = start(rollout, target)
        .map_err(|error| CommandFailure::NotRun(cannot_be_run(&rollout.command[0], &error)))?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(group) = group {
        rollout.running.borrow_mut().push((group, target.clone()));
    }
    let mut output = JoinSet::new();
    let gone = CancellationToken::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn_local(Forwarder::new(rollout, target, false).forward(stdout, gone.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn_local(Forwarder::new(rollout, target, true).forward(stderr, gone.clone()));
    }
    let ended = tokio::select! {
        status = child.wait() => Ok(status),
        () = stopped(group) => Err(STOPPED.to_owned()),
    };
    if let (Err(_), Some(group)) = (&ended, group) {
        // The child has to be reaped for its group to be gone.
        let groups = [group];
        _ = tokio::join!(end(&groups), child.wait());
    }
    rollout
        .running
        .borrow_mut()
        .retain(|(one, _)| Some(*one) != group);
    gone.cancel();
    while output.join_next().await.is_some() {}
    let why = match ended {
        Ok(Ok(status)) if status.success() => return Ok(()),
        Ok(Ok(status)) => format!("the command failed with {}", describe(status)),
        Ok(Err(error)) => format!("failed to wait for the command: {error}"),
        Err(stopped) => stopped,
    };
    Err(CommandFailure::Failed(why))
}

/// Waits until the command is stopped. A background process group that reads from the terminal is stopped as a whole,
/// and would stay so forever.
async fn stopped(group: Option<Pid>) {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        sleep(STOPPED_INTERVAL).await;
        // If it has just exited, `Child::wait` reports that.
        let state = group.and_then(|leader| waitid(WaitId::Pid(leader), options).ok().flatten());
        if state.is_some_and(|status| status.stopped()) {
            return;
        }
    }
}

/// Ends process groups; those that have not ended after [`GRACE`] are killed.
pub(super) async fn end(groups: &[Pid]) {
    // A stopped process handles SIGTERM only after SIGCONT.
    signal(groups, Signal::TERM);
    signal(groups, Signal::CONT);
    let gone = async {
        while groups
            .iter()
            .any(|group| test_kill_process_group(*group).is_ok())
        {
            sleep(ENDED_INTERVAL).await;
        }
    };
    if timeout(GRACE, gone).await.is_err() {
        signal(groups, Signal::KILL);
    }
}

fn signal(groups: &[Pid], signal: Signal) {
    for group in groups {
        // The group may have just ended.
        _ = kill_process_group(*group, signal);
    }
}

/// Whether the command inherits standard output and standard error.
fn inherits(rollout: &Rollout) -> bool {
    rollout.report.leaves_output_alone() && !rollout.parallel
}

/// Starts the command in its own process group, so that Ctrl-C does not reach it and it is finished.
fn start(rollout: &Rollout, target: &Target) -> io::Result<Child> {
    let (stdout, stderr) = if inherits(rollout) {
        (Stdio::inherit(), Stdio::inherit())
    } else if rollout.report.is_json() && !rollout.parallel {
        // Standard output is reserved for JSON.
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        (Stdio::from(stderr), Stdio::inherit())
    } else {
        (Stdio::piped(), Stdio::piped())
    };
    Command::new(&rollout.command[0])
        .args(&rollout.command[1..])
        .envs(environment(rollout, target))
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()
}

fn environment(rollout: &Rollout, target: &Target) -> [(&'static str, OsString); 6] {
    let addr = target.node.parse::<NodeAddr>().ok();
    let ip = addr.map_or_else(String::new, |addr| addr.ip().to_string());
    let port = addr.map_or_else(String::new, |addr| addr.port().to_string());
    let version = target.version.as_deref().unwrap_or_default();
    [
        ("POLLBAL_NODE", target.node.as_str().into()),
        ("POLLBAL_NODE_NAME", target.name.as_str().into()),
        ("POLLBAL_NODE_IP", ip.into()),
        ("POLLBAL_NODE_PORT", port.into()),
        ("POLLBAL_POOL", rollout.pool.as_str().into()),
        ("POLLBAL_VERSION", version.into()),
    ]
}

/// Forwards one of a command's outputs.
struct Forwarder {
    rollout: Rc<Rollout>,
    /// The node's name in front of each line, if several commands run at a time.
    name: Option<String>,
    is_error: bool,
}

impl Forwarder {
    fn new(rollout: &Rc<Rollout>, target: &Target, is_error: bool) -> Self {
        Self {
            rollout: rollout.clone(),
            name: rollout.parallel.then(|| printable(&target.shown)),
            is_error,
        }
    }

    /// Forwards output line by line until it is closed, or until [`GRACE`] after the command has exited.
    async fn forward(self, output: impl AsyncRead + Unpin, gone: CancellationToken) {
        let mut output = BufReader::new(output);
        let over = async {
            gone.cancelled().await;
            sleep(GRACE).await;
        };
        tokio::pin!(over);
        let mut unread = MAX_UNREAD_BYTES;
        while unread > 0 {
            let name = self.name.as_ref().map(|name| format!("{name}: "));
            let mut line = name.unwrap_or_default().into_bytes();
            let mut limited = (&mut output).take(MAX_LINE_BYTES);
            let read = tokio::select! {
                biased;
                // Output that is available is forwarded, however long its reader takes.
                read = limited.read_until(b'\n', &mut line) => read,
                () = &mut over => return,
            };
            match read {
                Ok(0) | Err(_) => return,
                // A process in the background may go on writing.
                Ok(length) if gone.is_cancelled() => unread = unread.saturating_sub(length),
                Ok(_) => {}
            }
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            let report = &self.rollout.report;
            report
                .output(line, self.is_error, &self.rollout.cancel)
                .await;
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}
