//! The state file keeps from run to run: overrides, what alerts reported, what is owned in load balancers, and when nodes
//! got to where they are.
//!
//! It is written as a whole and renamed, by a task of its own with a thread for the disk. A file that cannot be read is
//! quarantined, never used in part, and reported until an operator has dealt with it. What is not a regular file is left
//! alone.

mod lock;
mod quarantine;

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info};

pub use self::lock::{StateFile, Taken};
pub use self::quarantine::QuarantinedFile;
use crate::alerts::StatusReporter;
use crate::disk::{no_answer, on_disk};
use crate::files::{LIST_BYTES, TextError, make_directory, read_text};
use crate::logging::chain;
use crate::model::alerts::SavedAlerts;
use crate::model::node_times::NodeTimes;
use crate::model::overrides::Overrides;
use crate::model::ownership::Owned;
use crate::model::problems::FileFault;
use crate::retry::Retry;

/// The version of the file's format; files of other versions are rejected.
const VERSION: u32 = 1;

/// Overrides with their revision.
pub type RevisedOverrides = (u64, Arc<Overrides>);

/// Receivers of what is saved, always the latest.
pub struct Sources {
    /// The active overrides. When their sender is dropped, the last ones are written.
    pub overrides: watch::Receiver<RevisedOverrides>,
    /// What alerts have reported.
    pub alerts: watch::Receiver<Arc<SavedAlerts>>,
    /// What is owned in load balancers.
    pub owned: watch::Receiver<Arc<Owned>>,
    /// When nodes got to where they are.
    pub nodes: watch::Receiver<Arc<NodeTimes>>,
}

/// The contents to save.
#[derive(Clone, Default)]
struct State {
    overrides: Arc<Overrides>,
    alerts: Arc<SavedAlerts>,
    owned: Arc<Owned>,
    nodes: Arc<NodeTimes>,
}

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

/// What the previous run saved.
#[derive(Debug, Default)]
pub struct SavedState {
    /// Its overrides.
    pub overrides: Overrides,
    /// What it had reported.
    pub alerts: SavedAlerts,
    /// What it owned in load balancers.
    pub owned: Owned,
    /// When nodes got to where they were.
    pub nodes: NodeTimes,
    /// A file that was rejected, in this run or before.
    pub rejected: Option<QuarantinedFile>,
}

