//! The commands where no daemon answers.

use crate::commands::site;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use serde_json::json;

use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;
use site::ask;

/// A command line for each command that asks the daemon.
const ALL: [&[&str]; 14] = [
    &["status"],
    &["status", "--watch"],
    &["explain", "node-1"],
    &["disable", "node-1", "--reason", "kernel"],
    &["disable", "node-1", "--reason", "kernel", "--wait"],
    &["enable", "node-1", "--reason", "kernel"],
    &["wait", "node-1", "--until", "drained"],
    &["nudge"],
    &["members", "website"],
    &["events", "--follow"],
    &["reload"],
    &["freeze", "--reason", "storm"],
    &["thaw", "--reason", "storm"],
    &["roll", "website", "--", "true"],
];

#[test]
fn without_a_daemon_each_command_ends_with_69_and_says_what_to_look_at() {
    let stage = Stage::new();
    let path = stage.admin_socket();
    let socket = path.to_str().unwrap();
    let wrong = |why: &str| {
        for arguments in ALL {
            for json in [&[][..], &["--json"]] {
                let (name, others) = arguments.split_first().unwrap();
                let output = ask(socket, &[&[*name], json, others].concat());
                assert_eq!(output.status.code(), Some(69), "{arguments:?}");
                assert_eq!(stdout(&output), "", "{arguments:?}");
                let expected = format!(
                    "pollbal: cannot connect to pollbal at {socket}: {why}. Is it running?"
                );
                assert!(
                    stderr(&output).starts_with(&expected),
                    "{arguments:?}: {}",
                    stderr(&output)
                );
            }
        }
    };
    wrong("No such file or directory");
    // As a daemon leaves it that was killed.
    drop(UnixListener::bind(&path).unwrap());
    wrong("Connection refused");
}

#[test]
fn a_user_without_access_is_shown_the_group_that_has_it() {
    let stage = Stage::new();
    let path = stage.admin_socket();
    let _listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
    fs::set_permissions(stage.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    // The program itself may lie where only its owner looks.
    let copy = stage.path("pollbal");
    // Made by another process: what this one has open for writing, a test beside it may hand to its child, and then the
    // copy cannot be run.
    let made = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_pollbal"))
        .arg(&copy)
        .status();
    assert!(made.unwrap().success());
    // Root may do everything, so it asks as someone else; anyone else may not when nobody may.
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy);
        command
    } else {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        Command::new(&copy)
    };
    let output = command.args(["status", "--socket"]).arg(&path).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    let reported = stderr(&output);
    let group = Command::new("stat").args(["-c", "%G"]).arg(&path).output();
    let group = stdout(&group.unwrap());
    let expected = format!(
        "Permission denied. Run this as root, or join its group, `{}`",
        group.trim()
    );
    assert!(reported.contains(&expected), "{reported}");
}

#[test]
fn the_configuration_says_where_the_daemon_is_and_that_it_is_nowhere() {
    let stage = Stage::new();
    let config = stage.write_config(&json!({ "admin_socket": stage.path("mine.sock") }));
    let config = config.to_str().unwrap();
    let output = pollbal(&["--config", config, "status"]);
    assert_eq!(output.status.code(), Some(69));
    let reported = stderr(&output);
    for words in [
        "mine.sock: No such file",
        config,
        "kill -HUP",
        "--socket OLD",
    ] {
        assert!(reported.contains(words), "{words:?}: {reported}");
    }

    stage.write_config(&json!({ "admin_socket": "" }));
    let output = pollbal(&["status", "--config", config]);
    assert_eq!(output.status.code(), Some(78));
    let reported = stderr(&output);
    assert!(reported.contains("`admin_socket` is off"), "{reported}");
}

#[test]
fn where_the_configuration_cannot_be_understood_another_place_is_asked_with_a_warning() {
    let stage = Stage::new();
    let missing = stage.path("missing.json");
    let mine = stage.path("mine.sock");
    let broken = stage.path("broken.json");
    let text = json!({ "admin_socket": mine }).to_string() + " and so on";
    fs::write(&broken, text).unwrap();
    for (file, socket, why) in [
        (&missing, "/run/pollbal/admin.sock", "No such file"),
        (&broken, mine.to_str().unwrap(), "line 1"),
    ] {
        let output = pollbal(&["status", "--config", file.to_str().unwrap()]);
        let reported = stderr(&output);
        assert_eq!(output.status.code(), Some(69), "{reported}");
        let warning = reported.lines().next().unwrap();
        assert!(warning.starts_with("pollbal: warning: "), "{reported}");
        for words in [file.to_str().unwrap(), why, socket] {
            assert!(warning.contains(words), "{words}: {reported}");
        }
        let error = format!("pollbal: cannot connect to pollbal at {socket}: ");
        assert!(
            reported.lines().nth(1).unwrap().starts_with(&error),
            "{reported}"
        );
    }
}

#[test]
fn an_answer_without_an_end_is_not_read_to_its_end() {
    let stage = Stage::new();
    let path = stage.admin_socket();
    let listener = UnixListener::bind(&path).unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            _ = stream.read(&mut [0; 4_096]);
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n");
            let blanks = vec![b' '; 1 << 20];
            // Until nobody reads any more.
            while stream.write_all(&blanks).is_ok() {}
        });
        ask(path.to_str().unwrap(), &["status"])
    });
    assert_eq!(output.status.code(), Some(69));
    let reported = stderr(&output);
    assert!(
        reported.contains("the response is longer than"),
        "{reported}"
    );
}

#[test]
fn a_daemon_that_takes_a_request_and_says_nothing_is_not_waited_for_for_ever() {
    let stage = Stage::new();
    let path = stage.admin_socket();
    let listener = UnixListener::bind(&path).unwrap();
    let socket = path.to_str().unwrap();
    // None is accepted, but each connection is there, as with a daemon that hangs.
    let ended = thread::scope(|scope| {
        let commands = ALL.map(|arguments| scope.spawn(move || ask(socket, arguments)));
        commands.map(|command| command.join().unwrap())
    });
    drop(listener);
    for (arguments, output) in ALL.iter().zip(ended) {
        assert_eq!(output.status.code(), Some(69), "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        let expected = format!("pollbal: no response from pollbal at {socket}: timed out");
        let reported = stderr(&output);
        assert!(reported.starts_with(&expected), "{arguments:?}: {reported}");
    }
}
