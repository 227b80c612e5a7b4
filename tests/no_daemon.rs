//! The commands where no daemon answers.

mod common;
#[path = "commands/site.rs"]
mod site;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use serde_json::json;

use common::run::{pollbal, stderr, stdout};
use common::stage::Stage;
use site::ask;

/// A command line for each command that asks the daemon.
const ALL: [&[&str]; 14] = [
    &["status"],
    &["status", "--watch"],
    &["explain", "node-1"],
    &["disable", "node-1", "--reason", "kernel"],
    &["disable", "node-1", "--reason", "kernel", "--wait"],
    &["enable", "node-1", "--reason", "kernel"],
    &["wait", "node-1", "--until", "rest"],
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
                let expected =
                    format!("pollbal does not answer at {socket}: {why}; is it running?");
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
fn who_may_not_ask_is_told_the_group_that_may() {
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
    let told = stderr(&output);
    let group = Command::new("stat").args(["-c", "%G"]).arg(&path).output();
    let group = stdout(&group.unwrap());
    let expected = format!(
        "Permission denied; become a member of its group, `{}`",
        group.trim()
    );
    assert!(told.contains(&expected), "{told}");
}

#[test]
fn the_configuration_says_where_the_daemon_is_and_one_that_was_named_has_to_be_there() {
    let stage = Stage::new();
    let config = stage.write_config(&json!({ "admin_socket": stage.path("mine.sock") }));
    let config = config.to_str().unwrap();
    let output = pollbal(&["--config", config, "status"]);
    assert_eq!(output.status.code(), Some(69));
    let told = stderr(&output);
    for words in [
        "mine.sock: No such file",
        config,
        "kill -HUP",
        "--socket OLD",
    ] {
        assert!(told.contains(words), "{words:?}: {told}");
    }

    let missing = stage.path("missing.json");
    for (file, text) in [
        (missing.to_str().unwrap(), "missing.json"),
        (config, "`admin_socket` is off"),
    ] {
        stage.write_config(&json!({ "admin_socket": "" }));
        let output = pollbal(&["status", "--config", file]);
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains(text), "{}", stderr(&output));
    }
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
        let expected =
            format!("pollbal does not answer at {socket}: it took the request, but says nothing");
        let told = stderr(&output);
        assert!(told.starts_with(&expected), "{arguments:?}: {told}");
    }
}
