//! The Perlbal driver: makes one Perlbal show the desired pools, and keeps it so.
//!
//! ```text
//!   snapshot ─► desired ──┐
//!                         ├─► plan ─► pipeline ─► session ─► Perlbal
//!   session ─► read_state ┘ (actual)
//! ```
//!
//! One task per Perlbal owns one connection. It reads what is there when it connects, every
//! `resync_interval` and after a response that was not expected; a change in between is planned against
//! what is expected there, sent as soon as `throttle` allows, mostly at once, and read back. So a restart of
//! Perlbal, a change at its console and a lost command heal by the same path. `connection` is the state
//! machine of one connection and `state` is what outlives it; these and all that they use are pure: bytes and
//! the time are arguments. `serve` is the loop around them, `session` the socket, `connector` makes
//! connections, and this file is the task around it.
//!
//! It reports how far it has come in a `watch` channel ([`DriverStatus`]), and answers [`Query`]s
//! from one bounded channel in every state. `driver` is what the rest of pollbal knows of all that.

pub mod acks;
mod carried;
mod connection;
mod connector;
mod counters;
pub mod desired;
mod differences;
pub mod drain;
mod driver;
mod dry_run;
pub mod error;
mod metrics;
pub mod name;
mod notices;
pub mod outage;
mod own_files;
mod ownership;
pub mod pipe;
mod pipeline;
pub mod plan;
pub mod protocol;
pub mod read_state;
pub mod remarks;
mod serve;
mod service_checks;
mod session;
pub mod settings;
pub mod spare;
mod state;
pub mod statistics;
mod summary;
pub mod throttle;
mod unserved;
pub mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::connector::Connector;
use self::desired::NameMap;
use self::error::SessionError;
use self::notices::Notice;
use self::outage::cause_of;
use self::session::Session;
use self::settings::PerlbalSettings;
pub use self::state::State;
use self::view::Query;
use super::outage::{PENDING_DELAY, ReconnectDelays};
use super::steps::StepPrinter;
use super::{Mode, Snapshot, StatisticsError};
use crate::model::driver_status::DriverStatus;
use crate::model::ownership::Known;

/// The driver of one Perlbal, with what it works with.
pub struct PerlbalDriver {
    /// Which Perlbal, and how.
    pub settings: PerlbalSettings,
    /// From announced names to Perlbal's.
    pub name_map: NameMap,
    /// The directory of our pool files; a nodefile there is ours.
    pub pool_directory: PathBuf,
    /// The desired state, always the latest; `None` before the first round is done.
    pub snapshots: watch::Receiver<Option<Snapshot>>,
    /// How far this Perlbal has come.
    pub status: watch::Sender<DriverStatus>,
    /// What pollbal owns there, published at the end: nobody needs to wait for a reply then.
    pub last_owned: watch::Sender<Option<Known>>,
    /// Queries of the rest of pollbal. In a dry run nobody answers them.
    pub queries: mpsc::Receiver<Query>,
    /// Where a dry run prints its steps.
    pub steps: StepPrinter,
    /// Ends the task.
    pub stop: CancellationToken,
    /// What is kept from one connection to the next.
    pub state: State,
}

/// Maximum number of queries that wait for the driver, which answers them between two things that it does: some
/// from each listener. Senders wait while the queue is full; the driver never waits for it.
pub const MAX_WAITING_QUERIES: usize = 16;

impl PerlbalDriver {
    /// Runs until it is stopped.
    pub async fn run(mut self, mode: Mode) {
        self.drive(mode).await;
        self.last_owned.send_replace(Some(self.state.known()));
    }

    /// Connects and serves; reconnects after each outage, until the task is stopped.
    async fn drive(&mut self, mode: Mode) {
        self.state.set_disconnected(Instant::now());
        self.publish();
        let mut delays = ReconnectDelays::default();
        let mut wait = Duration::ZERO;
        loop {
            let served = match mode {
                Mode::Live => {
                    let Some(session) = self.reach(wait).await else {
                        return;
                    };
                    self.serve(session, &mut delays).await
                }
                Mode::DryRun => {
                    if self.answering(sleep(wait)).await.is_none() {
                        return;
                    }
                    self.serve_dry().await
                }
            };
            let Err(failure) = served else { return };
            self.report(&failure);
            wait = delays.next(failure.is_unusable());
        }
    }

