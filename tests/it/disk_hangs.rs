//! A disk that does not answer, under the pool files, the state file or the services file: all that needs no disk goes
//! on, a person is notified, and again when it is over.
//!
//! No disk hangs everywhere when it is asked to, without being root and without a device: the program as it is built
//! for tests stands still in front of the disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::http;
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::run;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

/// An alert settles for 5 s behind the 5 s without an answer; and the disk is asked every 10 s.
const REPORTED: Duration = Duration::from_secs(30);

/// A site of two nodes whose disk may hang.
struct Site {
    stage: Stage,
    nodes: Vec<Node>,
    perlbal: Perlbal,
    /// While this is there, the disk hangs.
    hangs: PathBuf,
    /// Files there are never taken for files in memory, which cannot hang.
    pools: TempDir,
    pollbal: Pollbal,
}

impl Site {
    /// Starts with a disk in order, that may hang for the task.
    fn start(task: &str) -> Self {
        let stage = Stage::new();
        let nodes = stage.nodes(&["web", "web"]);
        let perlbal = Config::new().pool("web").start(&stage);
        let pools = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let hangs = stage.path("hangs");
        let reported = "printf '%s %s %s\\n' \"$POLLBAL_ALERT\" \"$POLLBAL_ALERT_STATE\" \"$POLLBAL_TEXT\" >> \"$0\"";
        let config = stage.write_config(&json!({
            "perlbal": perlbal.management().to_string(),
            "pool_directory": pools.path(),
            "alert_hook": ["sh", "-c", reported, stage.path("alerts")],
        }));
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
        command
            .arg("--config")
            .arg(&config)
            .env("POLLBAL_TEST_FAULT", format!("stall {task}"))
            .env("POLLBAL_TEST_STALL", &hangs);
        let pollbal = Pollbal::spawn(command, config);
        let site = Self {
            stage,
            nodes,
            perlbal,
            hangs,
            pools,
            pollbal,
        };
        site.wait_members(&[true, true]);
        becomes(SOON, "a verdict", &Some(0), || site.status().1);
        site
    }

    fn hang(&self) {
        fs::write(&self.hangs, "").unwrap();
    }

    fn answer(&self) {
        fs::remove_file(&self.hangs).unwrap();
    }

    /// Which of the nodes Perlbal has.
    #[track_caller]
    fn wait_members(&self, expected: &[bool]) {
        let nodes = self.nodes.iter().zip(expected);
        let expected: Vec<_> = nodes.filter(|(_, expected)| **expected).collect();
        let expected = addrs(expected.into_iter().map(|(node, _)| node));
        becomes(SOON, "Perlbal's members", &Some(expected), || {
            self.perlbal.members("web")
        });
    }

    /// What `pollbal status` says, and its exit code.
    fn status(&self) -> (String, Option<i32>) {
        let socket = self.stage.admin_socket();
        let status = run::pollbal(&["status", "--socket", socket.to_str().unwrap()]);
        (run::stdout(&status), status.status.code())
    }

    #[track_caller]
    fn wait_verdict(&self, verdict: &str, code: i32) {
        let expected = (Some(verdict.to_owned()), Some(code));
        becomes(SOON, "the verdict", &expected, || {
            let (said, code) = self.status();
            (said.lines().last().map(str::to_owned), code)
        });
    }

    /// Waits for an alert of that kind and state; gives its text.
    #[track_caller]
    fn wait_alert(&self, words: &str) -> String {
        crate::common::eventually(REPORTED, words, || {
            let reported = fs::read_to_string(self.stage.path("alerts")).unwrap_or_default();
            let line = reported.lines().find(|line| line.starts_with(words))?;
            Some(line.to_owned())
        })
    }

    /// Waits until it is in the log, and sees that it stands there once.
    #[track_caller]
    fn wait_log_once(&self, words: &[&str]) {
        becomes(REPORTED, words[1], &1, || {
            self.pollbal.log_with(words).len()
        });
    }
}

