//! Orders by command: `disable`, `enable`, `freeze` and `thaw`.

use std::process::Command;

use serde_json::{Value, json};

use super::site::Site;
use crate::common::http::{ask_from, post};
use crate::common::nodes::addrs;
use crate::common::run::stdout;
use crate::common::{SOON, eventually};

#[test]
fn a_node_is_taken_out_and_brought_back_by_reasons() {
    let site = Site::start();
    let reported = site.tell(&[
        "disable", "node-1", "--reason", "kernel", "--note", "6.1", "--wait",
    ]);
    assert_eq!(reported, "drained: node-1\n");
    site.perlbal
        .wait_members("website", &addrs(&site.nodes[1..]));
    let reported = site.tell(&["disable", "node-1", "--reason", "disk", "--for", "2h"]);
    assert_eq!(
        reported,
        format!("{}: disabled by disk, kernel\n", site.named(1))
    );
    let text = site.tell(&["status"]);
    assert!(
        text.contains("disk") && text.contains("ends in 2 h"),
        "{text}"
    );
    assert!(text.contains(": \"6.1\", "), "{text}");

    let reported = site.tell(&["enable", "node-1", "--reason", "kernel"]);
    assert_eq!(reported, format!("{}: disabled by disk\n", site.named(1)));
    // It does not serve for long now; a command that waits for it prints why.
    let reported = site.refused(&["wait", "node-1", "--until", "serving", "--timeout", "300ms"]);
    assert_eq!(
        reported,
        "pollbal: timed out after 300ms: node-1: out: disabled: disk\n"
    );
    assert_eq!(
        site.refused(&["enable", "node-1", "--reason", "kernel"]),
        "pollbal: node-1 is not disabled for \"kernel\" (active reasons: disk)\n"
    );
    let reported = site.tell_json(&["enable", "node-1", "--reason", "disk", "--wait"]);
    assert_eq!(
        (&reported["done"], &reported["nodes"][0]["name"]),
        (&json!(true), &json!("node-1"))
    );
    site.perlbal.wait_members("website", &addrs(&site.nodes));
}

#[test]
fn who_gives_an_order_is_shown_to_others() {
    let site = Site::start();
    let socket = site.stage.admin_socket();
    let by = |word: &str, sudo: &str, user: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_pollbal"))
            .args(["disable", "node-1", "--json", "--reason", word, "--socket"])
            .arg(&socket)
            .envs([("SUDO_USER", sudo), ("USER", user), ("LOGNAME", "cat")])
            .output()
            .unwrap();
        let reported: Value = serde_json::from_slice(&output.stdout).unwrap();
        let reasons = reported["nodes"][0]["reasons"].as_array().unwrap();
        let given = reasons.iter().find(|given| given["reason"] == word);
        given.unwrap()["by"].clone()
    };
    assert_eq!(by("kernel", "ann", "root"), "ann");
    assert_eq!(by("disk", "", "bob"), "bob");
    assert_eq!(by("fan", "", ""), "cat");

    // Where nobody is named it is the user whose process asks, as the system says.
    let user = Command::new("id").arg("-un").output().unwrap();
    let user = stdout(&user).trim().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_pollbal"))
        .args([
            "disable",
            "node-2",
            "--reason",
            "kernel",
            "--note",
            "new kernel",
        ])
        .args(["--json", "--socket"])
        .arg(&socket)
        .env_clear()
        .output()
        .unwrap();
    let reported: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reported["nodes"][0]["reasons"][0]["by"], *user);
    let reported = site.tell(&["explain", "node-2"]);
    assert!(
        reported.contains(&format!("disabled  kernel by {user}: \"new kernel\", ")),
        "{reported}"
    );
    let order = json!({ "nodes": ["node-2"], "reason": "kernel" });
    let taken_back = post(&site.stage, "/v1/enable", &order);
    assert_eq!(taken_back.status, 200, "{}", taken_back.body);
    let reported = site.tell(&["events", "-n", "20"]);
    let line = format!("node-2 re-enabled (kernel removed by {user})");
    assert!(reported.contains(&line), "{reported}");
}

