//! Text that others wrote, with what turns lines around, hides, ends a line or steers a terminal: wherever pollbal
//! shows it, it is observed as what it is.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::nodes::Node;
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::raw_node::{Answer, RawNode};
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;
use crate::common::wire::{Listeners, dial, get};
use crate::common::{eventually, http};

/// Turns what follows around, shows nothing, ends a line to many a program, and clears a terminal.
const FOREIGN: &str = "\u{202e}a\u{200b}b\u{2028}c\u{1b}[2J";
const SHOWN: &str = "\\u{202e}a\\u{200b}b\\u{2028}c\\u{1b}[2J";

/// A condition must hold for up to ten seconds before it is reported.
const LATER: Duration = Duration::from_secs(25);

/// Nothing in it is foreign, and something was.
#[track_caller]
fn assert_shown(what: &str, text: &str) {
    let raw = |c: char| "\u{202e}\u{200b}\u{2028}\u{1b}".contains(c);
    assert!(!text.contains(raw), "{what}: {text:?}");
    assert!(text.contains(SHOWN), "{what}: {text:?}");
}

/// The same for JSON, of which each text is to be one line.
#[track_caller]
fn assert_json(what: &str, json: &Value) {
    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
            Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    texts(json, &mut found);
    assert!(!found.iter().any(|text| text.contains('\n')), "{found:#?}");
    assert_shown(what, &found.join("\n"));
}

/// A program with a foreign name that says foreign words, writes down its environment, and fails.
fn hook(stage: &Stage) -> Value {
    let path = stage.path(&format!("hook-{FOREIGN}\nhook"));
    let script =
        format!("#!/bin/sh\nenv >> \"$1\"\ncat >> \"$1\"\nprintf 'says {FOREIGN}\\n'\nexit 3\n");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    json!([path, stage.path("reported")])
}

/// A site of which everything that can be has a foreign part.
struct Site {
    pollbal: Pollbal,
    listeners: Listeners,
    _perlbal: Perlbal,
    _nodes: Vec<Node>,
    _odd: RawNode,
    stage: Stage,
}

impl Site {
    fn start() -> Self {
        let stage = Stage::new();
        let listeners = Listeners::new(&stage);
        let name = |number: u8| format!("node-{number}{FOREIGN}");
        let nodes: Vec<_> = (1..=3)
            .map(|number| Node::start(stage.node_addr(number), &name(number), "web serving v1"))
            .collect();
        let answer = Answer::body(format!("<{FOREIGN}>"));
        let odd = RawNode::start(stage.node_addr(4), &name(4), answer);
        let services = stage.path(&format!("services-{FOREIGN}\nservices"));
        let lines: Vec<_> = nodes
            .iter()
            .map(Node::services_line)
            .chain([odd.services_line()])
            .collect();
        write_services(&services, &lines);
        let nodefile = stage.path(&format!("nodefile-{FOREIGN}"));
        fs::write(&nodefile, "").unwrap();
        let perlbal = Config::new()
            .nodefile_pool("web", &nodefile)
            .service(&stage, "www", "web")
            .start(&stage);
        let hook = hook(&stage);
        let config = listeners.config(&json!({
            "perlbal": perlbal.management(),
            "services_file": services,
            "alert_hook": hook,
            "node_hook": hook,
            "metrics_per_node": true,
            // A node that a busy machine keeps from answering must not count as failed.
            "service_timeout": "5s",
        }));
        let pollbal = Pollbal::start(&stage, &config);
        pollbal.wait_log(&["first round done"]);
        for (path, node) in [("/v1/disable", &nodes[1]), ("/v1/disable", &nodes[2])] {
            let order = json!({
                "nodes": [node.addr().to_string()], "reason": "kernel",
                "note": format!("{FOREIGN}\nnote"), "by": format!("{FOREIGN}\nby"),
            });
            http::post(&stage, path, &order).ok();
        }
        let order = json!({ "reason": "storm", "note": format!("{FOREIGN}\nnote"), "by": "ann" });
        http::post(&stage, "/v1/freeze", &order).ok();
        // The last two are missing now, and stay: that is too much at once.
        write_services(&services, &lines[..2]);
        pollbal.wait_log(&["2 nodes are missing from it and stay"]);
        Self {
            pollbal,
            listeners,
            _perlbal: perlbal,
            _nodes: nodes,
            _odd: odd,
            stage,
        }
    }

    /// What a command for the daemon says.
    fn said(&self, arguments: &[&str]) -> String {
        let (name, others) = arguments.split_first().unwrap();
        let socket = self.stage.admin_socket();
        let output = pollbal(&[&[*name, "--socket", socket.to_str().unwrap()], others].concat());
        stdout(&output) + &stderr(&output)
    }
}

