//! What is wrong with a configuration: it is named with what to write instead.

use std::fs;

use serde_json::{Value, json};

use super::check;
use crate::common::pollbal::Pollbal;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;

/// That `check` refuses this with a line that has the file's name and all these words.
#[track_caller]
fn assert_refused(stage: &Stage, config: &Value, words: &[&str]) {
    let output = check(stage, config);
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(78), "{config}\n{errors}");
    assert_eq!(stdout(&output), "", "{config}");
    let file = stage.path("pollbal.json").display().to_string();
    let reported = errors
        .lines()
        .any(|line| line.contains(&file) && words.iter().all(|word| line.contains(word)));
    assert!(reported, "{config}: no line has {words:?}:\n{errors}");
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let stage = Stage::new();
    let wrong = [
        (
            json!({ "poll_intervall": 1 }),
            ["poll_intervall", "unknown", "`poll_interval`"],
        ),
        (
            json!({ "pre_exit_hook": [] }),
            ["pre_exit_hook", "unknown", "_hook`"],
        ),
        (
            json!({ "pools": { "api": { "min_member": 1 } } }),
            ["pools.api.min_member", "unknown", "`min_members`"],
        ),
        (
            json!({ "perlbal": { "address": "127.0.0.1:1", "create_pool": true } }),
            ["perlbal[0].create_pool", "unknown", "`create_pools`"],
        ),
    ];
    for (config, words) in wrong {
        assert_refused(&stage, &config, &words);
    }
}

