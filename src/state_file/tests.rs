//! What is written is read again, and nothing else is obeyed or replaced.

use super::*;
use crate::alerts::StatusReporter;
use crate::model::overrides::{Note, Reason};
use crate::model::ownership::OwnedThere;
use crate::model::time::Timestamp;
use crate::overrides_store::{RevisedOverrides, Sources, persist_loop};

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

fn state() -> Contents {
    Contents {
        overrides: Arc::new(overrides()),
        ..Contents::default()
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
    let state = Contents {
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
    let (_file, files) = watch::channel(Some(file));
    let store = StateFileStore::new(Some(path.clone()), files, true);
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
    persist_loop(store, sources, written, StatusReporter::new()).await;
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
        // The next run reports it too, until a person has dealt with both.
        assert!(load(Some(&path), false).rejected.is_none(), "not its task");
        for name in ["state.json.broken", "state.json.broken.2"] {
            assert!(load(Some(&path), true).rejected.is_some());
            fs::remove_file(directory.path().join(name)).unwrap();
        }
        assert!(load(Some(&path), true).rejected.is_none());
    }
}
