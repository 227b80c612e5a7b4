//! One connection's life: read what is there, make it what is wanted, keep it so.

mod leaving;
mod readings;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tracing::{error, info};

use super::plan::{Actual, Plan, PoolChange, plan};
use super::reading::Reading;
use super::session::{Session, SessionError};
use super::wanted::Wanted;
use super::wire::{Answer, Command};
use super::{Manager, Progress};
use crate::model::names::PerlbalName;
use crate::retry::{LONGEST_WAIT, Retry};

/// After a change, so that one reading serves several changes that come close together.
const READ_BACK_AFTER: Duration = Duration::from_millis(200);

/// One connection, and what is known through it.
struct Link<'a> {
    manager: &'a mut Manager,
    session: Session,
    /// The latest snapshot's serial and what it wants here.
    wanted: Option<(u64, Wanted)>,
    /// What Perlbal looks like once it has run all that was sent; `None` until first read.
    told: Option<Actual>,
    reading: Option<Reading>,
    /// Pools that were changed and not yet read back.
    dirty: BTreeSet<PerlbalName>,
    read_back_at: Option<Instant>,
    resync_at: Instant,
    /// How many readings in a row did not show what was told; each makes the next one wait longer.
    surprises: u32,
    /// Pools of which a command was refused since the last whole reading.
    refused: BTreeSet<PerlbalName>,
    /// Pools whose nodefile was reloaded since they were last read.
    reloaded: BTreeSet<PerlbalName>,
    /// Changes on their way, for the log, and since when.
    unlogged: Option<(Instant, BTreeMap<PerlbalName, PoolChange>)>,
}

impl Manager {
    /// Serves one connection until it breaks (an error) or the task is stopped.
    pub(super) async fn serve(&mut self, retry: &mut Retry) -> Result<(), SessionError> {
        let stop = self.stop.clone();
        let connecting = Session::connect(&self.settings.address, self.settings.timeout);
        let Some(session) = stop.run_until_cancelled(connecting).await else {
            return Ok(());
        };
        let session = session?;
        let wanted = self.wanted();
        let mut link = Link {
            resync_at: Instant::now() + self.settings.resync_interval,
            manager: self,
            session,
            wanted,
            told: None,
            reading: None,
            dirty: BTreeSet::new(),
            read_back_at: None,
            surprises: 0,
            refused: BTreeSet::new(),
            reloaded: BTreeSet::new(),
            unlogged: None,
        };
        let connected_at = Instant::now();
        let served = link.serve().await;
        if let Some(told) = link.told.take() {
            link.manager.memory.told = told;
            // A Perlbal that greets and then breaks is not to be asked again and again at once.
            if connected_at.elapsed() >= LONGEST_WAIT {
                retry.reset();
            }
        }
        served
    }
}

