//! What a manager keeps from one connection to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::away::{Away, Waiting};
use super::connector::AddressResolver;
use super::counters::Counters;
use super::desired::Desired;
use super::drain::{DrainTracker, Draining};
use super::own_files::OwnFiles;
use super::ownership::OwnedPools;
use super::plan::{Actual, PoolChange, Problem};
use super::remarks::Remark;
use super::standing::{Standing, Strays};
use super::statistics::Kept;
use super::view::{Connection, LeaverView, PerlbalView, Seen, Sources};
use crate::drivers::Snapshot;
use crate::drivers::perlbal::name::PerlbalName;
use crate::log_throttle::{Decision, LogThrottle, suppression_notice};

/// What a manager keeps from one connection to the next.
#[derive(Default)]
pub struct State {
    /// When Perlbal was started, as it said on the last connection, in seconds since 1970.
    pub(super) start: Option<u64>,
    /// Its version, as it said then.
    pub(super) version: Option<String>,
    /// The latest snapshot's serial and what it wants here.
    pub(super) desired: Option<(u64, Desired)>,
    /// What Perlbal looks like once it has run all that was sent; while there is no connection, or
    /// nothing was read over it yet, what it looked like at the end of the last one.
    pub(super) expected: Actual,
    /// The serial of the last snapshot whose every change was answered with `OK`.
    pub(super) acked_serial: u64,
    /// The serial of the last snapshot that a reading of everything over this connection showed.
    pub(super) observed_serial: u64,
    /// Who is in a pool that a service uses, although it is not wanted there.
    pub(super) strays: Arc<Strays>,
    /// What was owned here at the end of the run before; until it is known what is there, and what
    /// is wanted.
    pub(super) earlier: Option<OwnedPools>,
    /// Pools here that were pollbal's in a run before and are not now.
    pub(super) former: BTreeSet<PerlbalName>,
    /// What the log was told that a person should know, though all is as it is wanted.
    pub(super) remarks: BTreeSet<Remark>,
    /// What the last reading of each pool showed.
    pub(super) observed: BTreeMap<PerlbalName, Seen>,
    /// The problems that the log was told of.
    pub(super) problems: BTreeSet<Problem>,
    /// Which nodefiles are our pool files.
    pub(super) own_files: OwnFiles,
    /// Pools whose nodefile, reloaded, gave something else than our pool file holds.
    pub(super) unreliable_nodefiles: BTreeSet<PerlbalName>,
    /// The entries that pools need besides their members, while Perlbal makes connections to nodes
    /// that are out.
    pub(super) spares: BTreeMap<PerlbalName, BTreeSet<String>>,
    /// Pools of which a command was refused since the last whole reading.
    pub(super) rejected: BTreeSet<PerlbalName>,
    /// Why it cannot be driven, unless it is connected.
    pub(super) away: Option<Away>,
    /// When to look, while it is away, what waits to be applied.
    pub(super) check_at: Option<Instant>,
    /// The serial of the snapshot of which that is known.
    waiting_of: Option<u64>,
    /// When the log was last told of that, and the next wait.
    waiting_logged: Option<(Instant, Duration)>,
    /// What it was told over the last connection and did not acknowledge.
    pub(super) unacknowledged: BTreeMap<PerlbalName, PoolChange>,
    /// From its address to those of the network.
    pub(super) resolver: Arc<AddressResolver>,
    /// What is there was read over this connection, and made as it was wanted then.
    pub(super) connected: Flag,
    /// The latest snapshot that was read back is in force whole.
    pub(super) in_sync: Flag,
    /// Who was removed and is not yet at rest.
    pub(super) draining: DrainTracker,
    /// They by node, as of that version of them.
    draining_by_node: (u64, Arc<Draining>),
    /// How often the log speaks of a pool, by what it says.
    log_throttle: LogThrottle<(PerlbalName, &'static str)>,
    /// How often the log speaks of the connection.
    connection_log_throttle: LogThrottle<()>,
    /// What was done so far, in numbers.
    pub(super) counters: Counters,
    /// The statistics that were read last.
    pub(super) statistics: Option<Kept>,
}

/// Until the log is told once more what waits to be applied.
const FIRST_REMINDER: Duration = Duration::from_secs(10);

/// Whether something is so, and since when.
#[derive(Clone, Copy)]
pub(super) struct Flag {
    pub(super) is: bool,
    pub(super) since: Instant,
}

impl Default for Flag {
    fn default() -> Self {
        Self {
            is: false,
            since: Instant::now(),
        }
    }
}

impl Flag {
    pub(super) fn set(&mut self, is: bool) {
        if self.is != is {
            *self = Self {
                is,
                since: Instant::now(),
            };
        }
    }
}

impl State {
    /// Whether the log is to be told what a pool does; says so when it is for the last time.
    pub(super) fn may_tell(
        &mut self,
        pool: &PerlbalName,
        does: &'static str,
        now: Instant,
    ) -> bool {
        let decision = self.log_throttle.check((pool.clone(), does), now);
        if decision == Decision::LogLast {
            warn!(%pool, "{}", suppression_notice(&format!("pool {pool} {does}")));
        }
        decision == Decision::Log
    }

