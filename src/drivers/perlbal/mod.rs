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
//! known, sent as soon as `pace` allows, which is mostly at once, and read back. So a restart of
//! Perlbal, a hand on the telnet console and a lost command heal by the same path. `wanted`, `plan`,
//! `pace`, `reading`, `rest`, `standing`, `statistics`, `view` and `wire` are pure; `session` owns the
//! socket; `link` is one connection's life; `memory` is what outlives it; this file is the task around
//! it.
//!
//! It tells of itself by two `watch` channels, [`Progress`] and [`Standing`], and answers
//! [`Question`]s from one bounded channel in every state.

pub mod counters;
mod dry_run;
mod link;
mod memory;
pub mod pace;
pub mod plan;
pub mod reading;
pub mod rest;
pub mod session;
pub mod standing;
pub mod statistics;
pub mod view;
pub mod wanted;
pub mod wire;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

pub use self::memory::Memory;
use self::plan::{OwnFile, Problem};
use self::session::SessionError;
use self::standing::Standing;
use self::statistics::StatisticsError;
use self::view::Question;
use self::wanted::{Translation, Wanted};
use super::{Mode, Progress, Snapshot};
use crate::config::PerlbalSettings;
use crate::logging::chain;
use crate::model::pools::parse_file_name;
use crate::retry::Retry;

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

impl Manager {
    /// Runs until it is stopped.
    pub async fn run(mut self, mode: Mode) {
        let mut retry = Retry::new();
        loop {
            let served = match mode {
                Mode::Live => self.serve(&mut retry).await,
                Mode::DryRun => self.serve_dry().await,
            };
            let Err(failure) = served else { return };
            self.report(&failure);
            let wait = sleep(retry.next_wait());
            if self.answering(wait).await.is_none() {
                return;
            }
        }
    }

    /// Waits for something while there is no connection, and answers questions meanwhile; `None`
    /// when the task is stopped.
    async fn answering<T>(&mut self, waited_for: impl Future<Output = T>) -> Option<T> {
        let stop = self.stop.clone();
        let mut waited_for = std::pin::pin!(waited_for);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                done = &mut waited_for => return Some(done),
                Some(question) = self.questions.recv() => self.answer_unconnected(question),
            }
        }
    }

    // Whoever has asked may be gone by now.
    fn answer_unconnected(&mut self, question: Question) {
        match question {
            Question::View(answer) => {
                if self.snapshots.has_changed().unwrap_or(false) {
                    self.take_snapshot();
                }
                _ = answer.send(self.memory.view(&self.settings.address));
            }
            Question::Statistics { answer, .. } => {
                _ = answer.send(Err(StatisticsError::NotConnected));
            }
        }
    }

    /// Says once that the connection failed, until it fails in another way or was there again.
    fn report(&mut self, failure: &SessionError) {
        let text = chain(failure);
        if self.memory.failure.as_ref() != Some(&text) {
            error!(
                perlbal = %self.settings.address,
                "no connection to Perlbal: {text}; its pools stay as they are, pollbal tries again"
            );
        }
        self.memory.failure = Some(text);
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
            error!(%perlbal, "{problem}");
        }
        for problem in self.memory.problems.difference(&problems) {
            info!(%perlbal, "no more: {problem}");
        }
        self.memory.problems = problems;
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

    /// Takes the latest snapshot, in this Perlbal's words.
    fn take_snapshot(&mut self) {
        let snapshot = self.snapshots.borrow_and_update().clone();
        self.memory.wanted = snapshot.map(|snapshot| (snapshot.serial, self.wanted(&snapshot)));
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
        wanted
    }

    /// Whether a nodefile in Perlbal is one of our pool files, by whichever path.
    fn own_file(&self, path: &str) -> Option<OwnFile> {
        // Perlbal would expand or cut these when it is told the path again (Perlbal.pm,
        // `run_manage_command`).
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"#$".contains(&byte))
        {
            return None;
        }
        let name = Path::new(path).file_name()?.to_str()?;
        parse_file_name(name)?;
        let directory = Path::new(path).parent()?.canonicalize().ok()?;
        let ours = self.pool_directory.canonicalize().ok()?;
        (directory == ours).then(|| OwnFile {
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }
}
