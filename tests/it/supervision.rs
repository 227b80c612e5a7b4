//! No living corpse: a task that ends or panics ends the process, and where the system gives no more threads the work
//! goes on by those that there are, or the process does not start.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{self, Command};
use std::time::Duration;

use rustix::process::{Signal, geteuid};
use serde_json::json;

use crate::common::nodes::Node;
use crate::common::notify::Notify;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::wire::{Listeners, dial, get};
use crate::common::{SOON, becomes, client, eventually, http, stays};

/// The exit code for a bug in pollbal.
const SOFTWARE: Option<i32> = Some(70);

/// The tasks that run as long as the daemon.
const TASKS: [&str; 12] = [
    "Perlbal",
    "alerts",
    "beats",
    "http",
    "hooks",
    "listener",
    "pool files",
    "service manager",
    "signals",
    "source of nodes",
    "state file",
    "stay requests",
];

#[test]
fn a_task_that_panics_or_ends_unexpectedly_ends_the_process() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["web"]);
    let config = stage.write_config(&json!({ "perlbal": stage.free_addr().to_string() }));
    for task in TASKS {
        for (fault, words) in [("panic", "panicked at src/"), ("end", "ended")] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
            command
                .arg("--config")
                .arg(&config)
                .env("POLLBAL_TEST_FAULT", format!("{fault} {task}"))
                .env("NOTIFY_SOCKET", stage.path("nobody"))
                .env("RUST_BACKTRACE", "1");
            let mut pollbal = Pollbal::spawn(command, config.clone());
            let ended = pollbal.wait_end(SOON);
            assert_eq!(ended.code(), SOFTWARE, "{fault} {task}: {ended:?}");
            let line = pollbal.wait_log(&["error", &format!("the task \"{task}\" {words}")]);
            assert!(line.contains("exit code 70"), "{line}");
            let log = pollbal.log();
            let has_time = |line: &String| line.get(10..11) == Some("T");
            assert!(log.iter().all(has_time), "one line, no backtrace: {log:#?}");
        }
    }
}

#[test]
fn healthz_fails_when_the_loop_that_decides_hangs() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let _nodes = stage.nodes(&["web"]);
    let config = stage.write_config(&listeners.config(&json!({})));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command.arg("--config").arg(&config);
    let pollbal = Pollbal::spawn(command, config.clone());
    pollbal.wait_log(&["first round done"]);
    assert_eq!(client::get(listeners.status, "/healthz").unwrap(), "ok");
    pollbal.kill();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command
        .arg("--config")
        .arg(&config)
        .env("POLLBAL_TEST_FAULT", "hang decisions");
    let pollbal = Pollbal::spawn(command, config);
    pollbal.wait_log(&["status listener listening on"]);
    let answer = get(dial(listeners.status), "/healthz");
    answer.assert_json_refusal(503, "the event loop has not responded within 900ms");
    // And SIGTERM ends it nevertheless.
    pollbal.signal(Signal::TERM);
    let mut pollbal = pollbal;
    let ended = pollbal.wait_end(2 * SOON);
    assert_eq!(ended.code(), Some(1));
    pollbal.wait_log(&["the end is not done after 7s"]);
}

#[test]
fn the_service_manager_gets_no_sign_of_life_while_the_listeners_hang() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["web"]);
    let manager = Notify::listen(&stage);
    let variables = [
        ("WATCHDOG_USEC", "3000000"),
        ("POLLBAL_TEST_FAULT", "hang http"),
    ];
    let pollbal = manager.start(&stage, &json!({}), &[], &variables);
    manager.wait("READY=1", 1);
    pollbal.wait_log(&["error", "the listeners' thread hangs"]);
    let signs = || manager.with("WATCHDOG=1").len();
    let before = signs();
    let line = manager.wait("STATUS=1 of 1 node in 1 pool", 1);
    // A sign is due every 1.5 s.
    stays(SOON, "no more signs", &before, signs, || {
        line.at.elapsed() > Duration::from_secs(6)
    });
}

/// Starts pollbal as a user that may have this many threads and processes, the limit for root does not hold; everybody
/// may read what the stage has.
fn start_with_threads(stage: &Stage, config: &serde_json::Value, threads: u32) -> Pollbal {
    let config = stage.write_config(config);
    let program = stage.path("pollbal");
    if !program.exists() {
        // Where another user may run it, no matter who owns the directory that it was built in.
        fs::copy(env!("CARGO_BIN_EXE_pollbal"), &program).unwrap();
        fs::set_permissions(stage.dir(), Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = if geteuid().is_root() {
        // One that has no other process.
        let user = 2_000_000_000 + process::id();
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .arg("--clear-groups");
        command
    } else {
        let mut command = Command::new("unshare");
        command.arg("--map-root-user");
        command
    };
    command
        .args(["prlimit", &format!("--nproc={threads}")])
        .arg(&program)
        .arg("--config")
        .arg(&config);
    Pollbal::spawn(command, config)
}

#[test]
fn with_however_few_threads_it_works_or_says_why_it_does_not_start() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let nodes = stage.nodes(&["web", "web"]);
    let config = listeners.config(&json!({}));
    let mut works = 0;
    for threads in 1..=12 {
        stage.list(&nodes[..1]);
        let mut pollbal = start_with_threads(&stage, &config, threads);
        let ended = eventually(SOON, "a member, or an end", || {
            let member = stage.lines("web.pool") == Some(vec![nodes[0].pool_line()]);
            let ended = pollbal.has_ended();
            (member || ended.is_some()).then_some(ended)
        });
        if let Some(ended) = ended {
            assert_eq!(ended.code(), SOFTWARE, "{threads} threads: {ended:?}");
            pollbal.wait_log(&["limit of processes and threads is reached", "TasksMax"]);
            assert_eq!(works, 0, "fewer were enough");
            continue;
        }
        works += 1;
        // All that needs a thread: files, the watch of the services file, orders, metrics.
        stage.list(&nodes);
        let both = nodes.iter().map(Node::pool_line).collect();
        becomes(SOON, "the pool file", &Some(both), || {
            stage.lines("web.pool")
        });
        let order = json!({ "nodes": ["node-1"], "reason": "test" });
        let reply = http::post(&stage, "/v1/disable", &order);
        assert_eq!(reply.status, 200, "{}", reply.body);
        eventually(SOON, "the order in the state file", || {
            let kept = fs::read_to_string(stage.path("state.json")).ok()?;
            kept.contains("test").then_some(())
        });
        let reply = http::post(&stage, "/v1/enable", &order);
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(client::get(listeners.status, "/healthz").unwrap(), "ok");
        let metrics = client::get(listeners.status, "/metrics").unwrap();
        assert!(metrics.starts_with("# HELP"), "{metrics}");
        assert!(pollbal.terminate().success());
        for file in ["state.json", "pool/web.pool"] {
            fs::remove_file(stage.path(file)).unwrap();
        }
    }
    assert!(works > 1, "twelve threads are enough");
}
