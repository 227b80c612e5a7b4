//! How the daemon is to run, its outcome, and why it may not run at all.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::drivers::Mode;
use crate::http::BindError;
use crate::load::LoadErrors;
use crate::state_file::Taken;
use crate::systemd::Notifier;
use crate::threads::threads_hint;

/// How the daemon is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Whether to apply changes, or only to print them.
    pub mode: Mode,
    /// End after the first full round and its sync.
    pub once: bool,
    /// Remove all nodes that the first list does not name, however many.
    pub accept_removals: bool,
}

/// Why the daemon did not run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The configuration or the services file is wrong.
    #[error(transparent)]
    Config(#[from] LoadErrors),
    /// A listener in the configuration cannot be opened.
    #[error(transparent)]
    Listener(#[from] BindError),
    /// Another pollbal has the state file.
    #[error(transparent)]
    State(#[from] Taken),
    /// The listeners' thread does not start.
    #[error("failed to start the HTTP listeners' thread{}", threads_hint(.0))]
    Http(#[source] io::Error),
    /// The system allows no signal handlers, or no thread for them.
    #[error("failed to listen for signals{}", threads_hint(.0))]
    Signals(#[source] io::Error),
}

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As requested; with `--once`, in sync.
    Success,
    /// With `--once`: not everything is in sync.
    OutOfSync,
}

/// Whether it runs as a service: indefinitely, and applying changes.
pub(super) fn is_service(options: &Options) -> bool {
    options.mode == Mode::Live && !options.once
}

pub(super) fn notifier(options: &Options) -> Notifier {
    if is_service(options) {
        Notifier::from_environment()
    } else {
        Notifier::disabled()
    }
}
