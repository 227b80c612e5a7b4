//! One connection's life: read what is there, make it what is wanted, keep it so.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tracing::{error, info, warn};

use super::plan::{Actual, ActualPool, Plan, PoolChange, plan};
use super::reading::Reading;
use super::rest::{Leavers, Membered};
use super::session::{Session, SessionError};
use super::wanted::Wanted;
use super::wire::{Answer, Command, Endpoint, parse_busy, parse_requests};
use super::{Manager, Progress};
use crate::model::names::PerlbalName;
use crate::model::node::NodeAddr;
use crate::retry::Retry;

/// After a change, so that one reading serves several changes that come close together.
const READ_BACK_AFTER: Duration = Duration::from_millis(200);

/// One connection, and what is known through it.
struct Link<'a> {
    manager: &'a mut Manager,
    retry: &'a mut Retry,
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
    leavers: Leavers,
    look: Option<LookUnderWay>,
}

/// Answers of a look at those who left.
struct LookUnderWay {
    due: usize,
    busy: BTreeSet<NodeAddr>,
    requests: BTreeMap<NodeAddr, u64>,
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
            retry,
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
            leavers: Leavers::default(),
            look: None,
        };
        let served = link.serve().await;
        if let Some(told) = link.told.take() {
            link.manager.memory.told = told;
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
        let times = [self.read_back_at, self.leavers.look_at()];
        times
            .into_iter()
            .flatten()
            .fold(self.resync_at, Instant::min)
    }

    fn wake(&mut self) {
        let now = Instant::now();
        if self.leavers.look_at().is_some_and(|at| at <= now) {
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

    fn read_whole(&mut self) {
        self.resync_at = Instant::now() + self.manager.settings.resync_interval;
        self.read_back_at = None;
        self.dirty.clear();
        let (reading, commands) = Reading::whole(self.told.is_none());
        self.begin_reading(reading, commands);
    }

    fn read_back(&mut self) {
        self.read_back_at = None;
        if let Some(told) = &self.told {
            let (reading, commands) = Reading::of_pools(mem::take(&mut self.dirty), told);
            self.begin_reading(reading, commands);
        }
    }

    fn begin_reading(&mut self, reading: Reading, commands: Vec<Command>) {
        self.reading = Some(reading);
        self.session.ask(commands);
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
            Answer::Error(error) => return Err(SessionError::refused(command, error)),
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

    fn take_reading(&mut self, command: &Command, lines: &[String]) -> Result<(), SessionError> {
        let Some(mut reading) = self.reading.take() else {
            return Ok(());
        };
        let later = self.session.unanswered_changes();
        let next = reading
            .answer(command, lines, later, |path| self.manager.own_file(path))
            .map_err(|source| SessionError::not_understood(command, source))?;
        self.session.ask(next);
        if reading.is_done() {
            self.end_reading(reading);
        } else {
            self.reading = Some(reading);
        }
        Ok(())
    }

    fn end_reading(&mut self, mut reading: Reading) {
        let mut surprised = false;
        if let Some(mut told) = self.told.take() {
            surprised = self.compare(&told, &reading.fresh);
            if reading.is_whole() {
                told = reading.fresh;
                surprised |= !mem::take(&mut self.refused).is_empty();
            } else {
                told.pools.extend(reading.fresh.pools);
            }
            self.told = Some(told);
        } else {
            self.greet(&mut reading);
            self.told = Some(reading.fresh);
        }
        self.surprises = if surprised { self.surprises + 1 } else { 0 };
        if surprised {
            // The files of pools that are distrusted now are not to be reloaded again.
            self.wanted = self.manager.wanted();
        }
        self.make_it_so();
    }

    /// The first reading of a connection: says so, and marks what no seal may have reached.
    fn greet(&mut self, reading: &mut Reading) {
        let memory = &mut self.manager.memory;
        let perlbal = &self.manager.settings.address;
        if let Some((start, version)) = reading.start.take() {
            let restarted = memory
                .start
                .replace(start)
                .is_some_and(|before| before != start);
            let how = if restarted {
                ", which was restarted"
            } else {
                ""
            };
            info!(%perlbal, "connected to Perlbal {version}{how}");
            if restarted {
                memory.told = Actual::default();
                memory.distrusted.clear();
            }
        }
        memory.failure = None;
        self.retry.reset();
        let before = mem::take(&mut memory.told);
        let members: BTreeSet<_> = reading
            .fresh
            .pools
            .values()
            .flat_map(|pool| &pool.members)
            .cloned()
            .collect();
        let backends = reading.backends.iter().copied().map(Endpoint::Node);
        let strays: BTreeSet<_> = backends
            .filter(|backend| !members.contains(backend))
            .collect();
        let used: BTreeSet<_> = reading.fresh.services.values().flatten().cloned().collect();
        for (name, pool) in reading
            .fresh
            .pools
            .iter_mut()
            .filter(|(name, _)| used.contains(name))
        {
            let earlier = before
                .pools
                .get(name)
                .map(|pool| pool.members.clone())
                .unwrap_or_default();
            pool.unsealed = earlier
                .into_iter()
                .filter(|member| !pool.members.contains(member))
                .collect();
            pool.unsealed.extend(strays.iter().cloned());
        }
    }

    /// Tells where our pools are not as they were told to be; whether there is such a pool.
    fn compare(&mut self, told: &Actual, fresh: &Actual) -> bool {
        let Some((_, wanted)) = &self.wanted else {
            return false;
        };
        let mut surprised = false;
        for (name, pool) in fresh
            .pools
            .iter()
            .filter(|(name, _)| wanted.pools.contains_key(*name))
        {
            let nothing = ActualPool::default();
            let before = told.pools.get(name).unwrap_or(&nothing);
            let reloaded = self.reloaded.remove(name);
            if before.members == pool.members {
                continue;
            }
            surprised = true;
            if reloaded {
                self.manager.memory.distrusted.insert(name.clone());
            }
            if !self.refused.contains(name) {
                let came = pool.members.difference(&before.members);
                let went = before.members.difference(&pool.members);
                warn!(
                    perlbal = %self.manager.settings.address, pool = %name,
                    "pool {name} was changed by someone else (by hand, or by its nodefile):{}{}; \
                     it is put right",
                    list("+", came), list("-", went)
                );
            }
        }
        surprised
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

    /// Watches who left a pool that a service uses until they are at rest.
    fn note_leavers(&mut self, changes: &BTreeMap<PerlbalName, PoolChange>, now: Instant) {
        let Some(told) = &self.told else { return };
        let used = |name: &PerlbalName| told.services.values().flatten().any(|pool| pool == name);
        for (name, change) in changes {
            for addr in &change.added {
                self.leavers.forget(&(name.clone(), *addr));
            }
            for gone in change.removed.iter().filter(|_| used(name)) {
                let Endpoint::Node(addr) = gone else { continue };
                self.leavers.removed((name.clone(), *addr), now);
                self.session.ask([Command::Nodes(*addr)]);
            }
        }
    }

    fn begin_look(&mut self, now: Instant) {
        let addrs = self.leavers.begin_look(now);
        if self.look.is_some() {
            return;
        }
        let (due, requests) = (addrs.len() + 1, BTreeMap::new());
        self.look = Some(LookUnderWay {
            due,
            busy: BTreeSet::new(),
            requests,
        });
        // Requests before connections: what is answered in between is then still seen to grow.
        self.session.ask(addrs.into_iter().map(Command::Nodes));
        self.session.ask([Command::Socks]);
    }

    fn take_look(&mut self, command: &Command, lines: &[String]) {
        if let Command::Nodes(addr) = command {
            self.leavers.count(*addr, parse_requests(lines));
        }
        let Some(look) = &mut self.look else { return };
        match command {
            Command::Nodes(addr) => {
                look.requests.insert(*addr, parse_requests(lines));
            }
            _ => look.busy = parse_busy(lines),
        }
        look.due -= 1;
        if look.due == 0
            && let Some(look) = self.look.take()
        {
            self.end_look(&look);
        }
    }

    fn end_look(&mut self, look: &LookUnderWay) {
        let Some(told) = &self.told else { return };
        // A node that is still in another pool is rightly busy there; nothing can be told of it.
        let elsewhere = |(_, addr): &&Membered| {
            let member = Endpoint::Node(*addr);
            told.services.values().flatten().any(|pool| {
                told.pools
                    .get(pool)
                    .is_some_and(|pool| pool.members.contains(&member))
            })
        };
        let untold: Vec<_> = self.leavers.all().filter(elsewhere).cloned().collect();
        let seen = self
            .leavers
            .end_look(&look.busy, &look.requests, Instant::now());
        let perlbal = &self.manager.settings.address;
        for ((pool, addr), after) in seen.at_rest.iter().filter(|(who, _)| !untold.contains(who)) {
            let after = after.as_millis();
            info!(%perlbal, %pool, node = %addr, "{addr} is at rest, {after} ms after it left pool {pool}");
        }
        for who in &seen.busy {
            if let Some(told) = &mut self.told
                && let Some(pool) = told.pools.get_mut(&who.0)
            {
                pool.unsealed.insert(Endpoint::Node(who.1));
            }
        }
        for who in &untold {
            self.leavers.forget(who);
        }
        self.make_it_so();
    }

    /// When the last change on its way is answered: tells what was changed.
    fn end_change(&mut self) {
        if self.session.unanswered_changes().next().is_some() {
            return;
        }
        let perlbal = &self.manager.settings.address;
        if let Some((since, changes)) = self.unlogged.take() {
            let micros = since.elapsed().as_micros();
            for (pool, change) in changes
                .iter()
                .filter(|(name, _)| !self.refused.contains(*name))
            {
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
