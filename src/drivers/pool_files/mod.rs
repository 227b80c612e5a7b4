//! The pool files driver: keeps a directory in sync with the desired pools.
//!
//! One task owns the directory. It receives snapshots from the daemon and forwards each, to the load
//! balancers that read files, when its files are written; but it never delays one for long: after
//! [`FILE_GRACE`] a slow disk is no longer waited for, and a file that cannot be written is retried
//! with back-off. Reading and writing happen on a thread of their own, except for a small site's files
//! in memory.

mod counters;
pub mod directory;
pub mod earlier;
pub mod names;
mod owned;
pub mod plan;
mod reconcile;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, spawn_blocking, yield_now};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

pub use self::counters::{FileCounters, FileCounts};
use self::directory::{Directory, DirectoryError};
use self::reconcile::{DIRECTORY, ReconcilePass, Worker};
use super::steps::StepPrinter;
use super::{Mode, Snapshot};
use crate::config::PoolFileFormat;
use crate::disk::{no_answer, unanswered};
use crate::hooks::Hooks;
use crate::logging::{chain, count};
use crate::model::driver_status::DriverStatus;
use crate::model::names::PoolName;
use crate::model::skipped::{SkippedNodes, SkippedRecord};
use crate::retry::Retry;
use crate::supervision::stall;

/// How long a snapshot waits for its files; a healthy disk needs a few milliseconds.
const FILE_GRACE: Duration = Duration::from_millis(25);

/// Additional time for each member of the pools that change: without the files a load balancer needs a
/// command for each of them, which takes as long.
const FILE_GRACE_PER_MEMBER: Duration = Duration::from_micros(100);

/// Maximum time that a snapshot waits for its files: a disk may hang.
const MAX_FILE_GRACE: Duration = Duration::from_secs(2);

/// Maximum time between two scans of the directory, for what others did to it.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The first failure and the number of others; `None` if nothing failed.
fn first(failures: &BTreeMap<String, String>) -> Option<Arc<str>> {
    let first = failures.values().next()?;
    Some(match failures.len() - 1 {
        0 => first.as_str().into(),
        more => format!("{first}; and {} more", count(more, "file")).into(),
    })
}

/// The driver, with everything that it works with.
pub struct PoolFiles {
    /// Where the files are.
    pub directory: Directory,
    /// The pools whose files exist from the start.
    pub declared: BTreeSet<PoolName>,
    /// How addresses are written.
    pub format: PoolFileFormat,
    /// How long an emptied file stays.
    pub grace: Duration,
    /// Receives the name of each file before it changes.
    pub hooks: Hooks,
    /// Where changes are counted.
    pub counters: Arc<FileCounters>,
    /// The desired state, always the latest; `None` before the first round is done.
    pub snapshots: watch::Receiver<Option<Snapshot>>,
    /// The same, once its files are written.
    pub published: watch::Sender<Option<Snapshot>>,
    /// How far the directory has come.
    pub status: watch::Sender<DriverStatus>,
    /// Where a dry run prints its steps.
    pub steps: StepPrinter,
    /// Ends the task.
    pub stop: CancellationToken,
}

impl PoolFiles {
    /// Runs until it is stopped.
    pub async fn run(self, mode: Mode) {
        let Self {
            directory,
            declared,
            format,
            grace,
            hooks,
            counters,
            snapshots,
            published,
            status,
            steps,
            stop,
        } = self;
        let path = directory.path("").display().to_string();
        let output = (mode, steps);
        let worker = Worker::new(directory, declared, format, grace, hooks, counters, output);
        let task = Task {
            mode,
            directory: path,
            snapshots,
            published,
            status,
            stop,
            retry: Retry::new(),
            due: None,
            failures: BTreeMap::new(),
            format,
            skipped: SkippedRecord::default(),
        };
        task.run(worker).await;
    }
}

