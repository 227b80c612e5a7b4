//! Handles the signals that end a command early.

use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code after Ctrl-C: 128 plus the signal's number, as in shells.
pub(super) const INTERRUPTED: u8 = 128 + 2;

/// Time from Ctrl-C until a command counts as blocked, for example by a pipe that nobody reads.
const GRACE: Duration = Duration::from_millis(500);

/// Ends the program on Ctrl-C even if its main thread is blocked.
pub(super) struct LastResort {
    code: Arc<AtomicU8>,
}

impl LastResort {
    pub(super) fn start() -> io::Result<Self> {
        let code = Arc::new(AtomicU8::new(INTERRUPTED));
        let latest = code.clone();
        on_first(&[SignalKind::interrupt()], move |_| {
            thread::sleep(GRACE);
            std::process::exit(latest.load(Ordering::Relaxed).into());
        })?;
        Ok(Self { code })
    }

    /// From now on, Ctrl-C ends the program with this exit code.
    pub(super) fn set_exit_code(&self, code: u8) {
        self.code.store(code, Ordering::Relaxed);
    }
}

/// From now on, SIGINT, SIGTERM and SIGHUP end the program immediately: only its last output is left to be written.
pub(super) fn exit_on_signal() -> io::Result<()> {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    on_first(&kinds, |kind| std::process::exit(exit_code(kind).into()))
}

/// Starts a thread that calls `handle` on the first of these signals.
fn on_first(
    kinds: &[SignalKind],
    handle: impl FnOnce(SignalKind) + Send + 'static,
) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = Vec::new();
    {
        let _inside = runtime.enter();
        for kind in kinds {
            signals.push((*kind, signal(*kind)?));
        }
    }
    let listen = move || {
        let first = poll_fn(|context| {
            for (kind, signal) in &mut signals {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*kind);
                }
            }
            Poll::Pending
        });
        handle(runtime.block_on(first));
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listen)?;
    Ok(())
}

/// 128 plus the signal's number, as in shells.
fn exit_code(kind: SignalKind) -> u8 {
    128 + u8::try_from(kind.as_raw_value()).unwrap_or_default()
}

/// Waits for Ctrl-C (SIGINT).
pub(super) async fn interrupt() {
    match signal(SignalKind::interrupt()) {
        Ok(mut interrupts) => _ = interrupts.recv().await,
        // Without a handler the signal ends the program by itself.
        Err(_) => pending().await,
    }
}

/// Signals for a command that has to finish what it began: the first signal asks for that, the second stops it.
#[derive(Clone)]
pub(super) struct Interrupts {
    /// Cancelled by the first signal: finish, and start nothing new.
    pub(super) finish: CancellationToken,
    /// Cancelled by the second signal: stop immediately.
    pub(super) stop: CancellationToken,
    code: Arc<AtomicU8>,
}

impl Interrupts {
    /// Starts a task that handles SIGINT, SIGTERM and SIGHUP.
    pub(super) fn listen() -> io::Result<Self> {
        let interrupts = Self {
            finish: CancellationToken::new(),
            stop: CancellationToken::new(),
            code: Arc::default(),
        };
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let handler = interrupts.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = interrupt.recv() => handler.on_signal(SignalKind::interrupt()),
                    Some(()) = terminate.recv() => handler.on_signal(SignalKind::terminate()),
                    Some(()) = hangup.recv() => handler.on_signal(SignalKind::hangup()),
                    else => return,
                }
            }
        });
        Ok(interrupts)
    }

    /// The exit code for the first signal; `None` before it.
    pub(super) fn code(&self) -> Option<u8> {
        match self.code.load(Ordering::Relaxed) {
            0 => None,
            code => Some(code),
        }
    }

    fn on_signal(&self, kind: SignalKind) {
        if self.finish.is_cancelled() {
            self.stop.cancel();
        }
        // Only the first counts.
        let first = exit_code(kind);
        _ = self
            .code
            .compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
        self.finish.cancel();
    }
}
