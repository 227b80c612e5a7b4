//! `pollbal roll` where something is in the way: others, a failure, no daemon, a terminal.

use crate::roll::site;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::nodes::{Node, addrs};
use crate::common::pollbal::Pollbal;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;
use crate::common::{SOON, clock, eventually};
use site::{NODES, ROLL, Site};

#[test]
fn a_failure_in_the_middle_ends_it_and_leaves_that_node_disabled() {
    let site = Site::start(5);
    let mut roll = site.roll(&[]);
    site.go(&site.nodes[0], 0);
    site.go(&site.nodes[1], 3);
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    assert_eq!(site.disabled(), ["node-2"]);
    roll.wait_log(&["rolled 1 of 6 nodes"]);
    roll.wait_log(&["node-2 failed: the command failed with exit code 3"]);
    roll.wait_log(&["not started: node-3, node-4, node-5, node-6"]);
    let reported = roll.wait_log(&["node-2 stays disabled; bring it back: pollbal enable node-2"]);

    // Nobody rolls over it,
    let (code, out, error) = site.ask(&["roll", "website", "--", "true"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let left = format!(
        "node-2 ({}) is being rolled, or was left disabled by a roll: roll",
        site.nodes[1].addr()
    );
    assert!(error.contains(&left), "{error}");
    assert!(
        error.contains("if no roll is running, check the node, then bring it back: pollbal enable"),
        "{error}"
    );

    // and what was said brings it back.
    let (_, line) = reported.split_once("pollbal enable").unwrap();
    let line = format!("{} enable {line} --wait", env!("CARGO_BIN_EXE_pollbal"));
    let back = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(stdout(&back), "serving: node-2\n");
    site.perlbal.wait_members("website", &addrs(&site.nodes));
}

#[test]
fn a_node_that_others_keep_out_is_left_to_them() {
    let site = Site::start(4);
    let mut roll = site.roll(&[]);
    site.wait_at(&site.nodes[0]);
    let (code, ..) = site.ask(&["disable", "node-2", "--reason", "disk", "--force"]);
    assert_eq!(code, Some(0));
    for node in &site.nodes {
        site.go(node, 0);
    }
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    roll.wait_log(&["rolled 5 of 6 nodes"]);
    roll.wait_log(&["node-2 was skipped", "disk"]);
    assert!(!site.stage.path("at-node-2").exists());
    let (_, text, _) = site.ask(&["status"]);
    let line = text.lines().find(|line| line.starts_with("node-2 "));
    let says = |words: &str| line.is_some_and(|line| line.contains(words));
    assert!(says(" disabled ") && says(" s  disk by "), "{text}");
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn a_node_that_others_take_out_while_its_command_runs_is_left_to_them_at_once() {
    let site = Site::start(4);
    let mut roll = site.roll(&[]);
    site.wait_at(&site.nodes[0]);
    let (code, ..) = site.ask(&["disable", "node-1", "--reason", "disk"]);
    assert_eq!(code, Some(0));
    for node in &site.nodes {
        site.go(node, 0);
    }
    // Well before its five minutes are over.
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    roll.wait_log(&["rolled 5 of 6 nodes"]);
    roll.wait_log(&["node-1 was skipped", "disk"]);
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn a_node_that_another_roll_has_out_is_not_taken_for_its_own() {
    // None may go before the last one is back.
    let site = Site::start(NODES - 1);
    site.nodes[5].fail(500);
    site.perlbal
        .wait_members("website", &addrs(&site.nodes[..5]));
    let mut roll = site.roll(&["--json"]);
    roll.wait_stdout(&["node-1", "waiting for its turn"]);
    // Another roll comes first: it gives the same word.
    let other = ["disable", "node-1", "--reason", "roll", "--note", "another"];
    let (code, ..) = site.ask(&[&other[..], &["--force"]].concat());
    assert_eq!(code, Some(0));
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    let why = "it is being rolled, or was left disabled by a roll: roll";
    let reported = roll.wait_stdout(&["\"failed\"", why, "another"]);
    assert!(!reported.contains("stays disabled"), "{reported}");
    assert!(
        roll.stdout_text()
            .contains(&format!("node-1 failed: {why}"))
    );
    assert_eq!(site.disabled(), ["node-1"]);
    assert!(!site.stage.path("at-node-1").exists());
}

#[test]
fn a_roll_outlives_a_restart_of_the_daemon() {
    let mut site = Site::start(5);
    let mut roll = site.roll(&[]);
    site.wait_at(&site.nodes[0]);
    site.pollbal.terminate();
    // Nobody is there when it wants to bring the node back.
    site.go(&site.nodes[0], 0);
    roll.wait_stdout(&["node-1: command succeeded"]);
    let config = Site::config(&site.perlbal, 5);
    site.pollbal = Pollbal::start(&site.stage, &config);
    for node in &site.nodes {
        site.go(node, 0);
    }
    assert_eq!(roll.wait_end(ROLL).code(), Some(0));
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn a_node_that_does_not_come_back_is_kept_out() {
    let site = Site::start(5);
    let mut roll = site.roll(&["--timeout", "1s", "--json"]);
    site.wait_at(&site.nodes[0]);
    site.nodes[0].fail(500);
    site.go(&site.nodes[0], 0);
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    roll.wait_stdout(&["node-1 failed: not serving within 1s", "500"]);
    let reported = roll.wait_stdout(&["node-1 stays disabled"]);
    let reported: Value = serde_json::from_str(&reported).unwrap();
    assert_eq!(
        (&reported["step"], &reported["name"]),
        (&json!("ended"), &json!("node-1"))
    );
    assert_eq!(site.disabled(), ["node-1"]);
}

#[test]
fn a_node_that_does_not_come_back_has_failed_though_others_take_it_out_meanwhile() {
    let site = Site::start(4);
    let mut roll = site.roll(&["--timeout", "3s"]);
    site.wait_at(&site.nodes[0]);
    site.nodes[0].fail(500);
    for node in &site.nodes {
        site.go(node, 0);
    }
    // Someone sees that it is broken while the roll waits for it.
    roll.wait_stdout(&["node-1: waiting: ", "500"]);
    let (code, _, error) = site.ask(&["disable", "node-1", "--reason", "broken"]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    roll.wait_log(&["rolled 0 of 6 nodes"]);
    roll.wait_log(&["node-1 failed: not serving within 3s", "broken"]);
    roll.wait_log(&["node-1 stays disabled"]);
    roll.wait_log(&["not started: node-2, node-3, node-4, node-5, node-6"]);
    assert_eq!(site.disabled(), ["node-1"]);
}

#[test]
fn nodes_that_no_name_tells_apart_are_reported_and_brought_back_by_their_addresses() {
    let site = Site::start(4);
    let addrs: Vec<_> = site.nodes.iter().map(Node::addr).collect();
    // The last one is in another pool.
    let names = ["dup", "dup", "web one", "web-4", "twin", "twin"];
    site.nodes[5].announce("other serving v1");
    let lines = addrs.iter().zip(names);
    let lines: Vec<_> = lines
        .map(|(addr, name)| format!("{addr} # {name}"))
        .collect();
    site.stage.write_services(&lines);
    eventually(SOON, "the names are known", || {
        let (_, members, _) = site.ask(&["members", "website"]);
        (members.matches("\tdup\t").count() == 2 && members.matches("\ttwin\t").count() == 1)
            .then_some(())
    });
    let config = site.pollbal.config_file().to_str().unwrap();
    let roll = || pollbal(&["--config", config, "roll", "website", "--", "false"]);

    let reported = roll();
    let (out, error) = (stdout(&reported), stderr(&reported));
    let first = format!("dup ({})", addrs[0]);
    assert!(out.contains(&format!("{first}: disabled\n")), "{out}");
    assert!(error.contains(&format!("{first} failed: ")), "{error}");
    let left = format!(
        "not started: dup ({}), web one ({}), web-4, twin ({})\n",
        addrs[1], addrs[2], addrs[4]
    );
    assert!(error.contains(&left), "{error}");
    let way_back = format!("pollbal enable {} --reason roll", addrs[0]);
    assert!(
        error.contains(&format!(
            "{first} stays disabled; bring it back: {way_back} --config {config}\n"
        )),
        "{error}"
    );
    let (_, explained, _) = site.ask(&["explain", &addrs[0].to_string()]);
    assert!(
        explained.contains(&format!("after `{way_back}`\n")),
        "{explained}"
    );

    // A second roll says so too, and what was said brings it back.
    let error = stderr(&roll());
    let (_, line) = error.split_once("pollbal enable").expect("a way back");
    let line = format!("{} enable {line}", env!("CARGO_BIN_EXE_pollbal"));
    let back = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(back.status.code(), Some(0), "{}", stderr(&back));
    assert_eq!(site.disabled(), [""; 0]);
}

#[test]
fn a_pool_that_can_do_without_nobody_is_not_rolled() {
    let site = Site::start(NODES);
    let mut roll = site.roll(&[]);
    let (fewest, ()) = site.fewest_members(|| {
        assert_eq!(roll.wait_end(SOON).code(), Some(1));
    });
    assert_eq!(fewest, NODES);
    roll.wait_log(&[
        "rejected, nothing changed: rolling website would leave it with 5 of 6 members (min_members 6)",
    ]);
    assert_eq!(site.disabled(), [""; 0]);
    assert!(!site.stage.path("at-node-1").exists());
}

#[test]
fn a_command_that_is_not_there_is_reported_before_any_node_goes() {
    let site = Site::start(1);
    for (command, why) in [
        ("/nowhere/deploy", "No such file or directory"),
        ("no-such-program", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
    ] {
        let mut roll = site.roll_by(&[], &[command]);
        assert_eq!(roll.wait_end(SOON).code(), Some(1));
        let reported = format!("nothing changed: cannot run {command}: {why}");
        roll.wait_log(&[&reported]);
        assert_eq!(roll.stdout_text(), "");
    }
    let events = site.ask(&["events"]).1;
    assert!(!events.contains("is disabled"), "{events}");
}

#[test]
fn a_node_whose_command_cannot_be_run_after_all_comes_back() {
    let site = Site::start(1);
    // It is there and may be run, but what it asks for to be run by is not there.
    let script = site.stage.path("deploy");
    fs::write(&script, "#!/nowhere/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut roll = site.roll_by(&[], &[script.to_str().unwrap()]);
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    roll.wait_log(&[
        "node-1 failed: cannot run",
        "cannot run",
        "the node returns",
    ]);
    roll.wait_log(&["not started: node-2"]);
    assert_eq!(roll.log_with(&["stays disabled"]), [""; 0]);
    assert_eq!(site.disabled(), [""; 0]);
    site.perlbal.wait_members("website", &addrs(&site.nodes));
}

#[test]
fn a_pool_whose_others_may_come_back_is_waited_for() {
    let site = Site::start(NODES - 1);
    site.nodes[5].fail(500);
    site.perlbal
        .wait_members("website", &addrs(&site.nodes[..5]));
    let mut roll = site.roll(&["--timeout", "1s"]);
    let (fewest, ()) = site.fewest_members(|| {
        assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    });
    assert_eq!(fewest, NODES - 1);
    roll.wait_stdout(&["node-1: waiting for its turn", "min_members 5"]);
    roll.wait_log(&["node-1 failed: could not be taken out within 1s"]);
    assert_eq!(site.disabled(), [""; 0]);
    assert!(!site.stage.path("at-node-1").exists());
}

#[test]
fn a_command_that_asks_at_the_terminal_is_ended_and_said() {
    let site = Site::start(5);
    // As the system does with who asks there from the background.
    let mut roll = site.roll_with(&[], "kill -STOP $$; touch went-on");
    assert_eq!(roll.wait_end(ROLL).code(), Some(1));
    roll.wait_log(&[
        "node-1 failed: the command was stopped",
        "ssh -o BatchMode=yes",
    ]);
    roll.wait_log(&["node-1 stays disabled"]);
    assert_eq!(site.disabled(), ["node-1"]);
    assert!(!site.stage.path("went-on").exists());
}

/// A way to the daemon on which the answers to `disable` are lost.
fn without_answers(site: &Site) -> PathBuf {
    let path = site.stage.path("lossy.sock");
    let daemon = site.stage.admin_socket();
    let listener = UnixListener::bind(&path).unwrap();
    // It ends with the test program.
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let request = request(&mut client);
            let mut to = UnixStream::connect(&daemon).unwrap();
            to.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            to.read_to_end(&mut answer).unwrap();
            if !request.starts_with("POST /v1/disable") {
                // Who asked may be gone.
                _ = client.write_all(&answer);
            }
        }
    });
    path
}

/// A whole request, with word that it is the last of its connection.
fn request(client: &mut UnixStream) -> String {
    let mut reader = BufReader::new(client);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some((_, number)) = line.to_lowercase().split_once("content-length:") {
            length = number.trim().parse().unwrap();
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    format!("{head}Connection: close\r\n\r\n{body}")
}

#[test]
fn a_node_of_which_no_answer_tells_whether_it_is_disabled_may_be_so() {
    let site = Site::start(5);
    let lossy = without_answers(&site);
    let lossy = lossy.to_str().unwrap();
    let socket = ["roll", "website", "--timeout", "1s", "--socket", lossy];
    let start = Instant::now();
    let output = pollbal(&[&socket[..], &["--", "true"]].concat());
    assert_eq!(output.status.code(), Some(1));
    // Its time is kept, though a daemon may be away for longer.
    let took = clock::counted_since(start);
    assert!(took < SOON, "{took:?}");
    let error = stderr(&output);
    let way_back = format!(
        "node-1 may be disabled; bring it back: pollbal enable node-1 --reason roll --socket {lossy}"
    );
    assert!(error.contains(&way_back), "{error}");
    assert!(!error.contains("stays disabled"), "{error}");
    assert_eq!(site.disabled(), ["node-1"]);
}

#[test]
fn a_signal_before_the_first_node_ends_it_with_its_code() {
    let stage = Stage::new();
    let listener = UnixListener::bind(stage.admin_socket()).unwrap();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
        command.args(["roll", "website", "--socket"]);
        command.arg(stage.admin_socket()).args(["--", "true"]);
        let mut roll = Pollbal::spawn(command, stage.admin_socket());
        // It listens to signals before it asks, and waits for an answer now.
        let (_asked, _) = listener.accept().unwrap();
        roll.signal(signal);
        assert_eq!(roll.wait_end(SOON).code(), Some(code));
    }
}
