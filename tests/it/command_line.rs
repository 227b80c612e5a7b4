//! The command line, the log and the end of the program.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::common::nodes::wait_rounds;
use crate::common::pollbal::Pollbal;
use crate::common::process::open_files;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually};

#[test]
fn help_has_every_flag_examples_and_exit_codes() {
    for arguments in [&["--help"][..], &["help"], &["run", "--help"]] {
        let output = pollbal(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(stderr(&output), "");
        let flags = [
            "--config",
            "POLLBAL_CONFIG",
            "--dry-run",
            "--once",
            "--verbose",
            "--quiet",
        ];
        let text = stdout(&output);
        for word in flags {
            assert!(text.contains(word), "{word} is missing:\n{text}");
        }
    }
    let text = stdout(&pollbal(&["--help"]));
    let more = [
        "Examples:",
        "pollbal check",
        "--dry-run | nc 127.0.0.1",
        "SIGHUP",
        "Exit codes:",
        "78",
    ];
    for word in more {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
}

#[test]
fn version_is_that_of_the_package() {
    let output = pollbal(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        concat!("pollbal ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_wrong_command_line_exits_with_64_and_says_what_is_wrong() {
    let wrong = [
        (&["--cofnig", "x"][..], "--config"),
        (&["chek"], "check"),
        (&["--config"], "--config"),
        (&["-v", "-q"], "--quiet"),
        (&["check", "more"], "more"),
    ];
    for (arguments, word) in wrong {
        let output = pollbal(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert!(
            stderr(&output).contains(word),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn run_is_what_is_done_when_nothing_is_said() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let config = json!({});
    for arguments in [&["--once"][..], &["run", "--once"]] {
        Pollbal::run(&stage, &config, arguments).assert_code(0);
        assert_eq!(
            stage.lines("website.pool"),
            Some(vec![nodes[0].pool_line()])
        );
        fs::remove_dir_all(stage.pool_directory()).unwrap();
    }
}

/// The levels that a run to the first change logs, with a failing node and a file that cannot be written.
fn levels(arguments: &[&str]) -> Vec<&'static str> {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    nodes[1].fail(500);
    fs::create_dir_all(stage.pool_file("website").join("full")).unwrap();
    let ended = Pollbal::run(&stage, &json!({}), &[&["--once"], arguments].concat());
    ended.assert_code(1);
    let all = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
    all.into_iter()
        .filter(|level| ended.stderr.contains(&format!(" {level} ")))
        .collect()
}

#[test]
fn v_and_q_say_how_much_is_logged() {
    assert_eq!(levels(&[]), ["INFO", "WARN", "ERROR"]);
    assert_eq!(levels(&["-q"]), ["WARN", "ERROR"]);
    assert_eq!(levels(&["-qq"]), ["ERROR"]);
    assert_eq!(levels(&["-v"]), ["DEBUG", "INFO", "WARN", "ERROR"]);
    assert!(levels(&["-vv"]).contains(&"TRACE"));
}

#[test]
fn a_steady_state_logs_nothing_and_prints_nothing() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website ok v1", "api", "", "website leaving", "website"]);
    nodes[4].fail(500);
    let config = json!({ "poll_interval": "50ms", "pools": { "declared": {} } });
    let pollbal = Pollbal::start(&stage, &config);
    becomes(
        SOON,
        "website.pool",
        &Some(vec![nodes[0].pool_line()]),
        || stage.lines("website.pool"),
    );
    wait_rounds(&nodes, 3);
    // The last that is said of the start.
    pollbal.wait_log(&["error", "pool declared has no members"]);
    let mark = pollbal.mark();
    wait_rounds(&nodes, 60);
    assert_eq!(pollbal.log().split_off(mark), Vec::<String>::new());
    assert_eq!(pollbal.stdout(), Vec::<String>::new());
}

#[test]
fn each_change_of_a_node_is_one_line_with_its_fields() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    let addr = nodes[0].addr();
    let reported = pollbal.wait_log(&["node-1 joins website"]);
    assert!(
        reported.contains(&format!("node={addr}")) && reported.contains("pool=website"),
        "{reported}"
    );
    for (word, said) in [
        ("website leaving", "leaving"),
        ("website", "joins"),
        ("", "idle"),
    ] {
        wait_rounds(&nodes, 2);
        let mark = pollbal.mark();
        nodes[0].announce(word);
        pollbal.wait_log_after(mark, &["node-1", said]);
        wait_rounds(&nodes, 5);
        let new = pollbal.log().split_off(mark);
        let of_node = new.iter().filter(|line| line.contains("node-1")).count();
        assert_eq!(of_node, 1, "{new:#?}");
    }
}

#[test]
fn sigterm_and_sigint_end_it_with_0_and_leave_the_files_as_they_are() {
    for signal in [Signal::TERM, Signal::INT] {
        let stage = Stage::new();
        let nodes = stage.nodes(&["website", "website", ""]);
        nodes[1].hang();
        let config = json!({ "fall": 1000, "service_timeout": "200ms", "empty_pool_grace": 0 });
        let mut pollbal = Pollbal::start(&stage, &config);
        let members = Some(vec![nodes[0].pool_line()]);
        becomes(SOON, "website.pool", &members, || {
            stage.lines("website.pool")
        });
        becomes(SOON, "disabled", &Some(2), || {
            Some(stage.lines("disabled_services")?.len())
        });
        pollbal.signal(signal);
        let status = pollbal.wait_end(Duration::from_secs(5));
        assert_eq!(status.code(), Some(0), "{signal:?}");
        pollbal.wait_log(&["ending"]);
        assert_eq!(stage.lines("website.pool"), members);
        assert_eq!(stage.files(), ["disabled_services", "website.pool"]);
    }
}

#[test]
fn it_can_be_ended_before_the_first_round_is_done() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    nodes[0].hang();
    let mut pollbal = Pollbal::start(&stage, &json!({ "service_timeout": "1h" }));
    nodes[0].wait_polls(1);
    assert_eq!(pollbal.terminate().code(), Some(0));
    assert_eq!(stage.files(), Vec::<String>::new());
}

#[test]
fn once_without_a_node_ends_with_1_and_says_why() {
    let stage = Stage::new();
    let ended = Pollbal::run(&stage, &json!({}), &["--once"]);
    ended.assert_code(1);
    assert!(ended.stderr.contains("lists no nodes"), "{}", ended.stderr);
}

#[test]
fn the_limit_of_open_files_is_raised_to_the_hard_limit() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 100]);
    let config = json!({ "service_timeout": "5s" });
    let pollbal = Pollbal::start_behind(&stage, &config, "ulimit -Sn 40");
    becomes(SOON, "members", &Some(100), || {
        Some(stage.lines("website.pool")?.len())
    });
    wait_rounds(&nodes, 2);
    let (soft, hard) = open_files(pollbal.pid());
    assert_eq!(soft, hard);
}

