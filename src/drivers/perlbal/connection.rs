//! One connection's life: read what is there, make it what is wanted, keep it so.

mod acks;
mod confirmation;
mod draining;
mod queries;
mod resync;
mod service_checks;
mod unsealed;
mod vanished;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use self::confirmation::Confirmation;
use self::queries::StatisticsWaiters;
use self::vanished::Vanished;
use super::drain::PoolMember;
use super::error::SessionError;
use super::plan::{Plan, PoolChange, plan};
use super::protocol::{Command, Response, Users};
use super::read_state::{StateRead, change_by};
use super::session::Session;
use super::standing::{OnTheWay, Told};
use super::throttle::Kind;
use super::{PerlbalDriver, Waits};
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

/// After a change, so that one reading serves several changes that come close together.
const READ_BACK_DELAY: Duration = Duration::from_millis(200);

/// One connection, and what is known through it.
struct Connection<'a> {
    driver: &'a mut PerlbalDriver,
    session: Session,
    /// When to try again to send what waits to be sent, if that is a matter of time.
    opens_at: Option<Instant>,
    /// What is there, or what is wanted, may be otherwise than at the last plan.
    plan_due: bool,
    /// What each reading command was asked for that is not answered yet, the oldest first.
    asked: VecDeque<QueryKind>,
    /// What is there was read over this connection.
    is_read: bool,
    reading: Option<StateRead>,
    /// Pools that were changed and not yet read back.
    dirty: BTreeSet<PerlbalName>,
    read_back_at: Option<Instant>,
    resync_at: Instant,
    ping_at: Instant,
    /// How many readings in a row did not show what was told; each makes the next one wait longer.
    mismatches: u32,
    /// A change was refused since the last reading of everything began.
    rejected: bool,
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
    untracked: Untracked,
    /// Pools that services were seen to use newly, since connections were read last.
    newly_used: BTreeSet<PerlbalName>,
    /// How many services used which pool when that was last asked.
    users: Users,
    confirmation: Confirmation,
    statistics: StatisticsWaiters,
    vanished: Vanished,
    /// Perlbal's work on our commands before the look that is under way.
    worked_before_check: Duration,
}

/// What a reading command is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueryKind {
    Ping,
    Vanished,
    StateRead,
    DrainCheck,
    Statistics,
}

/// Who may have connections that no seal has reached.
#[derive(Default)]
struct Untracked {
    /// Who was a member of a pool by the last reading, and by the present one is none.
    gone: Vec<PoolMember>,
    /// Who is in no pool but has connections.
    strays: BTreeSet<NodeAddr>,
    /// Someone was removed from a pool that no service uses, as far as is known, since connections were asked for last.
    left_unused: bool,
}

impl PerlbalDriver {
    /// Serves one connection until it breaks (an error) or the task is stopped.
    pub(super) async fn serve(
        &mut self,
        session: Session,
        waits: &mut Waits,
    ) -> Result<(), SessionError> {
        self.take_snapshot();
        self.state.rejected.clear();
        self.state.observed_serial = 0;
        let mut link = Connection {
            resync_at: Instant::now() + self.settings.resync_interval,
            driver: self,
            session,
            opens_at: None,
            plan_due: true,
            asked: VecDeque::new(),
            is_read: false,
            reading: None,
            dirty: BTreeSet::new(),
            read_back_at: None,
            ping_at: Instant::now(),
            mismatches: 0,
            rejected: false,
            reloaded: BTreeSet::new(),
            unlogged: None,
            on_the_way: OnTheWay::default(),
            taken: None,
            untracked: Untracked::default(),
            newly_used: BTreeSet::new(),
            users: Users::new(),
            confirmation: Confirmation::default(),
            statistics: StatisticsWaiters::default(),
            vanished: Vanished::default(),
            worked_before_check: Duration::ZERO,
        };
        let connected_at = Instant::now();
        let served = link.serve().await;
        link.fail_waiters();
        if link.is_read {
            waits.lasted(connected_at.elapsed());
        }
        let owed_since = link.session.owed_since();
        let ended = owed_since.map_or_else(Instant::now, tokio::time::Instant::into_std);
        if let Some((_, changes)) = link.unlogged.take() {
            for (pool, change) in changes {
                let earlier = self.state.unacknowledged.entry(pool).or_default();
                earlier.merge(change);
            }
        }
        self.state.left(ended);
        self.tell_standing();
        served
    }
}

