//! What systemd is notified of: readiness, the status line, and signs of life.
//!
//! The service is ready once every node has been polled and the pool files are written. If the services file lists no
//! node there is no first round, and the declared pools' files suffice. It does not wait for load balancers, which may
//! start after pollbal. A reload is done when the files with what was read are written.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

use crate::config::Config;
use crate::drivers::Snapshot;
use crate::logging::count;
use crate::model::driver_status::DriverStatus;
use crate::model::pools::Pools;
use crate::supervision::Watcher;
use crate::systemd::Notifier;

/// Maximum time to wait for the pool files. After that the service is ready without them: pollbal keeps load
/// balancers in sync through their management sockets anyway, which a service manager that restarts it again and again
/// would only prevent.
const FILES_TIMEOUT: Duration = Duration::from_secs(10);

/// What systemd was notified of, and what it is still to be notified of.
pub(super) struct SystemdStatus {
    pub(super) notifier: Notifier,
    /// The listeners' thread, if there is one.
    listeners: Option<Listeners>,
    /// The pool files that readiness waits for.
    pending: Option<PendingFiles>,
    /// A reload is reading its files.
    is_reading: bool,
    /// systemd was notified that the start, or the last reload, is done.
    notified_ready: bool,
    reload_rejected: bool,
    /// The last status line; none if one is to be sent in any case.
    last: Option<LastStatus>,
}

/// The listeners' thread.
struct Listeners {
    watcher: Watcher,
    logged_hang: bool,
}

impl Listeners {
    /// Whether it hangs; logs when that begins.
    fn check_hang(&mut self) -> bool {
        let hang = self.watcher.hangs(std::time::Instant::now());
        if hang && !self.logged_hang {
            error!(
                "the listeners' thread hangs, so no request is answered; the service manager \
                 gets no sign of life, so that it starts pollbal again"
            );
        }
        self.logged_hang = hang;
        hang
    }
}

/// All that a status line is made of, so that one is formatted only if it differs: the event loop passes the state at
/// each turn.
#[derive(Clone, Copy, PartialEq, Eq)]
struct LastStatus {
    nodes: usize,
    /// The snapshot's.
    serial: Option<u64>,
    files_in_sync: bool,
    files_pending: bool,
    reload_rejected: bool,
}

/// The files of the snapshot with this serial.
struct PendingFiles {
    serial: u64,
    /// When waiting for them ends; `None` before the first round is done.
    deadline: Option<Instant>,
}

/// What a status depends on.
pub(super) struct State<'a> {
    /// Where nodes come from.
    pub(super) sources: &'a Config,
    /// Number of nodes that they list.
    pub(super) nodes: usize,
    /// The last snapshot; none before the first round is done.
    pub(super) snapshot: Option<&'a Snapshot>,
    /// The status of the pool files.
    pub(super) files: DriverStatus,
}

impl SystemdStatus {
    pub(super) fn new(notifier: Notifier, listeners: Option<Watcher>) -> Self {
        Self {
            notifier,
            listeners: listeners.map(|watcher| Listeners {
                watcher,
                logged_hang: false,
            }),
            pending: Some(PendingFiles {
                serial: 0,
                deadline: None,
            }),
            is_reading: false,
            notified_ready: false,
            reload_rejected: false,
            last: None,
        }
    }

    /// Sends signs of life, until the wait for the files is over. Awaited by the event loop, so that systemd notices
    /// when that hangs; none is sent while the listeners' thread hangs.
    pub(super) async fn run_watchdog(&mut self) {
        let deadline = self.pending.as_ref().and_then(|pending| pending.deadline);
        loop {
            tokio::select! {
                () = wait_until(deadline) => return,
                () = self.notifier.watchdog_due() => {
                    if !self.listeners.as_mut().is_some_and(Listeners::check_hang) {
                        self.notifier.notify_watchdog(!self.notified_ready);
                    }
                }
            }
        }
    }

    pub(super) fn begin_reload(&mut self) {
        self.is_reading = true;
        // A reload before the service was ready is part of the start.
        if std::mem::take(&mut self.notified_ready) {
            self.notifier.notify_reloading();
        }
    }

    /// A reload has ended: the snapshot with this serial shows what was read; `None` if it was rejected.
    pub(super) fn end_reload(&mut self, serial: Option<u64>) {
        self.is_reading = false;
        self.reload_rejected = serial.is_none();
        // The services file may be another one.
        self.last = None;
        if let Some(serial) = serial {
            self.pending = Some(PendingFiles {
                serial,
                deadline: None,
            });
        }
    }

    /// Notifies systemd of what has changed.
    pub(super) fn update(&mut self, state: &State) {
        if !self.notifier.is_enabled() {
            return;
        }
        self.update_pending(state);
        self.notify_status(state);
        if self.pending.is_none() && !self.is_reading && !self.notified_ready {
            self.notified_ready = self.notifier.notify_ready();
        }
    }

    fn notify_status(&mut self, state: &State) {
        let status = LastStatus {
            nodes: state.nodes,
            serial: state.snapshot.map(|snapshot| snapshot.serial),
            files_in_sync: state.files.in_sync,
            files_pending: self.pending.is_some(),
            reload_rejected: self.reload_rejected,
        };
        if self.last != Some(status) && self.notifier.notify_status(&self.line(state)) {
            self.last = Some(status);
        }
    }

    /// Ends the wait for the files once they are written, or overdue.
    fn update_pending(
        &mut self,
        State {
            snapshot,
            nodes,
            files,
            ..
        }: &State,
    ) {
        let Some(PendingFiles { serial, deadline }) = &mut self.pending else {
            return;
        };
        if snapshot.is_none() && *nodes > 0 {
            return;
        }
        let now = Instant::now();
        let is_late = *deadline.get_or_insert(now + FILES_TIMEOUT) <= now;
        // At least the first snapshot's, although no reload requests one.
        let desired = (*serial).max(u64::from(snapshot.is_some()));
        let is_written = files.in_sync && files.settled >= desired;
        if is_late && !is_written {
            warn!("the service counts as ready, though its pool files are not written");
        }
        if is_late || is_written {
            self.pending = None;
        }
    }

    fn line(&self, state: &State) -> String {
        let mut line = match state.snapshot {
            None if state.nodes == 0 => {
                format!("{} lists no nodes yet", state.sources.sources())
            }
            None => format!(
                "waiting for the first answer of {}",
                count(state.nodes, "node")
            ),
            Some(snapshot) => members(&snapshot.pools),
        };
        if self.pending.is_none() && !state.files.in_sync {
            line += "; pool files cannot be written, see the log";
        }
        if self.reload_rejected {
            line += "; the last reload was rejected, see the log";
        }
        line
    }
}

/// Waits until then; forever if there is no deadline.
async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// `12 of 14 nodes in 3 pools, sorry server in 1 pool`.
fn members(pools: &Pools) -> String {
    let members = pools.member_count();
    let filled = pools.pools.values().filter(|pool| !pool.members.is_empty());
    let sorry = pools.pools.values().filter(|pool| !pool.sorry.is_empty());
    let sorry = match sorry.count() {
        0 => String::new(),
        sorry => format!(", sorry server in {}", count(sorry, "pool")),
    };
    format!(
        "{members} of {} in {}{sorry}",
        count(members + pools.disabled.len(), "node"),
        count(filled.count(), "pool")
    )
}
