//! The loop around a connection's state machine, with its socket and the clock.

use std::path::Path;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::connection::{Connection, Setup};
use super::error::SessionError;
use super::own_files::{OwnFiles, nodefiles};
use super::protocol::{Command, Response};
use super::session::{Session, Socket};
use super::view::Query;
use super::{PerlbalDriver, publish};
use crate::drivers::Snapshot;
use crate::drivers::outage::ReconnectDelays;
use crate::model::driver_status::DriverStatus;

impl PerlbalDriver {
    /// Serves one connection until it breaks (an error) or the task is stopped.
    pub(super) async fn serve(
        &mut self,
        session: Session,
        delays: &mut ReconnectDelays,
    ) -> Result<(), SessionError> {
        let setup = Setup {
            settings: &self.settings,
            names: &self.name_map,
            pool_directory: &self.pool_directory,
        };
        let Session { socket, pipeline } = session;
        let own_files = self.state.own_files.clone();
        let snapshot = self.snapshots.borrow_and_update().clone();
        let state = &mut self.state;
        let mut connection = Connection::new(setup, state, pipeline, snapshot, Instant::now());
        let mut serving = Serving {
            perlbal: &self.settings.address,
            pool_directory: &self.pool_directory,
            own_files,
            socket,
            snapshots: &mut self.snapshots,
            queries: &mut self.queries,
            status: &self.status,
            stop: &self.stop,
        };
        let served = serving.run(&mut connection).await;
        if let Some(lasted) = connection.close(Instant::now()) {
            delays.on_lasted(lasted);
        }
        self.publish();
        served
    }
}

/// What a connection is served with.
struct Serving<'a> {
    perlbal: &'a str,
    pool_directory: &'a Path,
    own_files: OwnFiles,
    socket: Socket,
    snapshots: &'a mut watch::Receiver<Option<Snapshot>>,
    queries: &'a mut mpsc::Receiver<Query>,
    status: &'a watch::Sender<DriverStatus>,
    stop: &'a CancellationToken,
}

impl Serving<'_> {
    async fn run(&mut self, connection: &mut Connection<'_>) -> Result<(), SessionError> {
        loop {
            connection.plan_if_due(Instant::now());
            publish(connection.state, self.perlbal, self.status);
            if let Some(window) = connection.send_window(Instant::now()) {
                while let Some(batch) = connection.next_batch(window, Instant::now()) {
                    self.socket.write(&batch).await?;
                }
            }
            let deadline = connection.next_deadline();
            let now = Instant::now();
            // At once, where it is time: a timer would take a millisecond.
            if deadline <= now {
                connection.on_timer(now);
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                // Before what is new is sent: when it may be sent depends on what is received.
                answered = self.socket.response(&mut connection.pipeline) => {
                    let (command, response) = answered?;
                    self.resolve_nodefiles(&command, &response).await;
                    connection.on_response(&command, response, Instant::now())?;
                }
                changed = self.snapshots.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let snapshot = self.snapshots.borrow_and_update().clone();
                    connection.on_snapshot(snapshot, Instant::now());
                }
                Some(query) = self.queries.recv() => {
                    connection.on_query(query, Instant::now());
                }
                () = sleep_until(deadline.into()) => connection.on_timer(Instant::now()),
            }
        }
    }

    /// Resolves the directories of the nodefiles that a response shows.
    async fn resolve_nodefiles(&self, command: &Command, response: &Response) {
        if let (Command::DumpConfig, Response::Ok(lines)) = (command, response) {
            resolve_nodefiles(&self.own_files, self.pool_directory, self.perlbal, lines).await;
        }
    }
}

/// Resolves the directories of the nodefiles that `DUMPCONFIG` shows.
pub(super) async fn resolve_nodefiles(
    own_files: &OwnFiles,
    pool_directory: &Path,
    perlbal: &str,
    lines: &[String],
) {
    if !own_files.resolve(pool_directory, nodefiles(lines)).await {
        warn!(
            %perlbal,
            "the directory of a nodefile in Perlbal does not answer; until it does, pools whose nodefile is not spelled \
             as in {} get their members one by one",
            pool_directory.display()
        );
    }
}
