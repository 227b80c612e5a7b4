//! The three doors by which pollbal is asked and told: each listens somewhere, has limits of its own,
//! and a router that knows the answers.
//!
//! ```text
//!   admin   Unix socket   operators on this host    everything
//!   status  TCP           browsers, Prometheus      read only
//!   node    TCP           the nodes                 each for itself alone
//!
//!   listener ──► gate ──► connection ──► gate ──► router (admin.rs, status.rs, node.rs)
//!    accepts     places    HTTP, times     size, pace
//! ```
//!
//! They live on a thread of their own with a runtime of its own, so that whatever comes to a door,
//! polling and Perlbal do not wait for it. The sockets are opened before that, by whoever can still
//! refuse to start or to reload. From the daemon the thread gets new listeners by a bounded channel,
//! and what handlers need by what [`Contents`] holds.

mod cache;
mod long_poll;
mod metrics;
mod page;
mod params;
mod routes;
mod server;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use self::cache::Views;
pub use self::server::bind::{Changes, DoorError, Hint, Standing};
use self::server::bind::{Kept, Listeners};
use self::server::connection_limit::Places;
pub use self::server::counters::{CLASSES, Counters, DoorCounters, Refusal};
use self::server::limits::Limits;
use self::server::listener::listen;
pub use self::server::origin::KnownHosts;
use self::server::response_budget::Long;
use self::server::service::Gate;
pub use self::server::unix_socket::SocketError;
use crate::control::ControlHandle;
use crate::model::node_index::NodeIndex;
use crate::supervision::{Pulse, supervised};
use crate::threads::{runtime, start_thread};

/// The latest node index. The node door accepts only the addresses in it.
pub type NodeIndexReceiver = watch::Receiver<Arc<NodeIndex>>;

/// Reloads come one after another; one more may wait while the thread takes the one before. When
/// both are there, the thread hangs, and the reload says so.
const RELOADS: usize = 2;

/// So long requests under way may take at the end.
const LAST_REQUESTS: Duration = Duration::from_millis(300);

/// And so long the end of the doors may take in all, whatever they do.
const END: Duration = Duration::from_millis(450);

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// For operators on this host: everything.
    Admin,
    /// For browsers, Prometheus and probes: read only.
    Status,
    /// For the nodes, each for itself alone.
    Node,
}

impl Door {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Status, Self::Node];

    /// The key of the configuration that says where it is.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Admin => "admin_socket",
            Self::Status => "status_listen",
            Self::Node => "node_listen",
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin door",
            Self::Status => "status door",
            Self::Node => "node door",
        })
    }
}

/// What handlers of all doors share. It outlives reloads.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Whose handlers these are.
    door: Door,
    /// What came to the doors.
    pub counters: Arc<Counters>,
    /// Finds nodes by name or address.
    pub node_index: NodeIndexReceiver,
    /// The way to ask the daemon.
    pub control: ControlHandle,
    /// What it told those who only look.
    views: Arc<Views>,
    /// The door's own: long answers.
    long: Arc<Long>,
    /// The door's own: places of answers that are held until something changes.
    held: Arc<Places>,
}

/// What the doors need beside their sockets.
pub struct Contents {
    shared: Shared,
    /// The names by which the status listener may be asked for.
    hosts: watch::Receiver<KnownHosts>,
    /// How many files may be open, from which the doors' limits follow.
    open_files: usize,
}

impl Contents {
    /// What the doors know of the rest of the program.
    #[must_use]
    pub fn new(
        node_index: NodeIndexReceiver,
        control: ControlHandle,
        hosts: watch::Receiver<KnownHosts>,
        open_files: usize,
    ) -> Self {
        let shared = Shared {
            door: Door::Admin,
            counters: Arc::default(),
            node_index,
            control,
            views: Arc::default(),
            long: Arc::default(),
            held: Limits::new(Door::Admin, open_files).held(),
        };
        Self {
            shared,
            hosts,
            open_files,
        }
    }