struct Task {
    mode: Mode,
    /// The directory's path.
    directory: String,
    snapshots: watch::Receiver<Option<Snapshot>>,
    published: watch::Sender<Option<Snapshot>>,
    status: watch::Sender<DriverStatus>,
    stop: CancellationToken,
    retry: Retry,
    /// When the newest snapshot goes on without its files.
    due: Option<Instant>,
    /// The failures that were logged, by file.
    failures: BTreeMap<String, String>,
    format: PoolFileFormat,
    /// Nodes that the files do not have, since their format cannot.
    skipped: SkippedRecord,
}

impl Task {
    async fn run(mut self, mut worker: Worker) {
        if self.snapshots.borrow().is_some() {
            self.start_file_grace();
        }
        loop {
            let snapshot = self.snapshots.borrow_and_update().clone();
            let Ok((returned, pass)) = self.pass(worker, snapshot.clone()).await else {
                // The process ends.
                return;
            };
            worker = returned;
            let wake = self.finish_pass(pass, snapshot);
            tokio::select! {
                // Changes take precedence over the timer: their files are waited for only briefly.
                biased;
                () = self.stop.cancelled() => return,
                changed = self.snapshots.changed() => match changed {
                    Ok(()) => self.start_file_grace(),
                    Err(_) => return,
                },
                () = sleep_until(wake.into()) => {}
            }
        }
    }

