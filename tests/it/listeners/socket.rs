//! The admin socket's file: who may connect, and what it replaces.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::json;

use super::{assert_refused, lives, start};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::wire::Listeners;
use crate::common::{SOON, eventually};

#[test]
fn only_user_and_group_can_ever_connect_to_the_admin_socket_whatever_the_umask() {
    for umask in ["000", "077"] {
        let stage = Stage::new();
        let socket = stage.admin_socket();
        let over = AtomicBool::new(false);
        let modes = thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut modes = Vec::new();
                // Once more when it is over, so that it is observed at all.
                loop {
                    let last = over.load(Ordering::Relaxed);
                    if let Ok(about) = fs::metadata(&socket) {
                        modes.push(about.permissions().mode() & 0o777);
                        modes.dedup();
                    }
                    if last {
                        return modes;
                    }
                }
            });
            let umask = format!("umask {umask}");
            let pollbal = Pollbal::start_behind(&stage, &json!({}), &umask);
            pollbal.wait_log(&["admin socket listening on", "admin.sock"]);
            over.store(true, Ordering::Relaxed);
            watcher.join().unwrap()
        });
        assert_eq!(modes, [0o660], "umask {umask}");
    }
}

#[test]
fn the_socket_of_a_dead_pollbal_is_replaced_and_that_of_a_living_one_is_not() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    start(&stage, &listeners, &json!({})).kill();
    assert!(listeners.admin.exists(), "SIGKILL leaves it behind");
    let second = start(&stage, &listeners, &json!({}));
    assert!(lives(&listeners.admin));

    let words = [
        "admin_socket",
        "admin.sock",
        "another pollbal is using it",
        "stop that one first",
    ];
    let config = json!({ "pool_directory": stage.path("other") });
    assert_refused(&stage, &config, &words);
    assert!(lives(&listeners.admin), "the first is still there");
    // One that hangs is alive too.
    second.signal(Signal::STOP);
    assert_refused(&stage, &config, &words);
    second.signal(Signal::CONT);
    assert!(lives(&listeners.admin));
    assert!(!stage.path("other").exists(), "nothing was done");
}

#[test]
fn what_is_no_socket_of_pollbals_is_never_removed() {
    let stage = Stage::new();
    let socket = stage.admin_socket();
    fs::write(&socket, "precious").unwrap();
    assert_refused(
        &stage,
        &json!({}),
        &["admin_socket", "not a socket", "move it away"],
    );
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    fs::remove_file(&socket).unwrap();
    fs::create_dir(&socket).unwrap();
    assert_refused(&stage, &json!({}), &["admin_socket", "not a socket"]);
    fs::remove_dir(&socket).unwrap();

    // At the end neither what somebody else has put there.
    let mut pollbal = Pollbal::start(&stage, &json!({}));
    pollbal.wait_log(&["admin socket listening on"]);
    fs::remove_file(&socket).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    assert!(pollbal.terminate().success());
    assert!(socket.exists());
    assert_refused(&stage, &json!({}), &["another pollbal is using it"]);
    drop(other);

    let mut pollbal = Pollbal::start(&stage, &json!({}));
    pollbal.wait_log(&["admin socket listening on"]);
    assert!(pollbal.terminate().success());
    let left = fs::read_dir(stage.dir()).unwrap();
    let left = left.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let left: Vec<_> = left.filter(|name| name.contains("sock")).collect();
    assert_eq!(left, [""; 0], "its own is removed");
}

#[test]
fn of_many_that_start_at_once_one_gets_the_socket() {
    let stage = Stage::new();
    let socket = stage.admin_socket();
    for round in 0..6 {
        // Each with files of its own, and before them what a dead one left, or nothing.
        let configs = (0..8).map(|number| {
            let directory = stage.path(&format!("pool-{round}-{number}"));
            let written = stage.write_config(&json!({ "pool_directory": directory }));
            let config = stage.path(&format!("config-{number}.json"));
            fs::rename(written, &config).unwrap();
            config
        });
        let pollbals: Vec<_> = configs
            .collect::<Vec<_>>()
            .into_iter()
            .map(|config| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
                command.arg("--config").arg(&config);
                Pollbal::spawn(command, config)
            })
            .collect();
        let open = |pollbal: &&Pollbal| !pollbal.log_with(&["admin socket listening"]).is_empty();
        let refused = |pollbal: &&Pollbal| !pollbal.log_with(&["admin_socket"]).is_empty();
        eventually(SOON, "each has it or was refused", || {
            let decided =
                pollbals.iter().filter(open).count() + pollbals.iter().filter(refused).count();
            (decided == pollbals.len()).then_some(())
        });
        assert_eq!(pollbals.iter().filter(open).count(), 1, "round {round}");
        assert!(lives(&socket));
        // Killed, the one leaves its socket behind for the next round.
        pollbals.into_iter().for_each(Pollbal::kill);
        assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    }
}
