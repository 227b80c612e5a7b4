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
//! known, sent at once, and read back. So a restart of Perlbal, a hand on the telnet console and a
//! lost command heal by the same path. `wanted`, `plan`, `reading`, `rest` and `wire` are pure;
//! `session` owns the socket; `link` is one connection's life; this file is the task around it.

pub mod counters;
mod dry_run;
mod link;
pub mod plan;
pub mod reading;
pub mod rest;
pub mod session;
pub mod statistics;
pub mod wanted;
pub mod wire;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::plan::{Actual, OwnFile, Problem};
use self::rest::Leavers;
use self::session::SessionError;
use self::wanted::{Translation, Wanted};
use super::{Mode, Progress, Snapshot};
use crate::config::PerlbalSettings;
use crate::logging::chain;
use crate::model::names::PerlbalName;
use crate::model::pools::parse_file_name;
use crate::quota::{Quota, Word, last_word};
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
    /// Ends the task.
    pub stop: CancellationToken,
    /// What is kept from one connection to the next.
    pub memory: Memory,
}

/// What a manager keeps from one connection to the next.
#[derive(Default)]
pub struct Memory {
    /// When Perlbal was started, as it said on the last connection, in seconds since 1970.
    start: Option<u64>,
    /// What it looked like at the end of the last connection.
    told: Actual,
    /// The problems that the log was told of.
    problems: BTreeSet<Problem>,
    /// Pools whose nodefile, reloaded, gave something else than our pool file holds.
    distrusted: BTreeSet<PerlbalName>,
    /// The last failure that the log was told of.
    failure: Option<String>,
    /// Who was removed and is not yet at rest.
    leavers: Leavers,
    /// How often the log speaks of a pool, by what it says.
    quota: Quota<(PerlbalName, &'static str)>,
}

impl Memory {
    /// Whether the log is to be told what a pool does; says so when it is for the last time.
    fn may_tell(&mut self, pool: &PerlbalName, does: &'static str, now: Instant) -> bool {
        let word = self.quota.ask((pool.clone(), does), now);
        if word == Word::Last {
            warn!(%pool, "{}", last_word(&format!("pool {pool} {does}")));
        }
        word == Word::Tell
    }
}

impl Manager {
    /// Runs until it is stopped.
    pub async fn run(mut self, mode: Mode) {
        let stop = self.stop.clone();
        let mut retry = Retry::new();
        loop {
            let served = match mode {
                Mode::Live => self.serve(&mut retry).await,
                Mode::DryRun => self.serve_dry().await,
            };
            let Err(failure) = served else { return };
            self.report(&failure);
            let wait = retry.next_wait();
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
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
        self.progress.send_replace(Progress {
            serial,
            in_sync: false,
        });
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

    /// The latest snapshot in this Perlbal's words, and its serial.
    fn wanted(&mut self) -> Option<(u64, Wanted)> {
        let snapshot = self.snapshots.borrow_and_update().clone()?;
        let is_current = |file: &str| snapshot.current_files.contains(file);
        let mut wanted = self.translation.wanted(&snapshot.pools, is_current);
        for name in &self.memory.distrusted {
            if let Some(pool) = wanted.pools.get_mut(name) {
                pool.file = None;
            }
        }
        Some((snapshot.serial, wanted))
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