    /// Connects, or reconnects after `wait`: waits for a connection over which Perlbal answers, and reports each
    /// attempt that fails. `None` when the task is stopped.
    async fn reach(&mut self, wait: Duration) -> Option<Session> {
        let mut connector = Connector::new(&self.settings, Arc::clone(&self.state.resolver), wait);
        loop {
            match self.answering(connector.next()).await? {
                Ok(session) => return Some(session),
                Err(failure) => self.report(&failure),
            }
        }
    }

    /// Waits for something while there is no connection; answers queries meanwhile, and reports
    /// what waits to be applied. `None` when the task is stopped.
    async fn answering<T>(&mut self, waited_for: impl Future<Output = T>) -> Option<T> {
        let stop = self.stop.clone();
        let mut waited_for = std::pin::pin!(waited_for);
        loop {
            let check_at = self.state.check_at;
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                done = &mut waited_for => return Some(done),
                Some(query) = self.queries.recv() => self.answer_unconnected(query),
                () = sleep_until(check_at.unwrap_or_else(Instant::now).into()), if check_at.is_some() => {
                    self.record_waiting();
                }
                Ok(()) = self.snapshots.changed(), if check_at.is_none() => {
                    self.state.check_at = Some(Instant::now() + PENDING_DELAY);
                }
            }
        }
    }

    /// Records and logs what waits to be applied.
    fn record_waiting(&mut self) {
        self.state.check_at = None;
        let snapshot = self.snapshots.borrow().clone();
        self.update_desired_if_new();
        self.state.update_waiting(snapshot.as_ref());
        self.publish();
        let perlbal = &self.settings.address;
        if let Some(text) = self.state.outage.reminder(Instant::now()) {
            error!(%perlbal, "Perlbal is {text}");
        }
    }

    // The requester may be gone by now.
    fn answer_unconnected(&mut self, query: Query) {
        match query {
            Query::View(reply) => {
                self.update_desired_if_new();
                _ = reply.send(self.state.view(&self.settings.address));
            }
            Query::Owned(reply) => {
                self.update_desired_if_new();
                _ = reply.send(self.state.known());
            }
            Query::Statistics { reply, .. } => {
                _ = reply.send(Err(StatisticsError::NotConnected));
            }
        }
    }

    /// Logs that the connection failed, once until it fails in another way or was there again.
    fn report(&mut self, failure: &SessionError) {
        let now = Instant::now();
        let cause = cause_of(failure);
        let outage = self.state.set_disconnected(now);
        let before = outage.cause.replace(cause.clone());
        if before.as_ref() != Some(&cause) {
            self.state
                .log_about_connection(now, || Notice::Unreachable(cause.to_string()));
        }
        // The desired state may have changed since the last plan.
        self.state.check_at.get_or_insert(now);
        let serial = self
            .snapshots
            .borrow()
            .as_ref()
            .map_or(0, |snapshot| snapshot.serial);
        self.state.record_progress(serial, false, now);
        self.publish();
    }

    /// Logs what is to be logged, and reports how far this Perlbal has come.
    fn publish(&mut self) {
        let perlbal = &self.settings.address;
        publish(&mut self.state, perlbal, &self.status);
    }

    /// Derives the desired state from the latest snapshot, unless it is known already.
    fn update_desired_if_new(&mut self) {
        let taken = self.state.desired.as_ref().map(|(serial, _)| *serial);
        let latest = self.snapshots.borrow().as_ref().map(|latest| latest.serial);
        if latest != taken {
            self.update_desired();
        }
    }

    /// Derives the desired state from the latest snapshot.
    fn update_desired(&mut self) {
        let snapshot = self.snapshots.borrow_and_update().clone();
        self.state.set_desired(snapshot.as_ref(), &self.name_map);
    }
}

/// Logs what is to be logged, and reports how far this Perlbal has come, if that changed.
fn publish(state: &mut State, perlbal: &str, sender: &watch::Sender<DriverStatus>) {
    for notice in state.take_notices() {
        notice.log(perlbal);
    }
    let status = state.status();
    sender.send_if_modified(|old| {
        let changed = *old != status;
        *old = status;
        changed
    });
}
