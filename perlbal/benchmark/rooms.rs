//! Temporary directories, which go also when a signal ends the run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, PoisonError};
use std::thread;

use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;
use crate::process::kill_all;

static ROOMS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A directory that is deleted with everything in it.
pub(crate) struct Room(TempDir);

impl Room {
    /// In the directory for temporary files.
    pub(crate) fn new() -> Outcome<Self> {
        Self::within(&std::env::temp_dir())
    }

    pub(crate) fn within(parent: &Path) -> Outcome<Self> {
        let room = TempDir::with_prefix_in("pollbal-bench-", parent)?;
        let mut rooms = ROOMS.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.push(room.path().to_owned());
        Ok(Self(room))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Ends all processes and deletes all directories when a signal ends the run.
pub(crate) fn watch_signals() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(guard);
    thread::spawn(move || {
        let code = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
                _ = hangup.recv() => 129,
            }
        });
        kill_all();
        let rooms = ROOMS.lock().unwrap_or_else(PoisonError::into_inner);
        for room in rooms.iter() {
            // It may be gone already.
            _ = fs::remove_dir_all(room);
        }
        process::exit(code);
    });
    Ok(())
}
