//! The built program as a process: its configuration, what it says, signals, its end.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use super::process::children;
use super::stage::Stage;
use super::{SOON, eventually, text};

/// A running `pollbal`; dropped, it is killed.
pub(crate) struct Pollbal {
    child: Child,
    config: PathBuf,
    stdout: Output,
    stderr: Output,
}

impl Pollbal {
    /// Starts the daemon with these configuration keys over [`Stage::write_config`]'s.
    pub(crate) fn start(stage: &Stage, config: &Value) -> Self {
        Self::start_with(stage, config, &[])
    }

    /// The same with arguments such as `--dry-run`.
    pub(crate) fn start_with(stage: &Stage, config: &Value, arguments: &[&str]) -> Self {
        let config = stage.write_config(config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
        command.args(arguments).arg("--config").arg(&config);
        Self::spawn(command, config)
    }

    /// Starts the daemon behind shell commands that set its limits, or what else it inherits.
    pub(crate) fn start_behind(stage: &Stage, config: &Value, commands: &str) -> Self {
        let config = stage.write_config(config);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{commands}; exec \"$0\" --config \"$1\"")])
            .arg(env!("CARGO_BIN_EXE_pollbal"))
            .arg(&config);
        Self::spawn(command, config)
    }

    /// Starts it by a command of the test's own, for an environment of its own; the configuration is already written.
    pub(crate) fn spawn(mut command: Command, config: PathBuf) -> Self {
        let mut child = command
            .env_remove("POLLBAL_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("failed to start pollbal");
        let stdout = Output::of(child.stdout.take());
        let stderr = Output::of(child.stderr.take());
        Self {
            child,
            config,
            stdout,
            stderr,
        }
    }

    /// Begins a command for the daemon that goes on for a while.
    pub(crate) fn begin(stage: &Stage, arguments: &[&str]) -> Self {
        let (name, others) = arguments.split_first().expect("a command has a name");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
        command
            .args([name, "--socket"])
            .arg(stage.admin_socket())
            .args(others);
        Self::spawn(command, stage.admin_socket())
    }

    /// Runs to the end (`--once`) and gives the exit code and standard output.
    #[track_caller]
    pub(crate) fn run(stage: &Stage, config: &Value, arguments: &[&str]) -> Ended {
        let mut pollbal = Self::start_with(stage, config, arguments);
        let status = pollbal.wait_end(SOON);
        Ended {
            code: status.code(),
            stdout: pollbal.stdout.finish(),
            stderr: pollbal.stderr.finish(),
        }
    }

    /// Waits until the process ends.
    #[track_caller]
    pub(crate) fn wait_end(&mut self, deadline: Duration) -> ExitStatus {
        eventually(deadline, "pollbal ends", || {
            self.child.try_wait().expect("failed to look after pollbal")
        })
    }

    /// Panics if the process has ended.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("failed to look after pollbal");
        assert!(ended.is_none(), "pollbal ended with {ended:?}");
    }

    /// How the process ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("failed to look after pollbal")
    }

    pub(crate) fn config_file(&self) -> &PathBuf {
        &self.config
    }

    /// SIGHUP: reads configuration and services file again.
    pub(crate) fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM, and its end, which must come within 5 s.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_end(Duration::from_secs(5))
    }

    /// SIGKILL: no last word, as in a crash.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("failed to signal pollbal");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn end(&mut self) {
        // Hooks that run would outlive it. Stopped, it starts no more of them.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(self.pid(), Signal::STOP);
            for hook in children(self.pid()) {
                let _ = kill_process_group(hook, Signal::KILL);
            }
        }
        // It may have ended by itself; then there is nothing left but to reap it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The lines on standard error so far: the log.
    pub(crate) fn log(&self) -> Vec<String> {
        self.stderr.lines().clone()
    }

    /// The lines on standard output so far.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.lines().clone()
    }

    /// Everything on standard output so far, byte for byte.
    pub(crate) fn stdout_text(&self) -> String {
        text(&self.stdout())
    }

    /// The log lines that have all of these words, upper or lower case.
    pub(crate) fn log_with(&self, words: &[&str]) -> Vec<String> {
        with_words(self.log(), words)
    }

    /// Waits for a log line that has all of these words.
    #[track_caller]
    pub(crate) fn wait_log(&self, words: &[&str]) -> String {
        eventually(SOON, &format!("a log line with {words:?}"), || {
            self.log_with(words).into_iter().next()
        })
    }

    /// Where the log is now, for [`Self::wait_log_after`].
    pub(crate) fn mark(&self) -> usize {
        self.stderr.lines().len()
    }

    /// Waits for a log line behind the mark that has all of these words.
    #[track_caller]
    pub(crate) fn wait_log_after(&self, mark: usize, words: &[&str]) -> String {
        eventually(SOON, &format!("a new log line with {words:?}"), || {
            let new = self.log().split_off(mark);
            with_words(new, words).into_iter().next()
        })
    }

    /// Waits for a line on standard output that has all of these words.
    #[track_caller]
    pub(crate) fn wait_stdout(&self, words: &[&str]) -> String {
        eventually(SOON, &format!("a printed line with {words:?}"), || {
            with_words(self.stdout(), words).into_iter().next()
        })
    }
}

impl Drop for Pollbal {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("--- pollbal's log:\n{}", self.stderr.finish());
            eprintln!("--- pollbal's standard output:\n{}", self.stdout.finish());
        }
    }
}

/// What is left of a run to the end.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) {
        let Self { stdout, stderr, .. } = self;
        assert_eq!(
            self.code,
            Some(code),
            "the exit code\n--- log:\n{stderr}\n--- standard output:\n{stdout}"
        );
    }
}

fn with_words(mut lines: Vec<String>, words: &[&str]) -> Vec<String> {
    lines.retain(|line| {
        let line = line.to_lowercase();
        words.iter().all(|word| line.contains(&word.to_lowercase()))
    });
    lines
}

/// One of the program's outputs, read by a thread so that a full pipe never stops the program.
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let pipe = pipe.expect("the output is piped");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let Ok(line) = line else { return };
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Self {
            lines,
            reader: Some(reader),
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it; only when the process has ended, and with it the pipe.
    fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            // A reader that panicked leaves what it has read until then.
            let _ = reader.join();
        }
        text(&self.lines())
    }
}
