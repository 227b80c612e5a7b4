//! What is due next, from what is known: connecting, reads, plans, drain checks, statistics. Pure: it does no I/O and
//! reads no clock; what happened and the time are arguments.
//!
//! [`next`](Core::next) is asked whenever nothing is in progress; its answer is reported to one of
//! [`on_connected`](Core::on_connected), [`on_read`](Core::on_read), [`on_executed`](Core::on_executed),
//! [`on_busy`](Core::on_busy), [`on_statistics`](Core::on_statistics) and [`on_failed`](Core::on_failed).
//! [`on_snapshot`](Core::on_snapshot) and [`on_query`](Core::on_query) may come at any time.

#![warn(clippy::disallowed_methods)]

mod details;
mod draining;
mod pending;
mod planning;
mod queries;
mod reading;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::draining::DrainTracker;
use self::planning::PlanInProgress;
use self::queries::Waiters;
use self::reading::Reads;
use super::notices::{Notice, Subject};
use super::{Backend, Member, Members, Problems, SessionError, SyncSettings};
use crate::drivers::details::Counters;
use crate::drivers::flag::Flag;
use crate::drivers::outage::{OutageRecord, PENDING_DELAY, ReconnectDelays};
use crate::drivers::{Mode, Snapshot};
use crate::log_throttle::{Decision, LogThrottle};
use crate::model::driver_status::{DriverStatus, Strays, Uncarried};
use crate::model::ownership::OwnedThere;
use crate::model::skipped::SkippedRecord;

/// Interval of checks that the load balancer still responds. One that begins without members, as after a reload, serves
/// nobody until it is noticed: with all that follows, that takes less than a second.
const PING_INTERVAL: Duration = Duration::from_millis(850);

/// One that is replaced sooner than this after it was read is read again after a delay.
const MIN_LIFETIME: Duration = Duration::from_millis(250);

/// What is due next.
#[derive(Debug)]
pub(super) enum Next<Step> {
    /// Connect, or reconnect after an outage.
    Connect,
    /// Check that the load balancer responds.
    Ping,
    /// Read everything.
    Read,
    /// Execute a batch.
    Execute(Vec<Step>),
    /// Find those of these removed members that are busy.
    CheckDrains(BTreeSet<Member>),
    /// Read the load balancer's statistics.
    Statistics { per_node: bool },
    /// Print the steps of a plan, in pieces that take effect as a whole.
    Print(Vec<Vec<String>>),
    /// Nothing before that time, unless something happens.
    Wait(Option<Instant>),
}

/// What is known of a load balancer, and what is due.
pub(super) struct Core<B: Backend> {
    backend: Arc<B>,
    settings: SyncSettings,
    mode: Mode,
    /// The latest snapshot, and what it asks of this load balancer.
    snapshot: Option<Snapshot>,
    desired: Option<Desired<B::Desired>>,
    /// Nodes of the latest snapshot that this load balancer cannot have.
    skipped: SkippedRecord,
    /// When the first snapshot came that no plan was made from yet, and its cause or that of a later one.
    unplanned: Option<(Instant, Option<Instant>)>,
    /// What is there once everything that was sent is executed; without a connection, as last known.
    expected: B::Actual,
    expected_members: Members,
    /// Pools of snapshots of this run that may have members.
    owned: BTreeSet<Arc<str>>,
    /// What was owned at the end of the previous run, until everything was read.
    earlier: Option<OwnedThere>,
    connection: Connection,
    reads: Reads,
    plan: PlanInProgress<B::Step>,
    draining: DrainTracker,
    strays: Arc<Strays>,
    /// Problems that were logged and are not over.
    problems: Problems,
    waiters: Waiters,
    acked: u64,
    observed: u64,
    settled: u64,
    connected: Flag,
    in_sync: Flag,
    /// In sync but for pools that are not carried.
    carried_in_sync: bool,
    outage: OutageRecord,
    /// When to find, during an outage, which changes are pending.
    pending_at: Option<Instant>,
    counters: Counters,
    notices: Vec<Notice>,
    log_throttle: LogThrottle<Subject>,
}

/// What a snapshot asks for.
struct Desired<D> {
    serial: u64,
    state: D,
    members: Members,
    problems: Problems,
}

/// How far the connection is.
struct Connection {
    state: ConnectionState,
    delays: ReconnectDelays,
    /// What the load balancer is, by the last connection.
    description: String,
    /// When the present exchange began.
    asked_at: Instant,
    ping_at: Instant,
}

/// Whether there is a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    /// There is none; the next attempt is due at that time.
    Down { retry_at: Instant },
    /// There is one since then; nothing was read over it.
    Unread { since: Instant },
    /// Everything was read over it.
    Read { since: Instant },
}

