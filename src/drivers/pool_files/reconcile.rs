//! One pass over the directory: the actual files are read and reconciled with the desired ones, those
//! first for which load balancers wait. It runs on a thread of its own where a disk may hang.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::counters::FileCounters;
use super::directory::{Directory, DirectoryError};
use super::names::{file_name, parse_file_name};
use super::owned;
use super::plan::{DISABLED_SERVICES, Files, Step, describe, desired_files, next_removal, plan};
use crate::awake::Pauses;
use crate::config::PoolFileFormat;
use crate::drivers::steps::StepPrinter;
use crate::drivers::{Mode, Snapshot};
use crate::hooks::Hooks;
use crate::log_throttle::{Decision, LogThrottle, suppression_notice};
use crate::logging::count;
use crate::model::names::PoolName;

/// Maximum number of members up to which a pass in memory takes less than a millisecond.
const MAX_INLINE_MEMBERS: usize = 1_000;

/// The same for files, desired and actual: each pass compares them all.
const MAX_INLINE_FILES: usize = 200;

/// Maximum number of files that are named.
const MAX_NAMED: usize = 20;

/// Represents the directory itself where a file's name is expected; none is empty.
pub(super) const DIRECTORY: &str = "";

/// What one pass over the directory did.
pub(super) struct ReconcilePass {
    /// What went wrong, by file.
    pub(super) errors: BTreeMap<String, DirectoryError>,
    /// When the next file is due for deletion.
    pub(super) next_removal: Option<Instant>,
    /// The pool files that have the desired content, in the form in which nodefiles are read.
    pub(super) current: BTreeSet<String>,
    /// The desired files; `None` without a snapshot, or if the directory cannot be read.
    files: Option<Files>,
    /// Whether the directory was read.
    scanned: bool,
}

/// What passes need, one at a time.
pub(super) struct Worker {
    directory: Directory,
    declared: BTreeSet<PoolName>,
    format: PoolFileFormat,
    grace: Duration,
    hooks: Hooks,
    counters: Arc<FileCounters>,
    mode: Mode,
    steps: StepPrinter,
    /// The last time that the directory was to be read, it could be; in a dry run, it was tried.
    has_read: bool,
    /// The files that could not be written at the last pass; their hook is not run again.
    failed: BTreeSet<String>,
    /// The pools that sorry servers serve, according to the last snapshot.
    sorry: BTreeSet<PoolName>,
    /// The files that are not touched, and were logged as such.
    others: BTreeSet<String>,
    /// Limits the lines that are logged about a pool's file.
    throttle: LogThrottle<PoolName>,
    pauses: Pauses,
}

impl Worker {
    pub(super) fn new(
        directory: Directory,
        declared: BTreeSet<PoolName>,
        format: PoolFileFormat,
        grace: Duration,
        hooks: Hooks,
        counters: Arc<FileCounters>,
        (mode, steps): (Mode, StepPrinter),
    ) -> Self {
        Self {
            directory,
            declared,
            format,
            grace,
            hooks,
            counters,
            mode,
            steps,
            has_read: false,
            failed: BTreeSet::new(),
            sorry: BTreeSet::new(),
            others: BTreeSet::new(),
            throttle: LogThrottle::default(),
            pauses: Pauses::new(),
        }
    }

    /// Whether a pass ends sooner than another thread would wake for it.
    pub(super) fn runs_inline(&self, snapshot: Option<&Snapshot>) -> bool {
        let few = |snapshot: &Snapshot| {
            snapshot.pools.member_count() <= MAX_INLINE_MEMBERS
                && snapshot.pools.name_count() <= MAX_INLINE_FILES
        };
        self.mode == Mode::Live
            && self.directory.is_in_memory()
            && self.directory.file_count() <= MAX_INLINE_FILES
            && snapshot.is_none_or(few)
    }

