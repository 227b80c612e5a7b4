//! One run of a hook: a process group, what it reads, what it prints, its end.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::Variable;
use super::output::Output;
use crate::service_manager;

/// Between asking a group to end and ending it; and so long output is read after the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) hook: &'static str,
    pub(super) command: Vec<String>,
    /// What it is told of: runs of one subject follow one another.
    pub(super) subject: Option<String>,
    pub(super) environment: Vec<Variable>,
    /// For its standard input.
    pub(super) input: Option<Vec<u8>>,
    pub(super) limit: Duration,
}

impl Run {
    /// Runs it to its end, which comes soon when `kill` says so; gives whether it ended well.
    pub(super) async fn run(&self, kill: &CancellationToken) -> bool {
        let (hook, limit, command) = (self.hook, self.limit, &self.command[0]);
        let mut child = match self.prepare().spawn() {
            Ok(child) => child,
            Err(error) => {
                error!(hook, "failed to start {hook} {command}: {error}");
                return false;
            }
        };
        let (pipes, output) = self.pipes(&mut child);
        let ended = tokio::select! {
            status = child.wait() => Some(status),
            () = sleep(limit) => None,
            () = kill.cancelled() => None,
        };
        let well = matches!(&ended, Some(Ok(status)) if status.success());
        match ended {
            Some(Ok(_)) if well => {}
            Some(Ok(status)) => warn!(hook, "{hook} {command} ended with {}", words(status)),
            Some(Err(error)) => error!(hook, "failed to wait for {hook} {command}: {error}"),
            None => {
                let patience = if kill.is_cancelled() {
                    Duration::from_millis(100)
                } else {
                    LAST_WORDS
                };
                end(&mut child, patience).await;
                error!(hook, "{hook} {command} was ended: it was not done in time");
            }
        }
        // A process that the hook left behind may hold its output open for ever: the tasks that wait
        // for it are ended, and so are the pipes.
        _ = timeout(LAST_WORDS, pipes.join_all()).await;
        output.report();
        well
    }

    /// The tasks that write what it reads and read what it prints; dropped, they end.
    fn pipes(&self, child: &mut Child) -> (JoinSet<()>, Arc<Output>) {
        let output = Arc::new(Output::new(self.hook));
        let mut pipes = JoinSet::new();
        if let (Some(stdin), Some(input)) = (child.stdin.take(), self.input.clone()) {
            pipes.spawn(write(stdin, input));
        }
        if let Some(stdout) = child.stdout.take() {
            pipes.spawn(read(stdout, output.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            pipes.spawn(read(stderr, output.clone()));
        }
        (pipes, output)
    }

    fn prepare(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        // A hook, or what it starts, must not speak for pollbal.
        for variable in service_manager::VARIABLES {
            command.env_remove(variable);
        }
        let stdin = match self.input {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        };
        command
            .args(&self.command[1..])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }
}

/// Gives the hook what there is to read. One that does not read it all need not.
async fn write(mut stdin: ChildStdin, input: Vec<u8>) {
    _ = stdin.write_all(&input).await;
}

/// Ends the child's whole group: first by a word, then by force.
async fn end(child: &mut Child, patience: Duration) {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let signal = |signal| {
        if let Some(group) = group {
            // It may be gone by itself just now.
            _ = kill_process_group(group, signal);
        }
    };
    signal(Signal::TERM);
    _ = timeout(patience, child.wait()).await;
    signal(Signal::KILL);
    _ = child.wait().await;
}

fn words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

async fn read(pipe: impl AsyncRead + Unpin, output: Arc<Output>) {
    output.read(pipe).await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Runs a script that is given more to read than any pipe holds.
    async fn run(script: &str) -> Duration {
        let run = Run {
            hook: "test_hook",
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            subject: None,
            environment: Vec::new(),
            input: Some(vec![b'x'; 4_000_000]),
            limit: Duration::from_secs(10),
        };
        let start = Instant::now();
        assert!(run.run(&CancellationToken::new()).await, "{script}");
        start.elapsed()
    }

    #[tokio::test]
    async fn a_hook_gets_all_that_there_is_to_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        run(&format!("wc -c > {}", file.path().display())).await;
        let read = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(read.trim(), "4000000");
    }

    #[tokio::test]
    async fn a_hook_that_does_not_read_hangs_nobody() {
        for script in ["true", "exec <&-; true", "head -c 10 > /dev/null"] {
            let took = run(script).await;
            assert!(took < Duration::from_secs(5), "{script}: {took:?}");
        }
    }
}
