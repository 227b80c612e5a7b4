//! Signals: what ends the program, and what makes it reload.

use std::io;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What the signals ask for.
#[derive(Clone)]
pub struct Lifecycle {
    /// SIGTERM or SIGINT came: end.
    pub stop: CancellationToken,
    /// SIGHUP came: read configuration and services anew. Several that come together count once.
    pub reload: Arc<Notify>,
}

impl Lifecycle {
    /// Begins to listen, in a task of its own.
    ///
    /// # Errors
    /// The system allows no signal handlers.
    pub fn listen() -> io::Result<Self> {
        let lifecycle = Self {
            stop: CancellationToken::new(),
            reload: Arc::default(),
        };
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let told = lifecycle.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = hangup.recv() => told.reload.notify_one(),
                    Some(()) = terminate.recv() => told.end("SIGTERM"),
                    Some(()) = interrupt.recv() => told.end("SIGINT"),
                    else => return,
                }
            }
        });
        Ok(lifecycle)
    }

    fn end(&self, signal: &str) {
        if !self.stop.is_cancelled() {
            info!("ending: {signal}");
        }
        self.stop.cancel();
    }
}

/// Raises the limit of open files to the hard limit: each node has a connection, if that allows it.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(
            "failed to raise the limit of open files: {error}; it stays at {:?}",
            limit.current
        );
    }
}

/// How many files this process may have open at a time.
#[must_use]
pub fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}
