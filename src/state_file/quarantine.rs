//! A state file that was rejected at the start: moved out of the way, and reported until an operator has dealt with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::error;

use super::is_replaceable;
use crate::alerts::StatusReporter;
use crate::model::problems::FileFault;

/// Interval at which it is checked whether the quarantined file is still there.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum number of quarantined files; a further one stays where it is.
const MAX_QUARANTINED: usize = 100;

/// Reported for each rejected file.
const LOST: &str = "none of its reasons, leaves and freezes is active";

/// Reported for a file that was quarantined.
const UNTIL: &str = "reported until that file is renamed or removed";

/// A state file that could not be read or parsed.
#[derive(Debug)]
pub struct QuarantinedFile {
    /// What is reported.
    fault: FileFault,
    /// Its path now, if it was moved.
    moved_to: Option<PathBuf>,
}

impl QuarantinedFile {
    /// Logs the `error`, and moves the file out of the way if `quarantine` is set and it is a regular file.
    pub(super) fn new(path: &Path, error: &str, quarantine: bool) -> Self {
        let mut text = format!("{error}; {LOST}");
        error!("{text}");
        let moved_to = (quarantine && is_replaceable(path)).then(|| move_aside(path));
        match &moved_to {
            Some(Ok(new)) => {
                let moved = format!("{} is set aside as {}", path.display(), new.display());
                error!("{moved}");
                text = format!("{text}; {moved}, and {UNTIL}");
            }
            Some(Err(error)) => error!("failed to set {} aside: {error}", path.display()),
            None => {}
        }
        let path = path.display().to_string();
        Self {
            fault: FileFault { path, text },
            moved_to: moved_to.and_then(Result::ok),
        }
    }

    /// A file that a previous run quarantined, and that is still there.
    pub(super) fn left_over(path: &Path) -> Option<Self> {
        let moved_to = quarantine_paths(path).find(|path| !is_missing(path))?;
        let text = format!(
            "{} was not understood and set aside as {}; {LOST}, and {UNTIL}",
            path.display(),
            moved_to.display()
        );
        error!("{text}");
        let path = path.display().to_string();
        Some(Self {
            fault: FileFault { path, text },
            moved_to: Some(moved_to),
        })
    }

    /// Reports it until the quarantined file is gone or, if it could not be moved, until a good one is `written`. The
    /// disk is accessed on a thread of its own.
    pub async fn report(self, status_reporter: StatusReporter, mut written: watch::Receiver<u64>) {
        written.mark_unchanged();
        status_reporter.set(|now| &mut now.state_refused, Some(self.fault));
        match self.moved_to {
            Some(path) => wait_until_gone(path).await,
            None if written.changed().await.is_ok() => {}
            // Nothing is written any more: pollbal is stopping.
            None => return,
        }
        status_reporter.set(|now| &mut now.state_refused, None);
    }
}

/// Renames the file to the first free name: `state.json.broken`, `state.json.broken.2`, and so on.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let free = quarantine_paths(path).find(|name| is_missing(name));
    let free = free.ok_or_else(|| io::Error::other("too many are set aside already"))?;
    fs::rename(path, &free)?;
    Ok(free)
}

/// The names for quarantined files, in the order in which they are used.
fn quarantine_paths(path: &Path) -> impl Iterator<Item = PathBuf> {
    let base = path.as_os_str();
    (1..=MAX_QUARANTINED).map(move |number| {
        let mut name = base.to_owned();
        name.push(".broken");
        if number > 1 {
            name.push(format!(".{number}"));
        }
        name.into()
    })
}

async fn wait_until_gone(path: PathBuf) {
    loop {
        sleep(CHECK_INTERVAL).await;
        let path = path.clone();
        // If the thread failed, the file may still be there.
        if let Ok(true) = spawn_blocking(move || is_missing(&path)).await {
            return;
        }
    }
}

fn is_missing(path: &Path) -> bool {
    let there = fs::symlink_metadata(path);
    there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
