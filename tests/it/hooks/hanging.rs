//! Hooks that hang, and what they leave behind.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::json;

use super::{lines, note, noted, script, wait_file};
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::process::{children, runs};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually};

/// Waits for a file that a hook wrote its process number into.
#[track_caller]
fn wait_pid(stage: &Stage, file: &str) -> Pid {
    eventually(SOON, file, || {
        let text = fs::read_to_string(stage.path(file)).ok()?;
        // Half a number could be there for a moment.
        Pid::from_raw(text.strip_suffix('\n')?.parse().ok()?)
    })
}

#[track_caller]
fn wait_ended(deadline: Duration, what: &str, pid: Pid) {
    eventually(deadline, &format!("{what} ends"), || {
        (!runs(pid)).then_some(())
    });
}

/// Says its number and its child's, and never ends by a kind word.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo $! > \"$0/child.new\"; mv \"$0/child.new\" \"$0/child\"; \
                        echo $$ > \"$0/leader\"; while :; do wait; done";

#[test]
fn hook_timeout_ends_the_whole_process_group() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let config = json!({ "pre_init_hook": script(&stage, STUBBORN), "hook_timeout": "700ms" });
    let began = Instant::now();
    let mut pollbal = Pollbal::start(&stage, &config);
    let leader = wait_pid(&stage, "leader");
    let child = wait_pid(&stage, "child");
    wait_ended(SOON, "the hook", leader);
    wait_ended(SOON, "its child", child);
    assert!(
        began.elapsed() >= Duration::from_millis(700),
        "ended too early"
    );
    pollbal.wait_log(&["error", "pre_init_hook", "was ended", "not done in time"]);
    becomes(SOON, "no child is left", &vec![], || {
        children(pollbal.pid())
    });
    nodes[0].wait_polls(1);
    pollbal.assert_alive();
}

#[test]
fn a_hook_that_hangs_holds_back_neither_polls_nor_files() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let hang = script(&stage, "sleep 1000");
    let config = json!({
        "pre_init_hook": hang, "post_init_hook": hang, "file_update_hook": hang,
    });
    let _pollbal = Pollbal::start(&stage, &config);
    let both: Vec<_> = nodes.iter().map(Node::pool_line).collect();
    wait_file(&stage, "website.pool", &both);
    nodes[1].announce("");
    wait_file(&stage, "website.pool", &both[..1]);
}

#[test]
fn hooks_that_hang_hold_up_the_end_by_less_than_five_seconds() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let config = json!({ "pre_quit_hook": script(&stage, STUBBORN), "hook_timeout": "1h" });
    let mut pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &[nodes[0].pool_line()]);
    assert_eq!(pollbal.terminate().code(), Some(0));
    pollbal.wait_log(&["error", "pre_quit_hook", "was ended"]);
    wait_ended(SOON, "the hook", wait_pid(&stage, "leader"));
    wait_ended(SOON, "its child", wait_pid(&stage, "child"));
    assert_eq!(
        stage.lines("website.pool"),
        Some(vec![nodes[0].pool_line()])
    );
}

#[test]
fn a_process_that_holds_a_hooks_output_open_does_not_hold_up_the_end() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    // In a session of its own, so that ending the hook's group does not end it.
    let hook = script(
        &stage,
        "setsid sh -c 'echo $$ > \"$0/escaped\"; exec sleep 30' \"$0\" & wait",
    );
    let config = json!({ "pre_quit_hook": hook, "hook_timeout": "1h" });
    let mut pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &[nodes[0].pool_line()]);
    let status = pollbal.terminate();
    let escaped = wait_pid(&stage, "escaped");
    rustix::process::kill_process(escaped, rustix::process::Signal::KILL).unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn pre_quit_runs_although_other_hooks_hang() {
    let stage = Stage::new();
    let names: Vec<String> = (10..40).map(|number| format!("pool-{number}")).collect();
    let nodes = stage.nodes(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let config = json!({
        "file_update_hook": script(&stage, "echo >> \"$0/begun\"; sleep 1000"),
        "pre_quit_hook": note(&stage, "pre_quit"),
    });
    let mut pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "pool-39.pool", &[nodes[29].pool_line()]);
    eventually(SOON, "all places are taken", || {
        (lines(&stage.path("begun")).len() == 16).then_some(())
    });
    assert_eq!(pollbal.terminate().code(), Some(0));
    assert_eq!(noted(&stage).len(), 1, "pre_quit_hook did not run");
    // 31 files changed; whose hook never ran is reported.
    let unsent = 31 - lines(&stage.path("begun")).len();
    assert!(unsent > 0);
    let runs = if unsent == 1 { "run" } else { "runs" };
    pollbal.wait_log(&["error", &format!(" {unsent} {runs} of file_update_hook")]);
}