    /// The first half of a pass: brings the pool files in line with the snapshot; without one, makes
    /// the declared pools' files where they are missing and touches nothing else.
    ///
    /// Before that the directory is read, but not where every moment counts and what is there is
    /// known well enough: in memory, and when nothing goes wrong. What others did is then noticed in
    /// the second half.
    pub(super) fn begin(&mut self, snapshot: Option<&Snapshot>) -> ReconcilePass {
        let known = self.has_read && self.failed.is_empty() && snapshot.is_some();
        if known && self.runs_inline(snapshot) {
            let pass = self.write(snapshot, false);
            if pass.errors.is_empty() {
                return pass;
            }
            self.failed = pass.errors.into_keys().collect();
        }
        self.write(snapshot, true)
    }

    fn write(&mut self, snapshot: Option<&Snapshot>, scan: bool) -> ReconcilePass {
        let mut pass = ReconcilePass {
            errors: BTreeMap::new(),
            next_removal: None,
            current: BTreeSet::new(),
            files: None,
            scanned: scan,
        };
        let now = self.present();
        if scan {
            self.rescan(now, &mut pass.errors);
            if !pass.errors.is_empty() {
                return pass;
            }
        }
        let Some(snapshot) = snapshot else {
            let missing = self.missing_declared();
            let names = missing
                .iter()
                .map(|step| (step.name().to_owned(), String::new()));
            self.own(&names.collect(), &mut pass.errors);
            self.execute_all(missing, &mut pass.errors);
            return pass;
        };
        let pools = snapshot.pools.pools.iter();
        let sorry = pools.filter(|(_, pool)| !pool.sorry.is_empty());
        self.sorry = sorry.map(|(name, _)| name.clone()).collect();
        let files = desired_files(&snapshot.pools, self.format);
        let mut steps = plan(&files, &self.directory.own_files(&files), self.grace, now);
        // The rest can wait; nothing is deleted before it was examined.
        steps.retain(|step| matches!(step, Step::Write(name, _) if name != DISABLED_SERVICES));
        self.own(&files, &mut pass.errors);
        self.execute_all(steps, &mut pass.errors);
        pass.current = self.current(&files, &pass.errors);
        pass.files = Some(files);
        pass
    }

    /// The second half, for which no load balancer waits: the list of nodes in no pool, deletions, and
    /// changes by others if the directory was not read yet.
    pub(super) fn end(&mut self, pass: &mut ReconcilePass) {
        let now = self.present();
        if !pass.scanned {
            self.rescan(now, &mut pass.errors);
        }
        if let Some(files) = pass
            .files
            .take()
            .filter(|_| !pass.errors.contains_key(DIRECTORY))
        {
            let own = self.directory.own_files(&files);
            let mut steps = plan(&files, &own, self.grace, now);
            // What failed is tried again with back-off.
            steps.retain(|step| !pass.errors.contains_key(step.name()));
            self.execute_all(steps, &mut pass.errors);
            self.own(&files, &mut pass.errors);
            self.log_others(&files);
            let mut actual = self.directory.own_files(&files);
            actual.retain(|name, _| !pass.errors.contains_key(name));
            pass.next_removal = next_removal(&files, &actual, self.grace);
            pass.current = self.current(&files, &pass.errors);
        }
        if !pass.errors.contains_key(DIRECTORY) {
            self.failed = pass.errors.keys().cloned().collect();
        }
    }

    /// The present time, without the pauses of pollbal, in which no empty file grew older.
    fn present(&mut self) -> Instant {
        let now = Instant::now();
        if let Some(pause) = self.pauses.since_last_call() {
            self.directory.stood_still(pause.time);
        }
        now
    }

    fn execute_all(&mut self, steps: Vec<Step>, errors: &mut BTreeMap<String, DirectoryError>) {
        let now = Instant::now();
        for step in steps {
            if let Err(error) = self.execute(&step, now) {
                self.counters.count_failed();
                errors.insert(step.name().to_owned(), error);
            }
        }
    }

    /// Records which files are pollbal's own, including those that are desired. Where that fails, they are
    /// written all the same: a restart would not know them, which is the lesser evil.
    fn own(&mut self, desired: &Files, errors: &mut BTreeMap<String, DirectoryError>) {
        if self.mode == Mode::Live
            && let Err(error) = self.directory.own(desired)
        {
            self.counters.count_failed();
            errors.insert(owned::NAME.to_owned(), error);
        }
    }

