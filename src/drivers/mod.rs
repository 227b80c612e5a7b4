//! Drivers: each makes a load balancer, or a directory of pool files, show the desired pools.
//!
//! ```text
//!   desired (watch) ──► driver ──► status (watch)
//!   queries (mpsc) ───►        └─► steps (in a dry run)
//! ```
//!
//! A driver receives the complete desired state, always the latest; reads the actual state; makes a
//! plan, a plain value, with a pure function; and executes it. The rest of pollbal knows only the
//! neutral types of this file: what is special about a kind of load balancer, from its configuration
//! to its metrics, is in its own folder, and [`registry`] is the only place that knows all kinds.
//! A kind whose load balancer answers requests need not write the loop itself: see [`sync`].
//! Drivers do not know each other: the daemon connects the output of the pool files' driver to the
//! input of those that wait for files.

pub mod capabilities;
pub(crate) mod change_list;
pub mod details;
pub(crate) mod drain_schedule;
pub mod family;
pub(crate) mod flag;
pub mod haproxy;
pub(crate) mod outage;
pub mod perlbal;
pub mod pool_files;
#[cfg(test)]
mod recorder;
pub mod registry;
mod setting_keys;
pub mod steps;
pub mod sync;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::capabilities::Capabilities;
use self::details::DriverDetails;
use self::family::Family;
use self::steps::StepPrinter;
use crate::model::driver_status::{DriverId, DriverStatus};
use crate::model::names::PoolName;
use crate::model::naming::Naming;
use crate::model::ownership::{Known, OwnedThere};
use crate::model::pools::Pools;

/// Maximum number of queries that wait for a driver, which answers them between two steps: some from
/// each listener. A caller waits while the queue is full; the driver never waits for a caller.
pub const QUERIES: usize = 16;

/// A snapshot of the desired state on its way through the drivers.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts up with each snapshot.
    pub serial: u64,
    /// The desired state.
    pub pools: Arc<Pools>,
    /// The names of the pool files that are known to hold it, in the form that load balancers read.
    pub current_files: Arc<BTreeSet<String>>,
    /// When the poll ended that caused it, the first one of several; `None` if something else did.
    pub cause: Option<Instant>,
}

/// Whether a driver changes the world or prints what it would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It changes the world.
    Live,
    /// It prints what it would do: steps as they would be sent, everything else as comments.
    DryRun,
}

/// Which snapshots a driver gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Each as soon as it is decided.
    Direct,
    /// Each once its pool files are written, or a little later if that takes long: for load balancers
    /// that read them.
    AfterFiles,
}

/// The settings of one load balancer, as the configuration gives them. A reload restarts the drivers
/// whose settings differ, and no others.
pub trait Settings {
    /// Which load balancer it is.
    fn id(&self) -> DriverId;

    /// Which snapshots its driver gets.
    fn input(&self) -> Input;

    /// Whether `/readyz` waits for it.
    fn required(&self) -> bool {
        true
    }

    /// What pools are called there: as their files, unless it knows fewer names.
    fn naming(&self) -> Naming {
        Naming::default()
    }

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// What was understood, in one line for `pollbal check`.
    fn describe(&self) -> String;

    /// What is allowed but probably not intended.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// The driver, which does not run yet.
    fn build(&self, deps: Deps) -> Box<dyn Driver>;
}

/// What a driver is built with besides its settings.
#[derive(Clone, Debug, Default)]
pub struct Deps {
    /// The directory of the pool files.
    pub pool_directory: PathBuf,
    /// What pollbal owned at the load balancer when that was last known, perhaps in an earlier run.
    pub owned: OwnedThere,
}

/// Keeps one load balancer in sync.
pub trait Driver: Send {
    /// Runs until it is stopped. It reconnects by itself, and reports failures in its status.
    fn run(self: Box<Self>, io: DriverIo, mode: Mode) -> BoxFuture<'static, ()>;
}