#[test]
fn without_descriptors_nodes_stay_what_they_were_and_one_error_says_so() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 60]);
    let config = json!({ "service_timeout": "5s" });
    let mut pollbal = Pollbal::start_behind(&stage, &config, "ulimit -n 30");
    let reported = pollbal.wait_log(&["error", "cannot be polled"]);
    assert!(reported.contains("LimitNOFILE"), "{reported}");
    let polled = || nodes.iter().filter(|node| node.polls() > 3).count();
    eventually(SOON, "some are polled", || (polled() > 5).then_some(()));
    assert_eq!(pollbal.log_with(&["removed from"]), Vec::<String>::new());
    assert_eq!(pollbal.log_with(&["cannot be polled"]).len(), 1);
    pollbal.assert_alive();
}

/// Starts pollbal with its standard error in a file that `JOURNAL_STREAM` names, and a `/run` of its own, in which the
/// journal's socket is the one at `socket`, if any.
fn start_beside_journal(stage: &Stage, socket: Option<&Path>) -> (Pollbal, std::path::PathBuf) {
    let config = stage.write_config(&json!({}));
    let stream = stage.path("stream");
    let file = File::create(&stream).unwrap();
    let metadata = file.metadata().unwrap();
    let mut command = Command::new("unshare");
    let link = "mkdir -p /run/systemd/journal && ln -s \"$3\" /run/systemd/journal/socket";
    let prepare = if socket.is_some() { link } else { "true" };
    let run =
        format!("mount -t tmpfs none /run && {prepare} && exec \"$0\" --config \"$1\" 2> \"$2\"");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", &run])
        .arg(env!("CARGO_BIN_EXE_pollbal"))
        .args([&config, &stream])
        .args(socket)
        .env(
            "JOURNAL_STREAM",
            format!("{}:{}", metadata.dev(), metadata.ino()),
        );
    (Pollbal::spawn(command, config), stream)
}

#[test]
fn the_log_goes_to_the_journal_with_fields_when_standard_error_is_the_journal() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let path = stage.path("journal");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let (_pollbal, stream) = start_beside_journal(&stage, Some(&path));
    let mut entry = vec![0; 65_536];
    let joined = eventually(SOON, "an entry of the journal", || {
        let length = socket.recv(&mut entry).expect("an entry in time");
        let text = String::from_utf8_lossy(&entry[..length]).into_owned();
        text.contains("node-1 joins website").then_some(text)
    });
    // A field is `NAME=value`, or its name, its length in eight bytes, and its value.
    let addr = nodes[0].addr().to_string();
    for (name, value) in [
        ("NODE", addr.as_str()),
        ("POOL", "website"),
        ("PRIORITY", "5"),
    ] {
        let found = joined.match_indices(name).any(|(at, _)| {
            let behind = &joined[at + name.len()..];
            behind
                .chars()
                .take(value.len() + 10)
                .collect::<String>()
                .contains(value)
        });
        assert!(found, "no field {name} with {value}: {joined:?}");
    }
    assert_eq!(fs::read_to_string(stream).unwrap(), "");
}

#[test]
fn the_log_goes_to_standard_error_when_the_journal_is_not_there() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let (_pollbal, stream) = start_beside_journal(&stage, None);
    eventually(SOON, "the log", || {
        let log = fs::read_to_string(&stream).unwrap();
        log.contains("node-1 joins website").then_some(())
    });
}

#[test]
fn the_help_is_as_wide_as_the_terminal_but_no_wider_than_people_read() {
    for (columns, widest) in [("300", 100), ("80", 80)] {
        for words in [&["--help"][..], &["roll", "--help"], &["leave", "-h"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_pollbal"))
                .args(words)
                .env("COLUMNS", columns)
                .output();
            let help = String::from_utf8(output.unwrap().stdout).unwrap();
            let lines = help.lines().map(|line| line.chars().count());
            assert!(lines.max() <= Some(widest), "{columns}: {help}");
            assert!(help.contains("Usage: "), "{help}");
        }
    }
}
