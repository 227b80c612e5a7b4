//! Signals that end a command before its time.

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

/// The exit code of a command that Ctrl-C ended: 128 and the signal's number, as shells have it.
pub(super) const INTERRUPTED: u8 = 128 + 2;

/// A command that heard Ctrl-C and has not ended this much later is held up, as by a pipe that nobody reads.
const GRACE: Duration = Duration::from_millis(500);

/// Ends the program by Ctrl-C also when its own thread is held up.
pub(super) struct LastResort {
    code: Arc<AtomicU8>,
}

impl LastResort {
    /// From now on.
    pub(super) fn start() -> io::Result<Self> {
        let code = Arc::new(AtomicU8::new(INTERRUPTED));
        let last = code.clone();
        on_first(&[SignalKind::interrupt()], move |_| {
            thread::sleep(GRACE);
            std::process::exit(last.load(Ordering::Relaxed).into());
        })?;
        Ok(Self { code })
    }

    /// Ctrl-C ends the program with this exit code now.
    pub(super) fn ends_with(&self, code: u8) {
        self.code.store(code, Ordering::Relaxed);
    }
}

/// What there was to bring to an end is over, and only the last words are left to be written: each signal that ends
/// programs ends this one at once.
pub(super) fn end_at_once() -> io::Result<()> {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    on_first(&kinds, |kind| std::process::exit(exit_code(kind).into()))
}

/// Listens from now on, in a thread of its own, which does this when the first of these signals comes.
fn on_first(
    kinds: &[SignalKind],
    what: impl FnOnce(SignalKind) + Send + 'static,
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
        what(runtime.block_on(first));
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listen)?;
    Ok(())
}

/// 128 and the signal's number, as shells have it.
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
    pub(super) fn listen() -> io::Result<Self> {
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
        // Only the first counts.
        let first = exit_code(kind);
        _ = self
            .code
            .compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
        self.finish.cancel();
    }
}
