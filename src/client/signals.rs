//! Signals that end a command before its time.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a command that Ctrl-C ended: 128 and the signal's number, as shells have it.
pub(super) const INTERRUPTED: u8 = 128 + 2;

/// Waits for Ctrl-C (SIGINT).
pub(super) async fn interrupt() {
    match signal(SignalKind::interrupt()) {
        Ok(mut interrupts) => _ = interrupts.recv().await,
        // Without a handler the signal ends the program by itself.
        Err(_) => pending().await,
    }
}

/// For what has to be brought to an end: the first signal asks for it, the second stops at once.
#[derive(Clone)]
pub(super) struct Interrupts {
    /// A signal came: begin nothing new.
    pub(super) finish: CancellationToken,
    /// Another one came: stop at once.
    pub(super) stop: CancellationToken,
    code: Arc<AtomicU8>,
}

impl Interrupts {
    /// Begins to listen for SIGINT, SIGTERM and SIGHUP, in a task of its own.
    pub(super) fn listen() -> std::io::Result<Self> {
        let interrupts = Self {
            finish: CancellationToken::new(),
            stop: CancellationToken::new(),
            code: Arc::default(),
        };
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let told = interrupts.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = interrupt.recv() => told.came(SignalKind::interrupt()),
                    Some(()) = terminate.recv() => told.came(SignalKind::terminate()),
                    Some(()) = hangup.recv() => told.came(SignalKind::hangup()),
                    else => return,
                }
            }
        });
        Ok(interrupts)
    }

    /// The exit code that the first signal asks for; none before it.
    pub(super) fn code(&self) -> Option<u8> {
        match self.code.load(Ordering::Relaxed) {
            0 => None,
            code => Some(code),
        }
    }

    fn came(&self, kind: SignalKind) {
        if self.finish.is_cancelled() {
            self.stop.cancel();
        }
        let number = u8::try_from(kind.as_raw_value()).unwrap_or_default();
        // Only the first counts.
        let first = (0, 128 + number);
        _ = self
            .code
            .compare_exchange(first.0, first.1, Ordering::Relaxed, Ordering::Relaxed);
        self.finish.cancel();
    }
}
