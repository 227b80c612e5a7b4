//! What is known of a Perlbal; it outlives connections. Pure: the time is an argument, and what the log says is kept
//! until the driver logs it.

#![warn(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::carried::Carried;
use super::connector::AddressResolver;
use super::desired::{Desired, NameMap};
use super::drain::{DrainTracker, PoolMember};
use super::notices::Notice;
use super::outage::pending_changes;
use super::own_files::OwnFiles;
use super::ownership::OwnedPools;
use super::plan::{Actual, PoolChange, Problem};
use super::remarks::{self, Remark};
use super::statistics::CachedStatistics;
use super::view::{Connection, LeaverView, Observed, PerlbalView, Sources};
use crate::drivers::Snapshot;
use crate::drivers::details::Counters;
use crate::drivers::flag::Flag;
use crate::drivers::outage::OutageRecord;
use crate::drivers::perlbal::name::PerlbalName;
use crate::log_throttle::{Decision, LogThrottle};
use crate::model::driver_status::{Draining, DriverStatus, Outage, Strays, Uncarried};
use crate::model::ownership::OwnedThere;
use crate::model::skipped::{SkippedNodes, SkippedRecord};

/// What is known of a Perlbal. It outlives connections.
pub struct State {
    /// When Perlbal was started, by the last connection, in seconds since 1970.
    pub(super) start: Option<u64>,
    /// Its version, by the last connection.
    pub(super) version: Option<String>,
    /// The latest snapshot's serial, and the state that it desires for this Perlbal.
    pub(super) desired: Option<(u64, Desired)>,
    /// Nodes of the latest snapshot that Perlbal cannot have.
    skipped: SkippedRecord,
    /// Which of its pools Perlbal does not carry.
    carried: Carried,
    /// What Perlbal looks like once it has run everything that was sent; until something was read over
    /// a new connection, what it looked like at the end of the last one.
    pub(super) expected: Actual,
    /// The serial of the last snapshot whose every change was answered with `OK`.
    pub(super) acked_serial: u64,
    /// The serial of the last snapshot that was confirmed by reading everything over this connection.
    pub(super) confirmed_serial: u64,
    /// Nodes in pools that services use, although they are not desired there.
    pub(super) strays: Arc<Strays>,
    /// What was owned here at the end of the previous run, until both the actual and the desired state are known.
    pub(super) earlier: Option<OwnedPools>,
    /// Pools that pollbal owned in the previous run and does not own now.
    pub(super) former: BTreeSet<PerlbalName>,
    /// Remarks that were logged and still apply.
    pub(super) remarks: BTreeSet<Remark>,
    /// What was last read of each pool.
    pub(super) observed: BTreeMap<PerlbalName, Observed>,
    /// Problems that were logged and are not over.
    pub(super) problems: BTreeSet<Problem>,
    /// Which nodefiles are our pool files.
    pub(super) own_files: OwnFiles,
    /// Pools whose nodefile, when reloaded, gave other members than our pool file has.
    pub(super) unreliable_nodefiles: BTreeSet<PerlbalName>,
    /// The entries that pools need besides their members, while Perlbal makes connections to removed nodes.
    pub(super) spares: BTreeMap<PerlbalName, BTreeSet<String>>,
    /// Pools of which a command was rejected since everything was last read.
    pub(super) rejected: BTreeSet<PerlbalName>,
    /// Why it cannot be driven, unless it is connected.
    pub(super) outage: OutageRecord,
    /// When to compute, during an outage, which changes are pending.
    pub(super) check_at: Option<Instant>,
    /// Changes that were sent over the last connection and not acknowledged.
    pub(super) unacknowledged: BTreeMap<PerlbalName, PoolChange>,
    /// Members that were removed from a pool that no service used, as far as was known, since connections were last
    /// queried: no seal has reached their connections if one did.
    pub(super) left_unused: BTreeSet<PoolMember>,
    /// Resolves its address.
    pub(super) resolver: Arc<AddressResolver>,
    /// Everything was read over this connection, and made as it was desired then.
    pub(super) connected: Flag,
    /// The latest snapshot that was read back is in effect completely.
    pub(super) in_sync: Flag,
    /// The last snapshot that was brought into effect, or failed to be.
    pub(super) settled_serial: u64,
    /// Everything that could be applied of it was, and was read back.
    pub(super) is_settled: bool,
    /// Removed members that are not drained yet.
    pub(super) draining: DrainTracker,
    /// The same by node, and the version of them that this shows.
    draining_by_node: (u64, Arc<Draining>),
    /// Lines that are not logged yet.
    notices: Vec<Notice>,
    /// Limits the lines about each pool, by what it does.
    pool_log_throttle: LogThrottle<(PerlbalName, &'static str)>,
    /// Limits the lines about the connection.
    connection_log_throttle: LogThrottle<()>,
    /// What was done since the start, in numbers.
    pub(super) counters: Counters,
    /// The statistics that were read last.
    pub(super) statistics: Option<CachedStatistics>,
}

impl State {
    /// Nothing is known, and there is no connection.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            start: None,
            version: None,
            desired: None,
            skipped: SkippedRecord::default(),
            carried: Carried::default(),
            expected: Actual::default(),
            acked_serial: 0,
            confirmed_serial: 0,
            strays: Arc::default(),
            earlier: None,
            former: BTreeSet::new(),
            remarks: BTreeSet::new(),
            observed: BTreeMap::new(),
            problems: BTreeSet::new(),
            own_files: OwnFiles::default(),
            unreliable_nodefiles: BTreeSet::new(),
            spares: BTreeMap::new(),
            rejected: BTreeSet::new(),
            outage: OutageRecord::default(),
            check_at: None,
            unacknowledged: BTreeMap::new(),
            left_unused: BTreeSet::new(),
            resolver: Arc::default(),
            connected: Flag::unset(now),
            in_sync: Flag::unset(now),
            settled_serial: 0,
            is_settled: false,
            draining: DrainTracker::default(),
            draining_by_node: (0, Arc::default()),
            notices: Vec::new(),
            pool_log_throttle: LogThrottle::default(),
            connection_log_throttle: LogThrottle::default(),
            counters: Counters::default(),
            statistics: None,
        }
    }

    /// Nothing is known but what was owned at the end of the previous run.
    #[must_use]
    pub fn after(earlier: OwnedThere, now: Instant) -> Self {
        Self {
            earlier: Some(earlier.into()),
            ..Self::new(now)
        }
    }

    /// Sets what is desired, by a snapshot.
    pub(super) fn set_desired(&mut self, snapshot: Option<&Snapshot>, names: &NameMap) {
        if let Some(snapshot) = snapshot {
            self.set_skipped(SkippedNodes::ipv6(&snapshot.pools));
            self.carried.set_pools(&snapshot.pools, names);
        }
        self.desired = snapshot.map(|snapshot| {
            let mut desired = self.desired_by(snapshot, names);
            self.keep_emptied(&mut desired);
            (snapshot.serial, desired)
        });
    }

    fn set_skipped(&mut self, skipped: SkippedNodes) {
        let is_new = self.skipped.set(skipped);
        let skips = self.skips().filter(|_| is_new);
        self.notices.extend(skips.map(Notice::Problem));
    }

    /// What it skips, for people.
    fn skips(&self) -> Option<String> {
        self.skipped.get().text("Perlbal cannot serve IPv6 nodes")
    }

    fn desired_by(&self, snapshot: &Snapshot, names: &NameMap) -> Desired {
        let is_current = |file: &str| snapshot.current_files.contains(file);
        let mut desired = names.desired(&snapshot.pools, is_current);
        for name in &self.unreliable_nodefiles {
            if let Some(pool) = desired.pools.get_mut(name) {
                pool.file = None;
            }
        }
        desired.keep(&self.expected);
        desired.set_spares(&self.spares);
        desired
    }

    /// The lines that are not logged yet.
    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        mem::take(&mut self.notices)
    }

    /// Adds a line for the log.
    pub(super) fn log(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Adds a line about a pool, unless there were too many of this kind.
    pub(super) fn log_about_pool(
        &mut self,
        pool: &PerlbalName,
        does: &'static str,
        now: Instant,
        notice: impl FnOnce() -> Notice,
    ) {
        let pool = pool.clone();
        match self.pool_log_throttle.check((pool.clone(), does), now) {
            Decision::Log => self.log(notice()),
            Decision::LogLast => self.log(Notice::PoolSuppressed { pool, does }),
            Decision::Suppress => {}
        }
    }

    /// Adds a line about the connection, unless there were too many: it may come and go all the time.
    pub(super) fn log_about_connection(&mut self, now: Instant, notice: impl FnOnce() -> Notice) {
        match self.connection_log_throttle.check((), now) {
            Decision::Log => self.log(notice()),
            Decision::LogLast => self.log(Notice::ConnectionSuppressed),
            Decision::Suppress => {}
        }
    }

    /// Replaces the problems; logs which are new and which are over.
    pub(super) fn set_problems(&mut self, problems: BTreeSet<Problem>) {
        let new = problems.difference(&self.problems);
        let new = new.map(|problem| Notice::Problem(problem.to_string()));
        let over = self.problems.difference(&problems);
        let over = over.map(|problem| Notice::ProblemOver(problem.to_string()));
        self.notices.extend(new.chain(over));
        self.problems = problems;
    }

    /// Replaces the remarks; logs which are new. A later connection does not repeat them.
    pub(super) fn set_remarks(&mut self, remarks: BTreeSet<Remark>) {
        let old = &self.remarks;
        let is_new = |remark: &&Remark| !old.iter().any(|old| old.covers(remark));
        let lines = remarks::lines(remarks.iter().filter(is_new));
        self.notices.extend(lines.into_iter().map(Notice::Remark));
        self.remarks = remarks;
    }

    /// Records how far a snapshot has come.
    pub(super) fn record_progress(&mut self, serial: u64, in_sync: bool, now: Instant) {
        self.settled_serial = serial;
        self.is_settled = false;
        self.in_sync.set(in_sync, now);
    }

    /// Records that Perlbal can be driven.
    pub(super) fn set_connected(&mut self, now: Instant) {
        self.outage.end();
        self.connected.set(true, now);
    }

    /// Records that Perlbal cannot be driven since `since`, unless that was so before.
    pub(super) fn set_disconnected(&mut self, since: Instant) -> &mut Outage {
        self.connected.set(false, since);
        self.outage.begin(since)
    }

    /// Works out what waits to be applied.
    pub(super) fn update_waiting(&mut self, snapshot: Option<&Snapshot>) {
        // Of a Perlbal that was never read it is not known what it has.
        let (Some(snapshot), true) = (snapshot, self.counters.connections > 0) else {
            return;
        };
        let Some((_, desired)) = &self.desired else {
            return;
        };
        self.outage.set_pending(snapshot.serial, || {
            pending_changes(
                desired,
                &self.expected,
                &self.unacknowledged,
                &snapshot.pools,
            )
        });
    }

    /// How far this Perlbal has come.
    pub(super) fn status(&mut self) -> DriverStatus {
        let version = self.draining.version();
        if self.draining_by_node.0 != version {
            self.draining_by_node = (version, Arc::new(self.draining.per_node()));
        }
        DriverStatus {
            connected: self.connected.is,
            outage: self.outage.get().cloned().map(Arc::new),
            settled: self.settled_serial,
            in_sync: self.connected.is && self.in_sync.is,
            problem: None,
            acked: self.acked_serial,
            observed: self.confirmed_serial,
            strays: Arc::clone(&self.strays),
            draining: Arc::clone(&self.draining_by_node.1),
            skipped: Arc::clone(self.skipped.get()),
            uncarried: self.uncarried(),
            carried_in_sync: self.connected.is && self.is_carried_in_sync(),
        }
    }

    fn uncarried(&mut self) -> Arc<Uncarried> {
        // Of a Perlbal that was never read it is not known what it has.
        if self.counters.connections == 0 {
            return Arc::default();
        }
        let connected = self.connected.is;
        self.carried
            .uncarried(&self.expected, &self.draining, connected)
    }

    /// Whether nothing but missing pools that are not created keeps the last settled snapshot from being applied.
    fn is_carried_in_sync(&self) -> bool {
        let is_missing = |problem: &Problem| matches!(problem, Problem::MissingPool(_));
        let only_missing = !self.problems.is_empty() && self.problems.iter().all(is_missing);
        self.in_sync.is || (only_missing && self.rejected.is_empty() && self.is_settled)
    }

    /// Everything that is known, for people.
    pub(super) fn view(&self, address: &str) -> PerlbalView {
        let sources = Sources {
            desired: self.desired.as_ref().map(|(_, desired)| desired),
            sent: &self.expected,
            observed: &self.observed,
            problems: &self.problems,
            distrusted: &self.unreliable_nodefiles,
            rejected: &self.rejected,
        };
        let draining = self
            .draining
            .all()
            .map(|((pool, node), member)| LeaverView {
                pool: pool.clone(),
                node: *node,
                since: member.since,
                busy: member.busy,
            });
        let remarks = self.remarks.iter().map(ToString::to_string);
        PerlbalView {
            address: address.to_owned(),
            connection: self.connection(),
            version: self.version.clone(),
            start: self.start,
            desired: self.desired.as_ref().map(|(serial, _)| *serial),
            sent: self.acked_serial,
            in_sync: self.connected.is && self.in_sync.is,
            in_sync_since: self.in_sync.since,
            pools: sources.pools(),
            leavers: draining.collect(),
            remarks: remarks.chain(self.skips()).collect(),
            counters: self.counters.clone(),
        }
    }

    fn connection(&self) -> Connection {
        let since = self.connected.since;
        if self.connected.is {
            return Connection::Connected { since };
        }
        let outage = self.outage.get();
        Connection::NotConnected {
            since: outage.map_or(since, |outage| outage.since),
            why: outage.map_or_else(|| Outage::new(since).steady_text(), Outage::steady_text),
        }
    }
}