#[test]
fn pool_files_that_cannot_be_written_are_critical_and_perlbal_is_updated_all_the_same() {
    let site = Site::start("pool files");
    let file = site.pools.path().join("web.pool");
    let lines = |nodes: &[Node]| {
        crate::common::text(&nodes.iter().map(Node::pool_line).collect::<Vec<_>>())
    };
    site.hang();
    site.nodes[0].announce("web leaving");
    site.wait_members(&[false, true]);
    let directory = format!("the pool directory {}/", site.pools.path().display());
    let unanswered = format!("{directory} has not answered for 5s");
    site.wait_log_once(&["error", &unanswered]);
    assert_eq!(fs::read_to_string(&file).unwrap(), lines(&site.nodes));
    site.wait_verdict("CRITICAL: pool files not written", 2);
    let (status, _) = site.status();
    assert!(status.contains(&unanswered), "{status}");
    let begin = site.wait_alert("files_not_written begin ");
    assert!(begin.contains("has not answered for 5s"), "{begin}");
    // More changes, and another ten seconds' look, say nothing more.
    site.nodes[0].announce("web");
    site.wait_members(&[true, true]);
    site.nodes[1].announce("web leaving");
    site.wait_members(&[true, false]);
    site.wait_log_once(&["error", &unanswered]);
    site.answer();
    becomes(SOON, "the pool file", &lines(&site.nodes[..1]), || {
        fs::read_to_string(&file).unwrap()
    });
    site.wait_log_once(&["info", &format!("{directory} answers again")]);
    site.wait_verdict("OK: 2 nodes: 1 in pools, 1 leaving", 0);
    site.wait_alert("files_not_written over ");
}

#[test]
fn a_state_file_that_cannot_be_written_is_reported_and_orders_hold() {
    let site = Site::start("state file");
    let state = || fs::read_to_string(site.stage.path("state.json")).unwrap_or_default();
    site.hang();
    let socket = site.stage.admin_socket();
    let socket = socket.to_str().unwrap();
    let name = site.nodes[0].name();
    let disable = ["disable", name, "--reason", "disk", "--socket", socket];
    assert!(run::pollbal(&disable).status.success());
    site.wait_members(&[false, true]);
    let unanswered = format!(
        "{} has not answered for 5s",
        site.stage.path("state.json").display()
    );
    site.wait_log_once(&[
        "error",
        &unanswered,
        "overrides are active, but would not survive a restart",
    ]);
    assert!(!state().contains("\"disk\""));
    site.wait_verdict("DEGRADED: state file not written", 1);
    site.wait_alert("state_not_written begin ");
    site.answer();
    becomes(SOON, "the order is kept", &true, || {
        state().contains("\"disk\"")
    });
    site.wait_log_once(&["info", "overrides are saved again"]);
    site.wait_verdict("OK: 2 nodes: 1 in pools, 1 disabled", 0);
    site.wait_alert("state_not_written over ");
}

#[test]
fn a_services_file_that_cannot_be_read_is_reported_and_the_last_list_holds() {
    let site = Site::start("services file");
    let file = site.stage.services_file();
    let unanswered = format!("{} has not answered for 5s", file.display());
    site.hang();
    site.stage.list(&site.nodes[..1]);
    site.wait_log_once(&["error", &unanswered, "the last good list stays active"]);
    site.wait_verdict("DEGRADED: services file rejected", 1);
    site.wait_alert("services_refused begin ");
    // Nodes are polled, and decided on, all the same.
    site.nodes[0].announce("web leaving");
    site.wait_members(&[false, true]);
    site.nodes[0].announce("web");
    site.wait_members(&[true, true]);
    site.answer();
    site.wait_members(&[true, false]);
    site.wait_log_once(&["info", &format!("{} answers again", file.display())]);
    site.wait_verdict("OK: 1 node: 1 in pools", 0);
    site.wait_alert("services_refused over ");
}

