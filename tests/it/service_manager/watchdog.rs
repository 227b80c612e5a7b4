//! The signs of life that systemd's watchdog waits for.

use std::fs;
use std::net::TcpListener;
use std::process::{self, Command};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::{READY, RELOADING, WATCHDOG, wait_status};
use crate::common::nodes::wait_rounds;
use crate::common::notify::Notify;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually};

#[test]
fn signs_of_life_come_in_time_and_end_when_it_hangs() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website"]);
    // Neither a Perlbal that never answers nor a reload is a reason to be late.
    let perlbal = TcpListener::bind(stage.free_addr()).unwrap();
    let limit = Duration::from_secs(1);
    let notify = Notify::listen(&stage);
    let config = json!({ "perlbal": perlbal.local_addr().unwrap() });
    let pollbal = notify.start(&stage, &config, &[], &[("WATCHDOG_USEC", "1000000")]);
    notify.wait(READY, 1);
    nodes[0].announce("api");
    pollbal.reload();
    notify.wait(WATCHDOG, 8);
    let signs = notify.with(WATCHDOG);
    for pair in signs.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap < limit, "{gap:?} between two signs of life");
    }
    // Not far more often than needed either.
    assert!(signs[7].at - signs[0].at > 3 * limit);

    pollbal.signal(Signal::STOP);
    let stopped = Instant::now();
    eventually(SOON, "the time for a sign has passed", || {
        (stopped.elapsed() > limit).then_some(())
    });
    let last = notify.with(WATCHDOG).pop().unwrap();
    assert!(last.at < stopped + limit / 4);
}

#[test]
fn a_reload_that_hangs_on_its_file_is_no_reason_to_hang() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let notify = Notify::listen(&stage);
    let pollbal = notify.start(&stage, &json!({}), &[], &[("WATCHDOG_USEC", "200000")]);
    notify.wait(READY, 1);
    // A pipe that nobody writes into is like a disk that hangs.
    fs::remove_file(pollbal.config_file()).unwrap();
    let made = Command::new("mkfifo").arg(pollbal.config_file()).status();
    assert!(made.unwrap().success());
    pollbal.reload();
    notify.wait(RELOADING, 1);
    let before = notify.with(WATCHDOG).len();
    nodes[0].announce("api");
    wait_status(&notify, "1 of 1 node in 1 pool");
    becomes(SOON, "api.pool", &Some(vec![nodes[0].pool_line()]), || {
        stage.lines("api.pool")
    });
    notify.wait(WATCHDOG, before + 3);
    assert_eq!(notify.with(READY).len(), 1);
    fs::write(pollbal.config_file(), "{").unwrap();
    notify.wait(READY, 2);
    pollbal.wait_log(&["error", "reload rejected"]);
}

#[test]
fn a_watchdog_that_is_not_ours_gets_no_sign() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let notify = Notify::listen(&stage);
    // That of this test's own process.
    let other = process::id().to_string();
    let variables = [("WATCHDOG_USEC", "2000"), ("WATCHDOG_PID", other.as_str())];
    let _pollbal = notify.start(&stage, &json!({}), &[], &variables);
    notify.wait(READY, 1);
    wait_rounds(&nodes, 5);
    assert!(notify.with(WATCHDOG).is_empty());
}
