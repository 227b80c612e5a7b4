//! Hooks: external commands that are told of what happens.
//!
//! Whoever has something to tell puts a run into a bounded queue and goes on. One task starts the
//! runs in their order, at most [`AT_ONCE`] at a time; each is its own process group, its output
//! goes to the log line by line, and after `hook_timeout` its group is ended.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, LinesCodec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::config::{Config, HookSettings};
use crate::model::text::printable;
use crate::service_manager;

/// So many hooks run at once; the others wait in order.
pub const AT_ONCE: usize = 16;

/// So many runs may wait. More come together only when hooks hang for their whole time while
/// files change on and on; then the newest are dropped, with an error each.
const WAITING: usize = 4_096;

/// Does not wait for a place: the others may hang, and the end is near.
const PRE_QUIT: &str = "pre_quit_hook";

/// Between asking a group to end and ending it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// No line of output in the log is longer; the rest is cut.
const MAX_LINE_BYTES: usize = 4_096;

/// The way to run hooks; clones share one queue.
#[derive(Clone)]
pub struct Hooks {
    queue: mpsc::Sender<Run>,
    told: Arc<Mutex<Told>>,
}

/// What the configuration says that hooks need.
struct Told {
    settings: HookSettings,
    pool_directory: PathBuf,
    services_file: PathBuf,
}

/// One run.
struct Run {
    hook: &'static str,
    command: Vec<String>,
    environment: Vec<(&'static str, OsString)>,
    limit: Duration,
}

/// The task behind [`Hooks`].
pub struct HookRunner {
    queue: mpsc::Receiver<Run>,
    running: TaskTracker,
    /// Ends all that run.
    kill: CancellationToken,
}

impl Hooks {
    /// The queue, and the task that empties it.
    #[must_use]
    pub fn new(config: &Config) -> (Self, HookRunner) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let hooks = Self {
            queue: sender,
            told: Arc::new(Mutex::new(Told::new(config))),
        };
        let runner = HookRunner {
            queue: receiver,
            running: TaskTracker::new(),
            kill: CancellationToken::new(),
        };
        (hooks, runner)
    }

    /// Takes a new configuration; runs that wait keep theirs.
    pub fn reload(&self, config: &Config) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Told::new(config);
    }

    /// Before anything.
    pub fn pre_init(&self) {
        self.run("pre_init_hook", |told| {
            (&told.settings.pre_init, told.services())
        });
    }

    /// When the first files are written and the first sync with each Perlbal is done or failed.
    pub fn post_init(&self) {
        self.run("post_init_hook", |told| {
            (&told.settings.post_init, told.services())
        });
    }

    /// At the end.
    pub fn pre_quit(&self) {
        self.run(PRE_QUIT, |told| (&told.settings.pre_quit, None));
    }

    /// When a file is about to be written.
    pub fn file_update(&self, name: &str) {
        self.run("file_update_hook", |told| {
            (&told.settings.file_update, file(name))
        });
    }

    /// When a file is about to be deleted.
    pub fn file_remove(&self, name: &str) {
        self.run("file_remove_hook", |told| {
            (&told.settings.file_remove, file(name))
        });
    }

    fn run(
        &self,
        hook: &'static str,
        what: impl FnOnce(&Told) -> (&Vec<String>, Option<(&'static str, OsString)>),
    ) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (command, variable) = what(&told);
        if command.is_empty() {
            return;
        }
        let directory = (
            "POLLBAL_POOL_DIRECTORY",
            told.pool_directory.clone().into_os_string(),
        );
        let run = Run {
            hook,
            command: command.clone(),
            environment: [directory].into_iter().chain(variable).collect(),
            limit: told.settings.timeout,
        };
        if self.queue.try_send(run).is_err() {
            error!(
                hook,
                "{hook} is not run: {WAITING} runs wait already, or pollbal is ending"
            );
        }
    }
}

impl Told {
    fn new(config: &Config) -> Self {
        Self {
            settings: config.hooks.clone(),
            pool_directory: config.pool_directory.clone(),
            services_file: config.services_file.clone(),
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "one of the forms of `Hooks::run`")]
    fn services(&self) -> Option<(&'static str, OsString)> {
        Some((
            "POLLBAL_SERVICES_FILE",
            self.services_file.clone().into_os_string(),
        ))
    }
}