impl Link<'_> {
    async fn serve(&mut self) -> Result<(), SessionError> {
        let stop = self.manager.stop.clone();
        self.read_whole();
        loop {
            self.session.flush().await?;
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                changed = self.manager.snapshots.changed() => match changed {
                    Ok(()) => self.take_snapshot(),
                    Err(_) => return Ok(()),
                },
                answered = self.session.answer() => {
                    let (command, answer) = answered?;
                    self.take_answer(&command, answer)?;
                }
                () = sleep_until(wake.into()) => self.wake(),
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let times = [self.read_back_at, self.manager.memory.leavers.look_at()];
        times
            .into_iter()
            .flatten()
            .fold(self.resync_at, Instant::min)
    }

    fn wake(&mut self) {
        let now = Instant::now();
        if self
            .manager
            .memory
            .leavers
            .look_at()
            .is_some_and(|at| at <= now)
        {
            self.begin_look(now);
        }
        if self.reading.is_some() {
            // One reading at a time; what it does not show is read after it.
            self.read_back_at = self.read_back_at.map(|at| at.max(now + READ_BACK_AFTER));
            self.resync_at = self.resync_at.max(now + READ_BACK_AFTER);
        } else if self.resync_at <= now {
            self.read_whole();
        } else if self.read_back_at.is_some_and(|at| at <= now) {
            self.read_back();
        }
    }

    fn take_snapshot(&mut self) {
        self.wanted = self.manager.wanted();
        self.make_it_so();
    }

    fn take_answer(&mut self, command: &Command, answer: Answer) -> Result<(), SessionError> {
        let lines = match answer {
            Answer::Ok(lines) => lines,
            Answer::Error(error) if command.is_change() => {
                self.take_refusal(command, &error);
                Vec::new()
            }
            Answer::Error(error) => match command {
                Command::ShowPool(pool) => {
                    self.take_absence(pool);
                    return Ok(());
                }
                command => return Err(SessionError::refused(command, error)),
            },
        };
        match command {
            Command::Socks | Command::Nodes(_) => self.take_look(command, &lines),
            command if command.is_change() => self.end_change(),
            command => self.take_reading(command, &lines)?,
        }
        Ok(())
    }

    fn take_refusal(&mut self, command: &Command, error: &str) {
        let perlbal = &self.manager.settings.address;
        error!(%perlbal, "Perlbal answered \"{command}\" with an error: {error}");
        let pool = match command {
            Command::Seal { pool, .. } => pool,
            command => match command.changes() {
                Some(pool) => pool,
                None => return,
            },
        };
        if matches!(command, Command::Reload { .. }) {
            self.manager.memory.distrusted.insert(pool.clone());
        }
        self.refused.insert(pool.clone());
        self.resync_at = self.resync_at.min(Instant::now() + self.patience());
    }

    /// How long to wait before the next reading after a surprise.
    fn patience(&self) -> Duration {
        let longest = self.manager.settings.resync_interval;
        (READ_BACK_AFTER * 2u32.saturating_pow(self.surprises.min(16))).min(longest)
    }

    /// Plans and sends what makes Perlbal look as wanted.
    fn make_it_so(&mut self) {
        let (Some(told), Some((_, wanted))) = (&mut self.told, &self.wanted) else {
            return;
        };
        let Plan {
            groups,
            changes,
            problems,
        } = plan(wanted, told);
        for command in groups.iter().flatten() {
            told.apply(command);
            if let Some(reading) = &mut self.reading {
                reading.sent(command);
            }
            if let Command::Reload { pool, .. } = command {
                self.reloaded.insert(pool.clone());
            }
            self.dirty.extend(command.changes().cloned());
        }
        let now = Instant::now();
        self.note_leavers(&changes, now);
        if !groups.is_empty() {
            self.read_back_at.get_or_insert(now + self.patience());
            let (_, unlogged) = self.unlogged.get_or_insert_with(|| (now, BTreeMap::new()));
            for (name, change) in changes {
                unlogged.entry(name).or_default().merge(change);
            }
        }
        self.session.change(groups);
        self.manager.report_problems(problems);
        self.report_progress();
    }

    /// When the last change on its way is answered: tells what was changed.
    fn end_change(&mut self) {
        if self.session.unanswered_changes().next().is_some() {
            return;
        }
        let perlbal = &self.manager.settings.address;
        if let Some((since, changes)) = self.unlogged.take() {
            let micros = since.elapsed().as_micros();
            let told = |(pool, change): &(&PerlbalName, &PoolChange)| {
                !change.is_empty() && !self.refused.contains(*pool)
            };
            for (pool, change) in changes.iter().filter(told) {
                if !self
                    .manager
                    .memory
                    .may_tell(pool, "is changed", Instant::now())
                {
                    continue;
                }
                info!(
                    %perlbal, %pool,
                    "pool {pool} changed:{}{} in {}.{:01} ms",
                    list("+", change.added.iter()), list("-", change.removed.iter()),
                    micros / 1000, micros % 1000 / 100
                );
            }
        }
        self.report_progress();
    }

    /// Once all is sent, answered and read back: the snapshot is in force, or cannot be.
    fn report_progress(&self) {
        let (Some(_), Some((serial, _))) = (&self.told, &self.wanted) else {
            return;
        };
        let busy = self.session.unanswered_changes().next().is_some();
        if busy || !self.dirty.is_empty() || self.reading.is_some() {
            return;
        }
        let in_sync = self.manager.memory.problems.is_empty() && self.refused.is_empty();
        let progress = Progress {
            serial: *serial,
            in_sync,
        };
        self.manager
            .progress
            .send_if_modified(|old| mem::replace(old, progress) != progress);
    }
}

/// The beginning of a list for the log, each with its sign.
fn list<T: ToString>(sign: &str, items: impl Iterator<Item = T>) -> String {
    const SHOWN: usize = 8;
    let items: Vec<_> = items
        .map(|item| format!(" {sign}{}", item.to_string()))
        .collect();
    let more = items.len().saturating_sub(SHOWN);
    let shown = items[..items.len() - more].concat();
    if more > 0 {
        format!("{shown} and {sign}{more} more")
    } else {
        shown
    }
}
