//! Pool files in a faulty directory: what fails is reported once and repaired, and everything else goes on.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use crate::common::nodes::{Node, wait_rounds};
use crate::common::pollbal::Pollbal;
use crate::common::process::cpu_ticks;
use crate::common::run;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, stays, text};

/// The directory is looked at every ten seconds for what others did to it.
const LOOKED_AT: Duration = Duration::from_secs(15);

fn pool_lines(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::pool_line).collect()
}

#[track_caller]
fn wait_file(stage: &Stage, file: &str, lines: &[String]) {
    becomes(SOON, file, &Some(lines.to_vec()), || stage.lines(file));
}

#[test]
fn a_file_that_cannot_be_written_is_reported_once_tried_again_and_holds_back_no_other() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api"]);
    let obstacle = stage.pool_file("website");
    fs::create_dir_all(obstacle.join("full")).unwrap();
    let config = json!({ "poll_interval": "50ms", "file_update_hook": [
        "sh", "-c", "echo \"$POLLBAL_FILE_NAME\" >> \"$0\"", stage.path("reported"),
    ] });
    let pollbal = Pollbal::start(&stage, &config);
    let reported = pollbal.wait_log(&["error", "failed to write", "website.pool"]);
    assert!(reported.contains("directory"), "the reason: {reported}");
    wait_file(&stage, "api.pool", &pool_lines(&nodes[1..]));
    // A second and a half: time for a dozen attempts.
    wait_rounds(&nodes, 30);
    nodes[1].announce("other");
    wait_file(&stage, "other.pool", &pool_lines(&nodes[1..]));
    wait_file(&stage, "api.pool", &[]);
    assert_eq!(
        pollbal.log_with(&["error"]).len(),
        1,
        "{:#?}",
        pollbal.log()
    );
    let temporary = stage
        .files()
        .into_iter()
        .filter(|name| name.starts_with(".pollbal-"));
    assert_eq!(temporary.collect::<Vec<_>>(), Vec::<String>::new());

    fs::remove_dir_all(&obstacle).unwrap();
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    pollbal.wait_log(&["info", "website.pool is in order again"]);
    // The hook runs for the write, not for each attempt.
    let reported = fs::read_to_string(stage.path("reported")).unwrap();
    let reported = reported
        .lines()
        .filter(|line| *line == "website.pool")
        .count();
    assert_eq!(reported, 1);
}

#[test]
fn when_nothing_can_be_written_what_was_there_stays_whole() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let config = json!({ "poll_interval": "50ms" });
    // A write above the limit fails, as on a full disk, once the signal for it is ignored.
    let mut pollbal = Pollbal::start_behind(&stage, &config, "trap '' XFSZ");
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    wait_file(&stage, "disabled_services", &[]);
    let limit = |bytes| {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(pollbal.pid()), Resource::Fsize, limit).unwrap();
    };
    limit(Some(0));
    nodes[1].announce("");
    pollbal.wait_log(&["error", "failed to write", "website.pool", "too large"]);
    pollbal.wait_log(&["error", "failed to write", "disabled_services"]);
    wait_rounds(&nodes, 20);
    assert_eq!(stage.lines("website.pool"), Some(pool_lines(&nodes)));
    assert_eq!(stage.lines("disabled_services"), Some(vec![]));
    // The state file cannot be written either, and is reported too.
    let reported = pollbal.log_with(&["error", "/pool/"]);
    assert_eq!(reported.len(), 2, "{:#?}", pollbal.log());
    limit(None);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    wait_file(&stage, "disabled_services", &[nodes[1].services_line()]);
    assert_eq!(stage.files(), ["disabled_services", "website.pool"]);
    pollbal.assert_alive();
}

#[test]
fn a_directory_that_cannot_be_used_is_reported_once_and_used_when_it_can_be() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    fs::write(stage.pool_directory(), "a file").unwrap();
    let pollbal = Pollbal::start(&stage, &json!({ "poll_interval": "50ms" }));
    pollbal.wait_log(&["error", "failed to use the pool directory"]);
    wait_rounds(&nodes, 20);
    assert_eq!(
        pollbal.log_with(&["error"]).len(),
        1,
        "{:#?}",
        pollbal.log()
    );
    // It is of no one file.
    assert_eq!(pollbal.log_with(&["file=\"\""]), [""; 0]);
    fs::remove_file(stage.pool_directory()).unwrap();
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
}

#[test]
fn a_directory_that_was_deleted_is_made_again() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let _pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    // By its name first: a directory in which pollbal is still writing cannot be deleted.
    let deleted = stage.path("deleted");
    fs::rename(stage.pool_directory(), &deleted).unwrap();
    fs::remove_dir_all(deleted).unwrap();
    becomes(LOOKED_AT, "website.pool", &Some(pool_lines(&nodes)), || {
        stage.lines("website.pool")
    });
}

