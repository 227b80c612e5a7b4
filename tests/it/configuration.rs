//! The configuration file and `pollbal check`: what is understood, and what is said of the rest.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};

use crate::common::http;
use crate::common::pollbal::Pollbal;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;
use crate::common::{SOON, eventually};

fn check(stage: &Stage, config: &Value) -> Output {
    let config = stage.write_config(config);
    pollbal(&["check", "--config", config.to_str().unwrap()])
}

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
fn check_prints_what_it_understood_polls_nobody_and_writes_nothing() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let config = json!({
        "poll_interval": "1500ms",
        "service_timeout": 250,
        "poll_path": "/where",
        "poll_headers": { "Authorization": "secret", "Host": "www" },
        "perlbal": [{ "address": "127.0.0.1:16000", "create_pools": false, "resync_interval": "7s" }],
        "pools": {
            "api": { "perlbal_pool": "backend", "rise": 3, "fall": 4, "min_members": 1 },
            "web": {
                "sorry": ["10.0.0.9:80", "10.0.0.9:81"],
                "nodes": ["10.0.0.0/8"], "poll_headers": { "X-Web": "1" },
            },
        },
        "max_undeclared_pools": 17,
        "admin_socket": "",
        "status_listen": "127.0.0.1:8098",
        "node_listen": "0.0.0.0:8099",
        "metrics_per_node": true,
    });
    let output = check(&stage, &config);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let text = stdout(&output);
    let directory = stage.pool_directory().display().to_string();
    let expected = [
        "pollbal.json: OK".to_owned(),
        "services: 2 nodes".to_owned(),
        nodes[0].pool_line(),
        nodes[1].pool_line(),
        "GET /where every 1s 500ms, timeout 250ms".to_owned(),
        directory,
        "pool api (in Perlbal: backend): rise 3, fall 4, at least 1 member\n".to_owned(),
        ", sorry server 10.0.0.9:80, 10.0.0.9:81\n".to_owned(),
        "poll headers: Authorization, Host\n".to_owned(),
        "poll headers for 10.0.0.0/8: Authorization, Host, X-Web\n".to_owned(),
        "at most 17".to_owned(),
        "listeners: admin off, status 127.0.0.1:8098, nodes 0.0.0.0:8099".to_owned(),
        "perlbal 127.0.0.1:16000: resync every 7s, missing pools are not created\n  \
         no weights, no draining in place, no creation of pools, no deletion of pools, no IPv6 nodes\n"
            .to_owned(),
        "metrics: some series per node".to_owned(),
    ];
    for line in expected {
        assert!(text.contains(&line), "{line:?} is missing:\n{text}");
    }
    assert!(
        !text.contains("warning") && !text.contains("secret"),
        "{text}"
    );
    assert_eq!(nodes[0].polls(), 0);
    assert!(!stage.pool_directory().exists());
}

#[test]
fn check_warns_of_what_is_allowed_but_hardly_meant() {
    let stage = Stage::new();
    let config = json!({
        "perlbal": "192.0.2.1:16000",
        "service_timeout": "2s",
        "pool_file_format": "services",
        "pools": { "api": { "sorry": ["10.0.0.9:80"] } },
    });
    assert_warned(
        &stage,
        &config,
        &[
            "loopback",
            "service_timeout is above poll_interval",
            "pool_file_format",
            "no nodes listed",
        ],
    );
    stage.write_services(&["10.0.0.9 80 # busy".to_owned()]);
    assert_warned(
        &stage,
        &config,
        &["pools.api.sorry: 10.0.0.9:80 is also node busy"],
    );
}

/// `check` finds all in order, but warns in these words.
#[track_caller]
fn assert_warned(stage: &Stage, config: &Value, warnings: &[&str]) {
    let output = check(stage, config);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for words in warnings {
        let warned = text
            .lines()
            .any(|line| line.starts_with("warning:") && line.contains(words));
        assert!(warned, "no warning has {words:?}:\n{text}");
    }
}

