//! A program of the loopback world: started, signalled and ended by its id, its output in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Anyone who has not ended by then does not end by SIGTERM.
const END: Duration = Duration::from_secs(10);

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);

/// From the end of a managed program to its next start at most.
const RESTART: Duration = Duration::from_millis(100);

/// A program that runs or does not; dropped, it is killed.
pub(crate) struct Process {
    name: String,
    output: PathBuf,
    child: Arc<Mutex<Option<Child>>>,
    /// Starts it again when it ends unbidden.
    manager: Option<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn new(name: &str, output: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            output,
            child: Arc::default(),
            manager: None,
        }
    }

    pub(crate) fn start(&mut self, mut command: Command) {
        let mut child = lock(&self.child);
        assert!(child.is_none(), "{} runs already", self.name);
        *child = Some(spawn(&self.name, &self.output, &mut command));
    }

    /// Starts it, and again whenever it ends by itself, until it is stopped or killed.
    pub(crate) fn start_managed(&mut self, mut command: Command) {
        let child = Arc::clone(&self.child);
        let (name, output) = (self.name.clone(), self.output.clone());
        *lock(&child) = Some(spawn(&name, &output, &mut command));
        let manage = move || {
            while watch(&child, || spawn(&name, &output, &mut command)) {
                thread::sleep(RESTART);
            }
        };
        self.manager = Some(thread::spawn(manage));
    }

    pub(crate) fn kill(&mut self) {
        let child = lock(&self.child).take();
        if let Some(mut child) = child {
            // It may have ended by itself; then there is nothing left but to reap it.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(manager) = self.manager.take() {
            let _ = manager.join();
        }
    }

    /// SIGTERM; how long it then took to end, or `None` if it had to be killed.
    pub(crate) fn stop(&mut self) -> Option<Duration> {
        let child = lock(&self.child).take();
        let mut child = child.unwrap_or_else(|| panic!("{} does not run", self.name));
        let begin = Instant::now();
        signal(&child, Signal::TERM);
        while !ended(&mut child) {
            if begin.elapsed() > END {
                *lock(&self.child) = Some(child);
                self.kill();
                return None;
            }
            thread::sleep(LOOK);
        }
        let took = begin.elapsed();
        self.kill();
        Some(took)
    }

    pub(crate) fn signal(&self, what: Signal) {
        let child = lock(&self.child);
        let child = child.as_ref();
        signal(
            child.unwrap_or_else(|| panic!("{} does not run", self.name)),
            what,
        );
    }

    /// All that it said, over all its runs.
    pub(crate) fn output(&self) -> String {
        fs::read(&self.output).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Puts a new process in the place of one that ended; whether it is still needed.
fn watch(child: &Mutex<Option<Child>>, again: impl FnOnce() -> Child) -> bool {
    let mut child = lock(child);
    let Some(running) = &mut *child else {
        return false;
    };
    if ended(running) {
        *running = again();
    }
    true
}

fn lock(child: &Mutex<Option<Child>>) -> MutexGuard<'_, Option<Child>> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ended(child: &mut Child) -> bool {
    let status = child.try_wait().expect("failed to look after a process");
    status.is_some()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("failed to signal a process");
}

fn spawn(name: &str, output: &Path, command: &mut Command) -> Child {
    let output = File::options().create(true).append(true).open(output);
    let output = output.expect("failed to make the file for a program's output");
    let child = command
        .stdin(Stdio::null())
        .stderr(output.try_clone().expect("failed to share a file"))
        .stdout(output)
        .spawn();
    child.unwrap_or_else(|why| panic!("failed to start {name}: {why}"))
}
