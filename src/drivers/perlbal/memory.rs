//! What a manager keeps from one connection to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::away::{Away, Waiting};
use super::counters::Counters;
use super::own_files::OwnFiles;
use super::ownership::OwnedPools;
use super::plan::{Actual, PoolChange, Problem};
use super::reach::Names;
use super::remarks::Remark;
use super::rest::{Leavers, Unrest};
use super::standing::{Standing, Strays};
use super::statistics::Kept;
use super::view::{Connection, LeaverView, PerlbalView, Seen, Sources};
use super::wanted::Wanted;
use crate::drivers::Snapshot;
use crate::drivers::perlbal::name::PerlbalName;
use crate::log_throttle::{Decision, LogThrottle, suppression_notice};

/// What a manager keeps from one connection to the next.
#[derive(Default)]
pub struct Memory {
    /// When Perlbal was started, as it said on the last connection, in seconds since 1970.
    pub(super) start: Option<u64>,
    /// Its version, as it said then.
    pub(super) version: Option<String>,
    /// The latest snapshot's serial and what it wants here.
    pub(super) wanted: Option<(u64, Wanted)>,
    /// What Perlbal looks like once it has run all that was sent; while there is no connection, or
    /// nothing was read over it yet, what it looked like at the end of the last one.
    pub(super) told: Actual,
    /// The serial of the last snapshot whose every change was answered with `OK`.
    pub(super) told_serial: u64,
    /// The serial of the last snapshot that a reading of everything over this connection showed.
    pub(super) shown_serial: u64,
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
    pub(super) seen: BTreeMap<PerlbalName, Seen>,
    /// The problems that the log was told of.
    pub(super) problems: BTreeSet<Problem>,
    /// Which nodefiles are our pool files.
    pub(super) own_files: OwnFiles,
    /// Pools whose nodefile, reloaded, gave something else than our pool file holds.
    pub(super) distrusted: BTreeSet<PerlbalName>,
    /// The entries that pools need besides their members, while Perlbal makes connections to nodes
    /// that are out.
    pub(super) spares: BTreeMap<PerlbalName, BTreeSet<String>>,
    /// Pools of which a command was refused since the last whole reading.
    pub(super) refused: BTreeSet<PerlbalName>,
    /// Why it cannot be driven, unless it is connected.
    pub(super) away: Option<Away>,
    /// When to look, while it is away, what waits to be applied.
    pub(super) look_at: Option<Instant>,
    /// The serial of the snapshot of which that is known.
    waiting_of: Option<u64>,
    /// When the log was last told of that, and the next wait.
    waiting_told: Option<(Instant, Duration)>,
    /// What it was told over the last connection and did not acknowledge.
    pub(super) unacknowledged: BTreeMap<PerlbalName, PoolChange>,
    /// From its address to those of the network.
    pub(super) names: Arc<Names>,
    /// What is there was read over this connection, and made as it was wanted then.
    pub(super) connected: Flag,
    /// The latest snapshot that was read back is in force whole.
    pub(super) in_sync: Flag,
    /// Who was removed and is not yet at rest.
    pub(super) leavers: Leavers,
    /// They by node, as of that version of them.
    unrest: (u64, Arc<Unrest>),
    /// How often the log speaks of a pool, by what it says.
    throttle: LogThrottle<(PerlbalName, &'static str)>,
    /// How often the log speaks of the connection.
    connection_throttle: LogThrottle<()>,
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

impl Memory {
    /// Whether the log is to be told what a pool does; says so when it is for the last time.
    pub(super) fn may_tell(
        &mut self,
        pool: &PerlbalName,
        does: &'static str,
        now: Instant,
    ) -> bool {
        let decision = self.throttle.check((pool.clone(), does), now);
        if decision == Decision::LogLast {
            warn!(%pool, "{}", suppression_notice(&format!("pool {pool} {does}")));
        }
        decision == Decision::Log
    }

    /// Whether the log is to be told of the connection, which may come and go all the time; says so
    /// when it is for the last time.
    pub(super) fn may_tell_of_connection(&mut self, perlbal: &str, now: Instant) -> bool {
        let decision = self.connection_throttle.check((), now);
        if decision == Decision::LogLast {
            warn!(%perlbal, "{}", suppression_notice("the connection to Perlbal comes and goes"));
        }
        decision == Decision::Log
    }

    /// Perlbal can be driven.
    pub(super) fn arrived(&mut self) {
        self.away = None;
        (self.waiting_of, self.waiting_told) = (None, None);
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
    pub(super) fn word_of_waiting(&mut self, now: Instant) -> Option<String> {
        let away = self.away.as_ref()?;
        if away.waiting.count == 0 || away.cause.is_none() {
            return None;
        }
        let wait = match self.waiting_told {
            Some((at, wait)) if now < at + wait => return None,
            Some((_, wait)) => 2 * wait,
            None => FIRST_REMINDER,
        };
        self.waiting_told = Some((now, wait));
        Some(away.text(now))
    }

    /// Notes what waits to be applied.
    pub(super) fn note_waiting(&mut self, snapshot: Option<&Snapshot>) {
        // Of a Perlbal that was never read it is not known what it has.
        let (Some(snapshot), true) = (snapshot, self.counters.connections > 0) else {
            return;
        };
        let (Some(away), Some((_, wanted))) = (&mut self.away, &self.wanted) else {
            return;
        };
        if self.waiting_of.replace(snapshot.serial) == Some(snapshot.serial) {
            return;
        }
        away.waiting = Waiting::between(wanted, &self.told, &self.unacknowledged, &snapshot.pools);
    }

    /// How this Perlbal stands.
    pub(super) fn standing(&mut self) -> Standing {
        let version = self.leavers.version();
        if self.unrest.0 != version {
            self.unrest = (version, Arc::new(self.leavers.unrest()));
        }
        Standing {
            connected: self.connected.is,
            told: self.told_serial,
            shown: self.shown_serial,
            strays: Arc::clone(&self.strays),
            in_sync: self.connected.is && self.in_sync.is,
            unrest: Arc::clone(&self.unrest.1),
            away: self.away.clone().map(Arc::new),
        }
    }

    /// What is known of this Perlbal.
    pub(super) fn view(&self, address: &str) -> PerlbalView {
        let sources = Sources {
            wanted: self.wanted.as_ref().map(|(_, wanted)| wanted),
            told: &self.told,
            seen: &self.seen,
            problems: &self.problems,
            distrusted: &self.distrusted,
            refused: &self.refused,
        };
        let leavers = self.leavers.all().map(|((pool, node), leaver)| LeaverView {
            pool: pool.clone(),
            node: *node,
            since: leaver.since,
            busy: leaver.busy,
        });
        PerlbalView {
            address: address.to_owned(),
            connection: self.connection(),
            version: self.version.clone(),
            start: self.start,
            wanted: self.wanted.as_ref().map(|(serial, _)| *serial),
            told: self.told_serial,
            in_sync: self.connected.is && self.in_sync.is,
            in_sync_since: self.in_sync.since,
            pools: sources.pools(),
            leavers: leavers.collect(),
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
