//! A state file that was refused at the start: set aside, and told until a person has seen to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::error;

use super::is_replaceable;
use crate::alerts::Reports;
use crate::model::conditions::Fault;

/// Whether a file that was set aside is still there is looked at so often.
const LOOK: Duration = Duration::from_secs(5);

/// So many files may be set aside; then the next stays where it is.
const MOST: usize = 100;

/// What is told of each that was refused.
const LOST: &str = "none of its reasons, leaves and freezes is in force";

/// And of one that was set aside.
const UNTIL: &str = "this is told until that is renamed or removed";

/// A state file that was not understood.
#[derive(Debug)]
pub struct Refused {
    /// What a person must know.
    fault: Fault,
    /// Where it is now, if it was set aside.
    aside: Option<PathBuf>,
}

impl Refused {
    /// Says what is `wrong` with it, and sets it aside if that is wished and it is a file.
    pub(super) fn new(path: &Path, wrong: &str, set_aside: bool) -> Self {
        let mut text = format!("{wrong}; {LOST}");
        error!("{text}");
        let aside = (set_aside && is_replaceable(path)).then(|| put_aside(path));
        match &aside {
            Some(Ok(aside)) => {
                let moved = format!("{} is set aside as {}", path.display(), aside.display());
                error!("{moved}");
                text = format!("{text}; {moved}, and {UNTIL}");
            }
            Some(Err(error)) => error!("failed to set {} aside: {error}", path.display()),
            None => {}
        }
        let path = path.display().to_string();
        Self {
            fault: Fault { path, text },
            aside: aside.and_then(Result::ok),
        }
    }

    /// One that a run before set aside, and nobody has seen to since.
    pub(super) fn still(path: &Path) -> Option<Self> {
        let aside = asides(path).find(|aside| !is_missing(aside))?;
        let text = format!(
            "{} was not understood and set aside as {}; {LOST}, and {UNTIL}",
            path.display(),
            aside.display()
        );
        error!("{text}");
        let path = path.display().to_string();
        Some(Self {
            fault: Fault { path, text },
            aside: Some(aside),
        })
    }

    /// Reports it until the file that was set aside is gone or, when it could not be, until a good
    /// one is `written`. Looks at the disk by a thread of its own.
    pub async fn report(self, reports: Reports, mut written: watch::Receiver<u64>) {
        written.mark_unchanged();
        reports.set(|now| &mut now.state_refused, Some(self.fault));
        match self.aside {
            Some(aside) => gone(aside).await,
            None if written.changed().await.is_ok() => {}
            // Nothing is written any more: pollbal ends.
            None => return,
        }
        reports.set(|now| &mut now.state_refused, None);
    }
}

/// Renames it to where nothing is: `state.json.broken`, `state.json.broken.2`, and so on.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = asides(path).find(|name| is_missing(name));
    let aside = aside.ok_or_else(|| io::Error::other("too many are set aside already"))?;
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Where it may be set aside.
fn asides(path: &Path) -> impl Iterator<Item = PathBuf> {
    let base = path.as_os_str();
    (1..=MOST).map(move |number| {
        let mut name = base.to_owned();
        name.push(".broken");
        if number > 1 {
            name.push(format!(".{number}"));
        }
        name.into()
    })
}

async fn gone(path: PathBuf) {
    loop {
        sleep(LOOK).await;
        let path = path.clone();
        // A thread that failed has seen nothing: it may still be there.
        if let Ok(true) = spawn_blocking(move || is_missing(&path)).await {
            return;
        }
    }
}

fn is_missing(path: &Path) -> bool {
    let there = fs::symlink_metadata(path);
    there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
