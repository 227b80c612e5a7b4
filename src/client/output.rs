//! Output of the commands that must react to signals while nobody reads it, such as `roll`: a separate thread writes.
//!
//! A full pipe, a stopped pager and a terminal in Ctrl-S block only that thread.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{json_line, terminal};
use crate::logging::count;
use crate::model::text::{printable_json, printable_lines};
use crate::stdout;

/// Maximum size of the output that is not written yet, in bytes: tens of thousands of steps. Beyond it, writes are
/// dropped and counted.
const MAX_PENDING_BYTES: usize = 8 << 20;

/// Maximum time that a command ended by a signal waits for its output to be written.
const FINAL_WAIT: Duration = Duration::from_secs(1);

/// Writes in order, from a separate thread. Writing never fails: a terminal that is gone is no reason to leave
/// something half done.
pub(super) struct Output {
    /// Unbounded; [`MAX_PENDING_BYTES`] limits what is in it.
    writes: Sender<Write>,
    /// Locked by the thread while it waits for writes, not while it writes.
    receiver: Arc<Mutex<Receiver<Write>>>,
    pending_bytes: Arc<AtomicUsize>,
    /// Number of writes dropped since the last one that fitted.
    dropped: Cell<usize>,
}

type Draw = Box<dyn FnOnce(&ProgressBar) + Send>;

enum Write {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// Updates the progress bar.
    Draw(Draw),
    /// This many writes were dropped here.
    Dropped(usize),
    /// Answers once everything before it is written.
    Flush(oneshot::Sender<()>),
}

impl Output {
    /// Starts the thread. Only it touches the bar, if there is one: even reading its state may block on the terminal.
    pub(super) fn start(bar: Option<ProgressBar>) -> io::Result<Self> {
        let (writes, receiver) = mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let pending_bytes = Arc::<AtomicUsize>::default();
        let (source, pending) = (receiver.clone(), pending_bytes.clone());
        spawn(move || write_all(&source, &pending, bar.as_ref()))?;
        Ok(Self {
            writes,
            receiver,
            pending_bytes,
            dropped: Cell::new(0),
        })
    }

    /// Prints to standard output.
    pub(super) fn print(&self, text: &str) {
        self.write_bytes(printable_lines(text).into(), false);
    }

    /// Prints a message for people to standard error.
    pub(super) fn warn(&self, text: &str) {
        let text = printable_lines(text);
        self.write_bytes(format!("pollbal: {text}\n").into(), true);
    }

    /// Prints a value as one line of JSON.
    pub(super) fn json(&self, value: &impl Serialize) {
        let line = json_line(value);
        let line = if terminal::is_attended() {
            printable_json(&line)
        } else {
            line
        };
        self.write_bytes(line.into(), false);
    }

    /// Writes bytes unchanged, such as the output of another program.
    pub(super) fn write_bytes(&self, bytes: Vec<u8>, is_error: bool) {
        self.push(if is_error {
            Write::Stderr(bytes)
        } else {
            Write::Stdout(bytes)
        });
    }

    /// Updates the progress bar, if there is one.
    pub(super) fn draw(&self, draw: impl FnOnce(&ProgressBar) + Send + 'static) {
        self.push(Write::Draw(Box::new(draw)));
    }

    /// Waits until everything so far is written, or until `cancel`.
    pub(super) async fn flush(&self, cancel: &CancellationToken) {
        let (sender, written) = oneshot::channel();
        self.report_dropped();
        // The thread lives as long as the program.
        _ = self.writes.send(Write::Flush(sender));
        tokio::select! {
            _ = written => {}
            () = cancel.cancelled() => {}
        }
    }

    /// Waits until everything is written, for at most [`FINAL_WAIT`]; whether it is.
    pub(super) async fn flush_briefly(&self) -> bool {
        let never = CancellationToken::new();
        timeout(FINAL_WAIT, self.flush(&never)).await.is_ok()
    }

    /// Waits at the end until everything is written; after a signal, only briefly.
    pub(super) async fn finish(&self, signal: &CancellationToken) {
        self.flush(signal).await;
        self.finish_briefly().await;
    }

    /// Waits briefly at the end until everything is written. If it is standard output that nobody reads, standard error
    /// still gets its lines: they say what is left to do.
    pub(super) async fn finish_briefly(&self) {
        if self.flush_briefly().await {
            return;
        }
        let Some(bytes) = self.unwritten_errors() else {
            return;
        };
        let (sender, written) = oneshot::channel();
        let write = move || {
            _ = io::stderr().write_all(&bytes);
            _ = sender.send(());
        };
        if spawn(write).is_ok() {
            _ = timeout(FINAL_WAIT, written).await;
        }
    }

    /// What is not yet written to standard error, unless the thread is no longer blocked.
    fn unwritten_errors(&self) -> Option<Vec<u8>> {
        let receiver = self.receiver.try_lock().ok()?;
        let errors = receiver.try_iter().filter_map(|write| match write {
            Write::Stderr(bytes) => Some(bytes),
            _ => None,
        });
        Some(errors.flatten().collect())
    }

    fn push(&self, write: Write) {
        let size = write.size();
        if self.pending_bytes.load(Ordering::Relaxed) + size > MAX_PENDING_BYTES {
            self.dropped.update(|dropped| dropped + 1);
            return;
        }
        self.report_dropped();
        self.pending_bytes.fetch_add(size, Ordering::Relaxed);
        _ = self.writes.send(write);
    }

    fn report_dropped(&self) {
        if let dropped @ 1.. = self.dropped.take() {
            _ = self.writes.send(Write::Dropped(dropped));
        }
    }
}

impl Write {
    fn size(&self) -> usize {
        match self {
            Self::Stdout(bytes) | Self::Stderr(bytes) => bytes.len(),
            // An estimate, with the text that it shows.
            Self::Draw(_) => 256,
            Self::Dropped(_) | Self::Flush(_) => 0,
        }
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("output".to_owned());
    thread.spawn(run).map(drop)
}

/// The thread's main loop.
fn write_all(
    receiver: &Mutex<Receiver<Write>>,
    pending_bytes: &AtomicUsize,
    bar: Option<&ProgressBar>,
) {
    let next = || {
        let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.recv().ok()
    };
    while let Some(write) = next() {
        let size = write.size();
        match write {
            Write::Stdout(bytes) => without_bar(bar, || _ = stdout::write(&bytes)),
            Write::Stderr(bytes) => without_bar(bar, || _ = io::stderr().write_all(&bytes)),
            Write::Dropped(dropped) => without_bar(bar, || {
                let dropped = count(dropped, "line");
                terminal::warn(&format!("{dropped} dropped: nobody read the output"));
            }),
            Write::Draw(draw) => _ = bar.map(draw),
            // The receiver may have given up.
            Write::Flush(sender) => _ = sender.send(()),
        }
        pending_bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

/// Prints while the progress bar is hidden.
fn without_bar(bar: Option<&ProgressBar>, print: impl FnOnce()) {
    match bar {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}