#[allow(clippy::unnecessary_wraps, reason = "one of the forms of `Hooks::run`")]
fn file(name: &str) -> Option<(&'static str, OsString)> {
    Some(("POLLBAL_FILE_NAME", name.into()))
}

impl HookRunner {
    /// Runs what is queued until `stop`; then `pre_quit_hook` at once and what else still waits in
    /// order, and after `grace` ends all that is not done.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        stop.run_until_cancelled(self.start_all(&places)).await;
        self.queue.close();
        let mut waiting = VecDeque::new();
        while let Some(run) = self.queue.recv().await {
            if run.hook == PRE_QUIT {
                self.start(run, None);
            } else {
                waiting.push_back(run);
            }
        }
        let running = self.running.clone();
        let rest = async {
            while !waiting.is_empty() {
                // The place first here too, so that no run is lost between the two.
                let place = places.clone().acquire_owned().await.ok();
                if let Some(run) = waiting.pop_front() {
                    self.start(run, place);
                }
            }
            running.close();
            running.wait().await;
        };
        if timeout(grace, rest).await.is_err() {
            self.kill.cancel();
            running.close();
            running.wait().await;
        }
        for run in waiting {
            error!(hook = run.hook, "{} is not run: pollbal ends", run.hook);
        }
    }

    async fn start_all(&mut self, places: &Arc<Semaphore>) {
        // The place is taken first, so that a run is not lost when this is dropped.
        while let Ok(place) = places.clone().acquire_owned().await {
            let Some(run) = self.queue.recv().await else {
                return;
            };
            self.start(run, Some(place));
        }
    }

    fn start(&self, run: Run, place: Option<OwnedSemaphorePermit>) {
        let kill = self.kill.clone();
        self.running.spawn(async move {
            run.run(kill).await;
            drop(place);
        });
    }
}

impl Run {
    async fn run(self, kill: CancellationToken) {
        let Self {
            hook,
            command,
            environment,
            limit,
        } = self;
        let mut prepared = Command::new(&command[0]);
        // A hook, or what it starts, must not speak for pollbal.
        for variable in service_manager::VARIABLES {
            prepared.env_remove(variable);
        }
        let child = prepared
            .args(&command[1..])
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return error!(hook, "failed to start {hook} {}: {error}", command[0]),
        };
        let output = TaskTracker::new();
        if let Some(stdout) = child.stdout.take() {
            output.spawn(log_lines(hook, stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(log_lines(hook, stderr));
        }
        output.close();
        let ended = tokio::select! {
            status = child.wait() => Some(status),
            () = sleep(limit) => None,
            () = kill.cancelled() => None,
        };
        match ended {
            Some(Ok(status)) if status.success() => {}
            Some(Ok(status)) => warn!(hook, "{hook} {} ended with {}", command[0], words(status)),
            Some(Err(error)) => error!(hook, "failed to wait for {hook} {}: {error}", command[0]),
            None => {
                end(
                    &mut child,
                    if kill.is_cancelled() {
                        Duration::from_millis(100)
                    } else {
                        LAST_WORDS
                    },
                )
                .await;
                error!(
                    hook,
                    "{hook} {} was ended: it was not done in time", command[0]
                );
            }
        }
        // A process that the hook left behind may hold its output open for ever.
        _ = timeout(LAST_WORDS, output.wait()).await;
    }
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

async fn log_lines(hook: &'static str, mut output: impl AsyncRead + Unpin) {
    let mut codec = LinesCodec::new_with_max_length(MAX_LINE_BYTES);
    let mut received = BytesMut::new();
    loop {
        match codec.decode(&mut received) {
            Ok(Some(line)) => info!(hook, "{hook}: {}", printable(&line)),
            Ok(None) => match output.read_buf(&mut received).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            },
            Err(error) => warn!(hook, "{hook}: a line of output is left out: {error}"),
        }
    }
    if let Ok(Some(line)) = codec.decode_eof(&mut received) {
        info!(hook, "{hook}: {}", printable(&line));
    }
}