impl<B: Backend> Core<B> {
    /// Nothing is known but what was owned at the end of the previous run.
    pub(super) fn new(
        backend: Arc<B>,
        settings: SyncSettings,
        mode: Mode,
        earlier: OwnedThere,
        now: Instant,
    ) -> Self {
        let mut outage = OutageRecord::default();
        outage.begin(now);
        Self {
            backend,
            mode,
            snapshot: None,
            desired: None,
            skipped: SkippedRecord::default(),
            unplanned: None,
            expected: B::Actual::default(),
            expected_members: Members::new(),
            owned: BTreeSet::new(),
            earlier: Some(earlier),
            connection: Connection {
                state: ConnectionState::Down { retry_at: now },
                delays: ReconnectDelays::default(),
                description: String::new(),
                asked_at: now,
                ping_at: now,
            },
            reads: Reads::new(settings.resync_interval, now),
            plan: PlanInProgress::default(),
            draining: DrainTracker::default(),
            strays: Arc::default(),
            problems: Problems::new(),
            waiters: Waiters::default(),
            acked: 0,
            observed: 0,
            settled: 0,
            connected: Flag::unset(now),
            in_sync: Flag::unset(now),
            carried_in_sync: false,
            outage,
            pending_at: None,
            counters: Counters::default(),
            notices: Vec::new(),
            log_throttle: LogThrottle::default(),
            settings,
        }
    }

    /// The settings.
    pub(super) fn settings(&self) -> &SyncSettings {
        &self.settings
    }

    /// What is due next. Nothing is in progress.
    pub(super) fn next(&mut self, now: Instant) -> Next<B::Step> {
        self.connection.asked_at = now;
        match self.connection.state {
            ConnectionState::Down { retry_at } if retry_at <= now => return Next::Connect,
            ConnectionState::Down { retry_at } => return Next::Wait(Some(retry_at)),
            ConnectionState::Unread { .. } => return self.begin_read(now),
            ConnectionState::Read { .. } => {}
        }
        if self.plan.due {
            self.make_plan(now);
        }
        if self.mode == Mode::DryRun {
            return self.print_plan(now);
        }
        if let Some(batch) = self.next_batch() {
            return Next::Execute(batch);
        }
        if self.reads.due_at() <= now {
            return self.begin_read(now);
        }
        if let Some(removed) = self.begin_drain_check(now) {
            return Next::CheckDrains(removed);
        }
        if let Some(per_node) = self.waiters.begin() {
            return Next::Statistics { per_node };
        }
        if self.connection.ping_at <= now {
            self.connection.ping_at = now + PING_INTERVAL;
            return Next::Ping;
        }
        let due_at = self.reads.due_at().min(self.connection.ping_at);
        let drains = self.draining.check_at();
        Next::Wait(Some(drains.map_or(due_at, |at| at.min(due_at))))
    }

    /// The latest snapshot. It supersedes what is not sent yet of the one before.
    pub(super) fn on_snapshot(&mut self, snapshot: Option<Snapshot>, now: Instant) {
        self.snapshot = snapshot;
        self.update_desired();
        self.update_skipped(now);
        let superseded = self.plan.supersede();
        let cause = self.snapshot.as_ref().and_then(|snapshot| snapshot.cause);
        let unplanned = self
            .unplanned
            .get_or_insert(superseded.unwrap_or((now, cause)));
        unplanned.1 = unplanned.1.or(cause);
        if !self.is_read() {
            self.pending_at.get_or_insert(now + PENDING_DELAY);
        }
    }

    fn update_desired(&mut self) {
        let Some(snapshot) = &self.snapshot else {
            self.desired = None;
            return;
        };
        let (desired, problems) = self.backend.desired(snapshot, &self.owned);
        let members = B::desired_members(&desired);
        self.owned.extend(members.keys().cloned());
        self.desired = Some(Desired {
            serial: snapshot.serial,
            state: desired,
            members,
            problems,
        });
    }

    fn update_skipped(&mut self, now: Instant) {
        let snapshot = self.snapshot.as_ref();
        let skipped = snapshot.map(|snapshot| self.backend.skipped(snapshot));
        if !self.skipped.set(skipped.unwrap_or_default()) {
            return;
        }
        let what = format!("{} cannot serve IPv6 nodes", self.settings.id.kind.name);
        if let Some(text) = self.skipped.get().text(&what) {
            self.log(Subject::Problems, now, || Notice::Problem(text));
        }
    }