impl Connection<'_> {
    async fn serve(&mut self) -> Result<(), SessionError> {
        let stop = self.driver.stop.clone();
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
                    if let Response::Ok(lines) = &answer {
                        self.driver.resolve_nodefiles(&command, lines).await;
                    }
                    self.on_response(&command, answer)?;
                }
                changed = self.driver.snapshots.changed() => match changed {
                    Ok(()) => self.take_snapshot(),
                    Err(_) => return Ok(()),
                },
                Some(question) = self.driver.questions.recv() => self.on_query(question),
                () = sleep_until(wake.into()) => self.wake(),
            }
        }
    }

    /// Sends what there is to say, as far as now is the time.
    async fn send(&mut self) -> Result<(), SessionError> {
        // Not while the last plan is unsent: what comes meanwhile is planned together.
        let has_to_plan = self.has_to_plan() && !self.session.has_unsent_changes();
        if has_to_plan && self.may_change() {
            self.plan_and_queue();
        }
        // Asked again: planning took its time, or this process did not run meanwhile.
        if !self.may_change() {
            return Ok(());
        }
        let now = Instant::now();
        let reads_at = self.session.throttle().opens_at(Kind::Read, now);
        let may_read = reads_at.is_some_and(|at| at <= now);
        self.session.flush(may_read).await?;
        // What is not sent by now waits for an answer, or for the time when readings may go.
        self.opens_at = reads_at.filter(|at| *at > now && self.session.has_unsent());
        Ok(())
    }

    /// Whether changes may be sent now; if not, notes when to look again.
    fn may_change(&mut self) -> bool {
        let now = Instant::now();
        let opens_at = self.session.throttle().opens_at(Kind::Change, now);
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
            self.check_at(),
            self.opens_at,
            self.vanished.check_at,
            Some(self.ping_at),
        ]
        .into_iter()
        .flatten()
        .fold(self.resync_at, Instant::min)
    }

    /// When to look who is at rest: not before what is there was read, since a look is judged by
    /// the seals that were sent before it.
    fn check_at(&self) -> Option<Instant> {
        let check_at = self.driver.state.draining.check_at();
        check_at.filter(|_| self.is_read)
    }

    fn wake(&mut self) {
        let now = Instant::now();
        if self.ping_at <= now {
            self.ping(now);
        }
        if self.vanished.check_at.is_some_and(|at| at <= now) {
            self.check_vanished();
        }
        if self.check_at().is_some_and(|at| at <= now) {
            self.begin_check(now);
        }
        if self.reading.is_some() {
            // One reading at a time; what it does not show is read after it.
            self.read_back_at = self.read_back_at.map(|at| at.max(now + READ_BACK_DELAY));
            self.resync_at = self.resync_at.max(now + READ_BACK_DELAY);
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
        self.ping_at = now + self.session.throttle().ping_every();
        if !self.session.is_owed() && !self.session.has_unsent() {
            self.ask(QueryKind::Ping, [Command::Ping]);
        }
    }

    /// Takes reading commands to send.
    fn ask(&mut self, purpose: QueryKind, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            self.driver.state.counters.command(&command);
            self.asked.push_back(purpose);
            self.session.ask([command]);
        }
    }

    fn take_snapshot(&mut self) {
        self.driver.take_snapshot();
        let snapshot = self.driver.snapshots.borrow();
        let cause = snapshot.as_ref().and_then(|snapshot| snapshot.cause);
        drop(snapshot);
        let taken = self.taken.get_or_insert((Instant::now(), cause));
        taken.1 = taken.1.or(cause);
        self.plan_due = true;
    }

    fn on_response(&mut self, command: &Command, answer: Response) -> Result<(), SessionError> {
        if let Response::Error(_) = answer {
            self.driver.state.counters.errors += 1;
        }
        if command.is_change() {
            self.on_change_response(command, answer);
            return Ok(());
        }
        match command {
            Command::ShowService { service, known } => {
                self.on_service(service, known, answer);
                return Ok(());
            }
            Command::ShowPools { sealed } => {
                self.on_pool_users(sealed.as_ref(), answer);
                return Ok(());
            }
            _ => {}
        }
        // What is read is judged by what is wanted now: a file that was reloaded is as new as that.
        if self.has_to_plan() {
            self.plan_and_queue();
        }
        // Read commands are answered in the order in which they were asked.
        match (self.asked.pop_front(), answer) {
            (Some(QueryKind::Ping), _) | (Some(QueryKind::Vanished), Response::Error(_)) => {}
            (Some(QueryKind::Vanished), Response::Ok(lines)) => self.on_pending(&lines),
            (Some(QueryKind::Statistics), answer) => self.take_statistics(command, answer),
            (Some(QueryKind::DrainCheck), Response::Ok(lines)) => {
                self.on_drain_check(command, &lines)
            }
            (_, Response::Ok(lines)) => self.on_state_read(command, &lines)?,
            (_, Response::Error(error)) => match command {
                Command::ShowPool(pool) => self.on_pool_absent(pool),
                command => return Err(SessionError::refused(command, error)),
            },
        }
        Ok(())
    }

    /// How long to wait before the next reading after a surprise.
    fn mismatch_delay(&self) -> Duration {
        let longest = self.driver.settings.resync_interval;
        (READ_BACK_DELAY * 2u32.saturating_pow(self.mismatches.min(16))).min(longest)
    }

    /// Plans what makes Perlbal look as wanted, and gives it to the session to send.
    fn plan_and_queue(&mut self) {
        self.plan_due = false;
        let now = Instant::now();
        self.track_unsealed(now);
        let state = &mut self.driver.state;
        let expected = &mut state.expected;
        let Some((serial, desired)) = &mut state.desired else {
            return self.record_acked();
        };
        // Who is there may have changed since the snapshot was taken.
        desired.keep(expected);
        let (serial, plan) = (*serial, plan(desired, expected));
        let Plan {
            groups,
            changes,
            problems,
        } = plan;
        for command in groups.iter().flatten() {
            if let Some((name, change)) = change_by(command, expected)
                && let Some(observed) = state.observed.get_mut(name)
            {
                observed.since.merge(change);
            }
            expected.apply(command);
            state.counters.command(command);
            if let Some(reading) = &mut self.reading {
                reading.sent(command);
            }
            if let Command::Reload { pool, .. } = command {
                self.reloaded.insert(pool.clone());
            }
            self.dirty.extend(command.changes().cloned());
        }
        self.track_removed(&changes, now);
        let removes = changes.values().any(|change| !change.removed.is_empty());
        let mut commands = groups.iter().flatten();
        let creates = commands.any(|command| matches!(command, Command::CreatePool(_)));
        let may_be_remarked = creates || self.driver.state.remarks_unserved();
        self.expect(serial, removes, may_be_remarked);
        let state = &mut self.driver.state;
        for group in &groups {
            state.draining.take_group(group, &state.expected);
        }
        self.tell(serial, groups.iter().flatten().count());
        if !groups.is_empty() {
            self.read_back_at.get_or_insert(now + self.mismatch_delay());
            let (_, unlogged) = self.unlogged.get_or_insert_with(|| (now, BTreeMap::new()));
            for (name, change) in changes {
                unlogged.entry(name).or_default().merge(change);
            }
        }
        self.change(groups);
        self.record_confirmed();
        self.driver.report_problems(problems);
        self.record_acked();
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
