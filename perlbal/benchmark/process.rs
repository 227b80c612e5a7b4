//! Processes that the run starts, and what the kernel says of them.
//!
//! None outlives the conductor: each is ended when its guard is dropped, and by the kernel when the conductor is
//! killed. For that it is started through this program itself (`exec`), which asks the kernel for it and then becomes
//! the program that is to run.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Signal, getppid, getrlimit, kill_process, setrlimit};

use crate::Outcome;

/// The role of this program in which it becomes another.
pub(crate) const EXEC: &str = "exec";

/// Becomes that program, with as many descriptors as may be; returns only when that failed.
pub(crate) fn become_program(parent: &str, command: &[String]) -> Outcome<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let alive = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if alive.as_deref() != Some(parent) {
        return Err("the conductor has ended".into());
    }
    raise_descriptor_limit()?;
    let (program, args) = command.split_first().ok_or("no program is named")?;
    Err(Command::new(program).args(args).exec().into())
}

/// Raises the soft limit of open files to the hard one, and says what that is.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Processes that run and are not reaped, so that their numbers are theirs.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all, for the end by a signal.
pub(crate) fn kill_all() {
    for pid in running().iter() {
        // It may have ended by itself.
        _ = kill_process(*pid, Signal::KILL);
    }
}

/// A running process; dropped, it is killed.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it says goes to `NAME.log` in that directory.
    ///
    /// From the main thread only: the kernel ends the process with the thread that started it.
    pub(crate) fn start<S: AsRef<OsStr>>(
        name: &str,
        directory: &Path,
        command: &[S],
    ) -> Outcome<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(std::env::current_exe()?)
            .arg(EXEC)
            .arg(std::process::id().to_string())
            .args(command)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|why| format!("failed to start {name}: {why}"))?;
        running().push(Pid::from_child(&child));
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// An error with the last lines that it said, where it has ended.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        // This reaps, and then its number may become another's: out of reach of `kill_all` in the same breath.
        let mut running = running();
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let pid = Pid::from_child(&self.child);
        running.retain(|other| *other != pid);
        drop(running);
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(10)..].join("\n");
        Err(format!("{} has ended with {status}:\n{last}", self.name).into())
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }

    /// A value of one of the kernel's files of lines such as `VmRSS:  1000 kB`.
    fn value(&self, file: &str, key: &str) -> Outcome<u64> {
        let text = fs::read_to_string(self.proc(file))?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .and_then(|value| value.split_whitespace().next()?.parse().ok());
        value.ok_or_else(|| format!("no {key} in /proc/…/{file} of {}", self.name).into())
    }

    /// Resident memory, in MB (1,000,000 bytes).
    pub(crate) fn resident(&self) -> Outcome<f64> {
        Ok(self.value("status", "VmRSS")? as f64 * 1024.0 / 1e6)
    }

    /// The most that was ever resident, in MB.
    pub(crate) fn most_resident(&self) -> Outcome<f64> {
        Ok(self.value("status", "VmHWM")? as f64 * 1024.0 / 1e6)
    }

    /// Bytes that it caused to be written to disks.
    pub(crate) fn written(&self) -> Outcome<u64> {
        self.value("io", "write_bytes")
    }

    /// Descriptors that are open.
    pub(crate) fn descriptors(&self) -> Outcome<usize> {
        Ok(fs::read_dir(self.proc("fd"))?.count())
    }

    /// Processor time of each of its threads until now, in nanoseconds.
    fn threads(&self) -> Outcome<HashMap<String, u64>> {
        let mut threads = HashMap::new();
        for task in fs::read_dir(self.proc("task"))? {
            let task = task?;
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let time = text.split(' ').next().and_then(|word| word.parse().ok());
            let time = time.ok_or("the kernel keeps no statistics of scheduling (schedstat)")?;
            threads.insert(task.file_name().to_string_lossy().into_owned(), time);
        }
        Ok(threads)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        let pid = Pid::from_child(&self.child);
        running().retain(|other| *other != pid);
        _ = self.child.wait();
    }
}

/// Measures the processor time of a process, of threads that end meanwhile too.
pub(crate) struct Meter {
    before: HashMap<String, u64>,
    observed: HashMap<String, u64>,
}

impl Meter {
    pub(crate) fn start(process: &Process) -> Outcome<Self> {
        let before = process.threads()?;
        Ok(Self {
            observed: before.clone(),
            before,
        })
    }

    /// To be called now and then: of a thread that ends, only the time since the last call is lost.
    pub(crate) fn look(&mut self, process: &Process) -> Outcome<()> {
        self.observed.extend(process.threads()?);
        Ok(())
    }

    pub(crate) fn spent(&self) -> Duration {
        let before = |thread| self.before.get(thread).copied().unwrap_or(0);
        let spent = self
            .observed
            .iter()
            .map(|(thread, time)| time.saturating_sub(before(thread)));
        Duration::from_nanos(spent.sum())
    }
}