    /// There is a connection, to a load balancer of this description.
    pub(super) fn on_connected(&mut self, description: String, now: Instant) {
        self.connection.state = ConnectionState::Unread { since: now };
        self.connection.ping_at = now + PING_INTERVAL;
        self.connection.description = description;
    }

    /// An attempt to connect, or an exchange, failed; the connection is gone.
    pub(super) fn on_failed(&mut self, failure: &SessionError, now: Instant) {
        let mut lasted = Duration::ZERO;
        if let ConnectionState::Read { since } = self.connection.state {
            lasted = passed(since, now);
            self.connection.delays.on_lasted(lasted);
        }
        let began = self.connection.asked_at;
        let is_replaced = self.is_read() && matches!(failure, SessionError::Replaced(_));
        let is_unusable = matches!(failure, SessionError::Unusable(_));
        // One that is replaced again and again is not to be read all the time.
        let delay = if is_replaced && lasted >= MIN_LIFETIME {
            Duration::ZERO
        } else {
            self.connection.delays.next(is_unusable)
        };
        self.connection.state = ConnectionState::Down {
            retry_at: now + delay,
        };
        if let Some(taken) = self.plan.supersede() {
            self.unplanned.get_or_insert(taken);
        }
        self.waiters.fail();
        self.observed = 0;
        self.connected.set(false, began);
        let cause = failure.cause();
        let before = self.outage.begin(began).cause.replace(cause.clone());
        if before.as_ref() != Some(cause) {
            self.log(Subject::Connection, now, || match failure {
                SessionError::Replaced(_) => Notice::Replaced(cause.to_string()),
                _ => Notice::Unreachable(cause.to_string()),
            });
        }
        let report_after = if is_replaced {
            PENDING_DELAY
        } else {
            Duration::ZERO
        };
        self.pending_at.get_or_insert(now + report_after);
        let latest = self.desired.as_ref().map_or(0, |desired| desired.serial);
        self.record_progress(latest, false, now);
    }

    /// Everything was read over this connection.
    fn is_read(&self) -> bool {
        matches!(self.connection.state, ConnectionState::Read { .. })
    }

    /// Records how far a snapshot has come.
    fn record_progress(&mut self, serial: u64, in_sync: bool, now: Instant) {
        self.settled = serial;
        self.in_sync.set(in_sync, now);
        self.carried_in_sync = in_sync;
    }

    /// What is not carried there, by what is expected; without a connection, by what was when it ended.
    fn uncarried(&self) -> Arc<Uncarried> {
        let pools = self.plan.absent.clone();
        let mut nodes = BTreeSet::new();
        if !self.connected.is && !pools.is_empty() {
            nodes.extend(self.expected_members.values().flatten());
            nodes.extend(self.draining.all().into_iter().map(|(_, node)| node));
        }
        Arc::new(Uncarried { pools, nodes })
    }

    fn set_connected(&mut self, now: Instant) {
        self.outage.end();
        self.pending_at = None;
        self.connected.set(true, now);
    }

    /// How far the load balancer has come.
    pub(super) fn status(&mut self) -> DriverStatus {
        DriverStatus {
            connected: self.connected.is,
            outage: self.outage.get().cloned().map(Arc::new),
            settled: self.settled,
            in_sync: self.connected.is && self.in_sync.is,
            problem: None,
            acked: self.acked,
            observed: self.observed,
            strays: Arc::clone(&self.strays),
            draining: self.draining.by_node(),
            skipped: Arc::clone(self.skipped.get()),
            uncarried: self.uncarried(),
            carried_in_sync: self.connected.is && self.carried_in_sync,
        }
    }

    /// The lines that are not logged yet.
    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Adds a line, unless there were too many about this subject.
    fn log(&mut self, subject: Subject, now: Instant, notice: impl FnOnce() -> Notice) {
        let what = subject.to_string();
        match self.log_throttle.check(subject, now) {
            Decision::Log => self.notices.push(notice()),
            Decision::LogLast => self.notices.push(Notice::Suppressed(what)),
            Decision::Suppress => {}
        }
    }
}

/// The members that are in `one` and not in `other`.
fn difference(one: &Members, other: &Members) -> Vec<Member> {
    let nothing = BTreeSet::new();
    let each = one.iter().flat_map(|(pool, nodes)| {
        let others = other.get(pool).unwrap_or(&nothing);
        nodes.difference(others).map(|node| (pool.clone(), *node))
    });
    each.collect()
}

/// Whether the node is in the pool.
fn contains(members: &Members, (pool, node): &Member) -> bool {
    members.get(pool).is_some_and(|nodes| nodes.contains(node))
}

/// The time from `since` to `now`.
fn passed(since: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(since)
}