/// Reads what the previous run saved; nothing if there is no file. A file that is rejected is logged and, if `quarantine`
/// is set, renamed, so that it is not lost when the next one is written. What is not a regular file stays where it is.
#[must_use]
pub fn load(path: Option<&Path>, quarantine: bool) -> SavedState {
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

fn write(path: &Path, state: &State) -> Result<(), StateError> {
    let content = Content {
        readme:
            "What pollbal keeps from run to run; it writes this file anew whenever that changes."
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
    let directory = path.parent().unwrap_or(Path::new("."));
    make_directory(directory)?;
    let (prefix, suffix) = lock::temporary(path);
    let mut file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(suffix)
        .tempfile_in(directory)?;
    // Regardless of the umask.
    file.as_file()
        .set_permissions(Permissions::from_mode(0o600))?;
    let mut text = serde_json::to_vec_pretty(content)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Writes the latest contents whenever they change, until the sender of overrides is dropped; publishes which revision
/// of the overrides the file contains. Without a file, all revisions count as written.
pub async fn persist_loop(
    mut path: watch::Receiver<Option<Arc<StateFile>>>,
    mut sources: Sources,
    written: watch::Sender<u64>,
    status_reporter: StatusReporter,
) {
    let mut retry = Retry::new();
    let mut failed = false;
    loop {
        tokio::select! {
            // The rest is sent before the sender of overrides is dropped.
            biased;
            Ok(()) = path.changed() => {}
            Ok(()) = sources.alerts.changed() => {}
            Ok(()) = sources.owned.changed() => {}
            Ok(()) = sources.nodes.changed() => {}
            changed = sources.overrides.changed() => if changed.is_err() { return },
        }
        loop {
            let (revision, overrides) = sources.overrides.borrow_and_update().clone();
            let state = State {
                overrides,
                alerts: sources.alerts.borrow_and_update().clone(),
                owned: sources.owned.borrow_and_update().clone(),
                nodes: sources.nodes.borrow_and_update().clone(),
            };
            let file = path.borrow_and_update().clone();
            let name = file.as_ref().map(|file| file.path().display().to_string());
            let name = name.unwrap_or_default();
            let mut fail = |why: &str| {
                let text = format!("{why}; orders hold, but not beyond a restart");
                if !std::mem::replace(&mut failed, true) {
                    error!("{text}");
                }
                let path = name.clone();
                status_reporter.set(|now| &mut now.state, Some(FileFault { path, text }));
            };
            // Locked until it is written, though a reload may name another one meanwhile.
            let write = move || file.map_or(Ok(()), |file| write(file.path(), &state));
            match on_disk("state file", write, || fail(&no_answer(&name))).await {
                Ok(Ok(())) => {
                    status_reporter.set(|now| &mut now.state, None);
                    written.send_replace(revision);
                    retry.reset();
                    if std::mem::take(&mut failed) {
                        info!("the state file is written again");
                    }
                    break;
                }
                Ok(Err(wrong)) => {
                    fail(&chain(&wrong));
                    sleep(retry.next_wait()).await;
                }
                // The process ends.
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::overrides::{Note, Reason};
    use crate::model::ownership::OwnedThere;
    use crate::model::time::Timestamp;

    fn overrides() -> Overrides {
        let mut overrides = Overrides::default();
        let reason = Reason {
            note: Note::new("too many failures"),
            by: Note::default(),
            since: Timestamp::from_millis(5),
            until: None,
        };
        overrides.frozen.insert("storm".parse().unwrap(), reason);
        overrides
    }

    fn state() -> State {
        State {
            overrides: Arc::new(overrides()),
            ..State::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/state.json");
        assert_eq!(
            load(Some(&path), true).overrides,
            Overrides::default(),
            "there is none yet"
        );
        write(&path, &state()).unwrap();
        assert_eq!(load(Some(&path), true).overrides, overrides());
        let files = fs::read_dir(directory.path().join("made")).unwrap();
        assert_eq!(files.count(), 1, "nothing half-written is left");
    }

    #[test]
    fn a_file_that_knows_nothing_of_alerts_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let before = serde_json::json!({"README": "", "version": VERSION, "orders": overrides()});
        fs::write(&path, before.to_string()).unwrap();
        let kept = load(Some(&path), true);
        assert_eq!(
            (kept.overrides, kept.alerts),
            (overrides(), SavedAlerts::default())
        );
    }

    #[test]
    fn what_is_owned_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let there = OwnedThere {
            started: Some(5),
            pools: [(
                "my_api__v1".parse().unwrap(),
                ["10.0.0.1:80".parse().unwrap()].into(),
            )]
            .into(),
        };
        let owned = Owned {
            pools: [("My-Api".parse().unwrap(), vec!["v1".parse().unwrap()])].into(),
            load_balancers: [("balancer 127.0.0.1:16000".to_owned(), there)].into(),
            last_in: [(
                "My-Api".parse().unwrap(),
                ["10.0.0.1:80".parse().unwrap()].into(),
            )]
            .into(),
        };
        let state = State {
            owned: Arc::new(owned.clone()),
            ..state()
        };
        write(&path, &state).unwrap();
        assert_eq!(load(Some(&path), true).owned, owned);
    }

    #[test]
    fn a_directory_stays_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let kept = load(Some(directory.path()), true);
        assert_eq!(kept.overrides, Overrides::default());
        assert!(kept.rejected.is_some());
        assert!(directory.path().exists());
    }

    #[test]
    fn what_is_no_regular_file_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let socket = directory.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [link, socket, directory.path().to_owned()] {
            let before = fs::symlink_metadata(&path).unwrap().file_type();
            let wrong = chain(&write(&path, &state()).unwrap_err());
            assert!(wrong.contains("no regular file"), "{wrong}");
            _ = load(Some(&path), true);
            assert_eq!(fs::symlink_metadata(&path).unwrap().file_type(), before);
        }
        write(&file, &state()).unwrap();
    }

    #[tokio::test]
    async fn the_last_orders_are_written_although_nobody_changes_them_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let (revised, kept) = watch::channel(RevisedOverrides::default());
        let file = Arc::new(StateFile::take(&path).unwrap());
        let (_path, known) = watch::channel(Some(file));
        revised.send_replace((1, Arc::new(overrides())));
        drop(revised);
        let (_told, alerts) = watch::channel(Arc::default());
        let written = watch::Sender::default();
        let (_owned, owned) = watch::channel(Arc::default());
        let (_nodes, nodes) = watch::channel(Arc::default());
        let sources = Sources {
            overrides: kept,
            alerts,
            owned,
            nodes,
        };
        persist_loop(known, sources, written, StatusReporter::new()).await;
        assert_eq!(load(Some(&path), true).overrides, overrides());
    }

    #[test]
    fn what_is_not_understood_is_set_aside_and_not_obeyed_in_part() {
        let whole = serde_json::json!({"README": "", "version": VERSION, "orders": overrides()});
        let mut later = whole.clone();
        later["version"] = 2.into();
        let mut odd = whole.clone();
        odd["orders"]["disabled"] = serde_json::json!({"10.0.0.1": {}});
        let torn = whole.to_string()[..50].to_owned();
        for text in [later.to_string(), odd.to_string(), torn, String::new()] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("state.json");
            fs::write(&path, &text).unwrap();
            assert_eq!(load(Some(&path), false).overrides, Overrides::default());
            assert!(path.exists(), "only looked at");
            assert_eq!(load(Some(&path), true).overrides, Overrides::default());
            assert!(!path.exists());
            let aside = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
            assert_eq!(aside("state.json.broken"), text);
            fs::write(&path, "another").unwrap();
            assert_eq!(load(Some(&path), true).overrides, Overrides::default());
            assert_eq!(aside("state.json.broken"), text, "that is kept");
            assert_eq!(aside("state.json.broken.2"), "another");
            // The next run says so too, until a person has seen to both.
            assert!(load(Some(&path), false).rejected.is_none(), "not its task");
            for name in ["state.json.broken", "state.json.broken.2"] {
                assert!(load(Some(&path), true).rejected.is_some());
                fs::remove_file(directory.path().join(name)).unwrap();
            }
            assert!(load(Some(&path), true).rejected.is_none());
        }
    }
}