#[test]
fn check_says_when_alerts_are_reported_and_that_nodes_are_asked_to_stay() {
    let stage = Stage::new();
    stage.write_services(&["10.0.0.1 80 # node".to_owned()]);
    let mut config = json!({
        "alert_hook": ["true"],
        "alert_hours": "22:00-06:00",
        "alert_limit": 3,
        "alert_nodes_down": "25%",
        "alert_nodes_down_after": "10s",
        "pool_please_dont_go": true,
        "pools": { "api": { "min_members": 1 } },
    });
    let output = check(&stage, &config);
    let text = stdout(&output);
    for line in [
        "alerts: at most 3 in 5m, each once, at 22:00-06:00",
        "  nodes down: 25% of all nodes, or of a pool's, for 10s",
        "members of a pool at its min_members are asked to stay: POST /pool_please_dont_go",
    ] {
        assert!(text.contains(line), "{line:?} is missing:\n{text}");
    }
    assert!(!text.contains("has no effect"), "{text}");
    config["pools"]["api"] = json!({});
    assert_warned(&stage, &config, &["pool_please_dont_go has no effect"]);
    config["pools"]["api"] = json!({ "min_members": 1, "sorry": ["10.0.0.9:80"] });
    assert_warned(
        &stage,
        &config,
        &[
            "pools.api",
            "min_members",
            "the sorry server takes over only when",
        ],
    );
    let text = stdout(&check(&stage, &json!({})));
    assert!(!text.contains("alerts") && !text.contains("stay"), "{text}");
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
fn a_state_file_takes_the_place_of_nothing_else() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let socket = stage.path("device");
    let _socket = UnixListener::bind(&socket).unwrap();
    fs::create_dir(stage.path("directory")).unwrap();
    symlink(stage.services_file(), stage.path("link")).unwrap();
    let config_file = stage.write_config(&json!({}));
    for (path, word) in [
        (config_file.clone(), "which is this configuration"),
        (stage.services_file(), "which is services_file"),
        (stage.pool_file("website"), "which is in pool_directory"),
        (stage.path("admin.sock"), "which is admin_socket"),
        (stage.path("directory"), "which is a directory"),
        (stage.path("link"), "which is a symbolic link"),
        (socket.clone(), "which is not a regular file"),
    ] {
        let config = json!({ "state_file": path, "admin_socket": stage.path("admin.sock") });
        for arguments in [&["check"][..], &[]] {
            let ended = Pollbal::run(&stage, &config, arguments);
            ended.assert_code(78);
            for word in ["state_file", &path.display().to_string(), word] {
                assert!(ended.stderr.contains(word), "{}", ended.stderr);
            }
        }
    }
    // And what comes there later is left alone.
    let later = stage.path("later");
    let pollbal = Pollbal::start(&stage, &json!({ "state_file": later }));
    // Once the first round is in the file, nothing is left to write until the next order.
    eventually(SOON, "the first round is in the state file", || {
        let text = fs::read_to_string(&later).ok()?;
        ["owned", "nodes"]
            .iter()
            .all(|kept| text.contains(&format!("\"{kept}\":")))
            .then_some(())
    });
    fs::rename(&socket, &later).unwrap();
    let order = json!({ "reason": "storm" });
    let ordered = thread::scope(|scope| {
        let ordered = scope.spawn(|| http::post(&stage, "/v1/freeze", &order).status);
        pollbal.wait_log(&["failed to write", "later", "no regular file"]);
        assert!(fs::metadata(&later).unwrap().file_type().is_socket());
        fs::remove_file(&later).unwrap();
        ordered.join().unwrap()
    });
    assert_eq!(ordered, 200);
    assert!(later.is_file(), "it is written as soon as it may be");
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
fn comments_may_stand_in_every_object() {
    let stage = Stage::new();
    let config = json!({
        "README": "words", "README_2": ["more"], "_note": {},
        "perlbal": { "README": "words", "address": "127.0.0.1:16000", "_": 0 },
        "pools": { "README": "words", "_off": 1, "api": { "README of api": "words" } },
    });
    let output = check(&stage, &config);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        !stdout(&output).contains("pool _off"),
        "{}",
        stdout(&output)
    );
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

#[test]
fn the_configuration_is_found_by_pollbal_config_unless_the_flag_names_another() {
    let stage = Stage::new();
    let good = stage.write_config(&json!({}));
    let run = |variable: &Path, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
        command.env("POLLBAL_CONFIG", variable).args(arguments);
        command.output().unwrap()
    };
    let output = run(&good, &["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains(good.to_str().unwrap()));
    let missing = stage.path("missing.json");
    assert_eq!(run(&missing, &["check"]).status.code(), Some(78));
    let output = run(&missing, &["check", "--config", good.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn what_is_not_said_has_its_default() {
    let stage = Stage::new();
    let file = stage.path("least.json");
    let least = json!({ "services_file": stage.services_file() });
    fs::write(&file, least.to_string()).unwrap();
    let output = pollbal(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let expected = [
        "GET /pool every 1s, timeout 500ms",
        "pool files: /run/pool",
        "listeners: admin /run/pollbal/admin.sock, status off, nodes off",
        "other pools: rise 1, fall 1, at most 100",
        "load balancers: none, only pool files",
    ];
    for line in expected {
        assert!(text.contains(line), "{line:?} is missing:\n{text}");
    }
    fs::write(&file, "{}").unwrap();
    let output = pollbal(&["check", "--config", file.to_str().unwrap()]);
    let both = stdout(&output) + &stderr(&output);
    assert!(both.contains("/etc/pollbal.services"), "{both}");
}
