//! What the commands print with `--json`, how they end, and what becomes of one whose reader goes away.

use crate::commands::site;

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::http;
use crate::common::run::stdout;
use crate::common::stage::Stage;
use crate::common::{SOON, eventually};
use site::{Site, on_terminal};

type Words = &'static [&'static str];

/// Where they stand, and what they are as JSON.
type Fields = &'static [(&'static str, &'static str)];

/// Each command that ends by itself and does what it is reported, and a few fields of what it prints.
const ALL: [(Words, Fields); 14] = [
    (
        &["status"],
        &[("/health", "\"ok\""), ("/counts/members", "4")],
    ),
    (&["explain", "node-1"], &[("/node/state", "\"member\"")]),
    (
        &["members", "website"],
        &[("/members/3/name", "\"node-4\"")],
    ),
    (&["events", "-n", "1"], &[("/events/0/level", "\"info\"")]),
    (
        &["nudge", "node-1"],
        &[("/nodes/0/name", "\"node-1\""), ("/warnings", "[]")],
    ),
    (&["nudge"], &[("/warnings", "[]")]),
    (
        &["freeze", "--reason", "storm"],
        &[("/nodes", "[]"), ("/warnings", "[]")],
    ),
    (
        &["thaw", "--reason", "storm"],
        &[("/nodes", "[]"), ("/warnings", "[]")],
    ),
    (
        &["disable", "node-1", "--reason", "disk"],
        &[
            ("/nodes/0/state", "\"disabled\""),
            ("/nodes/0/reasons/0/reason", "\"disk\""),
        ],
    ),
    (
        &["wait", "node-1", "--until", "drained"],
        &[("/done", "true"), ("/nodes/0/text", "\"drained\"")],
    ),
    (
        &["enable", "node-1", "--reason", "disk"],
        &[("/nodes/0/name", "\"node-1\""), ("/nodes/0/reasons", "[]")],
    ),
    (
        &["wait", "node-1", "node-2", "--until", "serving"],
        &[("/done", "true"), ("/nodes/1/done", "true")],
    ),
    (&["reload"], &[("/nodes", "4")]),
    (
        &["disable", "node-2", "--reason", "disk", "--wait"],
        &[("/done", "true"), ("/nodes/0/name", "\"node-2\"")],
    ),
];

#[test]
fn each_command_prints_json_and_ends_well() {
    let site = Site::start();
    for (arguments, fields) in ALL {
        let reported = site.tell_json(arguments);
        for (pointer, expected) in fields {
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(
                reported.pointer(pointer),
                Some(&expected),
                "{arguments:?}: {reported:#}"
            );
        }
    }
}

#[test]
fn it_is_one_line_for_programs_and_laid_out_for_people() {
    let site = Site::start();
    let is_line = |out: &str| assert_eq!(out.find('\n'), Some(out.len() - 1), "{out:?}");
    is_line(&site.tell(&["status", "--json"]));
    let wait = "wait node-1 --until serving --json";
    let words: Vec<_> = wait.split(' ').collect();
    is_line(&site.tell(&words));
    is_line(&site.ask(&["nudge", "node-9", "--json"]).1);
    for (line, words) in [
        ("status --json", "\n  \"counts\": {"),
        (wait, "\n  \"done\": true"),
        ("nudge node-9 --json", "\n  \"error\": \""),
    ] {
        let shown = on_terminal(&site, &[], line).output().unwrap();
        let shown = stdout(&shown).replace('\r', "");
        assert!(shown.contains(words) && !shown.contains("\n\n"), "{shown}");
    }
}

