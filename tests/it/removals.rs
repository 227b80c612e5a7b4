//! A services file that is half written or was cut off: what it would remove by that stays, whichever way the list
//! comes.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::http::{accept_removals, get, post};
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::run::{self, stderr, stdout};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays, text};

/// Longer than a list may take to count: a look each second, and a second of quiet.
const COUNTED: Duration = Duration::from_secs(4);

fn pool_lines(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::pool_line).collect()
}

fn list(nodes: &[Node]) -> String {
    let lines: Vec<_> = nodes.iter().map(Node::services_line).collect();
    text(&lines)
}

#[track_caller]
fn wait_file(stage: &Stage, file: &str, nodes: &[Node]) {
    becomes(SOON, file, &Some(pool_lines(nodes)), || stage.lines(file));
}

/// For as long as a list needs to count, and then some.
#[track_caller]
fn file_stays(stage: &Stage, file: &str, nodes: &[Node]) {
    let began = Instant::now();
    stays(
        SOON,
        file,
        &Some(pool_lines(nodes)),
        || stage.lines(file),
        || began.elapsed() > COUNTED,
    );
}

/// Twelve nodes: eight in `api`, four in `web`.
fn twelve(stage: &Stage) -> Vec<Node> {
    let announcements: Vec<_> = [["api"; 8].as_slice(), &["web"; 4]].concat();
    stage.nodes(&announcements)
}

/// The problems that have lasted long enough to be alerts.
fn problems(stage: &Stage) -> Vec<Value> {
    let status = get(stage, "/v1/status").json();
    let problems = status["site_problems"].as_array().unwrap().iter();
    problems
        .filter(|problem| !problem["since"].is_null())
        .cloned()
        .collect()
}

#[track_caller]
fn wait_withheld(stage: &Stage) -> String {
    eventually(SOON, "the problem", || {
        let problems = problems(stage);
        let withheld = problems
            .iter()
            .find(|problem| problem["kind"] == "removals_withheld")?;
        Some(withheld["text"].as_str()?.to_owned())
    })
}

#[track_caller]
fn wait_all_well(stage: &Stage) {
    eventually(SOON, "no problem any more", || {
        problems(stage).is_empty().then_some(())
    });
}

#[test]
fn a_file_that_is_rewritten_line_by_line_empties_nothing() {
    let stage = Stage::new();
    let nodes = twelve(&stage);
    let _pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "api.pool", &nodes[..8]);
    wait_file(&stage, "web.pool", &nodes[8..]);
    let whole = list(&nodes);
    let mut file = File::create(stage.services_file()).unwrap();
    let mut rest = whole.as_bytes();
    let mut written = Instant::now();
    // Now and then for longer than a list needs to count, behind a whole line and in the middle of one.
    let waits = [0, 2_500, 300, 700, 2_500, 100, 700].into_iter().cycle();
    let mut waits = waits.zip([false, true].into_iter().cycle());
    let mut wait = Duration::ZERO;
    let both = || (stage.lines("api.pool"), stage.lines("web.pool"));
    let expected = (Some(pool_lines(&nodes[..8])), Some(pool_lines(&nodes[8..])));
    stays(SOON * 3, "both pools", &expected, both, || {
        if written.elapsed() >= wait && !rest.is_empty() {
            let (millis, is_whole) = waits.next().unwrap();
            let mut piece = rest.len().min(47);
            while is_whole && !rest[..piece].ends_with(b"\n") {
                piece += 1;
            }
            let (piece, behind) = rest.split_at(piece);
            file.write_all(piece).unwrap();
            rest = behind;
            wait = Duration::from_millis(millis);
            written = Instant::now();
        }
        rest.is_empty() && written.elapsed() > COUNTED
    });
    wait_all_well(&stage);
}

