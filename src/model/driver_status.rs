//! What pollbal knows of a load balancer, whatever its kind: how far its driver has brought it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use humantime::format_duration;

use super::names::PoolName;
use super::node::NodeAddr;
use super::skipped::SkippedNodes;

/// A kind of load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverKind {
    /// Its word for machines: the key in the configuration, a label of metrics, a field of the API.
    pub key: &'static str,
    /// What people call it.
    pub name: &'static str,
}

/// A load balancer that pollbal drives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverId {
    /// Its kind.
    pub kind: DriverKind,
    /// Where it is driven, such as its management address; unique among those of its kind.
    pub address: Arc<str>,
}

impl DriverId {
    /// `haproxy /run/haproxy.sock`, for the state file: never changes.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {}", self.kind.key, self.address)
    }
}

/// For people: `HAProxy /run/haproxy.sock`.
impl fmt::Display for DriverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name, self.address)
    }
}

/// How far a driver has brought its load balancer, published in a `watch` channel.
///
/// A node that a snapshot removes is in [`draining`](Self::draining) before the snapshot counts as
/// acknowledged, and so before it can count as observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverStatus {
    /// There is a connection; the actual state was read, and reconciled with the latest snapshot.
    pub connected: bool,
    /// Why it cannot be driven; `None` while connected, and before the driver has started.
    pub outage: Option<Arc<Outage>>,
    /// The serial of the last snapshot that was applied, or cannot be for now; 0 before there is one.
    pub settled: u64,
    /// The snapshot that settled last was applied completely, and there is a connection.
    pub in_sync: bool,
    /// Why not, for people, if the driver reports that here.
    pub problem: Option<Arc<str>>,
    /// The serial of the last snapshot of which the load balancer has acknowledged every change,
    /// whether that was read back or not; 0 before there is one.
    pub acked: u64,
    /// The serial of the last snapshot that had been acknowledged before a complete read began that
    /// has ended since, over this connection; 0 before there is one.
    pub observed: u64,
    /// Nodes in pools that serve requests, by what was last read and sent since, although pollbal
    /// does not want them there.
    pub strays: Arc<Strays>,
    /// Removed members that are not drained, as far as known; without a connection, as known when it
    /// ended.
    pub draining: Arc<Draining>,
    /// Nodes that the load balancer cannot have. It is in sync, and they are drained, without them.
    pub skipped: Arc<SkippedNodes>,
    /// What the load balancer does not carry; nothing before it was read.
    pub uncarried: Arc<Uncarried>,
    /// It is in sync but for pools that it does not carry.
    pub carried_in_sync: bool,
}

/// What a load balancer does not carry: pools of the latest snapshot of which it has none, and which its driver does
/// not create there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncarried {
    /// These pools.
    pub pools: BTreeSet<PoolName>,
    /// Without a connection: the nodes that it has all the same, in whatever pool, or that are draining there.
    pub nodes: BTreeSet<NodeAddr>,
}

/// Removed members that are not drained: the pools there that each has left, and when.
pub type Draining = BTreeMap<NodeAddr, BTreeMap<Arc<str>, Instant>>;

/// Nodes in pools that serve requests, although pollbal does not want them there.
pub type Strays = BTreeMap<NodeAddr, Stray>;

impl DriverStatus {
    /// Whether a node that is in no pool of snapshot `since`, and of no later one, is drained here:
    /// by a read that began after the snapshot was acknowledged, it is in no pool that serves
    /// requests, and has no busy connection.
    #[must_use]
    pub fn is_drained(&self, addr: NodeAddr, since: u64) -> bool {
        self.connected
            && self.acked >= since
            && self.observed >= since
            && !self.strays.contains_key(&addr)
            && !self.draining.contains_key(&addr)
    }

    /// Whether changes of a node reach clients here that was in this pool last, or is in it: `None` if it was in none
    /// that is known. A connected load balancer acknowledges them in any case, so that only one that is lost is passed
    /// over.
    #[must_use]
    pub fn carries(&self, addr: NodeAddr, pool: Option<&PoolName>) -> bool {
        let lacks_pool = pool.is_some_and(|pool| self.uncarried.pools.contains(pool));
        self.connected || !lacks_pool || self.uncarried.nodes.contains(&addr)
    }

    /// `: <problem>`, if known, to append to a text that says it is not in sync.
    #[must_use]
    pub fn because(&self) -> String {
        let problem = self.problem.as_deref();
        problem.map_or_else(String::new, |problem| format!(": {problem}"))
    }
}

/// Where a node is that pollbal does not want there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The pool, by its name there; of several, one that pollbal does not manage if there is one.
    pub pool: Arc<str>,
    /// Whose pool that is.
    pub owner: PoolOwner,
}

