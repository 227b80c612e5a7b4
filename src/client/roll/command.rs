//! The command of a roll, run for one node.

use std::ffi::OsString;
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

use super::super::words::cause;
use super::Site;
use super::plan::Target;

/// A longer line of output is told in pieces.
const LONGEST_LINE: u64 = 64 * 1024;

/// A process that the command left behind may hold its output open for ever, and one that is to end
/// may not want to.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often it is looked whether it is stopped.
const LOOK: Duration = Duration::from_millis(200);

/// How often it is looked whether it is gone: someone waits for that.
const GONE: Duration = Duration::from_millis(20);

/// What became of one that asked at the terminal, and what to do.
const STOPPED: &str = "the command was stopped, as is a program that asks at the terminal: it has none \
                       (ssh -o BatchMode=yes, sudo -n)";

/// Runs it to its end; an error says for people what went wrong.
pub(super) async fn run(site: &Rc<Site>, target: &Target) -> Result<(), String> {
    let program = site.command[0].to_string_lossy().into_owned();
    let mut child = start(site, target)
        .map_err(|error| format!("the command {program} cannot be run: {}", cause(&error)))?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(group) = group {
        site.running.borrow_mut().push((group, target.clone()));
    }
    let mut output = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn_local(forward(site.clone(), target.shown.clone(), stdout, false));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn_local(forward(site.clone(), target.shown.clone(), stderr, true));
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
    _ = timeout(LAST_WORDS, async {
        while output.join_next().await.is_some() {}
    })
    .await;
    match ended? {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the command ended with {}", words(status))),
        Err(error) => Err(format!("failed to wait for the command: {error}")),
    }
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

/// In a group of its own, so that Ctrl-C reaches this program alone and the command is finished.
fn start(site: &Site, target: &Target) -> io::Result<Child> {
    let (stdout, stderr) = if site.report.leaves_output_alone() && !site.parallel {
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

/// Tells what it says, line by line, with the node's name where several talk at once.
async fn forward(
    site: Rc<Site>,
    name: String,
    output: impl AsyncRead + Unpin + 'static,
    is_error: bool,
) {
    let mut output = BufReader::new(output);
    loop {
        let mut told = if site.parallel {
            format!("{name}: ").into_bytes()
        } else {
            Vec::new()
        };
        let mut piece = (&mut output).take(LONGEST_LINE);
        match piece.read_until(b'\n', &mut told).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if told.last() != Some(&b'\n') {
            told.push(b'\n');
        }
        site.report.output(&told, is_error);
    }
}

fn words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}
