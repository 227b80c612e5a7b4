//! Hooks: when they run, what they receive, and that they never harm pollbal, however they behave.

mod hanging;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::pollbal::Pollbal;
use crate::common::process::{children, cpu_ticks, files, runs};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays};

/// A hook that runs this script; `$0` is the stage's directory.
fn script(stage: &Stage, text: &str) -> Value {
    json!(["sh", "-c", text, stage.dir()])
}

/// A hook that writes a line into `runs`: its name, and what it received.
fn note(stage: &Stage, hook: &str) -> Value {
    let reported = "$POLLBAL_POOL_DIRECTORY|$POLLBAL_SERVICES_FILE|$POLLBAL_FILE_NAME";
    script(stage, &format!("echo \"{hook}|{reported}\" >> \"$0/runs\""))
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn noted(stage: &Stage) -> Vec<String> {
    lines(&stage.path("runs"))
}

#[track_caller]
fn wait_file(stage: &Stage, file: &str, lines: &[String]) {
    becomes(SOON, file, &Some(lines.to_vec()), || stage.lines(file));
}

#[test]
fn each_hook_runs_at_its_time_with_its_environment() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let config = json!({
        "pre_init_hook": note(&stage, "pre_init"),
        "post_init_hook": note(&stage, "post_init"),
        "pre_quit_hook": note(&stage, "pre_quit"),
        "file_update_hook": note(&stage, "update"),
        "file_remove_hook": note(&stage, "remove"),
        "empty_pool_grace": "1s",
    });
    let mut pollbal = Pollbal::start(&stage, &config);
    let pool = stage.pool_directory().display().to_string();
    let services = stage.services_file().display().to_string();
    // They run beside each other, so only what waits for another is in order for sure.
    let sorted = |skip: usize| {
        let mut new = noted(&stage).split_off(skip.min(noted(&stage).len()));
        new.sort();
        new
    };
    let first = vec![
        format!("post_init|{pool}|{services}|"),
        format!("pre_init|{pool}|{services}|"),
        format!("update|{pool}||disabled_services"),
        format!("update|{pool}||website.pool"),
    ];
    becomes(SOON, "the hooks of the start", &first, || sorted(0));
    nodes[0].announce("");
    let second = vec![
        format!("remove|{pool}||website.pool"),
        format!("update|{pool}||disabled_services"),
        format!("update|{pool}||website.pool"),
    ];
    becomes(SOON, "the hooks of changes", &second, || sorted(4));
    assert_eq!(
        noted(&stage).last(),
        Some(&format!("remove|{pool}||website.pool"))
    );
    assert_eq!(pollbal.terminate().code(), Some(0));
    assert_eq!(noted(&stage).split_off(7), [format!("pre_quit|{pool}||")]);
}

#[test]
fn pre_init_comes_before_the_first_poll_and_post_init_behind_the_first_files() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    nodes[0].slow(Duration::from_millis(500));
    let config = json!({
        "poll_interval": "2s",
        "pre_init_hook": ["echo", "now"],
        "post_init_hook": script(&stage, "cat \"$POLLBAL_POOL_DIRECTORY/website.pool\""),
    });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["post_init_hook", &nodes[0].pool_line()]);
    let log = pollbal.log();
    let place = |word: &str| log.iter().position(|line| line.contains(word)).unwrap();
    assert!(
        place("pre_init_hook: now") < place("first round done"),
        "{log:#?}"
    );
}

#[test]
fn post_init_runs_when_the_first_sync_has_failed_too() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let config = json!({
        "perlbal": stage.free_addr().to_string(),
        "post_init_hook": ["echo", "after all"],
    });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["post_init_hook: after all"]);
}

#[test]
fn a_dry_run_and_check_run_no_hook() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let mut config = json!({});
    for hook in [
        "pre_init",
        "post_init",
        "pre_quit",
        "file_update",
        "file_remove",
    ] {
        config[format!("{hook}_hook")] = note(&stage, hook);
    }
    Pollbal::run(&stage, &config, &["check"]).assert_code(0);
    Pollbal::run(&stage, &config, &["--dry-run", "--once"]).assert_code(0);
    assert_eq!(noted(&stage), Vec::<String>::new());
    Pollbal::run(&stage, &config, &["--once"]).assert_code(0);
    assert_eq!(noted(&stage).len(), 5, "{:?}", noted(&stage));
}

#[test]
fn no_shell_touches_the_arguments() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let words = ["$HOME;", "*", "`id`", "a  b", "|", "> x", ""];
    let mut command = vec!["printf", "<%s>\\n"];
    command.extend(words);
    let pollbal = Pollbal::start(&stage, &json!({ "pre_init_hook": command }));
    for word in words {
        pollbal.wait_log(&[&format!("pre_init_hook: <{word}>")]);
    }
}

#[test]
fn output_goes_to_the_log_line_by_line_and_harmless() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let hook = script(
        &stage,
        "echo one; echo two >&2; echo 'it is \"fine\"'; printf 'three\\033[2J\\007\\rX\\n'; head -c 9000 /dev/zero | tr '\\0' y; echo; \
         printf '\\377\\n'; printf 'last, without an end'",
    );
    let pollbal = Pollbal::start(&stage, &json!({ "post_init_hook": hook }));
    for line in [
        "one",
        "two",
        "it is \"fine\"",
        "three",
        "last, without an end",
    ] {
        pollbal.wait_log(&["info", &format!("post_init_hook: {line}")]);
    }
    for line in pollbal.log() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() < 5_000, "{} bytes", line.len());
    }
}