/// Whose a pool is in which a node is that pollbal does not want there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOwner {
    /// pollbal's; the node's removal has not been read back yet.
    Ours,
    /// pollbal's as soon as a node serves in it; until then its members stay.
    Unserved,
    /// Somebody else's.
    Other,
}

impl Stray {
    /// Whether pollbal removes the node there.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        self.owner == PoolOwner::Ours
    }

    /// `still a member of pool mine at 127.0.0.1:16000, which pollbal does not manage`.
    #[must_use]
    pub fn text(&self, address: &str) -> String {
        let Self { pool, owner } = self;
        let details = match owner {
            PoolOwner::Ours => "; its removal is not read back yet",
            PoolOwner::Unserved => ", in which no node serves yet: members that were there stay",
            PoolOwner::Other => ", which pollbal does not manage",
        };
        format!("still a member of pool {pool} at {address}{details}")
    }
}

/// A load balancer that cannot be driven at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Since the first command that was not answered, or the end of the connection.
    pub since: Instant,
    /// Why, by the last attempt; `None` until the first one has ended.
    pub cause: Option<OutageCause>,
    /// The changes that are pending.
    pub pending: PendingChanges,
}

/// Why a load balancer cannot be driven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutageCause {
    /// Its state, in words that precede "for 18 s": "not answering".
    pub state: &'static str,
    /// What was observed: "accepts connections, no reply within 2s".
    pub detail: String,
}

/// Changes that are pending: `-api-r1-1, +web-2 and 7 more`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingChanges {
    /// The first of them: `+` and a node's name if it joins, `-` if it is removed, and the name with
    /// ` (moved)` if it goes from pool to pool or from version to version.
    pub named: Vec<String>,
    /// How many there are.
    pub count: usize,
}

impl Outage {
    /// An outage since `since` of which nothing else is known.
    #[must_use]
    pub fn new(since: Instant) -> Self {
        Self {
            since,
            cause: None,
            pending: PendingChanges::default(),
        }
    }

    /// For people, without its duration:
    /// `not answering (accepts connections, no reply within 2s); not applied since: -api-r1-1`.
    #[must_use]
    pub fn steady_text(&self) -> String {
        self.text_with("")
    }

    /// The same at `now`: `not answering for 18s (…); not applied since: -api-r1-1`.
    #[must_use]
    pub fn text(&self, now: Instant) -> String {
        let passed = now.saturating_duration_since(self.since);
        let passed = format_duration(Duration::from_secs(passed.as_secs()));
        self.text_with(&format!(" for {passed}"))
    }

    fn text_with(&self, passed: &str) -> String {
        let Some(cause) = &self.cause else {
            return "not connected yet".to_owned();
        };
        let OutageCause { state, detail } = cause;
        let pending = &self.pending;
        if pending.count == 0 {
            return format!("{state}{passed} ({detail})");
        }
        format!("{state}{passed} ({detail}); not applied since: {pending}")
    }
}

impl fmt::Display for OutageCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.state, self.detail)
    }
}

impl fmt::Display for PendingChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named.join(", "))?;
        match self.count - self.named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_described_with_cause_duration_and_pending_changes() {
        let since = Instant::now();
        let mut outage = Outage::new(since);
        assert_eq!(outage.text(since), "not connected yet");
        outage.cause = Some(OutageCause {
            state: "not answering",
            detail: "accepts connections, no reply within 2s".to_owned(),
        });
        let later = since + Duration::from_millis(18_400);
        assert_eq!(
            outage.text(later),
            "not answering for 18s (accepts connections, no reply within 2s)"
        );
        outage.pending = PendingChanges {
            named: vec!["-api-r1-1".to_owned()],
            count: 1,
        };
        assert_eq!(
            outage.text(later),
            "not answering for 18s (accepts connections, no reply within 2s); not applied since: -api-r1-1"
        );
        assert_eq!(
            outage.steady_text(),
            "not answering (accepts connections, no reply within 2s); not applied since: -api-r1-1"
        );
    }

    #[test]
    fn a_lost_load_balancer_concerns_no_node_whose_pool_it_does_not_carry() {
        let pool = |name: &str| name.parse::<PoolName>().unwrap();
        let addr = |text: &str| text.parse::<NodeAddr>().unwrap();
        let (one, other) = (addr("10.0.0.1:80"), addr("10.0.0.2:80"));
        let (api, web) = (pool("api"), pool("web"));
        let mut status = DriverStatus {
            uncarried: Arc::new(Uncarried {
                pools: [api.clone()].into(),
                nodes: [other].into(),
            }),
            ..DriverStatus::default()
        };
        assert!(!status.carries(one, Some(&api)));
        assert!(status.carries(one, Some(&web)));
        assert!(status.carries(one, None), "it may have been anywhere");
        assert!(
            status.carries(other, Some(&api)),
            "it is there in another pool"
        );
        status.connected = true;
        assert!(status.carries(one, Some(&api)));
    }
}
