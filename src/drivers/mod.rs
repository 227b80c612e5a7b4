//! Drivers: what makes a directory or a load balancer show the wanted pools.
//!
//! Each gets the whole wanted state, always the latest, by a `watch` channel; reads what is really
//! there; makes a plan, a plain value, by a pure function; and executes it. They do not know each
//! other: the daemon connects the pool files' output to the Perlbals' input, so that a file is
//! written before a socket is told.

pub mod perlbal;
pub mod pool_files;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use tracing::error;

use crate::model::pools::Pools;

/// A snapshot on its way through the drivers.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts up with each snapshot.
    pub serial: u64,
    /// The wanted state.
    pub pools: Arc<Pools>,
    /// The pool files that are known to hold it, by name, if Perlbal reads their form rightly.
    pub current_files: Arc<BTreeSet<String>>,
}

/// How far a driver has come, by a `watch` channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The serial of the last snapshot that was brought in force, or failed to be.
    pub serial: u64,
    /// Whether it is in force whole.
    pub in_sync: bool,
}

/// Whether a driver changes the world or says what it would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It changes the world.
    Live,
    /// It prints to standard output what it would do: commands as they are, the rest as comments.
    DryRun,
}

/// A line for Perlbal's management port, or a comment between such lines, with its end.
///
/// Perlbal closes the connection at a line that ends in `exit`, a comment too; a blank behind it,
/// which it drops, prevents that. (A line that is empty would wedge the connection, one that
/// begins with `quit` close it; commands and comments do neither. ClientManage.pm, `event_read`.)
#[must_use]
pub fn sayable(line: &str) -> String {
    let blank = if line.ends_with("exit") { " " } else { "" };
    format!("{line}{blank}\n")
}

/// Prints what a dry run would do, in one piece. When nobody reads it any more the program ends:
/// it would only go on for itself.
pub fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        error!("failed to print: {error}");
        std::process::exit(1);
    }
}
