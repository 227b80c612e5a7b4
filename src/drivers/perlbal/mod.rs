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
mod connection;
mod connector;
pub mod counters;
pub mod desired;
mod differences;
pub mod drain;
mod dry_run;
pub mod error;
pub mod name;
mod own_files;
mod ownership;
pub mod plan;
pub mod protocol;
pub mod read_state;
pub mod remarks;
mod service_checks;
pub mod session;
pub mod spare;
pub mod standing;
mod state;
pub mod statistics;
pub mod throttle;
mod unserved;
pub mod view;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::away::Cause;
use self::connector::Connector;
use self::desired::{Desired, NameMap};
use self::error::SessionError;
use self::own_files::nodefiles;
use self::plan::{OwnFile, Problem};
use self::protocol::Command;
use self::remarks::Remark;
use self::session::Session;
use self::standing::Standing;
pub use self::state::State;
use self::statistics::StatisticsError;
use self::view::Question;
use super::{Mode, Progress, Snapshot};
use crate::config::PerlbalSettings;
use crate::model::ownership::Known;
use crate::model::text::printable;
use crate::retry::{LONGEST_WAIT, Retry};

/// What a manager works with.
pub struct PerlbalDriver {
    /// Which Perlbal, and how.
    pub settings: PerlbalSettings,
    /// From announced names to Perlbal's.
    pub translation: NameMap,
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
    pub state: State,
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

impl PerlbalDriver {
    /// Runs until it is stopped.
    pub async fn run(mut self, mode: Mode) {
        self.drive(mode).await;
        self.last_owned.send_replace(Some(self.state.known()));
    }

    async fn drive(&mut self, mode: Mode) {
        self.state.left(Instant::now());
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
        let mut connector = Connector::new(&self.settings, Arc::clone(&self.state.resolver), wait);
        loop {
            match self.answering(connector.next()).await? {
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
            let check_at = self.state.check_at;
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                done = &mut waited_for => return Some(done),
                Some(question) = self.questions.recv() => self.answer_unconnected(question),
                () = sleep_until(check_at.unwrap_or_else(Instant::now).into()), if check_at.is_some() => {
                    self.note_waiting();
                }
                Ok(()) = self.snapshots.changed(), if check_at.is_none() => {
                    self.state.check_at = Some(Instant::now() + LOOK_AFTER);
                }
            }
        }
    }

    /// Notes, and tells, what waits to be applied.
    fn note_waiting(&mut self) {
        self.state.check_at = None;
        let snapshot = self.snapshots.borrow().clone();
        self.take_new_snapshot();
        self.state.note_waiting(snapshot.as_ref());
        self.tell_standing();
        let perlbal = &self.settings.address;
        if let Some(text) = self.state.waiting_notice(Instant::now()) {
            error!(%perlbal, "Perlbal is {text}");
        }
    }

    // Whoever has asked may be gone by now.
    fn answer_unconnected(&mut self, question: Question) {
        match question {
            Question::View(answer) => {
                self.take_new_snapshot();
                _ = answer.send(self.state.view(&self.settings.address));
            }
            Question::Owned(answer) => {
                self.take_new_snapshot();
                _ = answer.send(self.state.known());
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
        let away = self.state.left(now);
        let before = away.cause.replace(cause.clone());
        let perlbal = &self.settings.address;
        if before.as_ref() != Some(&cause) && self.state.may_tell_of_connection(perlbal, now) {
            error!(
                %perlbal,
                "no connection to Perlbal: {cause}; its pools stay as they are, pollbal tries again"
            );
        }
        // What is wanted may have changed since the last plan.
        self.state.check_at.get_or_insert(now);
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
        for problem in problems.difference(&self.state.problems) {
            error!(%perlbal, "{}", printable(&problem.to_string()));
        }
        for problem in self.state.problems.difference(&problems) {
            info!(%perlbal, "no more: {}", printable(&problem.to_string()));
        }
        self.state.problems = problems;
    }

    /// Says which remarks are new: once, and not again when it is connected again.
    fn report_remarks(&mut self, remarks: BTreeSet<Remark>) {
        let perlbal = &self.settings.address;
        let old = &self.state.remarks;
        let is_new = |remark: &&Remark| !old.iter().any(|old| old.covers(remark));
        let new = remarks.iter().filter(is_new);
        for line in remarks::lines(new) {
            warn!(%perlbal, "{line}");
        }
        self.state.remarks = remarks;
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
        self.state.in_sync.set(in_sync);
        self.tell_standing();
    }

    /// Tells how this Perlbal stands.
    fn tell_standing(&mut self) {
        let standing = self.state.standing();
        self.standing.send_if_modified(|old| {
            let changed = *old != standing;
            *old = standing;
            changed
        });
    }

    /// Takes the latest snapshot, unless it is the one that was taken last.
    fn take_new_snapshot(&mut self) {
        let taken = self.state.desired.as_ref().map(|(serial, _)| *serial);
        let latest = self.snapshots.borrow().as_ref().map(|latest| latest.serial);
        if latest != taken {
            self.take_snapshot();
        }
    }

    /// Takes the latest snapshot, in this Perlbal's words.
    fn take_snapshot(&mut self) {
        let snapshot = self.snapshots.borrow_and_update().clone();
        self.state.desired = snapshot.map(|snapshot| {
            let mut desired = self.desired(&snapshot);
            self.state.keep_emptied(&mut desired);
            (snapshot.serial, desired)
        });
    }

    /// What a snapshot wants here.
    fn desired(&self, snapshot: &Snapshot) -> Desired {
        let is_current = |file: &str| snapshot.current_files.contains(file);
        let translation = &self.translation;
        let mut desired = translation.desired(&snapshot.pools, is_current);
        for name in &self.state.unreliable_nodefiles {
            if let Some(pool) = desired.pools.get_mut(name) {
                pool.file = None;
            }
        }
        desired.keep(&self.state.expected);
        desired.take_spares(&self.state.spares);
        desired
    }

    /// Sees to it that [`own_file`](Self::own_file) knows the nodefiles that this answer tells.
    async fn resolve_nodefiles(&self, command: &Command, lines: &[String]) {
        if *command != Command::DumpConfig {
            return;
        }
        let known = &self.state.own_files;
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
        self.state.own_files.own_file(&self.pool_directory, path)
    }
}