#[test]
fn what_is_refused_or_not_reached_ends_with_1_and_says_so_as_json_too() {
    let site = Site::start();
    let near = "; the nearest are node-1, node-2, node-3";
    let unknown = format!("no listed node is called node-9{near}");
    let neither =
        format!("no listed node and no pool is called node-9{near}; the pools are: website");
    for (arguments, unknown) in [
        (&["nudge", "node-9"][..], &unknown),
        (&["wait", "node-9", "--until", "drained"], &unknown),
        (&["disable", "node-9", "--reason", "disk"], &unknown),
        (&["status", "node-9"], &neither),
    ] {
        assert_eq!(site.refused(arguments), format!("pollbal: {unknown}\n"));
        let (code, out, _) = site.ask(&[arguments, &["--json"]].concat());
        let reported: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, reported), (1, json!({ "error": unknown })));
    }

    // An address is no node either because it looks like one.
    let unlisted = "10.9.9.9:80 is not a listed node";
    for arguments in [
        &["explain", "10.9.9.9:80"][..],
        &["wait", "10.9.9.9:80", "node-1", "--until", "drained"],
        &["nudge", "10.9.9.9:80"],
        &["status", "10.9.9.9:80"],
    ] {
        assert_eq!(site.refused(arguments), format!("pollbal: {unlisted}\n"));
    }
    let asked = http::get(&site.stage, "/v1/status?node=10.9.9.9:80");
    assert_eq!(
        (asked.status, asked.json()),
        (404, json!({ "error": unlisted }))
    );

    // Another reason keeps it out for longer than it is waited.
    site.tell(&["disable", "node-1", "--reason", "disk"]);
    site.tell(&["disable", "node-1", "--reason", "kernel"]);
    let waits = ["--reason", "disk", "--wait", "--timeout", "300ms", "--json"];
    let (code, out, error) = site.ask(&[&["enable", "node-1"], &waits[..]].concat());
    let reported: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &reported["done"]),
        (1, &json!(false)),
        "{reported:#}"
    );
    assert_eq!(
        error,
        "pollbal: timed out after 300ms: node-1: out: disabled: kernel\n"
    );
}

#[test]
fn a_disable_that_is_not_drained_in_time_ends_with_1() {
    let site = Site::start();
    let node = &site.nodes[0];
    let mut requests = Vec::new();
    eventually(SOON, "a long request reaches node-1", || {
        let service = site.perlbal.service("web");
        requests.push(crate::common::client::get_later(service, "/?wait=3000"));
        (!node.arrivals().is_empty()).then_some(())
    });
    let waits = ["--reason", "disk", "--wait", "--timeout", "300ms", "--json"];
    let (code, out, error) = site.ask(&[&["disable", "node-1"], &waits[..]].concat());
    let reported: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &reported["done"]),
        (1, &json!(false)),
        "{reported:#}"
    );
    assert!(
        error.starts_with("pollbal: timed out after 300ms: node-1: still draining in "),
        "{error}"
    );
    assert!(error.ends_with(". It remains disabled (disk)\n"), "{error}");
}

#[test]
fn who_reads_no_more_ends_a_command_that_goes_on() {
    let site = Site::start();
    let socket = site.stage.admin_socket();
    let program = env!("CARGO_BIN_EXE_pollbal");
    for line in ["status --watch", "status --watch --json", "events --follow"] {
        // What the command says in the end, and how it ends, is reported after what its reader has read.
        let line = format!("({program} {line} 2>said; echo $? >>said) | head -1");
        let mut shell = Command::new("sh");
        let shell = shell
            .args(["-c", &line])
            .current_dir(site.stage.dir())
            .env("POLLBAL_ADMIN_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut shell = shell.spawn().unwrap();
        // It notices when it has something to say.
        eventually(SOON, "the command ends", || {
            site.tell(&["freeze", "--reason", "storm"]);
            site.tell(&["thaw", "--reason", "storm"]);
            shell.try_wait().unwrap()
        });
        let said = std::fs::read_to_string(site.stage.path("said")).unwrap();
        assert_eq!(said, "1\n", "{line}");
    }
}

#[test]
fn colours_are_for_terminals_whatever_the_environment_says() {
    let site = Site::start();
    let output = Command::new(env!("CARGO_BIN_EXE_pollbal"))
        .args(["status", "--socket"])
        .arg(site.stage.admin_socket())
        .envs([("CLICOLOR_FORCE", "1"), ("TERM", "xterm")])
        .output()
        .unwrap();
    let reported = stdout(&output);
    assert!(
        reported.contains("OK: 4 nodes") && !reported.contains('\x1b'),
        "{reported:?}"
    );
}

#[test]
fn a_check_of_which_nobody_reads_the_errors_ends_as_it_should() {
    let stage = Stage::new();
    let missing = stage.path("missing.json");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_pollbal"))
        .args(["check", "--config"])
        .arg(missing)
        .stderr(writer)
        .status();
    assert_eq!(status.unwrap().code(), Some(78));
}
