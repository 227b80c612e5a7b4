//! A services file that is wrong, empty or missing: the last good list stays.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{NOTICED, pool_lines, three_nodes_of_which_one_is_listed, wait_website};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, stays};

/// What is wrong with a services file, and the words that tell it.
const WRONG: [(&str, &[&str]); 9] = [
    (
        "example..org 80",
        &["line 2", "\"example..org 80\"", "ip address"],
    ),
    (
        "10.0.0.1",
        &["line 3", "\"10.0.0.1\"", "expected", "ip port"],
    ),
    ("10.0.0.1 99999", &["line 4", "port from 1 to 65535"]),
    ("10.0.0.1 0", &["line 5", "port from 1 to 65535"]),
    ("10.0.0.1 http", &["line 6", "port from 1 to 65535"]),
    ("::g 80", &["line 7", "\"::g 80\"", "ip address"]),
    ("10.0.0.256 80", &["line 8", "ip address"]),
    ("10.0.0.7:80 # again", &["line 11", "line 10"]),
    ("10.0.0.1:80x", &["line 12", "port"]),
];

/// A services file with all that is wrong, and with lines between that are not.
fn all_wrong(stage: &Stage) -> Vec<String> {
    let mut lines = vec![format!("{} 80 # fine", stage.ip(77))];
    let wrong =
        |range: std::ops::Range<usize>| WRONG[range].iter().map(|(line, _)| (*line).to_owned());
    lines.extend(wrong(0..7));
    lines.extend(["# a comment".to_owned(), "10.0.0.7 80 # first".to_owned()]);
    lines.extend(wrong(7..9));
    lines
}

#[track_caller]
fn assert_tells_all(file: &Path, reported: &[String]) {
    for (_, words) in WRONG {
        let file = file.display().to_string();
        let line = reported.iter().find(|line| {
            let lower = line.to_lowercase();
            line.contains(&file) && words.iter().all(|word| lower.contains(word))
        });
        assert!(
            line.is_some(),
            "nothing has {words:?} and the file's name: {reported:#?}"
        );
    }
}

#[test]
fn a_start_with_a_bad_file_tells_all_its_errors_and_exits_with_78() {
    let stage = Stage::new();
    stage.write_services(&all_wrong(&stage));
    for arguments in [&[][..], &["--once"], &["check"]] {
        let ended = Pollbal::run(&stage, &json!({}), arguments);
        ended.assert_code(78);
        let reported: Vec<_> = ended.stderr.lines().map(str::to_owned).collect();
        assert_tells_all(&stage.services_file(), &reported);
    }
    assert!(!stage.pool_directory().exists(), "nothing was touched");
}

#[test]
fn a_start_without_the_file_names_it_and_exits_with_78() {
    let stage = Stage::new();
    fs::remove_file(stage.services_file()).unwrap();
    let ended = Pollbal::run(&stage, &json!({}), &[]);
    ended.assert_code(78);
    let file = stage.services_file().display().to_string();
    assert!(ended.stderr.contains(&file), "{}", ended.stderr);
}

#[test]
fn a_bad_file_is_reported_once_with_all_its_errors_and_the_last_good_list_stays() {
    let stage = Stage::new();
    let (nodes, pollbal) = three_nodes_of_which_one_is_listed(&stage);
    let mark = pollbal.mark();
    stage.write_services(&all_wrong(&stage));
    let reported = pollbal.wait_log_after(mark, &["line 2"]);
    assert!(reported.to_lowercase().contains("error"), "{reported}");
    pollbal.wait_log_after(mark, &["last good list stays active"]);
    let began = Instant::now();
    let required = Some(pool_lines(&nodes[..1]));
    stays(
        SOON,
        "the last good list",
        &required,
        || stage.lines("website.pool"),
        || began.elapsed() > Duration::from_millis(2_500),
    );
    let reported = pollbal.log().split_off(mark);
    assert_tells_all(&stage.services_file(), &reported);
    assert!(
        reported.iter().all(|line| line.contains("ERROR")),
        "{reported:#?}"
    );
    assert_eq!(
        pollbal.log_with(&["last good list"]).len(),
        1,
        "{reported:#?}"
    );
    nodes[0].wait_polls(5);

    stage.list(&nodes);
    wait_website(&stage, NOTICED, &nodes);
}

#[test]
fn an_emptied_or_missing_file_keeps_the_last_good_list() {
    let stage = Stage::new();
    let (nodes, pollbal) = three_nodes_of_which_one_is_listed(&stage);
    let website = Some(pool_lines(&nodes[..1]));
    let stays_through = |words: &[&str], change: &dyn Fn()| {
        let mark = pollbal.mark();
        change();
        pollbal.wait_log_after(mark, words);
        let polls = nodes[0].polls();
        stays(
            SOON,
            "the last good list",
            &website,
            || stage.lines("website.pool"),
            || nodes[0].polls() > polls + 5,
        );
    };
    let lists_no_nodes: &[&str] = &["error", "lists no nodes", "last good list stays"];
    stays_through(lists_no_nodes, &|| {
        fs::write(stage.services_file(), "").unwrap();
    });
    stays_through(lists_no_nodes, &|| {
        stage.write_services(&["# none".to_owned()]);
    });
    let mark = pollbal.mark();
    stays_through(&["error", "last good list stays"], &|| {
        fs::remove_file(stage.services_file()).unwrap();
    });
    pollbal.wait_log_after(mark, &["error", "failed to read", "no such file"]);

    stage.list(&nodes);
    wait_website(&stage, NOTICED, &nodes);
}
