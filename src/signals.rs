//! Signals: SIGTERM and SIGINT end the daemon, SIGHUP reloads its files.

use std::future::pending;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{io, process};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::logging;
use crate::supervision::supervised;
use crate::threads::start_thread;

/// Maximum duration of the shutdown, from the signal on, to which a second for the log's last lines is added.
/// Everything it waits for has shorter limits, six seconds in total; this one is for hangs that no timeout can
/// interrupt: a disk, or the standard output of a dry run. systemd, Docker and Kubernetes kill after 10 s or more.
const MAX_SHUTDOWN: Duration = Duration::from_secs(7);

/// What has been requested by signals.
#[derive(Clone)]
pub struct Signals {
    /// Cancelled by SIGTERM or SIGINT: shut down.
    pub stop: CancellationToken,
    /// Notified by SIGHUP: reload the configuration and services file. Signals that arrive together count once.
    pub reload: Arc<Notify>,
}

/// The installed signal handlers.
struct Handlers {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Handlers {
    fn install() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

impl Signals {
    /// Starts to handle signals on a dedicated thread: SIGTERM ends the process even if the other threads hang.
    ///
    /// # Errors
    /// The system allows no signal handlers, or no thread.
    pub fn listen() -> io::Result<Self> {
        let signals = Self {
            stop: CancellationToken::new(),
            reload: Arc::default(),
        };
        let (receiver, installed) = (signals.clone(), mpsc::sync_channel(1));
        let own = || Builder::new_current_thread().enable_all().build();
        start_thread("signals", own, move |runtime| {
            runtime.block_on(async {
                match Handlers::install() {
                    Ok(handlers) => {
                        _ = installed.0.send(Ok(()));
                        // This thread lives as long as the process, so the task must never end.
                        let never = CancellationToken::new();
                        supervised("signals", never, receiver.receive(handlers)).await;
                    }
                    Err(error) => _ = installed.0.send(Err(error)),
                }
            });
        })?;
        let result = installed.1.recv();
        result.map_err(|_| io::Error::other("the thread ended"))??;
        Ok(signals)
    }

    async fn receive(&self, mut handlers: Handlers) {
        let mut deadline = None;
        loop {
            let name = tokio::select! {
                Some(()) = handlers.hangup.recv() => {
                    self.reload.notify_one();
                    continue;
                }
                Some(()) = handlers.terminate.recv() => "SIGTERM",
                Some(()) = handlers.interrupt.recv() => "SIGINT",
                () = passed(deadline) => exit_at_deadline(),
                else => return,
            };
            if deadline.is_none() {
                info!("ending: {name}");
                deadline = Some(Instant::now() + MAX_SHUTDOWN);
            }
            self.stop.cancel();
        }
    }
}

/// Waits for the deadline; forever if there is none.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

fn exit_at_deadline() -> ! {
    error!(
        "the end is not done after {MAX_SHUTDOWN:?}: something hangs, such as a disk; pollbal ends without it"
    );
    logging::finish();
    process::exit(1)
}