    /// Whether the log is to be told of the connection, which may come and go all the time; says so
    /// when it is for the last time.
    pub(super) fn may_tell_of_connection(&mut self, perlbal: &str, now: Instant) -> bool {
        let decision = self.connection_log_throttle.check((), now);
        if decision == Decision::LogLast {
            warn!(%perlbal, "{}", suppression_notice("the connection to Perlbal comes and goes"));
        }
        decision == Decision::Log
    }

    /// Perlbal can be driven.
    pub(super) fn arrived(&mut self) {
        self.away = None;
        (self.waiting_of, self.waiting_logged) = (None, None);
        self.connected.set(true);
    }

    /// Perlbal cannot be driven since `since`, unless that was so before.
    pub(super) fn left(&mut self, since: Instant) -> &mut Away {
        if self.connected.is {
            self.connected = Flag { is: false, since };
        }
        self.away.get_or_insert_with(|| Away::new(since))
    }

    /// What the log is told of what waits to be applied: at once when something does, and again after
    /// 10 s, 20 s, 40 s, … as long as that changes.
    pub(super) fn waiting_notice(&mut self, now: Instant) -> Option<String> {
        let away = self.away.as_ref()?;
        if away.waiting.count == 0 || away.cause.is_none() {
            return None;
        }
        let wait = match self.waiting_logged {
            Some((at, wait)) if now < at + wait => return None,
            Some((_, wait)) => 2 * wait,
            None => FIRST_REMINDER,
        };
        self.waiting_logged = Some((now, wait));
        Some(away.text(now))
    }

    /// Notes what waits to be applied.
    pub(super) fn note_waiting(&mut self, snapshot: Option<&Snapshot>) {
        // Of a Perlbal that was never read it is not known what it has.
        let (Some(snapshot), true) = (snapshot, self.counters.connections > 0) else {
            return;
        };
        let (Some(away), Some((_, desired))) = (&mut self.away, &self.desired) else {
            return;
        };
        if self.waiting_of.replace(snapshot.serial) == Some(snapshot.serial) {
            return;
        }
        away.waiting = Waiting::between(
            desired,
            &self.expected,
            &self.unacknowledged,
            &snapshot.pools,
        );
    }

    /// How this Perlbal stands.
    pub(super) fn standing(&mut self) -> Standing {
        let version = self.draining.version();
        if self.draining_by_node.0 != version {
            self.draining_by_node = (version, Arc::new(self.draining.by_node()));
        }
        Standing {
            connected: self.connected.is,
            told: self.acked_serial,
            shown: self.observed_serial,
            strays: Arc::clone(&self.strays),
            in_sync: self.connected.is && self.in_sync.is,
            unrest: Arc::clone(&self.draining_by_node.1),
            away: self.away.clone().map(Arc::new),
        }
    }

    /// What is known of this Perlbal.
    pub(super) fn view(&self, address: &str) -> PerlbalView {
        let sources = Sources {
            wanted: self.desired.as_ref().map(|(_, desired)| desired),
            told: &self.expected,
            seen: &self.observed,
            problems: &self.problems,
            distrusted: &self.unreliable_nodefiles,
            refused: &self.rejected,
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
        PerlbalView {
            address: address.to_owned(),
            connection: self.connection(),
            version: self.version.clone(),
            start: self.start,
            wanted: self.desired.as_ref().map(|(serial, _)| *serial),
            told: self.acked_serial,
            in_sync: self.connected.is && self.in_sync.is,
            in_sync_since: self.in_sync.since,
            pools: sources.pools(),
            leavers: draining.collect(),
            remarks: self.remarks.iter().map(ToString::to_string).collect(),
            counters: self.counters.clone(),
        }
    }

    fn connection(&self) -> Connection {
        let since = self.connected.since;
        if self.connected.is {
            return Connection::Connected { since };
        }
        let away = self.away.as_ref();
        Connection::NotConnected {
            since: away.map_or(since, |away| away.since),
            why: away.map_or_else(|| Away::new(since).steady_text(), Away::steady_text),
        }
    }
}
