//! The loop of drivers whose load balancer answers requests: connecting, back-off, resync, acknowledgements, draining,
//! dry run and queries are written once. A kind of load balancer brings a [`Backend`], which is pure but for
//! connecting, and a [`Session`], which does the I/O of one exchange at a time.
//!
//! ```text
//!   snapshot ─► desired ──┐
//!                         ├─► plan ─► batches ─► execute ─► load balancer
//!        read ─► actual ──┘
//! ```
//!
//! [`core`] decides what is due next: it is pure, and time is an argument. [`run`] is the loop around it. After each
//! exchange the result is reported to the core, which returns the next one; snapshots and queries are handled during
//! exchanges too. What was acknowledged is read once more: only a read that began afterwards proves it.

mod core;
mod notices;
mod run;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::family::Family;
use super::{Deps, Snapshot};
use crate::model::driver_status::{DriverId, OutageCause};
use crate::model::names::PoolName;
use crate::model::naming::Naming;
use crate::model::node::NodeAddr;
use crate::model::ownership::OwnedThere;
use crate::model::skipped::SkippedNodes;

/// Nodes that may get new requests, by pool, by its name there.
pub type Members = BTreeMap<Arc<str>, BTreeSet<NodeAddr>>;

/// A node in a pool, or one that left it; the pool by its name there.
pub type Member = (Arc<str>, NodeAddr);

/// What cannot be corrected, one line each, for people. While there is a problem, the load balancer is not in sync.
pub type Problems = BTreeSet<String>;

/// The answer to a step; an error is the load balancer's text, for people.
pub type StepResult = Result<(), String>;

/// What is special about a kind of load balancer. All but [`connect`](Self::connect) is pure.
pub trait Backend: Send + Sync + 'static {
    /// What a snapshot asks of this load balancer.
    type Desired: Send;
    /// What is there, or will be once everything that was sent is executed.
    type Actual: Clone + Default + Send;
    /// One change, printed in a dry run as it would be sent.
    type Step: fmt::Display + Send + Sync;
    /// What a dry run prints before the steps of a plan, so that they can be piped into the load balancer.
    const PREAMBLE: Option<&'static str> = None;
    /// A connection.
    type Session: Session<Step = Self::Step, Actual = Self::Actual>;

    /// What a snapshot asks of this load balancer, and which parts it does not support. `owned` are pools there of
    /// snapshots of this run that have members: one that this snapshot does not know is to be emptied.
    fn desired(&self, snapshot: &Snapshot, owned: &BTreeSet<Arc<str>>)
    -> (Self::Desired, Problems);

    /// The nodes of a snapshot that this load balancer cannot have because of their IPv6 addresses;
    /// [`desired`](Self::desired) leaves them out.
    fn skipped(&self, _snapshot: &Snapshot) -> SkippedNodes {
        SkippedNodes::default()
    }

    /// The members that are desired: each pool of pollbal's, empty ones too.
    fn desired_members(desired: &Self::Desired) -> Members;

    /// The members that are there, in each pool that serves requests, whether or not pollbal owns it. A node that gets
    /// no new requests is none, even if the load balancer still lists it.
    fn actual_members(actual: &Self::Actual) -> Members;

    /// Members that are still listed there but get no new requests: they left, and their removal is completed by
    /// further steps once they are drained.
    fn retired(_actual: &Self::Actual) -> Vec<Member> {
        Vec::new()
    }

    /// The steps from the actual to the desired state; none if these agree. `draining` are the members that left and
    /// are not drained yet.
    fn plan(
        desired: &Self::Desired,
        actual: &Self::Actual,
        draining: &BTreeSet<Member>,
    ) -> Plan<Self::Step>;

    /// Whether a read shows something else than was expected, apart from what changes by itself, such as the number of
    /// requests in progress. What is then corrected was changed outside pollbal.
    fn differs(_expected: &Self::Actual, _read: &Self::Actual) -> bool {
        true
    }

    /// The kind of a step in metrics, such as `add`.
    fn kind(step: &Self::Step) -> &'static str;

    /// Changes the actual state as a successful step does.
    fn apply(actual: &mut Self::Actual, step: &Self::Step);

    /// Connects, and checks that the right server answers. Dropped when it takes longer than
    /// [`timeout`](SyncSettings::timeout).
    fn connect(&self) -> impl Future<Output = Result<Self::Session, SessionError>> + Send;
}

