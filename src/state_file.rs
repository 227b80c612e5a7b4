//! The state file: orders, what alerts told, what is owned in load balancers, and since when nodes are where they are,
//! kept from run to run.
//!
//! It is written whole and renamed, by a task of its own with a thread for the disk. A file that
//! cannot be read is set aside, never obeyed in part; a person is told until that is seen to. What
//! is no regular file is left alone.

mod lock;
mod refused;

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
pub use self::refused::Refused;
use crate::alerts::Reports;
use crate::disk::{no_answer, on_disk};
use crate::files::{LIST_BYTES, TextError, make_directory, read_text};
use crate::logging::chain;
use crate::model::alerts::Memory;
use crate::model::conditions::Fault;
use crate::model::node_times::NodeTimes;
use crate::model::orders::Orders;
use crate::model::ownership::Owned;
use crate::retry::Retry;

/// The form of the file; one of a later form is not understood.
const VERSION: u32 = 1;

/// Orders, and how often they changed.
pub type Revised = (u64, Arc<Orders>);

/// What is kept: always the latest.
pub struct Sources {
    /// The orders in force. When nobody can change them any more, the last is written.
    pub orders: watch::Receiver<Revised>,
    /// What alerts told.
    pub alerts: watch::Receiver<Arc<Memory>>,
    /// What is owned in load balancers.
    pub owned: watch::Receiver<Arc<Owned>>,
    /// Since when nodes are where they are.
    pub nodes: watch::Receiver<Arc<NodeTimes>>,
}

/// What they hold at one moment.
#[derive(Clone, Default)]
struct State {
    orders: Arc<Orders>,
    alerts: Arc<Memory>,
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
    orders: Cow<'a, Orders>,
    #[serde(default, skip_serializing_if = "Memory::is_empty")]
    alerts: Cow<'a, Memory>,
    #[serde(default, skip_serializing_if = "Owned::is_empty")]
    owned: Cow<'a, Owned>,
    #[serde(default, skip_serializing_if = "NodeTimes::is_empty")]
    nodes: Cow<'a, NodeTimes>,
}

/// Why there is no state.
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

/// What the last run left.
#[derive(Debug, Default)]
pub struct Kept {
    /// Its orders.
    pub orders: Orders,
    /// What it told.
    pub alerts: Memory,
    /// What it owned in load balancers.
    pub owned: Owned,
    /// Since when nodes were where they were.
    pub nodes: NodeTimes,
    /// Why they are none.
    pub refused: Option<Refused>,
}

/// Reads the orders of the last run; none when there is no file. One that is not understood is
/// logged and, if `set_aside`, renamed, so that it is not lost when the next is written. What is no
/// file stays where it is.
#[must_use]
pub fn load(path: Option<&Path>, set_aside: bool) -> Kept {
    let Some(path) = path else {
        return Kept::default();
    };
    match read(path) {
        Ok(kept) => Kept {
            refused: set_aside.then(|| Refused::still(path)).flatten(),
            ..kept.unwrap_or_default()
        },
        Err(wrong) => Kept {
            refused: Some(Refused::new(path, &chain(&wrong), set_aside)),
            ..Kept::default()
        },
    }
}

/// Whether another file may take its place: it is a regular file, or nothing.
#[must_use]
pub fn is_replaceable(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(there) => there.is_file(),
        // What cannot be looked at cannot be replaced either, and then that says why.
        Err(_) => true,
    }
}

fn read(path: &Path) -> Result<Option<Kept>, StateError> {
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
    Ok(Some(Kept {
        orders: content.orders.into_owned(),
        alerts: content.alerts.into_owned(),
        owned: content.owned.into_owned(),
        nodes: content.nodes.into_owned(),
        refused: None,
    }))
}

