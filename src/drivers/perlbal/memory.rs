//! What a manager keeps from one connection to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use super::counters::Counters;
use super::plan::{Actual, Problem};
use super::rest::{Leavers, Membered, Unrest};
use super::standing::Standing;
use super::statistics::Kept;
use super::view::{Connection, LeaverView, PerlbalView, Seen, Sources};
use super::wanted::Wanted;
use super::wire::Endpoint;
use crate::model::names::PerlbalName;
use crate::quota::{Quota, Word, last_word};

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
    /// What the last reading of each pool showed.
    pub(super) seen: BTreeMap<PerlbalName, Seen>,
    /// The problems that the log was told of.
    pub(super) problems: BTreeSet<Problem>,
    /// Pools whose nodefile, reloaded, gave something else than our pool file holds.
    pub(super) distrusted: BTreeSet<PerlbalName>,
    /// Pools of which a command was refused since the last whole reading.
    pub(super) refused: BTreeSet<PerlbalName>,
    /// The last failure that the log was told of.
    pub(super) failure: Option<String>,
    /// Somebody answers at the other end of a connection.
    pub(super) reached: bool,
    /// What is there was read over this connection, and made as it was wanted then.
    pub(super) connected: Flag,
    /// The latest snapshot that was read back is in force whole.
    pub(super) in_sync: Flag,
    /// Who was removed and is not yet at rest.
    pub(super) leavers: Leavers,
    /// They by node, as of that version of them.
    unrest: (u64, Arc<Unrest>),
    /// How often the log speaks of a pool, by what it says.
    quota: Quota<(PerlbalName, &'static str)>,
    /// What was done so far, in numbers.
    pub(super) counters: Counters,
    /// The statistics that were read last.
    pub(super) statistics: Option<Kept>,
}

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
        let word = self.quota.ask((pool.clone(), does), now);
        if word == Word::Last {
            warn!(%pool, "{}", last_word(&format!("pool {pool} {does}")));
        }
        word == Word::Tell
    }

    /// How this Perlbal stands.
    pub(super) fn standing(&mut self) -> Standing {
        let version = self.leavers.version();
        if self.unrest.0 != version {
            self.unrest = (version, Arc::new(self.leavers.unrest()));
        }
        let mut unrest = Arc::clone(&self.unrest.1);
        for (pool, addr) in self.disputed_members() {
            let pools = Arc::make_mut(&mut unrest).entry(addr).or_default();
            pools.entry(pool).or_insert(self.connected.since);
        }
        Standing {
            connected: self.connected.is,
            told: self.told_serial,
            in_sync: self.connected.is && self.in_sync.is,
            unrest,
        }
    }

    /// The members of pools that several of ours dispute: nobody touches these, so whoever is in
    /// one that a service uses gets requests, wanted or not.
    fn disputed_members(&self) -> impl Iterator<Item = Membered> {
        let shared = self.wanted.iter().flat_map(|(_, wanted)| &wanted.shared);
        let used = |name: &&PerlbalName| self.told.used_pools().any(|pool| pool == *name);
        let names = shared.map(|(name, _)| name).filter(used);
        let pools = names.filter_map(|name| Some((name, self.told.pools.get(name)?)));
        pools.flat_map(|(name, pool)| {
            pool.members.iter().filter_map(|member| match member {
                Endpoint::Node(addr) => Some((name.clone(), *addr)),
                Endpoint::Odd(_) => None,
            })
        })
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
            counters: self.counters.clone(),
        }
    }

    fn connection(&self) -> Connection {
        let since = self.connected.since;
        if self.connected.is {
            return Connection::Connected { since };
        }
        let why = match &self.failure {
            _ if self.reached => "what is there is being read".to_owned(),
            Some(failure) => failure.clone(),
            None => "the first connection is being made".to_owned(),
        };
        Connection::NotConnected { since, why }
    }
}