/// A connection to a load balancer. Each exchange must end within [`timeout`](SyncSettings::timeout); when it fails or
/// is dropped half-way, the session is dropped too.
pub trait Session: Send {
    /// As in [`Backend::Step`].
    type Step;
    /// As in [`Backend::Actual`].
    type Actual;

    /// What the load balancer is and its version, for people: `HAProxy 3.0.11`.
    fn describe(&self) -> String;

    /// Checks that the load balancer which was read still responds; an error if another one took its place. Called
    /// about every second while nothing else is due.
    fn ping(&mut self) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// Reads everything that is there.
    fn read(&mut self) -> impl Future<Output = Result<Self::Actual, SessionError>> + Send;

    /// Executes the steps of a batch in order, and returns the answer to each. An error means that it is unknown which
    /// of them took effect.
    fn execute(
        &mut self,
        batch: &[Self::Step],
    ) -> impl Future<Output = Result<Vec<StepResult>, SessionError>> + Send;

    /// Those of the removed members that still work on a request.
    fn busy(
        &mut self,
        removed: &BTreeSet<Member>,
    ) -> impl Future<Output = Result<BTreeSet<Member>, SessionError>> + Send;

    /// The load balancer's own statistics, also by node if `per_node`.
    fn statistics(
        &mut self,
        per_node: bool,
    ) -> impl Future<Output = Result<Vec<Family>, SessionError>> + Send;
}

/// What leads from the actual to the desired state.
#[derive(Clone, Debug)]
pub struct Plan<Step> {
    /// Steps that are executed together, one batch after the other. A step that the load balancer rejects does not stop
    /// the others.
    pub batches: Vec<Vec<Step>>,
    /// What the steps cannot correct.
    pub problems: Problems,
    /// Pools of the snapshot that are not there and that no step creates: the load balancer does not carry them. Each
    /// is a problem, too: what is missing and what to do, for people.
    pub absent: BTreeMap<PoolName, String>,
}

/// Why a session failed or ended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// There is no connection, or it broke.
    #[error("{0}")]
    Lost(OutageCause),
    /// The load balancer responds, but with what cannot be used; it is tried again less often.
    #[error("{0}")]
    Unusable(OutageCause),
    /// Another process has taken its place, as after a restart or a reload: it is read at once.
    #[error("{0}")]
    Replaced(OutageCause),
}

impl SessionError {
    /// What is reported as the cause of the outage.
    fn cause(&self) -> &OutageCause {
        match self {
            Self::Lost(cause) | Self::Unusable(cause) | Self::Replaced(cause) => cause,
        }
    }
}

/// The settings of a driver, whatever its kind.
#[derive(Clone, Debug)]
pub struct SyncSettings {
    /// The load balancer.
    pub id: DriverId,
    /// What pools are called there.
    pub naming: Naming,
    /// Maximum time between two reads of everything.
    pub resync_interval: Duration,
    /// Maximum time for an exchange.
    pub timeout: Duration,
}

/// The driver of one load balancer.
pub struct SyncDriver<B> {
    backend: B,
    settings: SyncSettings,
    owned: OwnedThere,
}

impl<B: Backend> SyncDriver<B> {
    /// The driver, which does not run yet.
    pub fn new(backend: B, settings: SyncSettings, deps: Deps) -> Self {
        Self {
            backend,
            settings,
            owned: deps.owned,
        }
    }
}
