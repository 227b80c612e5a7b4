//! What the HTTP listeners may request from the daemon, and what it replies.
//!
//! The listeners run on a thread of their own. They hold a [`ControlHandle`], which puts a [`DaemonRequest`] into a
//! bounded queue and waits for the reply, a copy of the daemon's state; the daemon handles requests between
//! observations. When the queue is full the listeners wait, and nobody else.

mod serials;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::serials::Serials;
use crate::drivers::pool_files::FileCounts;
use crate::drivers::{DriverHandle, Snapshot};
use crate::hooks::HookCounts;
use crate::model::alerts::ActiveProblem;
use crate::model::event::Event;
use crate::model::event_log::Part;
pub use crate::model::membership::requests::{OverrideError, OverrideRequest};
use crate::model::membership::shortage::Shortage;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::node_view::NodeView;
use crate::model::overrides::Overrides;
use crate::model::poll_stats::PollStats;
use crate::model::pools::Pool;
use crate::model::problems::{Problem, SystemStatus};
use crate::model::rollout_status::DriverStatuses;
use crate::model::rules::Rules;
use crate::model::site_counts::SiteCounts;
use crate::model::time::Clock;
use crate::overrides_store::PersistedRevision;

/// Maximum requests in the queue: as many as HTTP requests may be waiting for the daemon at a time. Each is handled
/// within about a millisecond.
const QUEUE: usize = 256;

/// A request, with the channel for its reply.
#[derive(Debug)]
pub enum DaemonRequest {
    /// Only a reply: the loop that decides is alive.
    Ping(oneshot::Sender<()>),
    /// Everything that is known.
    FullState(oneshot::Sender<FullState>),
    /// Everything but the single nodes.
    Summary(oneshot::Sender<Summary>),
    /// The present problems, whether they count for alerts yet or not.
    Problems(oneshot::Sender<Vec<Problem>>),
    /// The nodes with these addresses.
    Nodes(Vec<NodeAddr>, oneshot::Sender<SelectedNodes>),
    /// The recent events of a node, oldest first.
    History(NodeAddr, oneshot::Sender<Vec<Arc<Event>>>),
    /// The events after the one with this number, at most as many as the part says.
    Events(u64, Part, oneshot::Sender<Vec<Arc<Event>>>),
    /// Apply an override, or end one.
    Override(
        OverrideRequest,
        oneshot::Sender<Result<Applied, OverrideError>>,
    ),
    /// Read the configuration and the services file again. `true` accepts all removals, however many. Replies with what
    /// was applied, or what is wrong.
    Reload(bool, oneshot::Sender<Result<Reloaded, String>>),
}

/// What a reload applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Number of nodes.
    pub nodes: usize,
    /// Whether everything that was read is active.
    pub applied: bool,
    /// The nodes that stay although they are not listed any more.
    pub withheld: Vec<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// An override was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The serial of the first snapshot that shows it; 0 before there is one.
    pub serial: u64,
    /// The revision of the overrides that contains it, for [`PersistedRevision::is_persisted`].
    pub revision: u64,
    /// The pools that it left with too few members because it was forced.
    pub shortages: Vec<Shortage>,
}

/// Some nodes, and which of their changes the load balancers show.
#[derive(Debug)]
pub struct SelectedNodes {
    /// The time of this copy.
    pub clock: Clock,
    /// The nodes in the order of the request; `None` for one that are not listed.
    pub nodes: Vec<Option<NodeAtSerial>>,
    /// The state of the load balancers.
    pub drivers: DriverStatuses,
    /// Whether every node has been polled once.
    pub first_round_done: bool,
    /// The configured rules of the pools.
    pub rules: Arc<Rules>,
    /// Interval between two polls of a node.
    pub poll_interval: Duration,
}

/// A node, and the snapshot that shows its last change.
#[derive(Clone, Debug)]
pub struct NodeAtSerial {
    /// The node.
    pub view: NodeView,
    /// The serial of the first snapshot that shows its current place.
    pub serial: u64,
}

/// Everything that is known.
#[derive(Debug)]
pub struct FullState {
    /// What concerns all nodes together.
    pub summary: Summary,
    /// Each node, in the order of the services file.
    pub nodes: Vec<NodeAtSerial>,
}

