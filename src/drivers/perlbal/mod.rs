//! The Perlbal manager: makes one Perlbal show the wanted pools, and keeps it so.
//!
//! ```text
//!   snapshot ─► wanted ─┐
//!                       ├─► plan ─► session ─► Perlbal
//!   session ─► reading ─┘ (actual)
//! ```
//!
//! One task per Perlbal owns one connection. It reads what is there when it connects, every
//! `resync_interval` and when an answer surprises; a change in between is planned against what is
//! known, sent as soon as `pace` allows, which is mostly at once, also behind a reading, and read back. So a restart of
//! Perlbal, a hand on the telnet console and a lost command heal by the same path. `wanted`, `plan`,
//! `looks`, `pace`, `reading`, `rest`, `standing`, `statistics`, `view` and `wire` are pure; `session` owns the
//! socket; `link` is one connection's life; `memory` is what outlives it; this file is the task around
//! it.
//!
//! It tells of itself by two `watch` channels, [`Progress`] and [`Standing`], and answers
//! [`Question`]s from one bounded channel in every state.

pub mod away;
pub mod counters;
mod differences;
mod dry_run;
pub mod fault;
mod link;
mod looks;
mod memory;
pub mod name;
mod own_files;
mod ownership;
pub mod pace;
pub mod plan;
mod reach;
pub mod reading;
pub mod remarks;
pub mod rest;
pub mod session;
pub mod spare;
pub mod standing;
pub mod statistics;
mod unserved;
pub mod view;
pub mod wanted;
pub mod wire;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::away::Cause;
use self::fault::SessionError;
pub use self::memory::Memory;
use self::own_files::nodefiles;
use self::plan::{OwnFile, Problem};
use self::reach::Reach;
use self::remarks::Remark;
use self::session::Session;
use self::standing::Standing;
use self::statistics::StatisticsError;
use self::view::Question;
use self::wanted::{Translation, Wanted};
use self::wire::Command;
use super::{Mode, Progress, Snapshot};
use crate::config::PerlbalSettings;
use crate::model::ownership::Known;
use crate::model::text::printable;
use crate::retry::{LONGEST_WAIT, Retry};

/// What a manager works with.
pub struct Manager {
    /// Which Perlbal, and how.
    pub settings: PerlbalSettings,
    /// From announced names to Perlbal's.
    pub translation: Translation,
    /// Where our pool files are; a nodefile there is ours.
    pub pool_directory: PathBuf,
    /// The wanted state, always the latest; `None` before the first round is done.
    pub snapshots: watch::Receiver<Option<Snapshot>>,
    /// How far this Perlbal has come.
    pub progress: watch::Sender<Progress>,
    /// How it stands. Nothing changes in a dry run.
    pub standing: watch::Sender<Standing>,
    /// What pollbal owns there, told at the end: nobody is to wait for that.
    pub last_owned: watch::Sender<Option<Known>>,
    /// What others want to know. In a dry run nobody answers.
    pub questions: mpsc::Receiver<Question>,
    /// Ends the task.
    pub stop: CancellationToken,
    /// What is kept from one connection to the next.
    pub memory: Memory,
}

/// Questions that may wait for a manager, which answers them between two things that it does: some
/// from each door, and who asks waits where it is full. The manager never waits for it.
pub const QUESTIONS: usize = 16;

/// After a change of what is wanted of a Perlbal that is away, until it is told what waits there: a
/// comparison of everything, which is to serve many changes.
const LOOK_AFTER: Duration = Duration::from_millis(100);

/// Longest wait after a connection that broke, or over which too little came in time.
const LONGEST_BROKEN: Duration = Duration::from_millis(500);

/// Waits after a connection has ended.
struct Waits {
    /// After it broke.
    broken: Retry,
    /// After answers that cannot be used: up to 5 s.
    unusable: Retry,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            broken: Retry::up_to(LONGEST_BROKEN),
            unusable: Retry::new(),
        }
    }
}

