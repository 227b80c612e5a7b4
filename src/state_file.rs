//! The state file keeps from run to run: overrides, what alerts reported, what is owned in load balancers, and when
//! nodes got to where they are.
//!
//! It is the first [`OverridesStore`]. It is written as a whole and renamed, on a thread for the disk. A file that
//! cannot be read is quarantined, never used in part, and reported until an operator has dealt with it. What is not a
//! regular file is left alone.

mod lock;
mod quarantine;

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

pub use self::lock::{StateFile, Taken};
pub use self::quarantine::QuarantinedFile;
use crate::disk::{no_answer, on_disk};
use crate::files::{LIST_BYTES, TextError, read_text, replace};
use crate::logging::chain;
use crate::model::alerts::SavedAlerts;
use crate::model::node_times::NodeTimes;
use crate::model::overrides::Overrides;
use crate::model::ownership::Owned;
use crate::overrides_store::{Contents, OverridesStore, PersistError, SavedState};

/// The version of the file's format; files of other versions are rejected.
const VERSION: u32 = 1;

/// The whole file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a> {
    #[serde(rename = "README")]
    readme: Cow<'a, str>,
    version: u32,
    #[serde(rename = "orders")]
    overrides: Cow<'a, Overrides>,
    #[serde(default, skip_serializing_if = "SavedAlerts::is_empty")]
    alerts: Cow<'a, SavedAlerts>,
    #[serde(default, skip_serializing_if = "Owned::is_empty")]
    owned: Cow<'a, Owned>,
    #[serde(default, skip_serializing_if = "NodeTimes::is_empty")]
    nodes: Cow<'a, NodeTimes>,
}

/// Why a state file was not read or written.
#[derive(Debug, Error)]
enum StateError {
    #[error("failed to read {}", .0.display())]
    Read(PathBuf, #[source] TextError),
    #[error("failed to understand {}", .0.display())]
    Json(PathBuf, #[source] serde_json::Error),
    #[error("{} has version {}, and {VERSION} is the one that is understood", .0.display(), .1)]
    Version(PathBuf, u32),
    #[error("failed to write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
}

/// The state file as a store of overrides: without a path nothing is kept.
pub struct StateFileStore {
    path: Option<PathBuf>,
    /// The file that is written; a reload may name another one.
    file: watch::Receiver<Option<Arc<StateFile>>>,
    /// Whether a file that is rejected is renamed.
    quarantines: bool,
}

impl StateFileStore {
    /// A store that reads `path` and writes the latest `file`. A file that is rejected is renamed if `quarantines`.
    #[must_use]
    pub fn new(
        path: Option<PathBuf>,
        file: watch::Receiver<Option<Arc<StateFile>>>,
        quarantines: bool,
    ) -> Self {
        Self {
            path,
            file,
            quarantines,
        }
    }
}

impl OverridesStore for StateFileStore {
    fn name(&self) -> String {
        let file = self.file.borrow();
        let path = file.as_ref().map(|file| file.path().display().to_string());
        path.unwrap_or_default()
    }

    fn load(&self) -> SavedState {
        load(self.path.as_deref(), self.quarantines)
    }

    async fn moved(&mut self) {
        if self.file.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn persist(
        &mut self,
        contents: Contents,
        mut on_hang: impl FnMut(&str) + Send,
    ) -> Result<(), PersistError> {
        let name = self.name();
        let file = self.file.borrow_and_update().clone();
        // Locked until it is written, though a reload may name another one meanwhile.
        let write = move || file.map_or(Ok(()), |file| write(file.path(), &contents));
        let written = on_disk("state file", write, || on_hang(&no_answer(&name))).await;
        let written = written.map_err(|_| PersistError::Ending)?;
        written.map_err(|error| PersistError::Failed(chain(&error)))
    }
}

/// Reads what the previous run saved; nothing if there is no file. A file that is rejected is logged and, if
/// `quarantine` is set, renamed, so that it is not lost when the next one is written. What is not a regular file stays
/// where it is.
fn load(path: Option<&Path>, quarantine: bool) -> SavedState {
    let Some(path) = path else {
        return SavedState::default();
    };
    match read(path) {
        Ok(saved) => SavedState {
            rejected: quarantine
                .then(|| QuarantinedFile::left_over(path))
                .flatten(),
            ..saved.unwrap_or_default()
        },
        Err(error) => SavedState {
            rejected: Some(QuarantinedFile::new(path, &chain(&error), quarantine)),
            ..SavedState::default()
        },
    }
}

/// Whether another file may take its place: it is a regular file, or does not exist.
#[must_use]
pub fn is_replaceable(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(there) => there.is_file(),
        // If it is inaccessible, replacing it fails too, with a better error.
        Err(_) => true,
    }
}

fn read(path: &Path) -> Result<Option<SavedState>, StateError> {
    let text = match read_text(path, LIST_BYTES) {
        Ok(text) => text,
        Err(TextError::Read(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::Read(path.to_owned(), error)),
    };
    let content: Content =
        serde_json::from_str(&text).map_err(|error| StateError::Json(path.to_owned(), error))?;
    if content.version != VERSION {
        return Err(StateError::Version(path.to_owned(), content.version));
    }
    Ok(Some(SavedState {
        overrides: content.overrides.into_owned(),
        alerts: content.alerts.into_owned(),
        owned: content.owned.into_owned(),
        nodes: content.nodes.into_owned(),
        rejected: None,
    }))
}

fn write(path: &Path, state: &Contents) -> Result<(), StateError> {
    let content = Content {
        readme: "What pollbal keeps from run to run; it rewrites this file whenever that changes."
            .into(),
        version: VERSION,
        overrides: Cow::Borrowed(&state.overrides),
        alerts: Cow::Borrowed(&state.alerts),
        owned: Cow::Borrowed(&state.owned),
        nodes: Cow::Borrowed(&state.nodes),
    };
    write_whole(path, &content).map_err(|error| StateError::Write(path.to_owned(), error))
}

fn write_whole(path: &Path, content: &Content<'_>) -> io::Result<()> {
    if !is_replaceable(path) {
        return Err(io::Error::other("it is no regular file, and is left alone"));
    }
    let (prefix, suffix) = lock::temporary(path);
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(&prefix).suffix(suffix);
    let mut text = serde_json::to_vec_pretty(content)?;
    text.push(b'\n');
    replace(path, &temporary, Permissions::from_mode(0o600), &text)
}

#[cfg(test)]
mod tests;
