//! `pollbal leave`, where load balancers answer what the test has them say.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use crate::common::double::{Double, doubles};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, eventually};

fn leave(doubles: &[Double], stage: &Stage, arguments: &[&str]) -> Pollbal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command
        .current_dir(stage.dir())
        .arg("leave")
        .args(doubles.iter().map(Double::url))
        .args(arguments);
    Pollbal::spawn(command, stage.path("no configuration"))
}

#[test]
fn one_that_took_the_node_in_again_while_another_was_waited_for_is_asked_again() {
    let stage = Stage::new();
    let doubles = doubles(&stage, ["200 gone", "200 granted"]);
    let [first, last] = &doubles;
    let mut leave = leave(&doubles, &stage, &["--", "sh", "-c", "touch run; exit 5"]);
    leave.wait_log(&[&last.url(), "granted"]);
    last.wait_heard("POST", 1);
    first.say("200 granted");
    last.say("200 gone");
    first.wait_heard("POST", 2);
    leave.wait_log(&[&first.url(), "granted"]);
    assert!(!stage.path("run").exists(), "it is not gone from all");
    first.say("200 gone");
    assert_eq!(leave.wait_end(SOON).code(), Some(5));
    let asked = [first.received("POST"), last.received("POST")];
    assert!(asked.iter().all(|asked| *asked >= 3), "{asked:?}");
}

#[test]
fn who_has_to_wait_again_at_one_is_not_in_the_way_at_those_behind_it() {
    let stage = Stage::new();
    let doubles = doubles(&stage, ["200 gone", "200 granted"]);
    let [first, last] = &doubles;
    let mut leave = leave(&doubles, &stage, &["--", "sh", "-c", "exit 5"]);
    leave.wait_log(&[&last.url(), "granted"]);
    // It is waited for: what it says next is not its first answer of the round.
    last.wait_heard("POST", 2);
    // Another node came first there, and will wait here.
    first.say("200 wait another is leaving already");
    last.say("200 gone");
    eventually(SOON, "the last is left", || {
        (last.received("DELETE") == 1).then_some(())
    });
    leave.wait_log(&[&last.url(), "cancelled: the node stays"]);
    first.say("200 gone");
    assert_eq!(leave.wait_end(SOON).code(), Some(5));
}

#[test]
fn what_keeps_a_node_from_being_gone_is_reported() {
    let stage = Stage::new();
    let why = "no connection to Perlbal 127.0.0.1:16000";
    let doubles = doubles(&stage, [&format!("200 granted {why}"), "200 gone"]);
    let [first, _] = &doubles;
    let mut leave = leave(&doubles, &stage, &["--", "sh", "-c", "exit 5"]);
    leave.wait_log(&[&first.url(), "granted", &format!("not gone yet: {why}")]);
    first.say("200 gone");
    assert_eq!(leave.wait_end(SOON).code(), Some(5));
}

#[test]
fn one_that_does_not_learn_that_the_node_is_back_is_notified_again() {
    let stage = Stage::new();
    let doubles = doubles(&stage, ["200 gone", "200 gone"]);
    let [first, last] = &doubles;
    let command = "touch at; for i in $(seq 1000); do if [ -e go ]; then exit 0; fi; sleep 0.02; done; exit 99";
    let mut back = leave(&doubles, &stage, &["--back", "--", "sh", "-c", command]);
    eventually(SOON, "the command", || {
        stage.path("at").exists().then_some(())
    });
    first.say("503 pollbal is ending");
    fs::write(stage.path("go"), "").unwrap();
    first.wait_heard("DELETE", 2);
    back.wait_log(&[&first.url(), "busy: 503"]);
    first.say("200 stays");
    assert_eq!(back.wait_end(SOON).code(), Some(0));
    back.wait_log(&[&first.url(), "reported that the node is back"]);
    assert_eq!(last.received("DELETE"), 1);

    // One that will not hear it is asked no more.
    first.say("200 gone");
    fs::remove_file(stage.path("at")).unwrap();
    fs::remove_file(stage.path("go")).unwrap();
    let mut back = leave(&doubles, &stage, &["--back", "--", "sh", "-c", command]);
    eventually(SOON, "the command", || {
        stage.path("at").exists().then_some(())
    });
    first.say("403 no node");
    fs::write(stage.path("go"), "").unwrap();
    assert_eq!(back.wait_end(SOON).code(), Some(1));
    back.wait_log(&[&first.url(), "rejected: 403"]);
    assert_eq!(last.received("DELETE"), 2);
}

#[test]
fn an_answer_without_an_end_is_not_read_to_its_end() {
    let stage = Stage::new();
    let listener = TcpListener::bind(stage.free_addr()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command.args(["leave", &url]);
    let mut leave = Pollbal::spawn(command, stage.path("no configuration"));
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            _ = stream.read(&mut [0; 4_096]);
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\ngone, as it were ");
            let much = vec![b'x'; 1 << 20];
            // Until nobody reads any more.
            while stream.write_all(&much).is_ok() {}
        });
        assert_eq!(leave.wait_end(SOON).code(), Some(1));
    });
    let reported = leave.wait_log(&[&url, "200 OK: longer than 65536 bytes"]);
    assert!(reported.len() < 2_000, "{reported}");
}

#[test]
fn one_that_is_busy_is_waited_for_and_never_passed_over() {
    let stage = Stage::new();
    let doubles = doubles(&stage, ["503 pollbal is ending", "200 gone"]);
    let [first, _] = &doubles;
    let arguments = ["--skip-dead=10ms", "--", "sh", "-c", "exit 5"];
    let mut leave = leave(&doubles, &stage, &arguments);
    first.wait_heard("POST", 2);
    first.say("429 too many requests");
    leave.wait_log(&[&first.url(), "busy: 429"]);
    first.wait_heard("POST", 2);
    first.say("200 gone");
    assert_eq!(leave.wait_end(SOON).code(), Some(5));
    leave.wait_log(&[&first.url(), "busy: 503"]);
    leave.wait_log(&[&first.url(), "gone: drained"]);
    assert_eq!(leave.log_with(&["skipped"]), [""; 0]);
}
