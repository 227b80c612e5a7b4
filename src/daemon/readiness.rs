//! When the service counts as ready, and how things stand in one line.
//!
//! It is ready when each node has answered or failed once and the files are written. Where the
//! services file names no node there is no first round, and the declared pools' files are enough.
//! Load balancers are not waited for: they may well start after pollbal. After a reload the files of what
//! was read then are waited for likewise.

use std::future::pending;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

use crate::drivers::Snapshot;
use crate::logging::count;
use crate::model::driver_status::DriverStatus;
use crate::model::pools::Pools;
use crate::supervision::Watcher;
use crate::systemd::Notifier;

/// So long files are waited for. Then the service counts as ready without them: pollbal keeps
/// load balancers in sync by their management sockets all the same, and a service manager that ended
/// and started it again and again would only stop that.
const FILES: Duration = Duration::from_secs(10);

/// What the service manager was told, and when it is to be told more.
pub(super) struct Readiness {
    pub(super) notifier: Notifier,
    /// The listeners' thread, if there is one.
    listeners: Option<Listeners>,
    /// What is still waited for.
    awaited: Option<Awaited>,
    /// A reload reads its files.
    reading: bool,
    /// It was told that the start, or the last reload, is done.
    told_ready: bool,
    reload_refused: bool,
    /// What the last status line said; none when one is to be told in any case.
    told: Option<Told>,
}

/// The listeners' thread.
struct Listeners {
    watcher: Watcher,
    told_hang: bool,
}

impl Listeners {
    fn hang(&mut self) -> bool {
        let hang = self.watcher.hangs(std::time::Instant::now());
        if hang && !self.told_hang {
            error!(
                "the listeners' thread hangs: nobody can ask pollbal anything; the service manager \
                 gets no sign of life, so that it starts pollbal again"
            );
        }
        self.told_hang = hang;
        hang
    }
}

/// All that a status line is made of, so that one is made only when it says something new: the
/// loop that decides tells how things stand at each turn.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    nodes: usize,
    /// The snapshot's.
    serial: Option<u64>,
    files_in_sync: bool,
    files_awaited: bool,
    reload_refused: bool,
}

/// The files of the snapshot of this serial.
struct Awaited {
    serial: u64,
    /// When they are not waited for any longer; `None` while the first round is not done.
    due: Option<Instant>,
}

/// How things stand.
pub(super) struct State<'a> {
    pub(super) services_file: &'a Path,
    /// How many nodes the services file names.
    pub(super) nodes: usize,
    /// The last snapshot; none before the first round is done.
    pub(super) snapshot: Option<&'a Snapshot>,
    /// How far the pool files have come.
    pub(super) files: DriverStatus,
}

impl Readiness {
    pub(super) fn new(notifier: Notifier, listeners: Option<Watcher>) -> Self {
        Self {
            notifier,
            listeners: listeners.map(|watcher| Listeners {
                watcher,
                told_hang: false,
            }),
            awaited: Some(Awaited {
                serial: 0,
                due: None,
            }),
            reading: false,
            told_ready: false,
            reload_refused: false,
            told: None,
        }
    }

    /// Gives signs of life until there is something to tell: files are not waited for any longer.
    /// To be awaited by the loop that decides, so that a hung one is noticed; and none is given while
    /// the listeners' thread hangs.
    pub(super) async fn wake(&mut self) {
        let due = self.awaited.as_ref().and_then(|awaited| awaited.due);
        loop {
            tokio::select! {
                () = wait_until(due) => return,
                () = self.notifier.watchdog_due() => {
                    if !self.listeners.as_mut().is_some_and(Listeners::hang) {
                        self.notifier.notify_watchdog(!self.told_ready);
                    }
                }
            }
        }
    }

    pub(super) fn reload_begins(&mut self) {
        self.reading = true;
        // A reload before the service was ready is part of the start.
        if std::mem::take(&mut self.told_ready) {
            self.notifier.notify_reloading();
        }
    }

    /// The snapshot of this serial shows what was read; `None` when it was refused.
    pub(super) fn reload_ends(&mut self, serial: Option<u64>) {
        self.reading = false;
        self.reload_refused = serial.is_none();
        // The services file may be another one.
        self.told = None;
        if let Some(serial) = serial {
            self.awaited = Some(Awaited { serial, due: None });
        }
    }

    /// Tells the service manager what is new.
    pub(super) fn tell(&mut self, state: &State) {
        if !self.notifier.is_enabled() {
            return;
        }
        self.look(state);
        self.tell_status(state);
        if self.awaited.is_none() && !self.reading && !self.told_ready {
            self.told_ready = self.notifier.notify_ready();
        }
    }

    fn tell_status(&mut self, state: &State) {
        let told = Told {
            nodes: state.nodes,
            serial: state.snapshot.map(|snapshot| snapshot.serial),
            files_in_sync: state.files.in_sync,
            files_awaited: self.awaited.is_some(),
            reload_refused: self.reload_refused,
        };
        if self.told != Some(told) && self.notifier.notify_status(&self.line(state)) {
            self.told = Some(told);
        }
    }

    fn look(
        &mut self,
        State {
            snapshot,
            nodes,
            files,
            ..
        }: &State,
    ) {
        let Some(Awaited { serial, due }) = &mut self.awaited else {
            return;
        };
        if snapshot.is_none() && *nodes > 0 {
            return;
        }
        let now = Instant::now();
        let late = *due.get_or_insert(now + FILES) <= now;
        // The first snapshot's, even though no reload asks for one.
        let wanted = (*serial).max(u64::from(snapshot.is_some()));
        let written = files.in_sync && files.settled >= wanted;
        if late && !written {
            warn!("the service counts as ready, though its pool files are not written");
        }
        if late || written {
            self.awaited = None;
        }
    }

    fn line(&self, state: &State) -> String {
        let mut line = match state.snapshot {
            None if state.nodes == 0 => {
                format!("{} names no node yet", state.services_file.display())
            }
            None => format!(
                "waiting for the first answer of {}",
                count(state.nodes, "node")
            ),
            Some(snapshot) => members(&snapshot.pools),
        };
        if self.awaited.is_none() && !state.files.in_sync {
            line += "; pool files cannot be written, see the log";
        }
        if self.reload_refused {
            line += "; the last reload was refused, see the log";
        }
        line
    }
}

/// Waits for ever for nothing.
async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// "12 of 14 nodes in 3 pools, sorry server in 1 pool".
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
