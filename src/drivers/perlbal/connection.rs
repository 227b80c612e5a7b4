//! One connection's state machine: reads the actual state, reconciles it with the desired state, and keeps it in sync.
//! Pure: it does no I/O and reads no clock; what arrives and the time are arguments, and what is to be sent is handed
//! out batch by batch.
//!
//! [`serve`](super::serve) is the loop around it. It calls [`plan_if_due`](Connection::plan_if_due) and
//! [`next_batch`](Connection::next_batch) after each of [`on_snapshot`](Connection::on_snapshot),
//! [`on_response`](Connection::on_response), [`on_query`](Connection::on_query) and
//! [`on_timer`](Connection::on_timer); the last is due at [`next_deadline`](Connection::next_deadline).

#![warn(clippy::disallowed_methods)]

mod acks;
mod confirmation;
mod draining;
mod planning;
mod queries;
mod resync;
mod service_checks;
#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests;
mod unsealed;
mod vanished;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use self::confirmation::Confirmation;
use self::draining::Untracked;
use self::queries::StatisticsWaiters;
use self::vanished::Vanished;
use super::acks::PendingSnapshots;
use super::desired::NameMap;
use super::error::SessionError;
use super::pipeline::Pipeline;
use super::plan::PoolChange;
use super::protocol::{Command, Response, Users};
use super::read_state::StateRead;
use super::state::State;
use super::throttle::Kind;
use crate::drivers::Snapshot;
use crate::drivers::perlbal::name::PerlbalName;
use crate::drivers::perlbal::settings::PerlbalSettings;

/// Delay before changed pools are read back, so that one read serves several changes in quick succession.
const READ_BACK_DELAY: Duration = Duration::from_millis(200);

/// What a Perlbal is driven by, besides snapshots.
#[derive(Clone, Copy)]
pub(super) struct Setup<'a> {
    pub(super) settings: &'a PerlbalSettings,
    pub(super) names: &'a NameMap,
    /// The directory of our pool files; a nodefile there is ours.
    pub(super) pool_directory: &'a Path,
}

/// One connection, and what is known through it.
pub(super) struct Connection<'a> {
    setup: Setup<'a>,
    pub(super) state: &'a mut State,
    pub(super) pipeline: Pipeline,
    /// The latest snapshot.
    snapshot: Option<Snapshot>,
    opened_at: Instant,
    /// When more may be sent, if that is a matter of time.
    opens_at: Option<Instant>,
    /// The actual or the desired state may have changed since the last plan.
    plan_due: bool,
    /// The purpose of each query that is not answered yet, the oldest first.
    queries: VecDeque<QueryKind>,
    /// Everything was read over this connection.
    is_read: bool,
    /// The read that is in progress.
    read: Option<StateRead>,
    /// Pools that were changed and not yet read back.
    dirty: BTreeSet<PerlbalName>,
    read_back_at: Option<Instant>,
    resync_at: Instant,
    ping_at: Instant,
    /// Number of consecutive reads that showed something else than expected; each delays the next read longer.
    mismatches: u32,
    /// A change was rejected since the last read of everything began.
    has_rejected: bool,
    /// Pools whose nodefile was reloaded since they were last read.
    reloaded: BTreeSet<PerlbalName>,
    /// Changes that are not all acknowledged, for the log, and since when.
    unlogged: Option<(Instant, BTreeMap<PerlbalName, PoolChange>)>,
    /// Snapshots that are not acknowledged yet.
    pending: PendingSnapshots,
    /// Of the first snapshot that no plan was made from yet: when it came, and its cause or that of a later one.
    unplanned: Option<(Instant, Option<Instant>)>,
    untracked: Untracked,
    /// Pools that services newly use, since connections were last read.
    newly_used: BTreeSet<PerlbalName>,
    /// How many services used each pool when that was last queried.
    users: Users,
    confirmation: Confirmation,
    statistics: StatisticsWaiters,
    vanished: Vanished,
    /// Perlbal's work on our commands before the drain check that is in progress.
    worked_before_check: Duration,
}

/// What a query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueryKind {
    /// Whether Perlbal responds, and how long a round trip is.
    Ping,
    /// Which connections to nodes are being made.
    Vanished,
    /// The pools and services.
    StateRead,
    /// Which removed members are drained.
    DrainCheck,
    Statistics,
}