/// The inside of a driver's channels.
#[derive(Debug)]
pub struct DriverIo {
    /// The desired state, always the latest; `None` before the first round is done.
    pub desired: watch::Receiver<Option<Snapshot>>,
    /// How far it has come.
    pub status: watch::Sender<DriverStatus>,
    /// What pollbal owns there, set when the driver ends: nobody is to wait for that.
    pub last_owned: watch::Sender<Option<Known>>,
    /// Queries, to be answered in every state. In a dry run nobody sends any.
    pub queries: mpsc::Receiver<Query>,
    /// Where a dry run prints its steps.
    pub steps: StepPrinter,
    /// Ends the driver.
    pub stop: CancellationToken,
}

/// A question to a driver, with a channel for the answer.
#[derive(Debug)]
pub enum Query {
    /// What it knows of its load balancer.
    Details(PoolFilter, oneshot::Sender<DriverDetails>),
    /// What pollbal owns there, for the state file.
    Owned(oneshot::Sender<Known>),
    /// The load balancer's own statistics.
    Statistics {
        /// Also by node, which costs the load balancer more.
        per_node: bool,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Arc<[Family]>, StatisticsError>>,
    },
}

/// The pools that details list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PoolFilter {
    /// Those in which desired, sent and observed members differ.
    #[default]
    Differing,
    /// These.
    Only(BTreeSet<PoolName>),
}

/// Why there are no statistics.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum StatisticsError {
    /// There is no connection, or it ended meanwhile.
    #[error("not connected")]
    NotConnected,
    /// Too many are waiting for them already.
    #[error("too many requests for statistics at once; try again")]
    TooMany,
}

/// The outside of a driver's channels; clones are for the same driver.
#[derive(Clone, Debug)]
pub struct DriverHandle {
    /// The load balancer.
    pub id: DriverId,
    /// Whether `/readyz` waits for it.
    pub required: bool,
    /// What pools are called there.
    pub naming: Naming,
    /// How far the driver has come.
    pub status: watch::Receiver<DriverStatus>,
    last_owned: watch::Receiver<Option<Known>>,
    queries: mpsc::Sender<Query>,
}

impl DriverHandle {
    /// The outside and the inside of the channels of a driver with these settings.
    #[must_use]
    pub fn new(
        settings: &dyn Settings,
        desired: watch::Receiver<Option<Snapshot>>,
        steps: StepPrinter,
        stop: CancellationToken,
    ) -> (Self, DriverIo) {
        let (status, status_receiver) = watch::channel(DriverStatus::default());
        let (last_owned, last_owned_receiver) = watch::channel(None);
        let (queries, query_receiver) = mpsc::channel(QUERIES);
        let handle = Self {
            id: settings.id(),
            required: settings.required(),
            naming: settings.naming(),
            status: status_receiver,
            last_owned: last_owned_receiver,
            queries,
        };
        let io = DriverIo {
            desired,
            status,
            last_owned,
            queries: query_receiver,
            steps,
            stop,
        };
        (handle, io)
    }

    /// How far the driver has come now.
    #[must_use]
    pub fn status(&self) -> DriverStatus {
        self.status.borrow().clone()
    }

    /// What the driver knows of its load balancer; `None` if it has ended.
    pub async fn details(&self, pools: PoolFilter) -> Option<DriverDetails> {
        let (reply, details) = oneshot::channel();
        let query = Query::Details(pools, reply);
        self.queries.send(query).await.ok()?;
        details.await.ok()
    }

    /// What pollbal owns there; if the driver has ended, what that was at the end.
    pub async fn owned(&self) -> Option<Known> {
        let (reply, known) = oneshot::channel();
        if self.queries.send(Query::Owned(reply)).await.is_ok()
            && let Ok(known) = known.await
        {
            return Some(known);
        }
        self.last_owned.borrow().clone()
    }

    /// The load balancer's own statistics, also by node if `per_node`.
    pub async fn statistics(&self, per_node: bool) -> Result<Arc<[Family]>, StatisticsError> {
        let (reply, statistics) = oneshot::channel();
        let query = Query::Statistics { per_node, reply };
        let sent = self.queries.send(query).await;
        sent.map_err(|_| StatisticsError::NotConnected)?;
        let statistics = statistics.await;
        statistics.unwrap_or(Err(StatisticsError::NotConnected))
    }
}