/// What was refused before is so afterwards too.
#[test]
fn a_services_file_that_is_refused_is_so_also_after_its_disk_hung() {
    let site = Site::start("services file");
    let refused = |site: &Site| -> bool {
        let problems: Value = serde_json::from_str(&json_status(site)).unwrap();
        problems["problems"]
            .to_string()
            .contains("neither an IP address")
    };
    site.stage.write_services(&["10.0.0.256 80".to_owned()]);
    becomes(SOON, "refused", &true, || refused(&site));
    site.hang();
    site.wait_log_once(&["error", "has not answered for 5s"]);
    becomes(SOON, "another reason", &false, || refused(&site));
    site.answer();
    becomes(SOON, "refused", &true, || refused(&site));
}

fn json_status(site: &Site) -> String {
    let socket = site.stage.admin_socket();
    let status = run::pollbal(&["status", "--json", "--socket", socket.to_str().unwrap()]);
    run::stdout(&status)
}

/// Starts pollbal beside this Perlbal with a disk that hangs for the task.
fn start_hanging(stage: &Stage, task: &str, keys: &Value) -> (Pollbal, PathBuf) {
    let hangs = stage.path("hangs");
    fs::write(&hangs, "").unwrap();
    let config = stage.write_config(keys);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command
        .arg("--config")
        .arg(&config)
        .env("POLLBAL_TEST_FAULT", format!("stall {task}"))
        .env("POLLBAL_TEST_STALL", &hangs);
    (Pollbal::spawn(command, config), hangs)
}

#[test]
fn a_nodefile_in_a_directory_that_does_not_answer_holds_up_no_change() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    fs::create_dir(stage.pool_directory()).unwrap();
    let link = stage.path("link");
    symlink(stage.pool_directory(), &link).unwrap();
    let perlbal = Config::new()
        .nodefile_pool("web", &link.join("web.pool"))
        .service(&stage, "www", "web")
        .start(&stage);
    let address = perlbal.management();
    let keys = json!({ "perlbal": { "address": address, "resync_interval": "500ms" } });
    let (pollbal, hangs) = start_hanging(&stage, "nodefiles", &keys);
    perlbal.wait_members("web", &addrs(&nodes));
    let reported = ["warn", "the directory of a nodefile", "does not answer"];
    pollbal.wait_log(&reported);
    nodes[0].announce("web leaving");
    perlbal.wait_members("web", &addrs(&nodes[1..]));
    // For all that is known it is not pollbal's.
    let follows = format!("pool web follows {}", link.join("web.pool").display());
    let is_foreign = || {
        let status = http::get(&stage, "/v1/status").json();
        status["load_balancers"][0]["problems"]
            .to_string()
            .contains(&follows)
    };
    becomes(SOON, "a foreign nodefile", &true, is_foreign);
    fs::remove_file(hangs).unwrap();
    becomes(SOON, "a foreign nodefile", &false, is_foreign);
    assert_eq!(pollbal.log_with(&reported).len(), 1, "reported once");
}

#[test]
fn a_pool_directory_that_does_not_answer_at_the_start_is_reported_and_waited_for() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let (mut pollbal, hangs) = start_hanging(&stage, "earlier files", &json!({}));
    let directory = stage.pool_directory().display().to_string();
    let reported = [
        "error",
        &directory,
        "has not answered for 5s",
        "starts as soon",
    ];
    pollbal.wait_log(&reported);
    assert_eq!(nodes[0].polls(), 0);
    fs::remove_file(&hangs).unwrap();
    nodes[0].wait_polls(1);
    assert_eq!(pollbal.terminate().code(), Some(0));

    let (mut pollbal, _) = start_hanging(&stage, "earlier files", &json!({}));
    pollbal.wait_log(&reported);
    assert_eq!(pollbal.terminate().code(), Some(0));
}