    fn gate(&self, door: Door) -> Arc<Gate> {
        let limits = Limits::new(door, self.open_files);
        let shared = Shared {
            door,
            long: Arc::default(),
            held: limits.held(),
            ..self.shared.clone()
        };
        let nodes = (door == Door::Node).then(|| shared.node_index.clone());
        let counters = shared.counters.clone();
        let long = shared.long.clone();
        let router: Router = match door {
            Door::Admin => routes::admin::router(shared),
            Door::Status => routes::probes::router(shared),
            Door::Node => routes::node::router(shared),
        };
        Arc::new(Gate::new(
            door,
            limits,
            router,
            counters,
            (nodes, self.hosts.clone()),
            long,
        ))
    }
}

/// The doors of a running daemon. Dropped, they are closed.
pub struct Doors {
    kept: BTreeMap<Door, Kept>,
    listeners: mpsc::Sender<Listeners>,
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
    pulse: Pulse,
}

impl Doors {
    /// Serves at what was opened, on a new thread.
    pub fn start(opened: Changes, contents: Contents) -> io::Result<Self> {
        let (listeners, orders) = mpsc::channel(RELOADS);
        let stop = CancellationToken::new();
        let (ending, ended) = oneshot::channel();
        let (stopped, asked, first) = (stop.clone(), stop.clone(), opened.listeners);
        let pulse = Pulse::default();
        let beats = pulse.clone();
        start_thread("doors", runtime, move |runtime| {
            let doors = async {
                tokio::select! {
                    () = run(first, orders, contents, stopped) => {}
                    () = beats.beat() => {}
                }
            };
            runtime.block_on(supervised("doors", asked, doors));
            // What is still under way ends here.
            drop(runtime);
            // Nobody listens when the end took too long.
            _ = ending.send(());
        })?;
        tell(&opened.kept);
        Ok(Self {
            kept: opened.kept,
            listeners,
            stop,
            ended,
            pulse,
        })
    }

    /// Their thread's.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Where they are.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(&self.kept)
    }

    /// Opens and closes doors as [`Standing::open_changed`] prepared it.
    pub fn change(&mut self, changes: Changes) {
        tell(&changes.kept);
        for door in changes.listeners.keys() {
            self.kept.remove(door);
        }
        self.kept.extend(changes.kept);
        if !changes.listeners.is_empty() && self.listeners.try_send(changes.listeners).is_err() {
            error!("the doors hang: nobody can ask pollbal any more; restart it");
        }
    }

    /// Takes no more connections, and waits a moment for the requests under way.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // The admin socket's file: who comes now finds none.
        self.kept.clear();
        _ = timeout(END, &mut self.ended).await;
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn tell(opened: &BTreeMap<Door, Kept>) {
    for (door, kept) in opened {
        info!("the {door} is open at {}", kept.place);
    }
}

/// The doors' thread.
async fn run(
    first: Listeners,
    mut orders: mpsc::Receiver<Listeners>,
    contents: Contents,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let mut doors: BTreeMap<Door, Standee> = Door::ALL
        .map(|door| (door, Standee::new(contents.gate(door))))
        .into();
    let mut listeners = Some(first);
    while let Some(changed) = listeners {
        for (door, listener) in changed {
            if let Some(standee) = doors.get_mut(&door) {
                standee.close();
                if let Some(listener) = listener {
                    standee.open(listener, &connections, &stop);
                }
            }
        }
        listeners = stop.run_until_cancelled(orders.recv()).await.flatten();
    }
    // Also when the daemon is gone without a word.
    stop.cancel();
    connections.close();
    _ = timeout(LAST_REQUESTS, connections.wait()).await;
}

/// One door on the doors' thread.
struct Standee {
    gate: Arc<Gate>,
    /// Closes it.
    closed: CancellationToken,
}

impl Standee {
    fn new(gate: Arc<Gate>) -> Self {
        let closed = CancellationToken::new();
        Self { gate, closed }
    }

    fn close(&self) {
        self.closed.cancel();
    }

    fn open(
        &mut self,
        listener: server::bind::Listener,
        connections: &TaskTracker,
        stop: &CancellationToken,
    ) {
        self.closed = stop.child_token();
        let (gate, closed) = (self.gate.clone(), self.closed.clone());
        let listen = listen(listener, gate, connections.clone(), closed.clone());
        tokio::spawn(supervised("listener", closed, listen));
    }
}
