//! The pool files driver: makes a directory hold the wanted pools.
//!
//! One task owns the directory. It takes snapshots from the daemon and gives each on, to the
//! Perlbals, when its files are written; but it never holds one back for long: after
//! [`HEAD_START`] a slow disk is left to itself, and a file that cannot be written is tried again
//! with back-off. Reading and writing happen on a thread of their own.

pub mod content;
pub mod directory;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::content::{Files, Step, describe, next_removal, plan, wanted};
use self::directory::{Directory, DirectoryError};
use super::console::say;
use super::{Mode, Progress, Snapshot};
use crate::config::PoolFileFormat;
use crate::hooks::Hooks;
use crate::logging::{chain, count};
use crate::model::names::PoolName;
use crate::model::pools::{file_name, parse_file_name};
use crate::quota::{Quota, Word, last_word};
use crate::retry::Retry;

/// So long a snapshot waits for its files; a disk in order needs a few milliseconds.
const HEAD_START: Duration = Duration::from_millis(25);

/// And so much longer for each member: without the files Perlbal is told of each by itself, which
/// takes it as long.
const HEAD_START_PER_MEMBER: Duration = Duration::from_micros(100);

/// How often the directory is looked at although nothing changed, for what others did to it.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What the driver works with.
pub struct PoolFiles {
    /// Where the files are.
    pub directory: Directory,
    /// The pools whose files exist from the start.
    pub declared: BTreeSet<PoolName>,
    /// How addresses are written.
    pub format: PoolFileFormat,
    /// How long an emptied file stays.
    pub grace: Duration,
    /// Told of each file before it changes.
    pub hooks: Hooks,
    /// The wanted state, always the latest; `None` before the first round is done.
    pub snapshots: watch::Receiver<Option<Snapshot>>,
    /// The same, once its files are written.
    pub published: watch::Sender<Option<Snapshot>>,
    /// How far the directory has come.
    pub progress: watch::Sender<Progress>,
    /// Ends the task.
    pub stop: CancellationToken,
}

/// What one pass over the directory did.
struct Pass {
    errors: BTreeMap<String, DirectoryError>,
    next_removal: Option<Instant>,
    current: BTreeSet<String>,
}

/// What a pass needs, and gives back.
struct Worker {
    directory: Directory,
    declared: BTreeSet<PoolName>,
    format: PoolFileFormat,
    grace: Duration,
    hooks: Hooks,
    mode: Mode,
    dry_run_has_read: bool,
    /// The files that could not be written at the last pass; their hook is not run again.
    failed: BTreeSet<String>,
    /// How often the log speaks of a pool's file.
    quota: Quota<PoolName>,
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
            snapshots,
            published,
            progress,
            stop,
        } = self;
        let dry_run_has_read = false;
        let worker = Worker {
            directory,
            declared,
            format,
            grace,
            hooks,
            mode,
            dry_run_has_read,
            failed: BTreeSet::new(),
            quota: Quota::default(),
        };
        let task = Task {
            snapshots,
            published,
            progress,
            stop,
            retry: Retry::new(),
            due: None,
            failures: BTreeMap::new(),
        };
        task.run(worker).await;
    }
}

struct Task {
    snapshots: watch::Receiver<Option<Snapshot>>,
    published: watch::Sender<Option<Snapshot>>,
    progress: watch::Sender<Progress>,
    stop: CancellationToken,
    retry: Retry,
    /// When the newest snapshot goes on without its files.
    due: Option<Instant>,
    /// The failures that the log was told of, by file.
    failures: BTreeMap<String, String>,
}