#[test]
fn a_file_that_was_cut_off_is_reported_with_names_and_with_the_way_out_and_what_it_adds_counts() {
    let stage = Stage::new();
    let mut nodes = twelve(&stage);
    let note = stage.path("alerts");
    let hook = "printf '%s %s %s\\n' \"$POLLBAL_ALERT\" \"$POLLBAL_ALERT_STATE\" \"$POLLBAL_TEXT\" >> \"$0\"";
    let config = json!({ "alert_hook": ["sh", "-c", hook, note] });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "api.pool", &nodes[..8]);
    wait_file(&stage, "web.pool", &nodes[8..]);

    // Four of twelve are left, and one is new.
    let new = stage.node(13, "api");
    let cut = list(&nodes[..4]) + &new.services_line() + "\n";
    fs::write(stage.services_file(), &cut).unwrap();
    let reported = pollbal.wait_log(&["error", "8 nodes are missing"]);
    let file = stage.services_file().display().to_string();
    let words = [
        file.as_str(),
        "8 of 12 at once are more than max_removed (1/3)",
        "pool web would lose all its 4 members",
        "`pollbal reload --accept-removals`",
        "node-5, node-6, node-7, node-8, node-9, node-10, node-11, node-12",
    ];
    for word in words {
        assert!(reported.contains(word), "{word:?} is not in {reported}");
    }
    let problem = wait_withheld(&stage);
    assert!(reported.contains(&problem), "{problem}");
    let alerts = |word: &str| {
        let alerts = fs::read_to_string(&note).unwrap_or_default();
        alerts.lines().any(|line| line.starts_with(word))
    };
    eventually(SOON, "an alert", || {
        alerts("removals_withheld begin").then_some(())
    });
    nodes.push(new);
    let active = [&nodes[..4], &nodes[12..], &nodes[4..8]].concat_lines();
    becomes(SOON, "api.pool", &Some(active), || stage.lines("api.pool"));
    file_stays(&stage, "web.pool", &nodes[8..12]);
    assert_eq!(pollbal.log_with(&["are missing"]).len(), 1, "reported once");

    // Changed back, the problem clears.
    stage.list(&nodes[..12]);
    wait_file(&stage, "api.pool", &nodes[..8]);
    wait_all_well(&stage);
    eventually(SOON, "the alert is over", || {
        alerts("removals_withheld over").then_some(())
    });
    assert_eq!(stage.lines("web.pool"), Some(pool_lines(&nodes[8..12])));
}

trait ConcatLines {
    fn concat_lines(self) -> Vec<String>;
}

impl<const N: usize> ConcatLines for [&[Node]; N] {
    fn concat_lines(self) -> Vec<String> {
        self.into_iter().flat_map(pool_lines).collect()
    }
}

#[test]
fn what_a_person_accepts_goes_at_once() {
    let stage = Stage::new();
    let nodes = twelve(&stage);
    let pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "web.pool", &nodes[8..]);
    stage.list(&nodes[..6]);
    // SIGHUP does not accept, nor does a reload that does not say so.
    pollbal.reload();
    pollbal.wait_log(&["error", "6 nodes are missing"]);
    pollbal.wait_log(&["reloaded: 12 nodes"]);
    let socket = stage.admin_socket().display().to_string();
    let reload = |flags: &[&str]| {
        let line = [&["reload", "--socket", &socket], flags].concat();
        run::pollbal(&line)
    };
    let partly = reload(&[]);
    assert_eq!(partly.status.code(), Some(1), "{partly:?}");
    assert_eq!(stdout(&partly), "reloaded: 12 nodes\n");
    let warned = stderr(&partly);
    for word in ["warning", "6 of 12", "--accept-removals", "node-12"] {
        assert!(warned.contains(word), "{word:?} is not in {warned}");
    }
    let answer = post(&stage, "/v1/reload", &json!({})).json();
    assert_eq!(answer["applied"], false, "{answer}");
    let names: Vec<_> = (7..=12).map(|number| format!("node-{number}")).collect();
    assert_eq!(answer["withheld"], json!(names), "{answer}");
    assert_eq!(stage.lines("web.pool"), Some(pool_lines(&nodes[8..])));

    let whole = reload(&["--accept-removals"]);
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    assert_eq!(stdout(&whole), "reloaded: 6 nodes\n");
    wait_file(&stage, "api.pool", &nodes[..6]);
    wait_file(&stage, "web.pool", &[]);
    wait_all_well(&stage);
    // What is accepted was the list of that moment.
    stage.list(&nodes[..1]);
    wait_withheld(&stage);
    accept_removals(&stage);
    wait_file(&stage, "api.pool", &nodes[..1]);
}