/// Before files in memory are written nobody looks what others did to them; that is done right behind.
#[test]
fn what_others_did_to_files_in_memory_is_put_right_with_the_next_change() {
    /// Sooner than the directory is looked at without a change.
    const WITH_A_CHANGE: Duration = Duration::from_secs(5);
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api", "api"]);
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let pools = memory.path().join("pool");
    let _pollbal = Pollbal::start(&stage, &json!({ "pool_directory": pools }));
    let wait = |within, file: &str, lines: Vec<String>| {
        becomes(within, file, &Some(text(&lines)), || {
            fs::read_to_string(pools.join(file)).ok()
        });
    };
    wait(SOON, "disabled_services", Vec::new());
    fs::write(pools.join("website.pool"), "10.0.0.1 80 # by hand\n").unwrap();
    nodes[1].announce("api leaving");
    wait(WITH_A_CHANGE, "website.pool", pool_lines(&nodes[..1]));
    wait(WITH_A_CHANGE, "api.pool", pool_lines(&nodes[2..]));
    fs::remove_dir_all(&pools).unwrap();
    nodes[1].announce("api");
    wait(WITH_A_CHANGE, "website.pool", pool_lines(&nodes[..1]));
    wait(WITH_A_CHANGE, "api.pool", pool_lines(&nodes[1..]));
}

#[test]
fn a_second_pollbal_says_so_leaves_the_directory_alone_and_takes_over_at_the_end() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let mut first = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    wait_file(&stage, "disabled_services", &[]);
    let config = json!({
        "pools": { "intruder": {} },
        "pool_file_format": "services",
        "admin_socket": stage.path("second.sock"),
        "state_file": stage.path("second.json"),
    });
    let second = Pollbal::start(&stage, &config);
    second.wait_log(&[
        "error",
        "another pollbal writes the pool directory",
        "stop it first",
    ]);
    let look = || (stage.files(), stage.lines("website.pool"));
    let expected = look();
    let enough = nodes[0].polls() + 40;
    stays(SOON, "the directory", &expected, look, || {
        nodes[0].polls() >= enough
    });
    let said = second.log_with(&["error", "pool directory"]);
    assert_eq!(said.len(), 1, "{:#?}", second.log());
    let socket = stage.path("second.sock");
    let status = run::pollbal(&["status", "--socket", socket.to_str().unwrap()]);
    let status = run::stdout(&status);
    let why = "are not in sync: another pollbal writes the pool directory";
    assert!(status.contains(why), "{status}");
    let verdict = "CRITICAL: pool intruder has no members; pool files not written\n";
    assert!(status.ends_with(verdict), "{status}");
    assert_eq!(first.log_with(&["error"]), Vec::<String>::new());
    first.terminate();
    wait_file(&stage, "intruder.pool", &[]);
    wait_file(&stage, "website.pool", &[nodes[0].services_line()]);
}

#[test]
fn sigkill_leaves_whole_files_and_the_next_run_cleans_up() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 100]);
    let config = json!({ "poll_interval": "10ms", "service_timeout": "5s" });
    for round in 0..8 {
        let pollbal = Pollbal::start(&stage, &config);
        wait_file(&stage, "website.pool", &pool_lines(&nodes));
        // Killed in the middle of many writes, each time at another moment.
        for flip in 0..=round {
            let word = if flip % 2 == 0 { "" } else { "website" };
            for node in &nodes[..50] {
                node.announce(word);
            }
            nodes[0].wait_polls(1);
        }
        pollbal.kill();
        let all = pool_lines(&nodes);
        let observed = stage.lines("website.pool").expect("the file is there");
        assert!(observed.ends_with(&all[50..]), "{observed:?}");
        assert!(
            observed.iter().all(|line| all.contains(line)),
            "{observed:?}"
        );
        for node in &nodes[..50] {
            node.announce("website");
        }
    }
    for name in [".pollbal-Ab12Cd.tmp", ".pollbal-.tmp"] {
        fs::write(stage.pool_directory().join(name), "half a li").unwrap();
    }
    let _pollbal = Pollbal::start(&stage, &config);
    let files = ["disabled_services", "website.pool"]
        .map(str::to_owned)
        .to_vec();
    let expected = (files, Some(pool_lines(&nodes)));
    becomes(SOON, "the directory", &expected, || {
        (stage.files(), stage.lines("website.pool"))
    });
}

#[test]
fn a_file_that_cannot_be_deleted_is_reported_once_and_tried_again_with_back_off() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let obstacle = stage.pool_file("old");
    fs::create_dir_all(stage.pool_directory()).unwrap();
    fs::write(&obstacle, "").unwrap();
    stage.own("old.pool");
    let config = stage.write_config(&json!({
        "poll_interval": "50ms",
        "empty_pool_grace": 0,
    }));
    // Nobody deletes a file on which another is mounted.
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg("mount --bind \"$2\" \"$2\" && exec \"$0\" --config \"$1\"")
        .arg(env!("CARGO_BIN_EXE_pollbal"))
        .args([&config, &obstacle]);
    let pollbal = Pollbal::spawn(command, config);
    pollbal.wait_log(&["error", "failed to delete", "old.pool"]);
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    // With back-off it is tried a dozen times in two seconds; without, as fast as the machine can.
    let before = cpu_ticks(pollbal.pid());
    wait_rounds(&nodes, 40);
    let ticks = cpu_ticks(pollbal.pid()) - before;
    assert!(
        ticks < 20,
        "{ticks} hundredths of a second of work in two seconds"
    );
    assert_eq!(
        pollbal.log_with(&["error"]).len(),
        1,
        "{:#?}",
        pollbal.log()
    );
}