impl Task {
    async fn run(mut self, mut worker: Worker) {
        if self.snapshots.borrow().is_some() {
            self.give_head_start();
        }
        loop {
            let snapshot = self.snapshots.borrow_and_update().clone();
            let wanted = snapshot.clone();
            let job = tokio::task::spawn_blocking(move || {
                let pass = worker.pass(wanted.as_ref());
                (worker, pass)
            });
            let (finished, overtaken) = self.finish(job).await;
            let Ok((returned, pass)) = finished else {
                // Only a bug makes it panic; without the files, the Perlbals are still served.
                error!("the pool files are no longer written: their thread failed");
                self.snapshots.mark_changed();
                return self.pass_on().await;
            };
            worker = returned;
            let wake = self.take(pass, snapshot, overtaken);
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = self.snapshots.changed() => match changed {
                    Ok(()) => self.give_head_start(),
                    Err(_) => return,
                },
                () = sleep_until(wake.into()) => {}
            }
        }
    }

    /// Waits until the job is done. What has waited for its files for too long goes on without.
    /// Gives the job's result, and whether a later snapshot than the job's came.
    async fn finish<T>(&mut self, mut job: JoinHandle<T>) -> (Result<T, JoinError>, bool) {
        let mut overtaken = false;
        loop {
            let due = self.due.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                result = &mut job => {
                    if overtaken {
                        self.snapshots.mark_changed();
                    }
                    return (result, overtaken);
                }
                () = sleep_until(due.into()), if self.due.is_some() => {
                    let newest = self.snapshots.borrow().clone();
                    self.publish(newest);
                }
                Ok(()) = self.snapshots.changed() => {
                    overtaken = true;
                    self.give_head_start();
                }
            }
        }
    }

    /// From the first snapshot on that waits.
    fn give_head_start(&mut self) {
        let members = |snapshot: &Snapshot| snapshot.pools.member_count();
        let members = self.snapshots.borrow().as_ref().map_or(0, members);
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let head_start = HEAD_START + HEAD_START_PER_MEMBER.saturating_mul(members);
        self.due.get_or_insert(Instant::now() + head_start);
    }

    /// Takes what a pass did; gives when to look again.
    fn take(&mut self, pass: Pass, snapshot: Option<Snapshot>, overtaken: bool) -> Instant {
        let now = Instant::now();
        let in_sync = pass.errors.is_empty();
        self.report(pass.errors);
        let serial = snapshot.as_ref().map_or(0, |snapshot| snapshot.serial);
        self.progress.send_replace(Progress { serial, in_sync });
        if let Some(mut snapshot) = snapshot {
            snapshot.current_files = Arc::new(pass.current);
            if !overtaken {
                self.publish(Some(snapshot));
            }
        }
        let wake = if in_sync {
            self.retry.reset();
            now + LOOK_EVERY
        } else {
            now + self.retry.next_wait()
        };
        pass.next_removal.map_or(wake, |at| at.clamp(now, wake))
    }

    /// Gives a snapshot on, unless it went on already just as it is.
    fn publish(&mut self, snapshot: Option<Snapshot>) {
        self.due = None;
        let Some(snapshot) = snapshot else { return };
        self.published.send_if_modified(|published| {
            let same = published.as_ref().is_some_and(|published| {
                published.serial == snapshot.serial
                    && published.current_files == snapshot.current_files
            });
            if !same {
                *published = Some(snapshot);
            }
            !same
        });
    }

    /// Gives snapshots on without files.
    async fn pass_on(mut self) {
        let failed = |snapshot: &Snapshot| Progress {
            serial: snapshot.serial,
            in_sync: false,
        };
        let stop = self.stop.clone();
        while let Some(Ok(())) = stop.run_until_cancelled(self.snapshots.changed()).await {
            let snapshot = self.snapshots.borrow().clone();
            self.progress
                .send_replace(snapshot.as_ref().map(failed).unwrap_or_default());
            self.publish(snapshot);
        }
    }

    /// Says once that a file failed, until it fails in another way or is in order again.
    fn report(&mut self, errors: BTreeMap<String, DirectoryError>) {
        let failures: BTreeMap<_, _> = errors
            .into_iter()
            .map(|(name, error)| (name, chain(&error)))
            .collect();
        for (name, text) in &failures {
            if self.failures.get(name) != Some(text) {
                error!(
                    file = name,
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
                file = name,
                "{} is in order again",
                if name.is_empty() {
                    "the pool directory"
                } else {
                    name
                }
            );
        }
        self.failures = failures;
    }
}

