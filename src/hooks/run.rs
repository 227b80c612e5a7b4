//! One run of a hook: its process group, standard input, output and termination.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::Variable;
use super::output::Output;
use crate::awake::timeout;
use crate::children::{self, Own};
use crate::systemd;

/// Delay between SIGTERM and SIGKILL; also the maximum time that output is read after the end.
const GRACE: Duration = Duration::from_secs(1);

/// One run of a hook.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) hook: &'static str,
    pub(super) command: Vec<String>,
    /// The node or file it is about: runs with the same subject are run one after another.
    pub(super) subject: Option<String>,
    pub(super) environment: Vec<Variable>,
    pub(super) stdin: Option<Vec<u8>>,
    pub(super) timeout: Duration,
}

impl Run {
    /// Runs the hook to its end, and returns whether it succeeded. `kill` cuts it short. `starts` limits how many hooks
    /// may be in the middle of starting, which can take long on a slow disk.
    pub(super) async fn run(&self, kill: &CancellationToken, starts: &Arc<Semaphore>) -> bool {
        let (hook, limit, command) = (self.hook, self.timeout, &self.command[0]);
        let started = tokio::select! {
            started = timeout(limit, self.start(starts)) => started.unwrap_or_else(|_| {
                Err(io::Error::other("the system did not start it in time"))
            }),
            () = kill.cancelled() => Err(io::Error::other("pollbal ends")),
        };
        // `_own` marks the process as ours until it has been waited for.
        let (mut child, _own) = match started {
            Ok(started) => started,
            Err(error) => {
                error!(hook, "failed to start {hook} {command}: {error}");
                return false;
            }
        };
        let (pipes, output) = self.start_pipes(&mut child);
        let ended = tokio::select! {
            biased;
            // Biased, so that a hook that ended while pollbal itself was suspended is not reported as late.
            ended = timeout(limit, child.wait()) => ended.ok(),
            () = kill.cancelled() => None,
        };
        let succeeded = matches!(&ended, Some(Ok(status)) if status.success());
        match ended {
            Some(Ok(_)) if succeeded => {}
            Some(Ok(status)) => warn!(hook, "{hook} {command} ended with {}", describe(status)),
            Some(Err(error)) => error!(hook, "failed to wait for {hook} {command}: {error}"),
            None => {
                let grace = if kill.is_cancelled() {
                    Duration::from_millis(100)
                } else {
                    GRACE
                };
                if terminate(&mut child, grace).await {
                    error!(hook, "{hook} {command} was ended: it was not done in time");
                } else {
                    error!(
                        hook,
                        "{hook} {command} does not end, although it was killed: it may wait for a disk; \
                         it is left behind"
                    );
                }
            }
        }
        // A process that the hook left behind may keep its output open forever: dropping the tasks closes the pipes.
        _ = timeout(GRACE, pipes.join_all()).await;
        output.log_dropped();
        succeeded
    }

    /// Starts the hook on a separate thread, since its program may be on a disk that hangs. That thread cannot be
    /// cancelled, so it keeps the permit: otherwise hanging starts could use up all threads.
    async fn start(&self, starts: &Arc<Semaphore>) -> io::Result<(Child, Own)> {
        let permit = starts.clone().acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let mut command = self.prepare();
        let start = spawn_blocking(move || {
            let _permit = permit;
            children::start(&mut command)
        });
        start.await.map_err(io::Error::other)?
    }

    /// Starts the tasks that write its input and read its output; dropping the set ends them.
    fn start_pipes(&self, child: &mut Child) -> (JoinSet<()>, Arc<Output>) {
        let output = Arc::new(Output::new(self.hook));
        let mut pipes = JoinSet::new();
        if let (Some(stdin), Some(input)) = (child.stdin.take(), self.stdin.clone()) {
            pipes.spawn(write_input(stdin, input));
        }
        if let Some(stdout) = child.stdout.take() {
            pipes.spawn(read_output(stdout, output.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            pipes.spawn(read_output(stderr, output.clone()));
        }
        (pipes, output)
    }

    fn prepare(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        // A hook, or a process it starts, must not send notifications in the name of pollbal.
        for variable in systemd::VARIABLES {
            command.env_remove(variable);
        }
        let stdin = match self.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        };
        command
            .args(&self.command[1..])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            // For a process that starts only after its timeout.
            .kill_on_drop(true);
        command
    }
}

/// Writes the input. A hook may end without reading all of it.
async fn write_input(mut stdin: ChildStdin, input: Vec<u8>) {
    _ = stdin.write_all(&input).await;
}

/// Ends the child's process group by SIGTERM, then by SIGKILL. Returns whether the child has ended; one that is blocked
/// on a disk has not.
async fn terminate(child: &mut Child, grace: Duration) -> bool {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let signal = |signal| {
        if let Some(group) = group {
            // Fails if the group has just ended by itself.
            _ = kill_process_group(group, signal);
        }
    };
    signal(Signal::TERM);
    _ = timeout(grace, child.wait()).await;
    signal(Signal::KILL);
    timeout(grace, child.wait()).await.is_ok()
}

fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

async fn read_output(pipe: impl AsyncRead + Unpin, output: Arc<Output>) {
    output.read(pipe).await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Runs a script with more input than fits into a pipe.
    async fn run(script: &str) -> Duration {
        let run = Run {
            hook: "test_hook",
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            subject: None,
            environment: Vec::new(),
            stdin: Some(vec![b'x'; 4_000_000]),
            timeout: Duration::from_secs(10),
        };
        let start = Instant::now();
        let starts = Arc::new(Semaphore::new(1));
        assert!(
            run.run(&CancellationToken::new(), &starts).await,
            "{script}"
        );
        start.elapsed()
    }

    #[tokio::test]
    async fn a_hook_gets_its_whole_input() {
        let file = tempfile::NamedTempFile::new().unwrap();
        run(&format!("wc -c > {}", file.path().display())).await;
        let read = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(read.trim(), "4000000");
    }

    #[tokio::test]
    async fn a_hook_that_does_not_read_its_input_blocks_nothing() {
        for script in ["true", "exec <&-; true", "head -c 10 > /dev/null"] {
            let took = run(script).await;
            assert!(took < Duration::from_secs(5), "{script}: {took:?}");
        }
    }
}