impl Waits {
    fn after(&mut self, failure: &SessionError) -> Duration {
        if failure.is_unusable() {
            self.unusable.next_wait()
        } else {
            self.broken.next_wait()
        }
    }

    /// Takes word that a connection, over which what is there was read, lasted for so long. What
    /// breaks again and again soon behind its reading is not to be read all the time.
    fn lasted(&mut self, time: Duration) {
        self.broken.reset();
        if time >= LONGEST_WAIT {
            self.unusable.reset();
        }
    }
}

impl Manager {
    /// Runs until it is stopped.
    pub async fn run(mut self, mode: Mode) {
        self.drive(mode).await;
        self.last_owned.send_replace(Some(self.memory.known()));
    }

    async fn drive(&mut self, mode: Mode) {
        self.memory.left(Instant::now());
        self.tell_standing();
        let mut waits = Waits::default();
        let mut wait = Duration::ZERO;
        loop {
            let served = match mode {
                Mode::Live => {
                    let Some(session) = self.reach(wait).await else {
                        return;
                    };
                    self.serve(session, &mut waits).await
                }
                Mode::DryRun => {
                    if self.answering(sleep(wait)).await.is_none() {
                        return;
                    }
                    self.serve_dry().await
                }
            };
            let Err(failure) = served else { return };
            self.report(&failure);
            wait = waits.after(&failure);
        }
    }

    /// Waits for a connection over which Perlbal answers, with word of each attempt that fails;
    /// `None` when the task is stopped.
    async fn reach(&mut self, wait: Duration) -> Option<Session> {
        let mut reach = Reach::new(&self.settings, Arc::clone(&self.memory.names), wait);
        loop {
            match self.answering(reach.next()).await? {
                Ok(session) => return Some(session),
                Err(failure) => self.report(&failure),
            }
        }
    }

