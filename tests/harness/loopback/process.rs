//! A program of the loopback world: started, signalled and ended by its id, its output in files.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
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
    output: Output,
    child: Arc<Mutex<Option<Child>>>,
    /// Others took over from these; they end by themselves.
    replaced: Vec<Child>,
    /// Starts it again when it ends unbidden.
    manager: Option<JoinHandle<()>>,
}

impl Process {
    /// Its output is kept in files whose names begin with this path.
    pub(crate) fn new(name: &str, output: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            output: Output {
                path: output,
                runs: Arc::default(),
            },
            child: Arc::default(),
            replaced: Vec::new(),
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

    pub(crate) fn pid(&self) -> u32 {
        let child = lock(&self.child);
        let child = child.as_ref();
        child
            .unwrap_or_else(|| panic!("{} does not run", self.name))
            .id()
    }

    /// Starts another process that takes over from the running one.
    pub(crate) fn replace(&mut self, mut command: Command) {
        let new = spawn(&self.name, &self.output, &mut command);
        self.replaced.extend(lock(&self.child).replace(new));
    }

    pub(crate) fn kill(&mut self) {
        let child = lock(&self.child).take();
        for mut child in child.into_iter().chain(self.replaced.drain(..)) {
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
        self.output.text()
    }
}

/// What a program said: a file for each run, since `HAProxy` truncates the file to which it logs.
#[derive(Clone)]
struct Output {
    path: PathBuf,
    runs: Arc<AtomicUsize>,
}

impl Output {
    fn begin(&self) -> File {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let file = File::options()
            .create(true)
            .append(true)
            .open(self.file(run));
        file.expect("failed to make the file for a program's output")
    }

    fn text(&self) -> String {
        let runs = 0..self.runs.load(Ordering::Relaxed);
        let text = |run| {
            let bytes = fs::read(self.file(run)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        runs.map(text).collect()
    }

    fn file(&self, run: usize) -> PathBuf {
        self.path.with_extension(format!("{run}.log"))
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

fn spawn(name: &str, output: &Output, command: &mut Command) -> Child {
    let output = output.begin();
    let child = command
        .stdin(Stdio::null())
        .stderr(output.try_clone().expect("failed to share a file"))
        .stdout(output)
        .spawn();
    child.unwrap_or_else(|why| panic!("failed to start {name}: {why}"))
}