/// Not by halves, and long ago.
fn write_services(path: &Path, lines: &[String]) {
    let new = path.with_extension("new");
    fs::write(&new, crate::common::text(lines)).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn it_is_escaped_wherever_it_is_shown() {
    let site = Site::start();
    let stage = &site.stage;
    let [first, second] = [1, 2].map(|number| stage.node_addr(number).to_string());

    for path in ["/v1/status", "/v1/events", "/v1/members?pool=web"] {
        assert_json(path, &http::get(stage, path).json());
    }
    for addr in [1, 2, 4].map(|number| stage.node_addr(number)) {
        let path = format!("/v1/explain?node={addr}");
        assert_json(&path, &http::get(stage, &path).json());
    }
    for path in ["/", "/metrics", &format!("/?node={first}")] {
        let body = get(dial(site.listeners.status), path).body;
        // A label's value has each backslash twice.
        assert_shown(path, &body.replace(r"\\", r"\"));
    }
    assert_shown("a pool file", &stage.lines("web.pool").unwrap().join("\n"));

    for line in [
        &["status"][..],
        &["events"],
        &["members", "web"],
        &["explain", &first],
        &["nudge", FOREIGN],
        &["disable", &first, "--reason", "disk", "--force"],
        &["enable", &first, "--reason", "disk", "--wait"],
        &["wait", &first, "--until", "serving"],
        &["enable", &second, "--reason", "kernel", "--wait"],
    ] {
        assert_shown(&format!("{line:?}"), &site.said(line));
    }
    let rolled = site.said(&["roll", "web", "--parallel", "2", "--", "echo", "hello"]);
    let prefix = format!("node-1{SHOWN} ({first}): hello\n");
    assert!(rolled.contains(&prefix), "{rolled}");
    let config = site.pollbal.config_file().to_str().unwrap();
    let check = pollbal(&["--config", config, "check"]);
    assert_shown("check", &stdout(&check));
    let lines = stdout(&check)
        .lines()
        .filter(|line| line.starts_with("services"))
        .count();
    assert_eq!(lines, 0, "{}", stdout(&check));

    // What hooks receive, and what they print.
    let reported = eventually(LATER, "an alert of what is withheld", || {
        let reported = fs::read_to_string(stage.path("reported")).ok()?;
        (reported.contains("\"alert\":\"removals") && reported.contains("POLLBAL_NODE_NAME="))
            .then_some(reported)
    });
    assert_shown("the hooks' environment", &reported);
    for words in [
        &["node_hook: says", SHOWN][..],
        &[
            "node_hook",
            &format!("hook-{SHOWN}\\nhook ended with exit code 3"),
        ],
        &["alert_hook: says", SHOWN],
        &[
            "is disabled: kernel",
            &format!("by {SHOWN}\\nby: \"{SHOWN}\\nnote\""),
        ],
        &[&format!("services-{SHOWN}\\nservices: 2 nodes are missing")],
        &[&format!("nodefile-{SHOWN}")],
        &["failed:", SHOWN],
    ] {
        site.pollbal.wait_log(words);
    }
    let log = site.pollbal.log();
    assert_shown("the log", &log.join("\n"));
    let starts = |line: &String| line.starts_with("20");
    assert!(log.iter().all(starts), "{log:#?}");
}

/// Answers each request for something with this body.
fn odd_daemon(stage: &Stage, status: &str, body: &Value) {
    let listener = UnixListener::bind(stage.admin_socket()).unwrap();
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
}

/// What a command shows on a terminal.
fn on_terminal(stage: &Stage, line: &str) -> String {
    let line = format!("exec {} {line}", env!("CARGO_BIN_EXE_pollbal"));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("POLLBAL_ADMIN_SOCKET", stage.admin_socket())
        .output()
        .unwrap();
    stdout(&output)
}

#[test]
fn a_terminal_is_shown_json_that_is_observed_as_what_it_is_and_programs_get_it_as_it_came() {
    let stage = Stage::new();
    let members = json!({ "pool": "web", "members": [
        { "node": "10.0.0.1:80", "name": FOREIGN, "version": null, "sorry": false },
    ]});
    odd_daemon(&stage, "200 OK", &members);
    let observed = on_terminal(&stage, "members web --json");
    assert!(
        observed.contains("\\u202ea\\u200bb\\u2028c\\u001b[2J"),
        "{observed:?}"
    );
    let read: Value = serde_json::from_str(&observed).unwrap();
    assert_eq!(read, members);
    let socket = stage.admin_socket();
    let line = ["members", "--socket", socket.to_str().unwrap(), "web"];
    let piped = stdout(&pollbal(&[&line[..], &["--json"]].concat()));
    assert_eq!(piped, members.to_string() + "\n");
    assert_shown("members", &stdout(&pollbal(&line)));
}

#[test]
fn a_refusal_is_shown_as_lines_of_which_each_is_harmless() {
    let stage = Stage::new();
    let problem = json!({ "error": format!("first {FOREIGN}\nsecond") });
    odd_daemon(&stage, "409 Conflict", &problem);
    let socket = stage.admin_socket();
    let output = pollbal(&[
        "thaw",
        "--socket",
        socket.to_str().unwrap(),
        "--reason",
        "x",
    ]);
    assert_eq!(stderr(&output), format!("pollbal: first {SHOWN}\nsecond\n"));
}