/// What concerns all nodes together: at a large site about 1% of the full state.
#[derive(Debug)]
pub struct Summary {
    /// The time of this copy.
    pub clock: Clock,
    /// When the program started, read once: computed from the clocks of each copy its last digit would vary.
    pub started: Clock,
    /// Number of nodes by status, pool and reason.
    pub counts: SiteCounts,
    /// Whether every node has been polled once.
    pub first_round_done: bool,
    /// The desired state; none before the first round is done.
    pub snapshot: Option<Snapshot>,
    /// The configured rules of the pools.
    pub rules: Arc<Rules>,
    /// All active overrides.
    pub overrides: Overrides,
    /// The addresses with overrides that are not listed.
    pub gone: BTreeSet<NodeAddr>,
    /// The state of the load balancers and the pool files.
    pub drivers: DriverStatuses,
    /// Handles to query each load balancer's driver, in the order of the configuration.
    pub handles: Vec<DriverHandle>,
    /// Counts of pool file changes, by outcome.
    pub file_counts: FileCounts,
    /// Statistics of all polls.
    pub poll_stats: PollStats,
    /// The number of the last event.
    pub last_event: u64,
    /// The problems that alerts report, the most severe first: each has lasted
    /// [`Kind::hold_time`](crate::model::problems::Kind::hold_time) and has not been absent for as long since.
    pub problems: Vec<ActiveProblem>,
    /// What health is decided from, as of this copy.
    pub system_status: SystemStatus,
    /// Counts of hook runs by outcome, by the hook's configuration key.
    pub hooks: BTreeMap<&'static str, HookCounts>,
    /// Whether metrics have series for each node.
    pub metrics_per_node: bool,
}

impl Summary {
    /// Whether that pool exists: declared, or announced.
    #[must_use]
    pub fn is_pool(&self, name: &PoolName) -> bool {
        self.rules.declared.contains_key(name) || self.pool(name).is_some()
    }

    /// The desired state of that pool; none before the first round is done.
    #[must_use]
    pub fn pool(&self, name: &PoolName) -> Option<&Pool> {
        let pools = &self.snapshot.as_ref()?.pools.pools;
        pools.get(name).map(Arc::as_ref)
    }
}

/// The daemon does not reply any more: it is stopping.
#[derive(Clone, Copy, Debug, Error)]
#[error("pollbal is ending")]
pub struct Stopped;

/// Sends requests to the daemon; clones share one queue.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    requests: mpsc::Sender<DaemonRequest>,
    /// Counts up whenever anything may have changed.
    changed: watch::Receiver<u64>,
    persisted: PersistedRevision,
}

impl ControlHandle {
    /// A handle, and the queue that the daemon empties.
    #[must_use]
    pub fn new(
        changed: watch::Receiver<u64>,
        persisted: PersistedRevision,
    ) -> (Self, mpsc::Receiver<DaemonRequest>) {
        let (requests, queue) = mpsc::channel(QUEUE);
        let handle = Self {
            requests,
            changed,
            persisted,
        };
        (handle, queue)
    }

    /// Returns when the daemon has replied.
    pub async fn ping(&self) -> Result<(), Stopped> {
        self.request(DaemonRequest::Ping).await
    }

    /// Everything that is known.
    pub async fn full_state(&self) -> Result<FullState, Stopped> {
        self.request(DaemonRequest::FullState).await
    }

    /// Everything but the single nodes.
    pub async fn summary(&self) -> Result<Summary, Stopped> {
        self.request(DaemonRequest::Summary).await
    }

    /// The present problems, the most severe first, whether they count for alerts yet or not.
    pub async fn problems(&self) -> Result<Vec<Problem>, Stopped> {
        self.request(DaemonRequest::Problems).await
    }

    /// The nodes with these addresses.
    pub async fn nodes(&self, addrs: Vec<NodeAddr>) -> Result<SelectedNodes, Stopped> {
        self.request(|reply| DaemonRequest::Nodes(addrs, reply))
            .await
    }

    /// The recent events of a node, oldest first.
    pub async fn history(&self, addr: NodeAddr) -> Result<Vec<Arc<Event>>, Stopped> {
        self.request(|reply| DaemonRequest::History(addr, reply))
            .await
    }

    /// The events after the one with this number, at most as many as `part` says.
    pub async fn events(&self, after: u64, part: Part) -> Result<Vec<Arc<Event>>, Stopped> {
        self.request(|reply| DaemonRequest::Events(after, part, reply))
            .await
    }

    /// Applies an override, or ends one.
    pub async fn apply(
        &self,
        request: OverrideRequest,
    ) -> Result<Result<Applied, OverrideError>, Stopped> {
        self.request(|reply| DaemonRequest::Override(request, reply))
            .await
    }

    /// Reads the configuration and the services file again.
    pub async fn reload(&self, accept_removals: bool) -> Result<Result<Reloaded, String>, Stopped> {
        self.request(|reply| DaemonRequest::Reload(accept_removals, reply))
            .await
    }

    /// Wakes whenever anything may have changed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// The revision of the overrides that would survive a restart.
    #[must_use]
    pub fn persisted(&self) -> &PersistedRevision {
        &self.persisted
    }

    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> DaemonRequest,
    ) -> Result<T, Stopped> {
        let (reply, response) = oneshot::channel();
        let sent = self.requests.send(request(reply)).await;
        sent.map_err(|_| Stopped)?;
        response.await.map_err(|_| Stopped)
    }
}