#[test]
fn single_nodes_go_by_themselves_until_one_is_needed() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"; 4]);
    let config = json!({ "pools": { "api": { "min_members": 2 } } });
    let _pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "api.pool", &nodes);
    for left in [3, 2] {
        stage.list(&nodes[..left]);
        wait_file(&stage, "api.pool", &nodes[..left]);
    }
    stage.list(&nodes[..1]);
    let problem = wait_withheld(&stage);
    let words = "pool api would have 1 serving, below its min_members of 2";
    assert!(problem.contains(words), "{problem}");
    file_stays(&stage, "api.pool", &nodes[..2]);
    // As soon as another serves, it may go.
    let lines = [&nodes[0], &nodes[3]].map(Node::services_line);
    stage.write_services(&lines);
    let lines = [&nodes[0], &nodes[3]].map(Node::pool_line).to_vec();
    becomes(SOON, "api.pool", &Some(lines), || stage.lines("api.pool"));
    wait_all_well(&stage);
}

#[test]
fn a_last_line_without_its_end_counts_when_nobody_writes_any_more() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"; 3]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "api.pool", &nodes);
    let more = stage.node(4, "api");
    let mut file = OpenOptions::new()
        .append(true)
        .open(stage.services_file())
        .unwrap();
    file.write_all(more.services_line().as_bytes()).unwrap();
    file_stays(&stage, "api.pool", &nodes);
    let all = [&nodes[..], std::slice::from_ref(&more)].concat_lines();
    becomes(SOON, "api.pool", &Some(all), || stage.lines("api.pool"));
    assert_eq!(pollbal.log_with(&["error"]), Vec::<String>::new());
}

#[test]
fn half_of_a_port_is_no_node() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"; 4]);
    let pollbal = Pollbal::start(&stage, &json!({ "max_removed": "100%" }));
    wait_file(&stage, "api.pool", &nodes);
    let whole = list(&nodes);
    let cut = &whole[..whole.rfind(" #").unwrap() - 1];
    fs::write(stage.services_file(), cut).unwrap();
    pollbal.wait_log(&["error", "its last line", "has no end", "node-4"]);
    file_stays(&stage, "api.pool", &nodes);
    assert_eq!(get(&stage, "/v1/status").json()["counts"]["nodes"], 4);
    // With an end, it is what it says.
    fs::write(stage.services_file(), format!("{cut}\n")).unwrap();
    wait_file(&stage, "api.pool", &nodes[..3]);
    wait_all_well(&stage);
}

#[test]
fn a_start_with_a_file_that_was_cut_off_meanwhile_empties_nothing() {
    let stage = Stage::new();
    let nodes = twelve(&stage);
    let mut pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "api.pool", &nodes[..8]);
    wait_file(&stage, "web.pool", &nodes[8..]);
    assert_eq!(pollbal.terminate().code(), Some(0));
    for lost in [4, 12] {
        stage.list(&nodes[..12 - lost.max(5)]);
        if lost == 12 {
            stage.write_services(&["# nothing is left".to_owned()]);
        }
        let mut pollbal = Pollbal::start(&stage, &json!({}));
        pollbal.wait_log(&["error", "nodes are missing"]);
        pollbal.wait_log(&["first round done"]);
        file_stays(&stage, "web.pool", &nodes[8..]);
        wait_withheld(&stage);
        // Each is polled, so that one that dies goes.
        assert_eq!(get(&stage, "/v1/status").json()["counts"]["nodes"], 12);
        assert_eq!(pollbal.terminate().code(), Some(0));
    }
    stage.list(&nodes[..7]);
    let pollbal = Pollbal::start_with(&stage, &json!({}), &["--accept-removals"]);
    wait_file(&stage, "web.pool", &[]);
    wait_file(&stage, "api.pool", &nodes[..7]);
    assert_eq!(pollbal.log_with(&["are missing"]), Vec::<String>::new());
}

