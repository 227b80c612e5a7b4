//! Notices a changed services file.
//!
//! The file is looked at every second by its path, so that an editor's rename, a symlink switch
//! and a bind mount are all noticed. A list that is understood goes to the daemon; one that is not
//! is logged and reported, and the last good one stays in force.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::error;

use crate::alerts::Reports;
use crate::config::{ConfigError, load_services};
use crate::logging::{chain, errors};
use crate::model::conditions::Fault;
use crate::model::node::Node;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file that changed is looked at once more after this, until it changes no more: an editor may
/// be writing it.
const SETTLE: Duration = Duration::from_millis(50);

/// What tells that the file changed; `None` when it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(Option<(u64, u64, u64, i64, i64, i64, i64)>);

impl Stamp {
    /// Looks at the file. To be done before it is read, so that no change is missed.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|metadata| {
            (
                metadata.dev(),
                metadata.ino(),
                metadata.size(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            )
        }))
    }
}

/// Watches a services file, last read after it had the stamp `known`, for ever; sends each new
/// list that is understood.
pub async fn watch(
    path: PathBuf,
    mut known: Stamp,
    lists: mpsc::Sender<Vec<Node>>,
    reports: Reports,
) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The failure to read that the log was told of. That may pass without the file changing.
    let mut unread = None;
    loop {
        ticks.tick().await;
        let mut seen = look(&path, known).await;
        if seen == known && unread.is_none() {
            continue;
        }
        while seen != known {
            known = seen;
            sleep(SETTLE).await;
            seen = look(&path, known).await;
        }
        let list = read(&path).await;
        let failure = match &list {
            Err(error @ ConfigError::Read(..)) => Some(chain(error)),
            _ => None,
        };
        let told = std::mem::replace(&mut unread, failure);
        let (what, why) = match list {
            Err(ConfigError::Read(..)) if unread == told => continue,
            Ok(nodes) if nodes.is_empty() => ("names no node", None),
            Ok(nodes) => {
                reports.set(|now| &mut now.services, None);
                if lists.send(nodes).await.is_err() {
                    return;
                }
                continue;
            }
            Err(error) => ("is refused", Some(chain(&error))),
        };
        refuse(&path, what, why.as_deref(), &reports);
    }
}

/// Says what is wrong with a list, and why if that needs words.
fn refuse(path: &Path, what: &str, why: Option<&str>, reports: &Reports) {
    let path = path.display().to_string();
    let text = format!("{path} {what}; the last good list stays in force");
    if let Some(why) = why {
        errors(&why);
    }
    error!("{text}");
    let text = why.map_or(text.clone(), |why| format!("{text}: {why}"));
    reports.set(|now| &mut now.services, Some(Fault { path, text }));
}

/// On a thread of its own, since the file may lie on a disk that hangs.
async fn look(path: &Path, known: Stamp) -> Stamp {
    let path = path.to_owned();
    spawn_blocking(move || Stamp::of(&path))
        .await
        .unwrap_or(known)
}

async fn read(path: &Path) -> Result<Vec<Node>, ConfigError> {
    let owned = path.to_owned();
    let read = spawn_blocking(move || load_services(&owned)).await;
    read.unwrap_or_else(|error| {
        Err(ConfigError::Read(
            path.to_owned(),
            std::io::Error::other(error),
        ))
    })
}