#[test]
fn an_order_outlives_its_node_is_shown_and_can_be_taken_back() {
    let site = Site::start();
    let node = site.nodes[0].addr().to_string();
    site.tell(&["disable", "node-1", "--reason", "kernel"]);
    site.stage.list(&site.nodes[1..]);
    assert_eq!(site.tell(&["reload"]), "reloaded: 3 nodes\n");
    let text = site.tell(&["status"]);
    let line = format!("pollbal enable {node} --reason kernel");
    assert!(text.contains(&line), "{text}");
    let gone = site.tell_json(&["status"])["gone"].clone();
    assert_eq!(
        (&gone[0]["node"], &gone[0]["reasons"][0]["reason"]),
        (&json!(node), &json!("kernel"))
    );
    for word in ["disk", "kernel"] {
        let (code, _, reported) = site.ask(&["enable", &node, "--reason", word, "--wait"]);
        assert_eq!(code, i32::from(word == "disk"), "{reported}");
    }
    assert_eq!(site.tell_json(&["status"])["gone"], json!([]));
    // The same node comes back as if nothing had been ordered.
    site.stage.list(&site.nodes);
    assert_eq!(site.tell(&["reload"]), "reloaded: 4 nodes\n");
    site.perlbal.wait_members("website", &addrs(&site.nodes));
}

#[test]
fn an_operator_takes_back_the_leave_of_a_node_that_cannot() {
    let site = Site::start();
    let node = &site.nodes[0];
    eventually(SOON, "the node is gone", || {
        let ip = *node.addr().ip();
        let left = ask_from(ip, site.node_listener, "POST", "/leave?wait=10s");
        (left.ok() == "gone").then_some(())
    });
    assert_eq!(
        site.tell(&["enable", "node-1", "--leave", "--wait", "--timeout", "20s"]),
        "serving: node-1\n"
    );
    assert_eq!(site.ask(&["enable", "node-1"]).0, 64);
    assert_eq!(
        site.ask(&["enable", "node-1", "--leave", "--reason", "disk"])
            .0,
        64
    );
}

#[test]
fn a_disable_that_takes_too_many_is_refused_with_the_numbers_unless_it_is_forced() {
    let site = Site::start();
    let three = ["disable", "node-1", "node-2", "node-3", "--reason", "move"];
    let refusal = "rejected, nothing changed: disabling node-1, node-2, node-3 would leave website with 1 of 4 members \
                   (min_members 2). Use --force to override";
    assert_eq!(site.refused(&three), format!("pollbal: {refusal}\n"));
    let (code, json, error) = site.ask(&[&three[..], &["--json"]].concat());
    assert_eq!((code, error), (1, format!("pollbal: {refusal}\n")));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["can_be_forced"], true);
    let said = json["error"].as_str().unwrap();
    assert!(refusal.contains(said), "{said}");
    assert!(site.tell(&["status"]).contains("4 in pools"));
    let (code, reported, warning) = site.ask(&[&three[..], &["--force", "--wait"]].concat());
    assert_eq!(
        (code, reported.as_str()),
        (0, "drained: node-1, node-2, node-3\n")
    );
    assert_eq!(
        warning,
        "pollbal: warning: pool website is left with 1 of 4 members, 1 of them answering (min_members 2)\n"
    );
    site.perlbal
        .wait_members("website", &addrs(&site.nodes[3..]));
}

#[test]
fn a_freeze_is_observed_until_it_is_thawed() {
    let site = Site::start();
    let reported = site.tell(&["freeze", "--reason", "storm", "--note", "switch"]);
    assert_eq!(
        reported,
        "frozen (storm): failed nodes stay in until `pollbal thaw --reason storm`\n"
    );
    let (code, text, _) = site.ask(&["status"]);
    assert!(
        text.contains("frozen, failed nodes stay in: storm") && text.contains(": \"switch\", "),
        "{text}"
    );
    assert!(text.ends_with("\nDEGRADED: frozen (storm)\n"), "{text}");
    assert_eq!(code, 1);
    assert_eq!(
        site.refused(&["thaw", "--reason", "rain"]),
        "pollbal: there is no freeze \"rain\"\n"
    );
    assert_eq!(
        site.tell(&["thaw", "--reason", "storm"]),
        "freeze lifted (storm)\n"
    );
    assert!(!site.tell(&["status"]).contains("frozen"));
}