    /// Does a pass, and returns the worker. The snapshot is forwarded as soon as its pool files are
    /// written, and without them when it has waited for too long.
    async fn pass(
        &mut self,
        mut worker: Worker,
        snapshot: Option<Snapshot>,
    ) -> Result<(Worker, ReconcilePass), JoinError> {
        let desired = snapshot.clone();
        if worker.runs_inline(desired.as_ref()) {
            if self.published.receiver_count() == 0 {
                // No load balancer waits for the files, and those that do not wait go first.
                yield_now().await;
            }
            let mut pass = worker.begin(desired.as_ref());
            self.publish_with(snapshot, pass.current.clone());
            // The load balancers first.
            yield_now().await;
            worker.end(&mut pass);
            return Ok((worker, pass));
        }
        let (notify, mut written) = oneshot::channel();
        // A dry run prints everything about the files before it prints the load balancers' steps.
        let early = self.mode == Mode::Live;
        let mut job = spawn_blocking(move || {
            stall("pool files");
            let mut pass = worker.begin(desired.as_ref());
            if early {
                // Fails only when the driver is ending.
                _ = notify.send(pass.current.clone());
            }
            worker.end(&mut pass);
            (worker, pass)
        });
        // Since when a later snapshot waits.
        let mut later = None;
        let mut late = pin!(unanswered());
        let mut hangs = false;
        loop {
            let due = self.due.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                result = &mut job => {
                    if let Some(since) = later {
                        self.due = Some(self.file_grace(since));
                        self.snapshots.mark_changed();
                    }
                    if hangs {
                        info!("the pool directory {} answers again", self.directory);
                    }
                    return result;
                }
                Ok(files) = &mut written, if !written.is_terminated() => {
                    self.publish_with(snapshot.clone(), files);
                    if let Some(since) = later {
                        self.due = Some(self.file_grace(since));
                    }
                }
                () = sleep_until(due.into()), if self.due.is_some() => {
                    let newest = self.snapshots.borrow().clone();
                    self.publish(newest);
                }
                Ok(()) = self.snapshots.changed() => {
                    later.get_or_insert_with(Instant::now);
                    self.start_file_grace();
                }
                // A dry run may wait for the reader of its output.
                () = &mut late, if !hangs && self.mode == Mode::Live => {
                    hangs = true;
                    self.report_hang();
                }
            }
        }
    }

    /// Reports that a pass does not end: what the files contain is unknown.
    fn report_hang(&self) {
        let text = no_answer(&format!("the pool directory {}", self.directory));
        error!("{text}; its files stay as they are, everything else goes on");
        self.status.send_modify(|status| {
            status.in_sync = false;
            status.problem = Some(text.into());
        });
    }

    /// Starts the time that snapshots wait for their files, with the first one that waits.
    fn start_file_grace(&mut self) {
        if self.due.is_none() && self.mode == Mode::Live {
            self.due = Some(self.file_grace(Instant::now()));
        }
    }

    /// When a snapshot that waits since `since` is forwarded without its files.
    fn file_grace(&self, since: Instant) -> Instant {
        let members = match (&*self.snapshots.borrow(), &*self.published.borrow()) {
            (Some(new), Some(old)) => new.pools.members_of_changed(&old.pools),
            (Some(new), None) => new.pools.member_count(),
            (None, _) => 0,
        };
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let file_grace = FILE_GRACE + FILE_GRACE_PER_MEMBER.saturating_mul(members);
        since + file_grace.min(MAX_FILE_GRACE)
    }

    /// Reports the result of a pass; returns when the next one is due.
    fn finish_pass(&mut self, pass: ReconcilePass, snapshot: Option<Snapshot>) -> Instant {
        let now = Instant::now();
        let in_sync = pass.errors.is_empty();
        self.report_failures(pass.errors);
        if let Some(snapshot) = &snapshot {
            self.set_skipped(plan::skipped(&snapshot.pools, self.format));
        }
        let serial = snapshot.as_ref().map_or(0, |snapshot| snapshot.serial);
        self.status.send_replace(DriverStatus {
            connected: true,
            settled: serial,
            in_sync,
            problem: first(&self.failures),
            acked: serial,
            observed: serial,
            skipped: Arc::clone(self.skipped.get()),
            ..DriverStatus::default()
        });
        self.publish_with(snapshot, pass.current);
        let wake = if in_sync {
            self.retry.reset();
            now + LOOK_EVERY
        } else {
            now + self.retry.next_wait()
        };
        pass.next_removal.map_or(wake, |at| at.clamp(now, wake))
    }

    /// Sets which nodes the files do not have, and logs them if they are others than before.
    fn set_skipped(&mut self, skipped: SkippedNodes) {
        let is_new = self.skipped.set(skipped);
        let what = "pool files in the nodefile format cannot contain IPv6 nodes";
        if let Some(text) = self.skipped.get().text(what).filter(|_| is_new) {
            error!("{text}; set pool_file_format to \"services\" if they are for another reader");
        }
    }

    /// Forwards a snapshot whose pool files of these names are written.
    fn publish_with(&mut self, snapshot: Option<Snapshot>, files: BTreeSet<String>) {
        let current_files = Arc::new(files);
        self.publish(snapshot.map(|snapshot| Snapshot {
            current_files,
            ..snapshot
        }));
    }

    /// Forwards a snapshot, unless this very one or a later one was forwarded.
    fn publish(&mut self, snapshot: Option<Snapshot>) {
        // A pass that hung may end after the driver was stopped, when another one forwards snapshots.
        if self.stop.is_cancelled() {
            return;
        }
        let serial =
            |snapshot: &Option<Snapshot>| snapshot.as_ref().map(|snapshot| snapshot.serial);
        if serial(&snapshot) == serial(&self.snapshots.borrow()) {
            self.due = None;
        }
        let Some(snapshot) = snapshot else { return };
        self.published.send_if_modified(|published| {
            let old = published.as_ref().is_some_and(|published| {
                published.serial > snapshot.serial
                    || published.serial == snapshot.serial
                        && published.current_files == snapshot.current_files
            });
            if !old {
                *published = Some(snapshot);
            }
            !old
        });
    }

    /// Logs once that a file failed, until it fails in another way or is written again.
    fn report_failures(&mut self, errors: BTreeMap<String, DirectoryError>) {
        let failures: BTreeMap<_, _> = errors
            .into_iter()
            .map(|(name, error)| (name, chain(&error)))
            .collect();
        for (name, text) in &failures {
            if self.failures.get(name) != Some(text) {
                error!(
                    file = file(name),
                    "{text}; what was there stays, pollbal tries again"
                );
            }
        }
        for name in self
            .failures
            .keys()
            .filter(|name| !failures.contains_key(*name))
        {
            info!(
                file = file(name),
                "{} is in order again",
                if name == DIRECTORY {
                    "the pool directory"
                } else {
                    name
                }
            );
        }
        self.failures = failures;
    }
}

/// The log's field `FILE`, which the directory itself does not have.
fn file(name: &str) -> Option<&str> {
    (name != DIRECTORY).then_some(name)
}
