//! What a command tells that must hear signals while nobody reads it, such as `roll`: a thread of its own writes.
//!
//! A full pipe, a stopped pager and a terminal in Ctrl-S stop that thread only.

use std::cell::Cell;
use std::io::{self, Write};
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

use super::{line, terminal};
use crate::logging::count;
use crate::model::text::{printable_json, printable_lines};
use crate::stdout;

/// Maximum of what nobody has read yet, in bytes: tens of thousands of steps. What is beyond is dropped and counted.
const ROOM: usize = 8 << 20;

/// How long the end of a command that a signal ended waits for what is still to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Writes in the order in which it is told to. Writing never fails: a terminal that is gone is no reason to leave
/// something half done.
pub(super) struct Output {
    /// Without a bound of its own: [`ROOM`] limits it.
    pieces: Sender<Piece>,
    /// The thread has it while it waits for pieces, not while it writes.
    told: Arc<Mutex<Receiver<Piece>>>,
    /// Bytes that are not written yet.
    unread: Arc<AtomicUsize>,
    /// Pieces that were dropped since the last one that found room.
    lost: Cell<usize>,
}

type Drawing = Box<dyn FnOnce(&ProgressBar) + Send>;

enum Piece {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// Changes the bar.
    Draw(Drawing),
    /// So many pieces were dropped here.
    Lost(usize),
    /// All before it is written.
    Written(oneshot::Sender<()>),
}

impl Output {
    /// Starts the thread. It alone touches the bar, if there is one: even to look at it may have to wait for the terminal.
    pub(super) fn start(bar: Option<ProgressBar>) -> io::Result<Self> {
        let (pieces, told) = mpsc::channel();
        let told = Arc::new(Mutex::new(told));
        let unread = Arc::<AtomicUsize>::default();
        let (source, left) = (told.clone(), unread.clone());
        spawn(move || write(&source, &left, bar.as_ref()))?;
        Ok(Self {
            pieces,
            told,
            unread,
            lost: Cell::new(0),
        })
    }

    /// Tells it on standard output.
    pub(super) fn print(&self, text: &str) {
        self.pass_on(printable_lines(text).into(), false);
    }

    /// Tells people what they must know.
    pub(super) fn warn(&self, text: &str) {
        let text = printable_lines(text);
        self.pass_on(format!("pollbal: {text}\n").into(), true);
    }

    /// Tells a value as JSON in one line.
    pub(super) fn json(&self, value: &impl Serialize) {
        let line = line(value);
        let line = if terminal::is_attended() {
            printable_json(&line)
        } else {
            line
        };
        self.pass_on(line.into(), false);
    }

    /// Tells what another program said, as it is.
    pub(super) fn pass_on(&self, bytes: Vec<u8>, is_error: bool) {
        self.push(if is_error {
            Piece::Stderr(bytes)
        } else {
            Piece::Stdout(bytes)
        });
    }

    /// Changes the bar, if there is one.
    pub(super) fn draw(&self, drawing: impl FnOnce(&ProgressBar) + Send + 'static) {
        self.push(Piece::Draw(Box::new(drawing)));
    }

    /// Waits until all that was told so far is written, or until it is not to be waited for any more.
    pub(super) async fn written(&self, enough: &CancellationToken) {
        let (told, written) = oneshot::channel();
        self.tell_lost();
        // The thread lives as long as the program.
        _ = self.pieces.send(Piece::Written(told));
        tokio::select! {
            _ = written => {}
            () = enough.cancelled() => {}
        }
    }

    /// The same, but for a moment at most; whether it is written.
    pub(super) async fn written_soon(&self) -> bool {
        let never = CancellationToken::new();
        timeout(LAST_LINES, self.written(&never)).await.is_ok()
    }

    /// Waits at the end until all is written; once a signal has come, for a moment only.
    pub(super) async fn finish(&self, signal: &CancellationToken) {
        self.written(signal).await;
        self.last_words().await;
    }

    /// Waits for a moment until all is written. When it is standard output that is not read, standard error gets its
    /// lines all the same: there stands what is left to do.
    pub(super) async fn last_words(&self) {
        if self.written_soon().await {
            return;
        }
        let Some(bytes) = self.unwritten_errors() else {
            return;
        };
        let (told, written) = oneshot::channel();
        let write = move || {
            _ = io::stderr().write_all(&bytes);
            _ = told.send(());
        };
        if spawn(write).is_ok() {
            _ = timeout(LAST_LINES, written).await;
        }
    }

    /// What is still to be written to standard error, unless the thread has just gone on.
    fn unwritten_errors(&self) -> Option<Vec<u8>> {
        let told = self.told.try_lock().ok()?;
        let errors = told.try_iter().filter_map(|piece| match piece {
            Piece::Stderr(bytes) => Some(bytes),
            _ => None,
        });
        Some(errors.flatten().collect())
    }

    fn push(&self, piece: Piece) {
        let size = piece.size();
        if self.unread.load(Ordering::Relaxed) + size > ROOM {
            self.lost.update(|lost| lost + 1);
            return;
        }
        self.tell_lost();
        self.unread.fetch_add(size, Ordering::Relaxed);
        _ = self.pieces.send(piece);
    }

    fn tell_lost(&self) {
        if let lost @ 1.. = self.lost.take() {
            _ = self.pieces.send(Piece::Lost(lost));
        }
    }
}

impl Piece {
    fn size(&self) -> usize {
        match self {
            Self::Stdout(bytes) | Self::Stderr(bytes) => bytes.len(),
            // Roughly, with what it shows.
            Self::Draw(_) => 256,
            Self::Lost(_) | Self::Written(_) => 0,
        }
    }
}

fn spawn(what: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("output".to_owned());
    thread.spawn(what).map(drop)
}

/// The thread.
fn write(pieces: &Mutex<Receiver<Piece>>, unread: &AtomicUsize, bar: Option<&ProgressBar>) {
    let next = || {
        let pieces = pieces.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.recv().ok()
    };
    while let Some(piece) = next() {
        let size = piece.size();
        match piece {
            Piece::Stdout(bytes) => beside(bar, || _ = stdout::write(&bytes)),
            Piece::Stderr(bytes) => beside(bar, || _ = io::stderr().write_all(&bytes)),
            Piece::Lost(lost) => beside(bar, || {
                let lost = count(lost, "line");
                terminal::warn(&format!("{lost} dropped: nobody read them"));
            }),
            Piece::Draw(drawing) => _ = bar.map(drawing),
            // Perhaps it is not waited for any more.
            Piece::Written(told) => _ = told.send(()),
        }
        unread.fetch_sub(size, Ordering::Relaxed);
    }
}

/// Does something while the bar is not in the way.
fn beside(bar: Option<&ProgressBar>, what: impl FnOnce()) {
    match bar {
        Some(bar) => bar.suspend(what),
        None => what(),
    }
}