    /// Waits for something while there is no connection; answers questions meanwhile, and tells what
    /// waits to be applied. `None` when the task is stopped.
    async fn answering<T>(&mut self, waited_for: impl Future<Output = T>) -> Option<T> {
        let stop = self.stop.clone();
        let mut waited_for = std::pin::pin!(waited_for);
        loop {
            let look_at = self.memory.look_at;
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                done = &mut waited_for => return Some(done),
                Some(question) = self.questions.recv() => self.answer_unconnected(question),
                () = sleep_until(look_at.unwrap_or_else(Instant::now).into()), if look_at.is_some() => {
                    self.note_waiting();
                }
                Ok(()) = self.snapshots.changed(), if look_at.is_none() => {
                    self.memory.look_at = Some(Instant::now() + LOOK_AFTER);
                }
            }
        }
    }

    /// Notes, and tells, what waits to be applied.
    fn note_waiting(&mut self) {
        self.memory.look_at = None;
        let snapshot = self.snapshots.borrow().clone();
        self.take_new_snapshot();
        self.memory.note_waiting(snapshot.as_ref());
        self.tell_standing();
        let perlbal = &self.settings.address;
        if let Some(text) = self.memory.word_of_waiting(Instant::now()) {
            error!(%perlbal, "Perlbal is {text}");
        }
    }

    // Whoever has asked may be gone by now.
    fn answer_unconnected(&mut self, question: Question) {
        match question {
            Question::View(answer) => {
                self.take_new_snapshot();
                _ = answer.send(self.memory.view(&self.settings.address));
            }
            Question::Owned(answer) => {
                self.take_new_snapshot();
                _ = answer.send(self.memory.known());
            }
            Question::Statistics { answer, .. } => {
                _ = answer.send(Err(StatisticsError::NotConnected));
            }
        }
    }

    /// Says once that the connection failed, until it fails in another way or was there again.
    fn report(&mut self, failure: &SessionError) {
        let now = Instant::now();
        let cause = Cause::of(failure);
        let away = self.memory.left(now);
        let before = away.cause.replace(cause.clone());
        let perlbal = &self.settings.address;
        if before.as_ref() != Some(&cause) && self.memory.may_tell_of_connection(perlbal, now) {
            error!(
                %perlbal,
                "no connection to Perlbal: {cause}; its pools stay as they are, pollbal tries again"
            );
        }
        // What is wanted may have changed since the last plan.
        self.memory.look_at.get_or_insert(now);
        let serial = self
            .snapshots
            .borrow()
            .as_ref()
            .map_or(0, |snapshot| snapshot.serial);
        self.tell_progress(serial, false);
    }

    /// Says which problems are new and which are over.
    fn report_problems(&mut self, problems: BTreeSet<Problem>) {
        let perlbal = &self.settings.address;
        for problem in problems.difference(&self.memory.problems) {
            error!(%perlbal, "{}", printable(&problem.to_string()));
        }
        for problem in self.memory.problems.difference(&problems) {
            info!(%perlbal, "no more: {}", printable(&problem.to_string()));
        }
        self.memory.problems = problems;
    }

    /// Says which remarks are new: once, and not again when it is connected again.
    fn report_remarks(&mut self, remarks: BTreeSet<Remark>) {
        let perlbal = &self.settings.address;
        let old = &self.memory.remarks;
        let is_new = |remark: &&Remark| !old.iter().any(|old| old.covers(remark));
        let new = remarks.iter().filter(is_new);
        for line in remarks::lines(new) {
            warn!(%perlbal, "{line}");
        }
        self.memory.remarks = remarks;
    }

    /// Tells how far this Perlbal has come.
    fn tell_progress(&mut self, serial: u64, in_sync: bool) {
        let progress = Progress {
            serial,
            in_sync,
            why: None,
        };
        self.progress.send_if_modified(|old| {
            let changed = *old != progress;
            *old = progress;
            changed
        });
        self.memory.in_sync.set(in_sync);
        self.tell_standing();
    }

    /// Tells how this Perlbal stands.
    fn tell_standing(&mut self) {
        let standing = self.memory.standing();
        self.standing.send_if_modified(|old| {
            let changed = *old != standing;
            *old = standing;
            changed
        });
    }

    /// Takes the latest snapshot, unless it is the one that was taken last.
    fn take_new_snapshot(&mut self) {
        let taken = self.memory.wanted.as_ref().map(|(serial, _)| *serial);
        let latest = self.snapshots.borrow().as_ref().map(|latest| latest.serial);
        if latest != taken {
            self.take_snapshot();
        }
    }

    /// Takes the latest snapshot, in this Perlbal's words.
    fn take_snapshot(&mut self) {
        let snapshot = self.snapshots.borrow_and_update().clone();
        self.memory.wanted = snapshot.map(|snapshot| {
            let mut wanted = self.wanted(&snapshot);
            self.memory.keep_emptied(&mut wanted);
            (snapshot.serial, wanted)
        });
    }

    /// What a snapshot wants here.
    fn wanted(&self, snapshot: &Snapshot) -> Wanted {
        let is_current = |file: &str| snapshot.current_files.contains(file);
        let translation = &self.translation;
        let mut wanted = translation.wanted(&snapshot.pools, is_current);
        for name in &self.memory.distrusted {
            if let Some(pool) = wanted.pools.get_mut(name) {
                pool.file = None;
            }
        }
        wanted.keep(&self.memory.told);
        wanted.take_spares(&self.memory.spares);
        wanted
    }

    /// Sees to it that [`own_file`](Self::own_file) knows the nodefiles that this answer tells.
    async fn resolve_nodefiles(&self, command: &Command, lines: &[String]) {
        if *command != Command::DumpConfig {
            return;
        }
        let known = &self.memory.own_files;
        if !known.resolve(&self.pool_directory, nodefiles(lines)).await {
            warn!(
                perlbal = %self.settings.address,
                "the directory of a nodefile in Perlbal does not answer; until it does, pools whose nodefile is not spelled \
                 as in {} are told their members one by one",
                self.pool_directory.display()
            );
        }
    }

    /// Whether a nodefile in Perlbal is one of our pool files, as far as is known.
    fn own_file(&self, path: &str) -> Option<OwnFile> {
        self.memory.own_files.own_file(&self.pool_directory, path)
    }
}
