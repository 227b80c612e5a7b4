//! One connection's life: read what is there, make it what is wanted, keep it so.

mod answered;
mod confirming;
mod leaving;
mod looked;
mod questions;
mod readings;
mod unsealed;
mod vanished;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use self::confirming::Confirming;
use self::questions::Askers;
use self::vanished::Vanished;
use super::fault::SessionError;
use super::pace::Kind;
use super::plan::{Plan, PoolChange, plan};
use super::reading::{Reading, change_by};
use super::rest::Membered;
use super::session::Session;
use super::standing::{OnTheWay, Told};
use super::wire::{Answer, Command, Users};
use super::{Manager, Waits};
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

/// After a change, so that one reading serves several changes that come close together.
const READ_BACK_AFTER: Duration = Duration::from_millis(200);

/// One connection, and what is known through it.
struct Link<'a> {
    manager: &'a mut Manager,
    session: Session,
    /// When to try again to send what waits to be sent, if that is a matter of time.
    opens_at: Option<Instant>,
    /// What is there, or what is wanted, may be otherwise than at the last plan.
    plan_due: bool,
    /// What each reading command was asked for that is not answered yet, the oldest first.
    asked: VecDeque<Purpose>,
    /// What is there was read over this connection.
    is_read: bool,
    reading: Option<Reading>,
    /// Pools that were changed and not yet read back.
    dirty: BTreeSet<PerlbalName>,
    read_back_at: Option<Instant>,
    resync_at: Instant,
    ping_at: Instant,
    /// How many readings in a row did not show what was told; each makes the next one wait longer.
    surprises: u32,
    /// A change was refused since the last reading of everything began.
    refused: bool,
    /// Pools whose nodefile was reloaded since they were last read.
    reloaded: BTreeSet<PerlbalName>,
    /// Changes on their way, for the log, and since when.
    unlogged: Option<(Instant, BTreeMap<PerlbalName, PoolChange>)>,
    /// Snapshots on their way.
    on_the_way: OnTheWay,
    /// Of the first snapshot that no plan was made from yet: since when it is here, and its cause or
    /// that of one after it.
    taken: Option<(Instant, Option<Instant>)>,
    /// Who may have connections that no seal has reached: to be watched once it is known who is
    /// wanted.
    unnoted: Unnoted,
    /// Pools that services were seen to use newly, since connections were read last.
    newly_used: BTreeSet<PerlbalName>,
    /// How many services used which pool when that was last asked.
    users: Users,
    confirming: Confirming,
    askers: Askers,
    vanished: Vanished,
    /// Perlbal's work on our commands before the look that is under way.
    worked_before_look: Duration,
}

/// What a reading command is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Ping,
    Vanished,
    Reading,
    Look,
    Statistics,
}

/// Who may have connections that no seal has reached.
#[derive(Default)]
struct Unnoted {
    /// Who was a member of a pool by the last reading, and by the present one is none.
    gone: Vec<Membered>,
    /// Who is in no pool but has connections.
    strays: BTreeSet<NodeAddr>,
    /// Someone was removed from a pool that no service uses, as far as is known, since connections were asked for last.
    left_unused: bool,
}

impl Manager {
    /// Serves one connection until it breaks (an error) or the task is stopped.
    pub(super) async fn serve(
        &mut self,
        session: Session,
        waits: &mut Waits,
    ) -> Result<(), SessionError> {
        self.take_snapshot();
        self.memory.refused.clear();
        self.memory.shown_serial = 0;
        let mut link = Link {
            resync_at: Instant::now() + self.settings.resync_interval,
            manager: self,
            session,
            opens_at: None,
            plan_due: true,
            asked: VecDeque::new(),
            is_read: false,
            reading: None,
            dirty: BTreeSet::new(),
            read_back_at: None,
            ping_at: Instant::now(),
            surprises: 0,
            refused: false,
            reloaded: BTreeSet::new(),
            unlogged: None,
            on_the_way: OnTheWay::default(),
            taken: None,
            unnoted: Unnoted::default(),
            newly_used: BTreeSet::new(),
            users: Users::new(),
            confirming: Confirming::default(),
            askers: Askers::default(),
            vanished: Vanished::default(),
            worked_before_look: Duration::ZERO,
        };
        let connected_at = Instant::now();
        let served = link.serve().await;
        link.disappoint_askers();
        if link.is_read {
            waits.lasted(connected_at.elapsed());
        }
        let owed_since = link.session.owed_since();
        let ended = owed_since.map_or_else(Instant::now, tokio::time::Instant::into_std);
        if let Some((_, changes)) = link.unlogged.take() {
            for (pool, change) in changes {
                let earlier = self.memory.unacknowledged.entry(pool).or_default();
                earlier.merge(change);
            }
        }
        self.memory.left(ended);
        self.tell_standing();
        served
    }
}

