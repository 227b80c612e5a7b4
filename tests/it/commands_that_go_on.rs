//! The commands that wait, follow and watch, and what is observed of them on a terminal.

use crate::commands::site;

use std::fs;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::common::pollbal::Pollbal;
use crate::common::process::{catches, children};
use crate::common::run::stdout;
use crate::common::{SOON, eventually};
use site::{Site, interrupt, on_terminal};

/// Number of polls of a node that take more than four seconds.
const SECONDS: u64 = 45;

#[test]
fn events_are_followed_until_ctrl_c_also_over_a_restart_of_the_daemon() {
    let mut site = Site::start();
    let mut lines = site.begin(&["events", "--follow", "-n", "0"]);
    let mut json = site.begin(&["events", "--follow", "--json"]);
    json.wait_stdout(&["\"joined\"", "node-4"]);
    site.tell(&["disable", "node-1", "--reason", "kernel"]);
    json.wait_stdout(&["\"disabled\"", "node-1"]);
    let json_lines = json.stdout();
    assert!(
        json_lines
            .iter()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    interrupt(&json);
    assert_eq!(json.wait_end(SOON).code(), Some(130));

    // Nobody sees when it began to listen, but that it gets nothing of what was before.
    eventually(SOON, "an event", || {
        site.tell(&["freeze", "--reason", "storm"]);
        site.tell(&["thaw", "--reason", "storm"]);
        (!lines.stdout().is_empty()).then_some(())
    });
    assert!(!lines.stdout_text().contains("joins"));
    assert_eq!(site.pollbal.terminate().code(), Some(0));
    lines.wait_log(&["no response from pollbal at", "the daemon has exited"]);
    let before = lines.stdout();
    let config = fs::read_to_string(site.pollbal.config_file()).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    site.pollbal = Pollbal::start(&site.stage, &config);
    lines.wait_log(&["connected again"]);
    // Its numbers begin again, below those that were reported.
    site.tell(&["disable", "node-2", "--reason", "kernel"]);
    lines.wait_stdout(&["node-2 is disabled: kernel"]);
    let after = lines.stdout();
    assert!(after.starts_with(&before), "{after:#?}");

    // Only the listener is away for a while: in the same run numbers go on.
    let mut moved = config.clone();
    moved["admin_socket"] = json!(site.stage.path("moved.sock"));
    for (config, word) in [
        (moved, "the daemon has exited"),
        (config, "connected again"),
    ] {
        let mark = lines.mark();
        site.stage.write_config(&config);
        site.pollbal.reload();
        lines.wait_log_after(mark, &[word]);
    }
    site.tell(&["freeze", "--reason", "late"]);
    lines.wait_stdout(&["frozen: late"]);
    let all = lines.stdout();
    for event in &after {
        let reported = all.iter().filter(|line| *line == event);
        assert_eq!(reported.count(), 1, "{event}: {all:#?}");
    }
    interrupt(&lines);
    assert_eq!(lines.wait_end(SOON).code(), Some(130));
}

#[test]
fn a_wait_for_a_daemon_that_turned_mute_ends_in_time() {
    let site = Site::start();
    let line = ["wait", "node-1", "--until", "drained", "--timeout", "2s"];
    let mut wait = site.begin(&line);
    site.pollbal.signal(Signal::STOP);
    // Sooner than a daemon is given to answer.
    assert_eq!(wait.wait_end(Duration::from_secs(7)).code(), Some(69));
    wait.wait_log(&["timed out; its log may say why"]);
    site.pollbal.signal(Signal::CONT);
}

/// Waits until a `wait` has its first answer, which comes at once: without a daemon there it would end.
fn wait_asked(site: &Site, wait: &Pollbal) {
    eventually(SOON, "it is waited for", || {
        catches(wait.pid(), Signal::INT).then_some(())
    });
    site.nodes[1].wait_polls(5);
}

#[test]
fn a_wait_goes_on_until_it_is_so_also_over_a_restart_of_the_daemon() {
    let mut site = Site::start();
    let mut wait = site.begin(&["wait", "node-1", "node-2", "--until", "drained"]);
    wait_asked(&site, &wait);
    site.tell(&["disable", "node-1", "--reason", "kernel", "--wait"]);
    site.pollbal.terminate();
    let config = fs::read_to_string(site.pollbal.config_file()).unwrap();
    site.pollbal = Pollbal::start(&site.stage, &serde_json::from_str(&config).unwrap());
    site.pollbal.wait_log(&["first round done"]);
    wait.assert_alive();
    site.tell(&["disable", "node-2", "--reason", "kernel"]);
    assert_eq!(wait.wait_end(SOON).code(), Some(0));
    assert_eq!(wait.stdout(), ["drained: node-1, node-2"]);

    let mut wait = site.begin(&["wait", "node-1", "--until", "serving"]);
    interrupt(&wait);
    assert_eq!(wait.wait_end(SOON).code(), Some(130));
}

#[test]
fn a_node_that_goes_from_the_services_file_is_reported_to_a_command_that_waits_for_it() {
    let site = Site::start();
    let addr = site.nodes[0].addr().to_string();
    let line = ["wait", &addr, "--until", "drained", "--timeout", "5s"];
    let mut wait = site.begin(&line);
    wait_asked(&site, &wait);
    site.stage.list(&site.nodes[1..]);
    assert_eq!(wait.wait_end(SOON).code(), Some(1));
    wait.wait_log(&[&format!("timed out after 5s: {addr}: not a listed node")]);
    // Who comes now is refused.
    let refused = site.refused(&line);
    assert_eq!(refused, format!("pollbal: {addr} is not a listed node\n"));
}

#[test]
fn a_watched_status_is_printed_when_it_changes_and_ends_as_the_last_view_says() {
    let site = Site::start();
    let mut watch = site.begin(&["status", "--watch"]);
    let mut json = site.begin(&["status", "--watch", "--json"]);
    watch.wait_stdout(&["OK: 4 nodes: 4 in pools"]);
    json.wait_stdout(&["\"health\":\"ok\""]);
    // Times alone are no change: else several seconds would bring as many. A Perlbal that is read again may.
    site.nodes[0].wait_polls(SECONDS);
    for watch in [&watch, &json] {
        let reported = watch.stdout();
        let views = reported
            .iter()
            .filter(|line| line.contains("\"health\"") || line.starts_with("OK: "));
        assert!(views.count() <= 2, "{reported:#?}");
    }
    for node in &site.nodes[1..] {
        node.announce("");
    }
    watch.wait_stdout(&["CRITICAL: "]);
    json.wait_stdout(&["\"health\":\"critical\""]);
    for watch in [&mut watch, &mut json] {
        interrupt(watch);
        assert_eq!(watch.wait_end(SOON).code(), Some(2));
    }
    let views = watch.stdout_text();
    assert!(
        views.contains("\nOK: 4 nodes: 4 in pools\n\npollbal 0"),
        "{views}"
    );
    let documents = json.stdout();
    assert!(
        documents
            .iter()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
}

#[test]
fn a_terminal_shows_colours_unless_they_are_not_desired_and_what_is_waited_for() {
    let site = Site::start();
    let shown = |environment: &[(&str, &str)], line: &str| {
        let output = on_terminal(&site, environment, line).output();
        stdout(&output.expect("failed to run script"))
    };
    let coloured = shown(&[], "status");
    assert!(
        coloured.contains("\x1b[32mOK: 4 nodes: 4 in pools\x1b[0m"),
        "{coloured:?}"
    );
    let plain = shown(&[("NO_COLOR", "1")], "status");
    assert!(
        plain.contains("OK: 4 nodes") && !plain.contains('\x1b'),
        "{plain:?}"
    );

    let wait = "wait node-1 node-2 --until drained --timeout 700ms";
    let waited = shown(&[], wait);
    assert!(
        waited.contains("0 of 2 drained; waiting for node-1: a member of website"),
        "{waited:?}"
    );
    let (_, _, piped) = site.ask(&wait.split(' ').collect::<Vec<_>>());
    assert_eq!(piped.lines().count(), 1, "{piped}");

    let rolled = shown(&[], "roll website -- true");
    assert!(
        rolled.contains("1 done, 1 in progress, 2 left ") && rolled.contains("rolled 4 of 4 nodes"),
        "{rolled:?}"
    );
}

#[test]
fn a_command_of_roll_that_asks_at_the_terminal_is_not_waited_for_for_ever() {
    let site = Site::start();
    let line = "roll website -- sh -c 'read answer </dev/tty'";
    let mut roll = Pollbal::spawn(on_terminal(&site, &[], line), site.stage.admin_socket());
    assert_eq!(roll.wait_end(SOON).code(), Some(1));
    roll.wait_stdout(&["node-1 failed: the command was stopped", "sudo -n"]);
}

#[test]
fn on_a_terminal_a_watched_status_is_drawn_over_the_one_before() {
    let site = Site::start();
    let line = on_terminal(&site, &[], "status --watch");
    let mut screen = Pollbal::spawn(line, site.stage.admin_socket());
    eventually(SOON, "two views", || {
        (screen.stdout_text().matches("\x1b[1;1H").count() >= 2).then_some(())
    });
    let watch = children(screen.pid())[0];
    kill_process(watch, Signal::INT).unwrap();
    assert_eq!(screen.wait_end(SOON).code(), Some(0));
    let cleared = screen.stdout_text().matches("\x1b[2J").count();
    assert_eq!(cleared, 1, "{}", screen.stdout_text());
}