#[test]
fn output_without_end_fills_no_log_and_holds_up_neither_the_hook_nor_polls() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let config = json!({
        "pre_init_hook": ["yes", "and no end"],
        "post_init_hook": script(&stage, "seq 1000000; echo done > \"$0/done\""),
        "hook_timeout": "5s",
    });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["error", "pre_init_hook", "was ended"]);
    pollbal.wait_log(&["pre_init_hook: ", " more lines dropped"]);
    assert_eq!(pollbal.log_with(&["and no end"]).len(), 100);
    // Reading all that it prints would take more than half of a processor for 5 s.
    let ticks = cpu_ticks(pollbal.pid());
    assert!(ticks < 200, "{ticks} hundredths of a second of work");
    assert!(nodes[0].polls() > 20, "{} polls", nodes[0].polls());
    pollbal.wait_log(&["post_init_hook: 999900 more lines dropped"]);
    assert!(stage.path("done").exists(), "it was not held up");
    pollbal.wait_log(&["post_init_hook: 100 "]);
}

#[test]
fn what_a_hook_leaves_behind_keeps_no_file_open() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let hook = "setsid sh -c 'echo $$ >> \"$1/behind\"; exec sleep 1000' - \"$0\" & exit 0";
    let config = json!({ "node_hook": script(&stage, hook) });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(
        &stage,
        "website.pool",
        &[nodes[0].pool_line(), nodes[1].pool_line()],
    );
    let before = files(pollbal.pid());
    for number in 1..=6 {
        nodes[0].announce(if number % 2 == 1 { "" } else { "website" });
        becomes(SOON, "runs", &number, || lines(&stage.path("behind")).len());
    }
    // A file that is being written may have been among them; each run would leave two.
    eventually(SOON, "no file stays open", || {
        (files(pollbal.pid()) <= before).then_some(())
    });
    for line in lines(&stage.path("behind")) {
        let pid = Pid::from_raw(line.parse().unwrap()).unwrap();
        assert!(runs(pid), "it is ended with its hook");
        kill_process(pid, Signal::KILL).unwrap();
    }
}

#[test]
fn a_hook_that_fails_or_is_missing_is_reported_and_harms_nothing() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let config = json!({
        "pre_init_hook": ["/no/such/program", "x"],
        "post_init_hook": ["sh", "-c", "exit 3"],
        "file_update_hook": ["sh", "-c", "kill -SEGV $$"],
    });
    let mut pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&[
        "error",
        "failed to start pre_init_hook",
        "/no/such/program",
        "no such file",
    ]);
    pollbal.wait_log(&["warn", "post_init_hook", "exit code 3"]);
    pollbal.wait_log(&["warn", "file_update_hook", "signal: 11"]);
    wait_file(&stage, "website.pool", &[nodes[0].pool_line()]);
    pollbal.assert_alive();
}

#[test]
fn at_most_sixteen_run_at_once_and_the_others_wait_in_order() {
    let stage = Stage::new();
    let names: Vec<String> = (10..50).map(|number| format!("pool-{number}")).collect();
    let nodes = stage.nodes(&names.iter().map(String::as_str).collect::<Vec<_>>());
    // Each says when it begins, waits until it may end, and says when it ends.
    let hook = script(
        &stage,
        "echo \"$POLLBAL_FILE_NAME\" >> \"$0/begun\"; \
         until [ -e \"$0/go\" ] || [ -e \"$0/go-$POLLBAL_FILE_NAME\" ]; do sleep 0.01; done; \
         echo \"$POLLBAL_FILE_NAME\" >> \"$0/ended\"",
    );
    let pollbal = Pollbal::start(&stage, &json!({ "file_update_hook": hook }));
    let last = names.len() - 1;
    wait_file(
        &stage,
        &format!("{}.pool", names[last]),
        &[nodes[last].pool_line()],
    );
    let begun = || lines(&stage.path("begun"));
    eventually(SOON, "sixteen hooks", || {
        (begun().len() == 16).then_some(())
    });
    let enough = nodes[0].polls() + 10;
    stays(
        SOON,
        "hooks",
        &16,
        || begun().len(),
        || nodes[0].polls() >= enough,
    );
    // The pool files are written in the order of their names, then the list of who is in none, and
    // so are the hooks reported.
    let files: Vec<String> = names
        .iter()
        .map(|name| format!("{name}.pool"))
        .chain(["disabled_services".to_owned()])
        .collect();
    let mut first = begun();
    first.sort();
    assert_eq!(first, files[..16]);
    for (ended, next) in files[..5].iter().zip(&files[16..]) {
        fs::write(stage.path(&format!("go-{ended}")), "").unwrap();
        eventually(SOON, "the next hook", || {
            (begun().last() == Some(next)).then_some(())
        });
    }
    assert_eq!(begun().len(), 21);
    fs::write(stage.path("go"), "").unwrap();
    let expected = files.len();
    becomes(SOON, "all hooks ran", &expected, || {
        lines(&stage.path("ended")).len()
    });
    becomes(SOON, "no child is left", &vec![], || {
        children(pollbal.pid())
    });
}

#[test]
fn no_zombie_stays() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let config = json!({ "poll_interval": "20ms", "file_update_hook": ["true"] });
    let pollbal = Pollbal::start(&stage, &config);
    for _ in 0..5 {
        for word in ["", "website"] {
            nodes[0].announce(word);
            let count = if word.is_empty() { 1 } else { 2 };
            eventually(SOON, "the change", || {
                (stage.lines("website.pool")?.len() == count).then_some(())
            });
        }
    }
    becomes(SOON, "no child is left", &vec![], || {
        children(pollbal.pid())
    });
}