/// What is wrong, and three words that the error must have.
type Wrong = (Value, [&'static str; 3]);

#[track_caller]
fn assert_all_refused(wrong: &[Wrong]) {
    let stage = Stage::new();
    for (config, words) in wrong {
        assert_refused(&stage, config, words);
    }
}

#[test]
fn each_wrong_path_time_and_number_is_named_with_what_to_write() {
    let key = |key: &str, value: Value| json!({ key: value });
    assert_all_refused(&[
        (
            key("pool_directory", json!(7)),
            ["pool_directory", "a path", "7"],
        ),
        (
            key("services_file", json!("")),
            ["services_file", "a path", "\"\""],
        ),
        (
            key("poll_interval", json!("soon")),
            ["poll_interval", "1500ms", "soon"],
        ),
        (
            key("poll_interval", json!(0)),
            ["poll_interval", "10ms", "0"],
        ),
        (
            key("poll_interval", json!(-5)),
            ["poll_interval", "milliseconds", "-5"],
        ),
        (
            key("service_timeout", json!(1.5)),
            ["service_timeout", "milliseconds", "1.5"],
        ),
        (
            key("service_timeout", json!(null)),
            ["service_timeout", "milliseconds", "null"],
        ),
        (
            key("empty_pool_grace", json!(true)),
            ["empty_pool_grace", "time", "true"],
        ),
        (
            key("hook_timeout", json!("0s")),
            ["hook_timeout", "1ms", "0s"],
        ),
        (
            key("poll_path", json!("pool")),
            ["poll_path", "starts with `/`", "pool"],
        ),
        (
            key("poll_path", json!("/a b\r\nX: y")),
            ["poll_path", "without spaces", "X: y"],
        ),
        (key("rise", json!(0)), ["rise", "1 to 1000", "0"]),
        (key("fall", json!("2")), ["fall", "1 to 1000", "\"2\""]),
        (
            key("max_undeclared_pools", json!(1e9)),
            ["max_undeclared_pools", "whole", "1000000000"],
        ),
        (
            key("accept_undeclared_pools", json!("no")),
            ["accept_undeclared_pools", "true or false", "no"],
        ),
        (
            key("pool_file_format", json!("haproxy")),
            ["pool_file_format", "services", "haproxy"],
        ),
        (
            key("pre_init_hook", json!("run me")),
            ["pre_init_hook", "array", "run me"],
        ),
        (
            key("file_update_hook", json!(["sh", 1])),
            ["file_update_hook", "array", "1"],
        ),
        (
            key("post_init_hook", json!([""])),
            ["post_init_hook", "array", "[\"\"]"],
        ),
    ]);
}

#[test]
fn each_wrong_listener_is_named_with_what_to_write() {
    let socket = |value: Value| json!({ "admin_socket": value });
    let status = |value: Value| json!({ "status_listen": value });
    let node = |value: Value| json!({ "node_listen": value });
    let long = format!("/{}", "s".repeat(103));
    assert_all_refused(&[
        (
            socket(json!("run/admin.sock")),
            ["admin_socket", "begins with `/`", "\"\" is off"],
        ),
        (
            socket(json!(long)),
            ["admin_socket", "at most 103 bytes", "ssss"],
        ),
        (
            socket(json!("/run/pollbal/")),
            ["admin_socket", "/run/pollbal/admin.sock", "pollbal/\""],
        ),
        (
            socket(json!("/run/a\u{0}b")),
            ["admin_socket", "a path", "\\u0000"],
        ),
        (socket(json!(false)), ["admin_socket", "a path", "false"]),
        (
            json!({ "state_file": "state.json" }),
            ["state_file", "starts with `/`", "\"state.json\""],
        ),
        (
            json!({ "state_file": "/var/lib/" }),
            ["state_file", "/run/pollbal/state.json", "/var/lib/"],
        ),
        (
            status(json!("localhost:8098")),
            ["status_listen", "127.0.0.1:8098", "localhost"],
        ),
        (
            status(json!(8098)),
            ["status_listen", "127.0.0.1:8098", "8098"],
        ),
        (
            node(json!("0.0.0.0:0")),
            ["node_listen", "0.0.0.0:8099", "0.0.0.0:0"],
        ),
        (node(json!(":8099")), ["node_listen", "a port", ":8099"]),
    ]);
}

#[test]
fn each_wrong_hook_and_alert_is_named_with_what_to_write() {
    let key = |key: &str, value: Value| json!({ key: value });
    assert_all_refused(&[
        (
            key("alert_interval", json!("10ms")),
            ["alert_interval", "1s", "10ms"],
        ),
        (
            key("alert_limit", json!(0)),
            ["alert_limit", "1 to 1000", "0"],
        ),
        (
            key("alert_hours", json!("8-22")),
            ["alert_hours", "08:00-22:00", "8-22"],
        ),
        (
            key("alert_hours", json!("08:00-08:00")),
            ["alert_hours", "00:00-24:00", "08:00-08:00"],
        ),
        (
            key("pool_please_dont_go", json!(1)),
            ["pool_please_dont_go", "true or false", "1"],
        ),
        (
            key("node_hook", json!("touch x")),
            ["node_hook", "array", "touch x"],
        ),
        (
            key("alert_hook", json!([""])),
            ["alert_hook", "array", "[\"\"]"],
        ),
    ]);
}

#[test]
fn each_wrong_perlbal_is_named_with_what_to_write() {
    let perlbal = |value: Value| json!({ "perlbal": value });
    let address = |value: &str| json!({ "perlbal": { "address": value } });
    let example = "127.0.0.1:16000";
    assert_all_refused(&[
        (
            perlbal(json!("127.0.0.1")),
            ["perlbal[0]", example, "object"],
        ),
        (
            perlbal(json!(["127.0.0.1:1", 5])),
            ["perlbal[1]", example, "5"],
        ),
        (
            perlbal(json!(["127.0.0.1:1", "127.0.0.1:1"])),
            ["perlbal", "127.0.0.1:1", "twice"],
        ),
        (address("a b:1"), ["perlbal[0].address", example, "a b:1"]),
        (
            address("localhost:0"),
            ["perlbal[0].address", example, ":0"],
        ),
        (
            perlbal(json!({})),
            ["perlbal[0].address", "missing", example],
        ),
    ]);
}

#[test]
fn each_wrong_pool_is_named_with_what_to_write() {
    let pools = |value: Value| json!({ "pools": value });
    let api = |value: Value| json!({ "pools": { "api": value } });
    assert_all_refused(&[
        (pools(json!([])), ["pools", "an object", "[]"]),
        (api(json!(true)), ["pools.api", "an object", "true"]),
        (
            pools(json!({ "a.b": {} })),
            ["pools.a.b", "a pool name is", "64"],
        ),
        (
            api(json!({ "perlbal_pool": "API" })),
            ["pools.api.perlbal_pool", "a-z", "API"],
        ),
        (
            api(json!({ "nodes": "10.0.0.1" })),
            ["pools.api.nodes", "CIDR", "10.0.0.1"],
        ),
        (
            api(json!({ "nodes": ["10.0.0.1/8"] })),
            ["pools.api.nodes", "host bits", "/8"],
        ),
        (
            api(json!({ "sorry": "10.0.0.9:80" })),
            ["pools.api.sorry", "an array", "[\"10.0.0.9:80\"]"],
        ),
        (
            api(json!({ "sorry": ["10.0.0.9"] })),
            ["pools.api.sorry", "[\"10.0.0.9:80\"]", "[\"10.0.0.9\"]"],
        ),
        (
            api(json!({ "sorry": ["10.0.0.9:80", "10.0.0.9:80"] })),
            ["pools.api.sorry", "without duplicates", "10.0.0.9:80"],
        ),
        (
            api(json!({ "min_members": -1 })),
            ["pools.api.min_members", "whole number", "-1"],
        ),
        (
            pools(json!({ "A-b": {}, "a_b": {} })),
            ["pools.a_b", "pools.A-b", "perlbal_pool"],
        ),
    ]);
}

#[test]
fn all_errors_of_both_files_are_reported_at_once_by_check_and_at_start() {
    let stage = Stage::new();
    stage.write_services(&["nonsense".to_owned()]);
    let config = json!({ "rise": 0, "hook_timeout": "x", "unheard_of": 1 });
    let told_by_check = stderr(&check(&stage, &config));
    let at_start = Pollbal::run(&stage, &config, &[]);
    at_start.assert_code(78);
    for reported in [told_by_check, at_start.stderr] {
        for words in ["rise", "hook_timeout", "unheard_of", "line 1"] {
            assert!(
                reported.contains(words),
                "{words:?} is missing:\n{reported}"
            );
        }
    }
    assert!(!stage.pool_directory().exists());
}

#[test]
fn what_is_no_json_is_reported_with_its_place() {
    let stage = Stage::new();
    let file = stage.path("broken.json");
    fs::write(&file, "{\n  \"rise\": 1,\n  oops\n}\n").unwrap();
    let output = pollbal(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let reported = stderr(&output);
    assert!(
        reported.contains("broken.json") && reported.contains("line 3"),
        "{reported}"
    );

    let missing = stage.path("missing.json");
    for arguments in [&["check"][..], &[]] {
        let output = pollbal(&[arguments, &["--config", missing.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(78));
        let reported = stderr(&output);
        assert!(
            reported.contains("missing.json") && reported.contains("No such file"),
            "{reported}"
        );
    }
    fs::write(&file, "{\n  \"rise\": 1,\n  \"rise\": 2\n}\n").unwrap();
    let output = pollbal(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let reported = stderr(&output);
    assert!(
        reported.contains("`rise`") && reported.contains("line 3"),
        "{reported}"
    );

    fs::write(&file, "[]").unwrap();
    let output = pollbal(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("an object"), "{}", stderr(&output));
}