    /// Logs once which files are not touched.
    fn log_others(&mut self, files: &Files) {
        let others = self.directory.others();
        let new = others.filter(|name| !files.contains_key(*name) && !self.others.contains(*name));
        let new: Vec<_> = new.map(str::to_owned).collect();
        if new.is_empty() {
            return;
        }
        let more = match new.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let first = new[..new.len().min(MAX_NAMED)].join(", ");
        let directory = self.directory.path("");
        warn!(
            "files in {} that pollbal does not know to be its own stay as they are, with the members that they \
             have; delete them if nobody needs them: {first}{more}",
            directory.display()
        );
        self.others.extend(new);
    }

    /// Reads the directory, or records why that fails.
    fn rescan(&mut self, now: Instant, errors: &mut BTreeMap<String, DirectoryError>) {
        if let Err(error) = self.read(now) {
            self.counters.count_failed();
            errors.insert(DIRECTORY.to_owned(), error);
        }
    }

    /// Reads what is there, in a directory that is there and ours.
    fn read(&mut self, now: Instant) -> Result<(), DirectoryError> {
        if self.mode == Mode::DryRun {
            // It reads once and goes on from what it printed; a missing directory is an empty one.
            if !mem::replace(&mut self.has_read, true) {
                _ = self.directory.read(now);
            }
            return Ok(());
        }
        self.has_read = false;
        self.directory.open()?;
        self.directory.read(now)?;
        self.has_read = true;
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
            self.log_step(step, now);
            return Ok(());
        }
        match step {
            Step::Write(name, content) => {
                if !self.failed.contains(name) {
                    self.hooks.file_update(name);
                }
                self.directory.write(name, content, now)?;
                self.counters.count_written();
                let content = count(content.lines().count(), self.kind_of_lines(name));
                self.log_change(name, now, &format!("wrote {name}: {content}"));
            }
            Step::Remove(name) => {
                if !self.failed.contains(name) {
                    self.hooks.file_remove(name);
                }
                self.directory.remove(name)?;
                self.counters.count_deleted();
                self.log_change(name, now, &format!("deleted {name}, which was empty"));
            }
        }
        Ok(())
    }

    fn log_step(&mut self, step: &Step, now: Instant) {
        let name = step.name();
        let before = self.directory.files().remove(name).map(|file| file.content);
        let path = self.directory.path(name).display().to_string();
        self.steps.print(&describe(&path, before.as_deref(), step));
        match step {
            Step::Write(name, content) => self.directory.pretend_written(name, content, now),
            Step::Remove(name) => self.directory.forget(name),
        }
    }

    /// What [`ReconcilePass::current`] gives.
    fn current(
        &self,
        files: &Files,
        errors: &BTreeMap<String, DirectoryError>,
    ) -> BTreeSet<String> {
        if self.mode == Mode::DryRun || self.format != PoolFileFormat::Nodefile {
            return BTreeSet::new();
        }
        files
            .keys()
            .filter(|name| *name != DISABLED_SERVICES && !errors.contains_key(*name))
            .cloned()
            .collect()
    }

    /// A file's content, line by line.
    fn kind_of_lines(&self, file: &str) -> &'static str {
        match parse_file_name(file) {
            Some((pool, None)) if self.sorry.contains(&pool) => "sorry server",
            _ => "member",
        }
    }

    /// Logs one line per change of a pool. The other files follow from it, and a node that makes up
    /// versions must not cause three lines for each.
    fn log_change(&mut self, file: &str, now: Instant, text: &str) {
        let Some((pool, None)) = parse_file_name(file) else {
            return debug!(file, "{text}");
        };
        match self.throttle.check(pool, now) {
            Decision::Log => info!(file, "{text}"),
            Decision::LogLast => warn!(file, "{}", suppression_notice(&format!("{file} changes"))),
            Decision::Suppress => {}
        }
    }
}