#[test]
fn a_services_file_of_wrong_lines_is_reported_by_the_first_and_a_count_once() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "api.pool", &nodes);
    let mark = pollbal.mark();
    let wrong = "this is no services file\n".repeat(100_000);
    for _ in 0..2 {
        let mark = pollbal.mark();
        fs::write(stage.services_file(), &wrong).unwrap();
        pollbal.wait_log_after(mark, &["last good list stays"]);
    }
    pollbal.wait_log_after(mark, &["and 99980 more errors"]);
    // The first twenty and how many more, once; that it is refused, each time.
    let log = pollbal.log();
    let errors = log[mark..].iter().filter(|line| line.contains(" ERROR "));
    assert_eq!(errors.count(), 20 + 1 + 2, "{log:#?}");

    // A sparse file of 3 GB is not read either.
    let file = File::create(stage.services_file()).unwrap();
    file.set_len(3 << 30).unwrap();
    pollbal.wait_log_after(mark, &["error", "3221225472 bytes"]);
    stage.list(&nodes);
    wait_all_well(&stage);
    assert_eq!(stage.lines("api.pool"), Some(pool_lines(&nodes)));
}

/// Starts pollbal with its services file and its configuration each mounted by itself.
fn start_with_mounts(stage: &Stage) -> Pollbal {
    let config = stage.write_config(&json!({}));
    let services = stage.services_file();
    // Where they come from, and there they can be replaced.
    let source = |path: &Path| path.with_extension("source");
    for path in [&config, &services] {
        fs::copy(path, source(path)).unwrap();
    }
    let mount = "mount --bind \"$3\" \"$2\" && mount --bind \"$4\" \"$1\"";
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg(format!("{mount} && exec \"$0\" --config \"$1\""))
        .arg(env!("CARGO_BIN_EXE_pollbal"))
        .args([&config, &services, &source(&services), &source(&config)]);
    Pollbal::spawn(command, config)
}

#[test]
fn a_file_that_is_mounted_by_itself_and_replaced_is_reported() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"; 2]);
    stage.list(&nodes[..1]);
    let pollbal = start_with_mounts(&stage);
    wait_file(&stage, "api.pool", &nodes[..1]);
    let replace = |source: &Path, content: &str| {
        let new = stage.path("replacement");
        fs::write(&new, content).unwrap();
        fs::rename(new, source).unwrap();
    };
    replace(&stage.path("services.source"), &list(&nodes));
    let reported = pollbal.wait_log(&["error", "mounted by itself", "mount its directory instead"]);
    let file = stage.services_file().display().to_string();
    assert!(reported.contains(&file), "{reported}");
    let kinds = || {
        let problems = problems(&stage);
        let file = |problem: &Value| {
            (problem["kind"] == "file_replaced").then(|| problem["subject"].clone())
        };
        problems.iter().filter_map(file).collect::<Vec<_>>()
    };
    becomes(SOON, "the problem", &vec![json!(file)], kinds);
    let answer = post(&stage, "/v1/reload", &json!({})).json();
    assert_eq!(answer["applied"], false, "{answer}");
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(warning.contains("Mount its directory"), "{answer}");

    let config = fs::read_to_string(pollbal.config_file()).unwrap();
    replace(&stage.path("pollbal.source"), &config);
    post(&stage, "/v1/reload", &json!({})).ok();
    let both = vec![json!(file), json!(pollbal.config_file())];
    becomes(SOON, "both problems", &both, kinds);
}
