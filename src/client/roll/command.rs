//! The command of a roll, run for one node.

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

use super::super::words::cause;
use super::Site;
use super::plan::Target;
use crate::model::text::printable;

/// A longer line of output is told in pieces.
const LONGEST_LINE: u64 = 64 * 1024;

/// A process that the command left behind may hold its output open for ever, and one that is to end
/// may not want to.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a command can have written that is not read yet when it is gone, in bytes: a full pipe, and what was read ahead.
const UNREAD: usize = 64 * 1024 + 8 * 1024;

/// How often it is looked whether it is stopped.
const LOOK: Duration = Duration::from_millis(200);

/// How often it is looked whether it is gone: someone waits for that.
const GONE: Duration = Duration::from_millis(20);

/// What became of one that asked at the terminal, and what to do.
const STOPPED: &str = "the command was stopped, as is a program that asks at the terminal: it has none \
                       (ssh -o BatchMode=yes, sudo -n)";

/// What went wrong, for people.
pub(super) enum Trouble {
    /// It never ran: nothing was done to the node.
    NotRun(String),
    Failed(String),
}

/// What is said of a command that cannot be run.
pub(super) fn cannot_be_run(program: &OsStr, error: &io::Error) -> String {
    let program = program.to_string_lossy();
    format!("the command {program} cannot be run: {}", cause(error))
}

/// Runs it to its end.
pub(super) async fn run(site: &Rc<Site>, target: &Target) -> Result<(), Trouble> {
    if inherits(site) {
        // What was told before stands before what the command says.
        site.report.written(&site.enough).await;
    }
    let mut child = start(site, target)
        .map_err(|error| Trouble::NotRun(cannot_be_run(&site.command[0], &error)))?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(group) = group {
        site.running.borrow_mut().push((group, target.clone()));
    }
    let mut output = JoinSet::new();
    let gone = CancellationToken::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn_local(Words::of(site, target, false).forward(stdout, gone.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn_local(Words::of(site, target, true).forward(stderr, gone.clone()));
    }
    let ended = tokio::select! {
        status = child.wait() => Ok(status),
        () = stopped(group) => Err(STOPPED.to_owned()),
    };
    if let (Err(_), Some(group)) = (&ended, group) {
        // Who is waited for is gone at once.
        let groups = [group];
        _ = tokio::join!(end(&groups), child.wait());
    }
    site.running
        .borrow_mut()
        .retain(|(one, _)| Some(*one) != group);
    gone.cancel();
    while output.join_next().await.is_some() {}
    let why = match ended {
        Ok(Ok(status)) if status.success() => return Ok(()),
        Ok(Ok(status)) => format!("the command ended with {}", words(status)),
        Ok(Err(error)) => format!("failed to wait for the command: {error}"),
        Err(stopped) => stopped,
    };
    Err(Trouble::Failed(why))
}

/// Waits until it is stopped. In the background of a terminal whoever asks there is, with its whole
/// group, and would be so for ever.
async fn stopped(group: Option<Pid>) {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        sleep(LOOK).await;
        // It may have ended just now; that is for others to see.
        let seen = group.and_then(|leader| waitid(WaitId::Pid(leader), options).ok().flatten());
        if seen.is_some_and(|status| status.stopped()) {
            return;
        }
    }
}

/// Ends groups: those that do not want to are killed after a moment.
pub(super) async fn end(groups: &[Pid]) {
    // One that is stopped hears of its end only when it goes on.
    signal(groups, Signal::TERM);
    signal(groups, Signal::CONT);
    let gone = async {
        while groups
            .iter()
            .any(|group| test_kill_process_group(*group).is_ok())
        {
            sleep(GONE).await;
        }
    };
    if timeout(LAST_WORDS, gone).await.is_err() {
        signal(groups, Signal::KILL);
    }
}

fn signal(groups: &[Pid], signal: Signal) {
    for group in groups {
        // It may have ended by itself just now.
        _ = kill_process_group(*group, signal);
    }
}

/// Whether the command writes where this program does.
fn inherits(site: &Site) -> bool {
    site.report.leaves_output_alone() && !site.parallel
}

/// In a group of its own, so that Ctrl-C reaches this program alone and the command is finished.
fn start(site: &Site, target: &Target) -> io::Result<Child> {
    let (stdout, stderr) = if inherits(site) {
        (Stdio::inherit(), Stdio::inherit())
    } else if site.report.is_json() && !site.parallel {
        // Standard output is for JSON.
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        (Stdio::from(stderr), Stdio::inherit())
    } else {
        (Stdio::piped(), Stdio::piped())
    };
    Command::new(&site.command[0])
        .args(&site.command[1..])
        .envs(environment(site, target))
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()
}

fn environment(site: &Site, target: &Target) -> [(&'static str, OsString); 6] {
    let (ip, port) = target.node.rsplit_once(':').unwrap_or((&target.node, ""));
    let version = target.version.as_deref().unwrap_or_default();
    [
        ("POLLBAL_NODE", target.node.as_str().into()),
        ("POLLBAL_NODE_NAME", target.name.as_str().into()),
        ("POLLBAL_NODE_IP", ip.into()),
        ("POLLBAL_NODE_PORT", port.into()),
        ("POLLBAL_POOL", site.pool.as_str().into()),
        ("POLLBAL_VERSION", version.into()),
    ]
}

/// One of the outputs of a command.
struct Words {
    site: Rc<Site>,
    /// The node's name, where several talk at once.
    name: Option<String>,
    is_error: bool,
}

impl Words {
    fn of(site: &Rc<Site>, target: &Target, is_error: bool) -> Self {
        Self {
            site: site.clone(),
            name: site.parallel.then(|| printable(&target.shown)),
            is_error,
        }
    }

    /// Tells what it says, line by line, until it is closed, or a moment after the command is gone.
    async fn forward(self, output: impl AsyncRead + Unpin, gone: CancellationToken) {
        let mut output = BufReader::new(output);
        let over = async {
            gone.cancelled().await;
            sleep(LAST_WORDS).await;
        };
        tokio::pin!(over);
        let mut unread = UNREAD;
        while unread > 0 {
            let name = self.name.as_ref().map(|name| format!("{name}: "));
            let mut told = name.unwrap_or_default().into_bytes();
            let mut piece = (&mut output).take(LONGEST_LINE);
            let read = tokio::select! {
                biased;
                // What is there already is told, however long it has to wait for who reads it.
                read = piece.read_until(b'\n', &mut told) => read,
                () = &mut over => return,
            };
            match read {
                Ok(0) | Err(_) => return,
                // A process that was left behind may go on talking.
                Ok(length) if gone.is_cancelled() => unread = unread.saturating_sub(length),
                Ok(_) => {}
            }
            if told.last() != Some(&b'\n') {
                told.push(b'\n');
            }
            let report = &self.site.report;
            report.output(told, self.is_error, &self.site.enough).await;
        }
    }
}

fn words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}
