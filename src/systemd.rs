//! Notifications to systemd, or another service manager with its protocol: readiness, a status line and watchdog
//! keep-alives (`sd_notify(3)`).
//!
//! Messages pass through a bounded queue to a task that sends them without blocking in a system call, so a service
//! manager that does not read delays nothing. A failure to send is logged once and otherwise ignored. Without
//! `NOTIFY_SOCKET` nothing is sent.

use std::env;
use std::ffi::{OsStr, OsString};
use std::future::pending;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as Socket};
use std::time::Duration;

use sd_notify::{NotifyState, watchdog_enabled};
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::model::text::printable;
use crate::supervision::supervised;

/// The environment variables by which a service manager gives the address and the interval of notifications. They are
/// removed from the environment of child processes.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Maximum number of queued messages; more are dropped. systemd's own queue fills first, so by then it has not read for
/// a long time.
const MAX_QUEUED: usize = 64;

/// Maximum time to send the remaining messages at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// Sends notifications to the service manager, if there is one.
pub struct Notifier {
    queue: Option<NotifyQueue>,
    watchdog: Option<Interval>,
    /// The last status that was queued.
    status: String,
}

struct NotifyQueue {
    messages: mpsc::Sender<String>,
    writer: JoinHandle<()>,
    /// Lets the writer end, which it does once the queue is closed and empty.
    ends: CancellationToken,
    logged_full: bool,
}

impl Notifier {
    /// A notifier that sends nothing.
    #[must_use]
    pub fn disabled() -> Self {
        Self {
            queue: None,
            watchdog: None,
            status: String::new(),
        }
    }

    /// Notifies the service manager that started this process, if the environment names one.
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
            return Self::disabled();
        };
        let (messages, queue) = mpsc::channel(MAX_QUEUED);
        let ends = CancellationToken::new();
        let writer = supervised("service manager", ends.clone(), send_queued(socket, queue));
        Self {
            queue: Some(NotifyQueue {
                messages,
                writer: tokio::spawn(writer),
                ends,
                logged_full: false,
            }),
            // Half the watchdog's timeout, as sd_watchdog_enabled(3) recommends.
            watchdog: watchdog_enabled()
                .map(|limit| limit / 2)
                .filter(|period| !period.is_zero())
                .map(ticks),
            ..Self::disabled()
        }
    }

    /// Whether there is a service manager to notify.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.queue.is_some()
    }

    /// Waits until a watchdog keep-alive is due; forever if there is no watchdog.
    pub async fn watchdog_due(&mut self) {
        match &mut self.watchdog {
            Some(due) => _ = due.tick().await,
            None => pending().await,
        }
    }

    /// Sends a watchdog keep-alive; while `starting`, also extends the start timeout by two watchdog periods.
    pub fn notify_watchdog(&mut self, starting: bool) {
        let mut states = vec![NotifyState::Watchdog];
        if starting && let Some(due) = &self.watchdog {
            let extension = due.period().as_micros() * 2;
            let extension = u32::try_from(extension).unwrap_or(u32::MAX);
            states.push(NotifyState::ExtendTimeoutUsec(extension));
        }
        _ = self.queue_message(&states);
    }

    /// Reports that the start or a reload is complete. Returns false if the message was dropped and must be sent again.
    pub fn notify_ready(&mut self) -> bool {
        self.queue_message(&[NotifyState::Ready])
    }

    /// Reports that a reload has begun.
    pub fn notify_reloading(&mut self) {
        let mut states = vec![NotifyState::Reloading];
        // Without the time, newer versions of systemd do not take the message as the answer to this reload.
        states.extend(NotifyState::monotonic_usec_now());
        _ = self.queue_message(&states);
    }

    /// Sends a status line if it has changed. Returns false if the message was dropped and must be sent again.
    pub fn notify_status(&mut self, text: &str) -> bool {
        let text = printable(text);
        let queued = text == self.status || self.queue_message(&[NotifyState::Status(&text)]);
        if queued {
            self.status = text;
        }
        queued
    }

    /// Reports that the shutdown has begun.
    pub fn notify_stopping(&mut self) {
        _ = self.queue_message(&[NotifyState::Stopping]);
        _ = self.notify_status("ending");
    }

    /// Waits until all messages are sent, for at most [`FLUSH_TIMEOUT`].
    pub async fn finish(self) {
        if let Some(mut queue) = self.queue {
            let (closed, _) = mpsc::channel(1);
            queue.ends.cancel();
            queue.messages = closed;
            _ = timeout(FLUSH_TIMEOUT, &mut queue.writer).await;
        }
    }

    /// Queues a message. Returns false if it was dropped because the queue is full.
    fn queue_message(&mut self, states: &[NotifyState]) -> bool {
        let Some(queue) = &mut self.queue else {
            return true;
        };
        let assignments: Vec<_> = states.iter().map(ToString::to_string).collect();
        let queued = queue.messages.try_send(assignments.join("\n")).is_ok();
        if !queued && !std::mem::replace(&mut queue.logged_full, true) {
            warn!("the service manager does not read its notifications; pollbal continues");
        }
        queued
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn send_queued(socket: OsString, mut messages: mpsc::Receiver<String>) {
    let mut logged = false;
    while let Some(message) = messages.recv().await {
        if let Err(error) = send(&socket, &message).await
            && !std::mem::replace(&mut logged, true)
        {
            warn!("failed to notify the service manager: {error}; pollbal continues");
        }
    }
}

/// Sends a message; waits while the service manager's queue is full. Each message uses a new socket: after a restart of
/// the service manager another one may listen at the same address.
async fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let sender = Socket::unbound()?;
    sender.connect_addr(&address(socket)?)?;
    sender.set_nonblocking(true)?;
    UnixDatagram::from_std(sender)?
        .send(message.as_bytes())
        .await?;
    Ok(())
}

/// The service manager's address: a path, or after `@` an abstract name (`sd_notify(3)`, `unix(7)`).
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(socket),
    }
}

impl Drop for NotifyQueue {
    fn drop(&mut self) {
        self.ends.cancel();
    }
}