impl Link<'_> {
    async fn serve(&mut self) -> Result<(), SessionError> {
        let stop = self.manager.stop.clone();
        self.ping(Instant::now());
        self.read_whole();
        loop {
            self.send().await?;
            let wake = self.next_wake();
            // At once, where it is time: a timer would take a millisecond.
            if wake <= Instant::now() {
                self.wake();
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // Before what is new is sent: by what is heard it is judged when.
                answered = self.session.answer() => {
                    let (command, answer) = answered?;
                    if let Answer::Ok(lines) = &answer {
                        self.manager.resolve_nodefiles(&command, lines).await;
                    }
                    self.take_answer(&command, answer)?;
                }
                changed = self.manager.snapshots.changed() => match changed {
                    Ok(()) => self.take_snapshot(),
                    Err(_) => return Ok(()),
                },
                Some(question) = self.manager.questions.recv() => self.take_question(question),
                () = sleep_until(wake.into()) => self.wake(),
            }
        }
    }

    /// Sends what there is to say, as far as now is the time.
    async fn send(&mut self) -> Result<(), SessionError> {
        // Not while the last plan is unsent: what comes meanwhile is planned together.
        let has_to_plan = self.has_to_plan() && !self.session.has_unsent_changes();
        if has_to_plan && self.may_change() {
            self.make_it_so();
        }
        // Asked again: planning took its time, or this process did not run meanwhile.
        if !self.may_change() {
            return Ok(());
        }
        let now = Instant::now();
        let reads_at = self.session.pace().opens_at(Kind::Reading, now);
        let may_read = reads_at.is_some_and(|at| at <= now);
        self.session.flush(may_read).await?;
        // What is not sent by now waits for an answer, or for the time when readings may go.
        self.opens_at = reads_at.filter(|at| *at > now && self.session.has_unsent());
        Ok(())
    }

    /// Whether changes may be sent now; if not, notes when to look again.
    fn may_change(&mut self) -> bool {
        let now = Instant::now();
        let opens_at = self.session.pace().opens_at(Kind::Change, now);
        self.opens_at = opens_at.filter(|_| self.has_to_plan() || self.session.has_unsent());
        opens_at.is_some_and(|at| at <= now)
    }

    /// Whether a plan is due, and can be made: what is there is known.
    fn has_to_plan(&self) -> bool {
        self.plan_due && self.is_read
    }

    fn next_wake(&self) -> Instant {
        [
            self.read_back_at,
            self.confirm_at(),
            self.look_at(),
            self.opens_at,
            self.vanished.look_at,
            Some(self.ping_at),
        ]
        .into_iter()
        .flatten()
        .fold(self.resync_at, Instant::min)
    }

    /// When to look who is at rest: not before what is there was read, since a look is judged by
    /// the seals that were sent before it.
    fn look_at(&self) -> Option<Instant> {
        let look_at = self.manager.memory.leavers.look_at();
        look_at.filter(|_| self.is_read)
    }

    fn wake(&mut self) {
        let now = Instant::now();
        if self.ping_at <= now {
            self.ping(now);
        }
        if self.vanished.look_at.is_some_and(|at| at <= now) {
            self.look_for_vanished();
        }
        if self.look_at().is_some_and(|at| at <= now) {
            self.begin_look(now);
        }
        if self.reading.is_some() {
            // One reading at a time; what it does not show is read after it.
            self.read_back_at = self.read_back_at.map(|at| at.max(now + READ_BACK_AFTER));
            self.resync_at = self.resync_at.max(now + READ_BACK_AFTER);
        } else if self.resync_at <= now {
            self.read_whole();
        } else if self.confirm_at().is_some_and(|at| at <= now) {
            self.read_to_confirm();
        } else if self.read_back_at.is_some_and(|at| at <= now) {
            self.read_back();
        }
    }

    /// Asks for a sign of life, unless there is one to come already.
    fn ping(&mut self, now: Instant) {
        self.ping_at = now + self.session.pace().ping_every();
        if !self.session.is_owed() && !self.session.has_unsent() {
            self.ask(Purpose::Ping, [Command::Ping]);
        }
    }

    /// Takes reading commands to send.
    fn ask(&mut self, purpose: Purpose, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            self.manager.memory.counters.command(&command);
            self.asked.push_back(purpose);
            self.session.ask([command]);
        }
    }

    fn take_snapshot(&mut self) {
        self.manager.take_snapshot();
        let snapshot = self.manager.snapshots.borrow();
        let cause = snapshot.as_ref().and_then(|snapshot| snapshot.cause);
        drop(snapshot);
        let taken = self.taken.get_or_insert((Instant::now(), cause));
        taken.1 = taken.1.or(cause);
        self.plan_due = true;
    }

    fn take_answer(&mut self, command: &Command, answer: Answer) -> Result<(), SessionError> {
        if let Answer::Error(_) = answer {
            self.manager.memory.counters.errors += 1;
        }
        if command.is_change() {
            self.take_change_answer(command, answer);
            return Ok(());
        }
        match command {
            Command::ShowService { service, known } => {
                self.take_service(service, known, answer);
                return Ok(());
            }
            Command::ShowPools { sealed } => {
                self.take_users(sealed.as_ref(), answer);
                return Ok(());
            }
            _ => {}
        }
        // What is read is judged by what is wanted now: a file that was reloaded is as new as that.
        if self.has_to_plan() {
            self.make_it_so();
        }
        // Reading commands are answered in the order in which they were asked.
        match (self.asked.pop_front(), answer) {
            (Some(Purpose::Ping), _) | (Some(Purpose::Vanished), Answer::Error(_)) => {}
            (Some(Purpose::Vanished), Answer::Ok(lines)) => self.take_connecting(&lines),
            (Some(Purpose::Statistics), answer) => self.take_statistics(command, answer),
            (Some(Purpose::Look), Answer::Ok(lines)) => self.take_look(command, &lines),
            (_, Answer::Ok(lines)) => self.take_reading(command, &lines)?,
            (_, Answer::Error(error)) => match command {
                Command::ShowPool(pool) => self.take_absence(pool),
                command => return Err(SessionError::refused(command, error)),
            },
        }
        Ok(())
    }

    /// How long to wait before the next reading after a surprise.
    fn patience(&self) -> Duration {
        let longest = self.manager.settings.resync_interval;
        (READ_BACK_AFTER * 2u32.saturating_pow(self.surprises.min(16))).min(longest)
    }

    /// Plans what makes Perlbal look as wanted, and gives it to the session to send.
    fn make_it_so(&mut self) {
        self.plan_due = false;
        let now = Instant::now();
        self.note_unnoted(now);
        let memory = &mut self.manager.memory;
        let told = &mut memory.told;
        let Some((serial, wanted)) = &mut memory.wanted else {
            return self.take_told();
        };
        // Who is there may have changed since the snapshot was taken.
        wanted.keep(told);
        let (serial, plan) = (*serial, plan(wanted, told));
        let Plan {
            groups,
            changes,
            problems,
        } = plan;
        for command in groups.iter().flatten() {
            if let Some((name, change)) = change_by(command, told)
                && let Some(seen) = memory.seen.get_mut(name)
            {
                seen.since.merge(change);
            }
            told.apply(command);
            memory.counters.command(command);
            if let Some(reading) = &mut self.reading {
                reading.sent(command);
            }
            if let Command::Reload { pool, .. } = command {
                self.reloaded.insert(pool.clone());
            }
            self.dirty.extend(command.changes().cloned());
        }
        self.note_leavers(&changes, now);
        let removes = changes.values().any(|change| !change.removed.is_empty());
        let mut commands = groups.iter().flatten();
        let creates = commands.any(|command| matches!(command, Command::CreatePool(_)));
        let may_be_remarked = creates || self.manager.memory.remarks_unserved();
        self.expect(serial, removes, may_be_remarked);
        let memory = &mut self.manager.memory;
        for group in &groups {
            memory.leavers.take_group(group, &memory.told);
        }
        self.tell(serial, groups.iter().flatten().count());
        if !groups.is_empty() {
            self.read_back_at.get_or_insert(now + self.patience());
            let (_, unlogged) = self.unlogged.get_or_insert_with(|| (now, BTreeMap::new()));
            for (name, change) in changes {
                unlogged.entry(name).or_default().merge(change);
            }
        }
        self.change(groups);
        self.note_shown();
        self.manager.report_problems(problems);
        self.take_told();
    }

    /// Notes that a snapshot is told once so many changes more are answered.
    fn tell(&mut self, serial: u64, changes: usize) {
        let taken = self.taken.take().filter(|_| changes > 0);
        let snapshot = Told {
            serial,
            taken: taken.map(|(at, _)| at),
            cause: taken.and_then(|(_, cause)| cause),
        };
        self.on_the_way.tell(snapshot, changes);
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