/// What may be sent now.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendWindow {
    may_read: bool,
}

impl<'a> Connection<'a> {
    /// A connection over which a first command was answered. It begins by reading everything.
    pub(super) fn new(
        setup: Setup<'a>,
        state: &'a mut State,
        pipeline: Pipeline,
        snapshot: Option<Snapshot>,
        now: Instant,
    ) -> Self {
        state.set_desired(snapshot.as_ref(), setup.names);
        state.rejected.clear();
        state.confirmed_serial = 0;
        let mut connection = Self {
            setup,
            state,
            pipeline,
            snapshot,
            opened_at: now,
            opens_at: None,
            plan_due: true,
            queries: VecDeque::new(),
            is_read: false,
            read: None,
            dirty: BTreeSet::new(),
            read_back_at: None,
            resync_at: now,
            ping_at: now,
            mismatches: 0,
            has_rejected: false,
            reloaded: BTreeSet::new(),
            unlogged: None,
            pending: PendingSnapshots::default(),
            unplanned: None,
            untracked: Untracked::default(),
            newly_used: BTreeSet::new(),
            users: Users::new(),
            confirmation: Confirmation::default(),
            statistics: StatisticsWaiters::default(),
            vanished: Vanished::default(),
            worked_before_check: Duration::ZERO,
        };
        connection.ping(now);
        connection.read_everything(now);
        connection
    }

    /// Ends it: the connection is broken or closed. Returns how long it lasted, if anything was read over it.
    pub(super) fn close(mut self, now: Instant) -> Option<Duration> {
        self.fail_waiters();
        if let Some((_, changes)) = self.unlogged.take() {
            for (pool, change) in changes {
                let earlier = self.state.unacknowledged.entry(pool).or_default();
                earlier.merge(change);
            }
        }
        self.state
            .left_unused
            .append(&mut self.untracked.left_unused);
        self.state
            .set_disconnected(self.pipeline.owed_since().unwrap_or(now));
        self.is_read
            .then(|| now.saturating_duration_since(self.opened_at))
    }

    /// Derives the desired state from the latest snapshot.
    pub(super) fn on_snapshot(&mut self, snapshot: Option<Snapshot>, now: Instant) {
        self.snapshot = snapshot;
        self.update_desired();
        let cause = self.snapshot.as_ref().and_then(|snapshot| snapshot.cause);
        let unplanned = self.unplanned.get_or_insert((now, cause));
        unplanned.1 = unplanned.1.or(cause);
        self.plan_due = true;
    }

    fn update_desired(&mut self) {
        self.state
            .set_desired(self.snapshot.as_ref(), self.setup.names);
    }

    /// Plans what is due, if changes may be sent now.
    pub(super) fn plan_if_due(&mut self, now: Instant) {
        // Not while the last plan is unsent: what comes meanwhile is planned together.
        let is_due = self.must_plan() && !self.pipeline.has_unsent_changes();
        if is_due && self.may_change(now) {
            self.plan_and_queue(now);
        }
    }

    /// What may be sent now, if anything may. To be called after [`plan_if_due`](Self::plan_if_due), which takes its
    /// time; and the process may have been paused.
    pub(super) fn send_window(&mut self, now: Instant) -> Option<SendWindow> {
        if !self.may_change(now) {
            return None;
        }
        let reads_at = self.pipeline.throttle().opens_at(Kind::Read, now);
        let may_read = reads_at.is_some_and(|at| at <= now);
        // What is not sent in this window waits for a response, or until reads may be sent.
        self.opens_at = reads_at.filter(|at| *at > now);
        Some(SendWindow { may_read })
    }

    /// The next batch to write in one piece, until there is none. To be called again after each event.
    pub(super) fn next_batch(&mut self, window: SendWindow, now: Instant) -> Option<String> {
        self.pipeline.next_batch(window.may_read, now)
    }

    /// Whether changes may be sent now; if not, sets when that may be so.
    fn may_change(&mut self, now: Instant) -> bool {
        self.opens_at = self.pipeline.throttle().opens_at(Kind::Change, now);
        self.opens_at.is_some_and(|at| at <= now)
    }

