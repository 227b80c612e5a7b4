//! The command of a roll, run for one node.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::words::cause;
use super::Site;
use super::plan::Target;

/// A longer line of output is told in pieces.
const LONGEST_LINE: u64 = 64 * 1024;

/// A process that the command left behind may hold its output open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
        site.running.borrow_mut().push(group);
    }
    let mut output = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn_local(forward(site.clone(), target.name.clone(), stdout, false));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn_local(forward(site.clone(), target.name.clone(), stderr, true));
    }
    let status = child.wait().await;
    site.running.borrow_mut().retain(|one| Some(*one) != group);
    _ = timeout(LAST_WORDS, async {
        while output.join_next().await.is_some() {}
    })
    .await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the command ended with {}", words(status))),
        Err(error) => Err(format!("failed to wait for the command: {error}")),
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