impl Worker {
    /// Brings the directory in line with the snapshot; without one, makes the declared pools'
    /// files where they are missing and touches nothing else.
    fn pass(&mut self, snapshot: Option<&Snapshot>) -> Pass {
        let mut pass = Pass {
            errors: BTreeMap::new(),
            next_removal: None,
            current: BTreeSet::new(),
        };
        let now = Instant::now();
        if let Err(error) = self.open().and_then(|()| self.read(now)) {
            // No file's name is empty: the directory itself.
            pass.errors.insert(String::new(), error);
            return pass;
        }
        let files = snapshot.map(|snapshot| wanted(&snapshot.pools, self.format));
        let steps = match &files {
            Some(files) => plan(files, &self.directory.files(), self.grace, now),
            None => self.missing_declared(),
        };
        for step in &steps {
            if let Err(error) = self.execute(step, now) {
                let (Step::Write(name, _) | Step::Remove(name)) = step;
                pass.errors.insert(name.clone(), error);
            }
        }
        self.failed = pass.errors.keys().cloned().collect();
        if let Some(files) = files {
            let mut actual = self.directory.files();
            // What failed is tried again with back-off, not at its time.
            actual.retain(|name, _| !pass.errors.contains_key(name));
            pass.next_removal = next_removal(&files, &actual, self.grace);
            pass.current = self.current(&files, &pass.errors);
        }
        pass
    }

    fn open(&mut self) -> Result<(), DirectoryError> {
        if self.mode == Mode::Live {
            self.directory.open()
        } else {
            Ok(())
        }
    }

    fn read(&mut self, now: Instant) -> Result<(), DirectoryError> {
        if self.mode == Mode::Live {
            return self.directory.read(now);
        }
        // A dry run reads once and goes on from what it printed; a missing directory is an
        // empty one.
        if !std::mem::replace(&mut self.dry_run_has_read, true) {
            _ = self.directory.read(now);
        }
        Ok(())
    }

    fn missing_declared(&self) -> Vec<Step> {
        let there = self.directory.files();
        let names = self.declared.iter().map(|pool| file_name(pool, None));
        let missing = names.filter(|name| !there.contains_key(name));
        missing
            .map(|name| Step::Write(name, String::new()))
            .collect()
    }

    fn execute(&mut self, step: &Step, now: Instant) -> Result<(), DirectoryError> {
        if self.mode == Mode::DryRun {
            self.say(step, now);
            return Ok(());
        }
        match step {
            Step::Write(name, content) => {
                if !self.failed.contains(name) {
                    self.hooks.file_update(name);
                }
                self.directory.write(name, content, now)?;
                let members = count(content.lines().count(), "member");
                self.tell(name, now, &format!("wrote {name}: {members}"));
            }
            Step::Remove(name) => {
                if !self.failed.contains(name) {
                    self.hooks.file_remove(name);
                }
                self.directory.remove(name)?;
                self.tell(name, now, &format!("deleted {name}, which was empty"));
            }
        }
        Ok(())
    }

    fn say(&mut self, step: &Step, now: Instant) {
        let (Step::Write(name, _) | Step::Remove(name)) = step;
        let before = self.directory.files().remove(name).map(|file| file.content);
        let path = self.directory.path(name).display().to_string();
        say(&describe(&path, before.as_deref(), step));
        match step {
            Step::Write(name, content) => self.directory.pretend_written(name, content, now),
            Step::Remove(name) => self.directory.forget(name),
        }
    }

    /// The files that hold what is wanted in a form that Perlbal reads rightly.
    fn current(
        &self,
        files: &Files,
        errors: &BTreeMap<String, DirectoryError>,
    ) -> BTreeSet<String> {
        if self.mode == Mode::DryRun || self.format != PoolFileFormat::Perlbal {
            return BTreeSet::new();
        }
        files
            .keys()
            .filter(|name| !errors.contains_key(*name))
            .cloned()
            .collect()
    }

    /// A line per change of a pool. The other files follow from it, and a node that invents
    /// versions must not get three lines for each.
    fn tell(&mut self, file: &str, now: Instant, text: &str) {
        let Some((pool, None)) = parse_file_name(file) else {
            return debug!(file, "{text}");
        };
        match self.quota.ask(pool, now) {
            Word::Tell => info!(file, "{text}"),
            Word::Last => warn!(file, "{}", last_word(&format!("{file} changes"))),
            Word::Silent => {}
        }
    }
}
