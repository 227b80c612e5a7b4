//! The service manager, systemd: whether the daemon is ready, a line of status, and signs of life.
//!
//! Messages go through a bounded queue to a task that writes them, so that a service manager that
//! does not read holds nobody up. What cannot be told is said once in the log and is no reason to
//! end. Where nobody asks (`NOTIFY_SOCKET` is not set), nothing is done.

use std::env;
use std::future::pending;
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::warn;

use crate::model::text::printable;

/// How the service manager tells a process where and how often to speak. Not for its children.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Messages that may wait. systemd's own queue comes before this one; when both are full it has
/// not read for long, and what comes then is dropped.
const MESSAGES: usize = 64;

/// So long the last words may take.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The way to the service manager, if there is one.
pub struct ServiceManager {
    line: Option<Line>,
    signs_of_life: Option<Interval>,
    /// The status that it was told last.
    status: String,
}

struct Line {
    messages: mpsc::Sender<String>,
    writer: JoinHandle<()>,
    told_full: bool,
}

impl ServiceManager {
    /// Nobody is told anything.
    #[must_use]
    pub fn none() -> Self {
        Self {
            line: None,
            signs_of_life: None,
            status: String::new(),
        }
    }

    /// The one that started this process, as the environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Self::none();
        }
        let (messages, queue) = mpsc::channel(MESSAGES);
        Self {
            line: Some(Line {
                messages,
                writer: tokio::spawn(write(queue)),
                told_full: false,
            }),
            // Half the time after which it would end us, as sd_watchdog_enabled(3) says.
            signs_of_life: watchdog_enabled()
                .map(|limit| limit / 2)
                .filter(|every| !every.is_zero())
                .map(every),
            ..Self::none()
        }
    }

    /// Whether there is one.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.line.is_some()
    }

    /// Waits until a sign of life is due; for ever when nobody waits for one.
    pub async fn sign_of_life_due(&mut self) {
        match &mut self.signs_of_life {
            Some(due) => _ = due.tick().await,
            None => pending().await,
        }
    }

    /// Gives a sign of life; while the start is not done, it also asks for the time until the next
    /// but one.
    pub fn alive(&mut self, starting: bool) {
        let mut states = vec![NotifyState::Watchdog];
        if starting && let Some(due) = &self.signs_of_life {
            let longer = due.period().as_micros() * 2;
            let longer = u32::try_from(longer).unwrap_or(u32::MAX);
            states.push(NotifyState::ExtendTimeoutUsec(longer));
        }
        _ = self.tell(&states);
    }

    /// The start, or a reload, is done. False when that has to be said again.
    pub fn ready(&mut self) -> bool {
        self.tell(&[NotifyState::Ready])
    }

    /// A reload has begun.
    pub fn reloading(&mut self) {
        let mut states = vec![NotifyState::Reloading];
        // Without the time, newer systemds do not take the message for this reload's.
        states.extend(NotifyState::monotonic_usec_now());
        _ = self.tell(&states);
    }

    /// How things stand, in a line; told when it changed. False when that has to be said again.
    pub fn status(&mut self, text: &str) -> bool {
        let text = printable(text);
        let told = text == self.status || self.tell(&[NotifyState::Status(&text)]);
        if told {
            self.status = text;
        }
        told
    }

    /// The end has begun.
    pub fn stopping(&mut self) {
        _ = self.tell(&[NotifyState::Stopping]);
        _ = self.status("ending");
    }

    /// Waits until all is told, but not for long.
    pub async fn finish(self) {
        if let Some(Line {
            messages, writer, ..
        }) = self.line
        {
            drop(messages);
            _ = timeout(LAST_WORDS, writer).await;
        }
    }

    /// False when the message was dropped.
    fn tell(&mut self, states: &[NotifyState]) -> bool {
        let Some(line) = &mut self.line else {
            return true;
        };
        let words: Vec<_> = states.iter().map(ToString::to_string).collect();
        let sent = line.messages.try_send(words.join("\n")).is_ok();
        if !sent && !std::mem::replace(&mut line.told_full, true) {
            warn!("the service manager does not read what it is told; pollbal goes on");
        }
        sent
    }
}

fn every(time: Duration) -> Interval {
    let mut ticks = interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn write(mut messages: mpsc::Receiver<String>) {
    let mut told = false;
    while let Some(message) = messages.recv().await {
        // On a thread of its own, since it waits while the service manager's queue is full.
        let written = spawn_blocking(move || notify(&[NotifyState::Custom(&message)])).await;
        if let Ok(Err(error)) = written
            && !std::mem::replace(&mut told, true)
        {
            warn!("failed to tell the service manager: {error}; pollbal goes on");
        }
    }
}
