//! The configuration file and `pollbal check`: what is understood, and what is said of the rest.

mod errors;

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