    /// Whether a plan is due and can be made, since the actual state is known.
    fn must_plan(&self) -> bool {
        self.plan_due && self.is_read
    }

    /// When [`on_timer`](Self::on_timer) is due.
    pub(super) fn next_deadline(&self) -> Instant {
        let waits = self.must_plan() || self.pipeline.has_unsent();
        [
            self.read_back_at,
            self.confirm_at(),
            self.drain_check_at(),
            self.opens_at.filter(|_| waits),
            self.vanished.check_at,
            Some(self.ping_at),
        ]
        .into_iter()
        .flatten()
        .fold(self.resync_at, Instant::min)
    }

    /// Begins what is due.
    pub(super) fn on_timer(&mut self, now: Instant) {
        if self.ping_at <= now {
            self.ping(now);
        }
        if self.vanished.check_at.is_some_and(|at| at <= now) {
            self.check_vanished();
        }
        if self.drain_check_at().is_some_and(|at| at <= now) {
            self.begin_drain_check(now);
        }
        if self.read.is_some() {
            // One read at a time; what it does not show is read after it.
            self.read_back_at = self.read_back_at.map(|at| at.max(now + READ_BACK_DELAY));
            self.resync_at = self.resync_at.max(now + READ_BACK_DELAY);
        } else if self.resync_at <= now {
            self.read_everything(now);
        } else if self.confirm_at().is_some_and(|at| at <= now) {
            self.read_to_confirm(now);
        } else if self.read_back_at.is_some_and(|at| at <= now) {
            self.read_back();
        }
    }

    /// Checks that Perlbal responds, unless a response is due or anything waits to be sent.
    fn ping(&mut self, now: Instant) {
        self.ping_at = now + self.pipeline.throttle().ping_every();
        if self.pipeline.owed_since().is_none() && !self.pipeline.has_unsent() {
            self.query(QueryKind::Ping, [Command::Ping]);
        }
    }

    fn query(&mut self, kind: QueryKind, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            self.state.counters.count_command(command.kind());
            self.queries.push_back(kind);
            self.pipeline.queue_reads([command]);
        }
    }

    /// Handles the response to the oldest command that was not answered.
    pub(super) fn on_response(
        &mut self,
        command: &Command,
        response: Response,
        now: Instant,
    ) -> Result<(), SessionError> {
        if let Response::Error(_) = response {
            self.state.counters.errors += 1;
        }
        if command.is_change() {
            self.on_change_response(command, response, now);
            return Ok(());
        }
        match command {
            Command::ShowService { service, known } => {
                self.on_service_shown(service, known, response, now);
                return Ok(());
            }
            Command::ShowPools { sealed } => {
                self.on_users_shown(sealed.as_ref(), response, now);
                return Ok(());
            }
            _ => {}
        }
        // A read is judged by what is desired now: a file that was reloaded is as new as that.
        if self.must_plan() {
            self.plan_and_queue(now);
        }
        // Queries are answered in their order.
        match (self.queries.pop_front(), response) {
            (Some(QueryKind::Ping), _) | (Some(QueryKind::Vanished), Response::Error(_)) => {}
            (Some(QueryKind::Vanished), Response::Ok(lines)) => self.on_pending(&lines, now),
            (Some(QueryKind::Statistics), response) => self.on_statistics(command, response, now),
            (Some(QueryKind::DrainCheck), Response::Ok(lines)) => {
                self.on_drain_check(command, &lines, now);
            }
            (_, Response::Ok(lines)) => self.on_state_read(command, &lines, now)?,
            (_, Response::Error(error)) => match command {
                Command::ShowPool(pool) => self.on_pool_absent(pool, now),
                command => return Err(SessionError::rejected(command, error)),
            },
        }
        Ok(())
    }

    /// Delay before the next read after a mismatch.
    fn mismatch_delay(&self) -> Duration {
        let longest = self.setup.settings.resync_interval;
        (READ_BACK_DELAY * 2u32.saturating_pow(self.mismatches.min(16))).min(longest)
    }

    /// Reads everything no later than the delay after a mismatch.
    fn resync_soon(&mut self, now: Instant) {
        self.resync_at = self.resync_at.min(now + self.mismatch_delay());
    }
}
