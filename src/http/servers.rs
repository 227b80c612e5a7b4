//! The listeners of a running daemon, on a thread of their own.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::ServerContext;
use super::listeners::{Bound, BoundListener, Changes, Listener, Sockets};
use super::server::accept::accept;
use super::server::bind::ListeningSocket;
use super::server::service::ListenerService;
use crate::supervision::{Pulse, supervised};
use crate::threads::{runtime, start_thread};

/// Depth of the channel to the thread. Reloads come one after another; a second may wait while the
/// thread handles the first. When both are there, the thread hangs, and the reload logs an error.
const PENDING_RELOADS: usize = 2;

/// Time for requests in progress at shutdown.
const REQUEST_GRACE: Duration = Duration::from_millis(300);

/// Time for the whole shutdown of the listeners, whatever they are doing.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(450);

/// The listeners of a running daemon. Dropping it closes them.
pub struct HttpServers {
    bound: BTreeMap<Listener, BoundListener>,
    sockets: mpsc::Sender<Sockets>,
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
    pulse: Pulse,
}

impl HttpServers {
    /// Serves on the opened sockets, on a new thread.
    pub fn start(opened: Changes, context: ServerContext) -> io::Result<Self> {
        let (sockets, changes) = mpsc::channel(PENDING_RELOADS);
        let stop = CancellationToken::new();
        let (ending, ended) = oneshot::channel();
        let (stopped, expected, first) = (stop.clone(), stop.clone(), opened.sockets);
        let pulse = Pulse::default();
        let beats = pulse.clone();
        start_thread("http", runtime, move |runtime| {
            let serving = async {
                tokio::select! {
                    () = run(first, changes, context, stopped) => {}
                    () = beats.beat() => {}
                }
            };
            runtime.block_on(supervised("http", expected, serving));
            // Ends what is still in progress.
            drop(runtime);
            // Nobody is listening if the shutdown took too long.
            _ = ending.send(());
        })?;
        log_listening(&opened.bound);
        Ok(Self {
            bound: opened.bound,
            sockets,
            stop,
            ended,
            pulse,
        })
    }

    /// The pulse of their thread.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Where they are.
    #[must_use]
    pub fn bound(&self) -> Bound {
        Bound::of(&self.bound)
    }

    /// Opens and closes listeners as prepared by [`Bound::open_changed`].
    pub fn apply(&mut self, changes: Changes) {
        log_listening(&changes.bound);
        for listener in changes.sockets.keys() {
            self.bound.remove(listener);
        }
        self.bound.extend(changes.bound);
        if !changes.sockets.is_empty() && self.sockets.try_send(changes.sockets).is_err() {
            error!("the HTTP listeners hang: pollbal no longer responds to requests; restart it");
        }
    }

    /// Accepts no more connections, and waits a moment for requests in progress.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // Removes the file of the admin socket, so that nobody connects any more.
        self.bound.clear();
        _ = timeout(SHUTDOWN_TIMEOUT, &mut self.ended).await;
    }
}

impl Drop for HttpServers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn log_listening(opened: &BTreeMap<Listener, BoundListener>) {
    for (listener, bound) in opened {
        info!("{listener} listening on {}", bound.address);
    }
}

/// The listeners' thread.
async fn run(
    first: Sockets,
    mut changes: mpsc::Receiver<Sockets>,
    context: ServerContext,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let mut listeners: BTreeMap<Listener, RunningListener> = Listener::ALL
        .map(|listener| (listener, RunningListener::new(context.service(listener))))
        .into();
    let mut next = Some(first);
    while let Some(changed) = next {
        for (listener, socket) in changed {
            if let Some(running) = listeners.get_mut(&listener) {
                running.close();
                if let Some(socket) = socket {
                    running.open(socket, &connections, &stop);
                }
            }
        }
        next = stop.run_until_cancelled(changes.recv()).await.flatten();
    }
    // Also when the daemon has gone without stopping them.
    stop.cancel();
    connections.close();
    _ = timeout(REQUEST_GRACE, connections.wait()).await;
}

/// One listener on the thread.
struct RunningListener {
    service: Arc<ListenerService>,
    /// Closes it.
    closed: CancellationToken,
}

impl RunningListener {
    fn new(service: Arc<ListenerService>) -> Self {
        let closed = CancellationToken::new();
        Self { service, closed }
    }

    fn close(&self) {
        self.closed.cancel();
    }

    fn open(
        &mut self,
        socket: ListeningSocket,
        connections: &TaskTracker,
        stop: &CancellationToken,
    ) {
        self.closed = stop.child_token();
        let (service, closed) = (self.service.clone(), self.closed.clone());
        let accepting = accept(socket, service, connections.clone(), closed.clone());
        tokio::spawn(supervised("listener", closed, accepting));
    }
}
