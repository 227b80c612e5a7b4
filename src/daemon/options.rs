//! How the daemon is to run, how it ends, and why it may not run at all.

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
    /// Whether to change the world.
    pub mode: Mode,
    /// End after the first full round and its sync.
    pub once: bool,
    /// Remove what the first list does not name, however much it is.
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
pub enum Ended {
    /// As it was asked to; with `--once`, in sync.
    Well,
    /// With `--once`: not all is in sync.
    OutOfSync,
}

/// Only a daemon that goes on and changes the world is a service.
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