fn write(path: &Path, state: &State) -> Result<(), StateError> {
    let content = Content {
        readme:
            "What pollbal keeps from run to run; it writes this file anew whenever that changes."
                .into(),
        version: VERSION,
        orders: Cow::Borrowed(&state.orders),
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
    // Whatever the umask is.
    file.as_file()
        .set_permissions(Permissions::from_mode(0o600))?;
    let mut text = serde_json::to_vec_pretty(content)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Writes what is to be kept whenever that changes, the latest, until nobody changes orders any more; tells which revision of orders the file holds. Without a file all are as good as written.
pub async fn keep(
    mut path: watch::Receiver<Option<Arc<StateFile>>>,
    mut sources: Sources,
    written: watch::Sender<u64>,
    reports: Reports,
) {
    let mut retry = Retry::new();
    let mut failed = false;
    loop {
        tokio::select! {
            // Whoever ends it has said the rest before.
            biased;
            Ok(()) = path.changed() => {}
            Ok(()) = sources.alerts.changed() => {}
            Ok(()) = sources.owned.changed() => {}
            Ok(()) = sources.nodes.changed() => {}
            changed = sources.orders.changed() => if changed.is_err() { return },
        }
        loop {
            let (revision, orders) = sources.orders.borrow_and_update().clone();
            let state = State {
                orders,
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
                reports.set(|now| &mut now.state, Some(Fault { path, text }));
            };
            // Locked until it is written, though a reload may name another one meanwhile.
            let write = move || file.map_or(Ok(()), |file| write(file.path(), &state));
            match on_disk("state file", write, || fail(&no_answer(&name))).await {
                Ok(Ok(())) => {
                    reports.set(|now| &mut now.state, None);
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
    use crate::model::orders::{Note, Reason};
    use crate::model::ownership::OwnedThere;
    use crate::model::time::Timestamp;

    fn orders() -> Orders {
        let mut orders = Orders::default();
        let reason = Reason {
            note: Note::new("too many failures"),
            by: Note::default(),
            since: Timestamp::from_millis(5),
            until: None,
        };
        orders.frozen.insert("storm".parse().unwrap(), reason);
        orders
    }

    fn state() -> State {
        State {
            orders: Arc::new(orders()),
            ..State::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/state.json");
        assert_eq!(
            load(Some(&path), true).orders,
            Orders::default(),
            "there is none yet"
        );
        write(&path, &state()).unwrap();
        assert_eq!(load(Some(&path), true).orders, orders());
        let files = fs::read_dir(directory.path().join("made")).unwrap();
        assert_eq!(files.count(), 1, "nothing half-written is left");
    }

    #[test]
    fn a_file_that_knows_nothing_of_alerts_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let before = serde_json::json!({"README": "", "version": VERSION, "orders": orders()});
        fs::write(&path, before.to_string()).unwrap();
        let kept = load(Some(&path), true);
        assert_eq!((kept.orders, kept.alerts), (orders(), Memory::default()));
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
            perlbals: [("127.0.0.1:16000".to_owned(), there)].into(),
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
        assert_eq!(kept.orders, Orders::default());
        assert!(kept.refused.is_some());
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
        let (revised, kept) = watch::channel(Revised::default());
        let file = Arc::new(StateFile::take(&path).unwrap());
        let (_path, known) = watch::channel(Some(file));
        revised.send_replace((1, Arc::new(orders())));
        drop(revised);
        let (_told, alerts) = watch::channel(Arc::default());
        let written = watch::Sender::default();
        let (_owned, owned) = watch::channel(Arc::default());
        let (_nodes, nodes) = watch::channel(Arc::default());
        let sources = Sources {
            orders: kept,
            alerts,
            owned,
            nodes,
        };
        keep(known, sources, written, Reports::new()).await;
        assert_eq!(load(Some(&path), true).orders, orders());
    }

    #[test]
    fn what_is_not_understood_is_set_aside_and_not_obeyed_in_part() {
        let whole = serde_json::json!({"README": "", "version": VERSION, "orders": orders()});
        let mut later = whole.clone();
        later["version"] = 2.into();
        let mut odd = whole.clone();
        odd["orders"]["disabled"] = serde_json::json!({"10.0.0.1": {}});
        let torn = whole.to_string()[..50].to_owned();
        for text in [later.to_string(), odd.to_string(), torn, String::new()] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("state.json");
            fs::write(&path, &text).unwrap();
            assert_eq!(load(Some(&path), false).orders, Orders::default());
            assert!(path.exists(), "only looked at");
            assert_eq!(load(Some(&path), true).orders, Orders::default());
            assert!(!path.exists());
            let aside = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
            assert_eq!(aside("state.json.broken"), text);
            fs::write(&path, "another").unwrap();
            assert_eq!(load(Some(&path), true).orders, Orders::default());
            assert_eq!(aside("state.json.broken"), text, "that is kept");
            assert_eq!(aside("state.json.broken.2"), "another");
            // The next run says so too, until a person has seen to both.
            assert!(load(Some(&path), false).refused.is_none(), "not its task");
            for name in ["state.json.broken", "state.json.broken.2"] {
                assert!(load(Some(&path), true).refused.is_some());
                fs::remove_file(directory.path().join(name)).unwrap();
            }
            assert!(load(Some(&path), true).refused.is_none());
        }
    }
}
