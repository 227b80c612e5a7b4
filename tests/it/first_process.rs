//! As the first process of a container pollbal is given what hooks leave behind, and waits for it when it ends.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::process::{catches, children, runs};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually};

/// Starts pollbal as the first of its own processes, and gives its number outside.
fn start(stage: &Stage, config: &serde_json::Value) -> (Pollbal, Pid) {
    let config = stage.write_config(config);
    let mut command = Command::new("unshare");
    command
        .args([
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ])
        .arg(env!("CARGO_BIN_EXE_pollbal"))
        .arg("--config")
        .arg(&config);
    let started = Pollbal::spawn(command, config);
    let pid = eventually(SOON, "pollbal", || {
        let mut children = children(started.pid()).into_iter();
        children.find(|pid| catches(*pid, Signal::TERM))
    });
    (started, pid)
}

/// Has the hook run twice.
#[track_caller]
fn flap(stage: &Stage, node: &Node) {
    for (announced, lines) in [("web leaving", vec![]), ("web", vec![node.pool_line()])] {
        node.announce(announced);
        becomes(SOON, "the pool file", &Some(lines), || {
            stage.lines("web.pool")
        });
    }
}

#[test]
fn what_hooks_leave_behind_is_waited_for_and_hooks_are_not_taken_for_it() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    // Processes of every kind: one that outlives the hook and ends, one in a session of its own, one that the hook waits
    // for; and the hook's own exit code, which nobody else must fetch.
    let hook = "sleep 0.05 & setsid sleep 0.05 & true; exit 7";
    let config = json!({ "node_hook": ["sh", "-c", hook] });
    let (mut outer, pollbal) = start(&stage, &config);
    outer.wait_log(&["first round done"]);
    for round in 1..=10 {
        flap(&stage, &nodes[0]);
        eventually(SOON, "the ends of the hooks", || {
            let ended = outer.log_with(&["node_hook sh ended with exit code 7"]);
            (ended.len() == 2 * round).then_some(())
        });
    }
    eventually(SOON, "no process is left, not even a zombie", || {
        children(pollbal).is_empty().then_some(())
    });
    assert_eq!(outer.log_with(&["failed to wait"]), Vec::<String>::new());
    kill_process(pollbal, Signal::TERM).unwrap();
    eventually(SOON, "pollbal ends", || (!runs(pollbal)).then_some(()));
    assert_eq!(outer.wait_end(SOON).code(), Some(0));
}
