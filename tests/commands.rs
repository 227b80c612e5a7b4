//! The commands for the running daemon that answer at once: what they print, and how they end.

mod common;
#[path = "commands/site.rs"]
mod site;

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use common::door::ask_from;
use common::nodes::{Node, addrs};
use common::{SOON, eventually};
use site::Site;

#[test]
fn status_shows_the_site_and_is_a_probe() {
    let site = Site::start();
    let text = site.tell(&["status"]);
    for line in [
        "4 nodes, 4 in pools",
        "website        4        4    2    0  v1 ×4",
        "in sync",
        "all at rest",
    ] {
        assert!(text.contains(line), "{line}\n---\n{text}");
    }
    assert!(text.ends_with("\nall right\n"), "{text}");
    assert!(!text.contains("node-1") && !text.contains('\x1b'), "{text}");

    // A pool shows all its nodes, a node itself.
    let pool = site.tell(&["status", "website"]);
    for node in &site.nodes {
        let row = format!("{}  {}  website v1  serving", node.name(), node.addr());
        assert!(pool.contains(&row), "{row}\n---\n{pool}");
    }
    let node = site.tell(&["status", "node-2"]);
    assert!(
        node.contains("node-2") && !node.contains("node-3"),
        "{node}"
    );
    assert_eq!(
        site.refused(&["status", "nothing"]),
        "pollbal: no node of the services file is called nothing\n"
    );

    let json = site.tell_json(&["status"]);
    assert_eq!(json["all_right"], true);
    assert_eq!(json["counts"]["members"], 4);

    // Below its min_members something is not right.
    for node in &site.nodes[1..] {
        node.announce("");
    }
    eventually(SOON, "not all right", || {
        let (code, text, error) = site.ask(&["status"]);
        assert_eq!(error, "");
        (code == 1 && text.ends_with("not all right\n") && text.contains("below min_members"))
            .then_some(())
    });
}

#[test]
fn what_a_person_must_know_is_told_though_all_is_in_sync() {
    /// What is over is no more told, though it counts as standing for longer.
    const AT_ONCE: Duration = Duration::from_secs(3);
    let site = Site::start();
    assert_eq!(site.tell_json(&["status"])["conditions"], json!([]));
    site.stage.write_services(&["nonsense".to_owned()]);
    let status = eventually(SOON, "a condition", || {
        let status = site.tell_json(&["status"]);
        (status["conditions"] != json!([])).then_some(status)
    });
    assert_eq!(
        (&status["all_right"], &status["troubles"]),
        (&json!(true), &json!([]))
    );
    let condition = &status["conditions"][0];
    let services_file = site.stage.services_file();
    assert_eq!(condition["kind"], "services_refused");
    assert_eq!(condition["subject"], services_file.to_str().unwrap());
    assert!(condition["since"].as_str().unwrap().ends_with('Z'));
    let told = condition["text"].as_str().unwrap();
    assert!(told.contains("line 1"), "{told}");
    // Still a probe: all is in sync.
    let text = site.tell(&["status"]);
    assert!(text.contains(told), "{text}");
    assert!(
        text.ends_with("\nin sync, but: services file refused\n"),
        "{text}"
    );

    site.refused(&["reload"]);
    let text = site.tell(&["status"]);
    assert!(
        text.ends_with("\nin sync, but: reload refused, services file refused\n"),
        "{text}"
    );
    site.stage.list(&site.nodes);
    site.tell(&["reload"]);
    eventually(AT_ONCE, "all right", || {
        let text = site.tell(&["status"]);
        text.ends_with("\nall right\n").then_some(())
    });
}

#[test]
fn a_node_is_taken_out_and_brought_back_by_reasons() {
    let site = Site::start();
    let told = site.tell(&[
        "disable", "node-1", "--reason", "kernel", "--note", "6.1", "--wait",
    ]);
    assert_eq!(told, "at rest: node-1\n");
    site.perlbal
        .wait_members("website", &addrs(&site.nodes[1..]));
    let told = site.tell(&["disable", "node-1", "--reason", "disk", "--for", "2h"]);
    assert_eq!(
        told,
        format!("{}: disabled by disk, kernel\n", site.named(1))
    );
    let text = site.tell(&["status"]);
    assert!(
        text.contains("disk") && text.contains("ends in 2 h"),
        "{text}"
    );
    assert!(text.contains("6.1)"), "{text}");

    let told = site.tell(&["enable", "node-1", "--reason", "kernel"]);
    assert_eq!(told, format!("{}: disabled by disk\n", site.named(1)));
    // It does not serve for long now; whoever waits for it is told why.
    let told = site.refused(&["wait", "node-1", "--until", "serving", "--timeout", "300ms"]);
    assert_eq!(
        told,
        "pollbal: not so within 300ms: node-1: out: disabled: disk\n"
    );
    assert_eq!(
        site.refused(&["enable", "node-1", "--reason", "kernel"]),
        "pollbal: node-1 is not disabled by kernel; it is by: disk\n"
    );
    let told = site.tell_json(&["enable", "node-1", "--reason", "disk", "--wait"]);
    assert_eq!(
        (&told["done"], &told["nodes"][0]["name"]),
        (&json!(true), &json!("node-1"))
    );
    site.perlbal.wait_members("website", &addrs(&site.nodes));
}

#[test]
fn who_gives_an_order_is_told_to_others() {
    let site = Site::start();
    let socket = site.stage.admin_socket();
    let by = |word: &str, sudo: &str, user: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_pollbal"))
            .args(["disable", "node-1", "--json", "--reason", word, "--socket"])
            .arg(&socket)
            .envs([("SUDO_USER", sudo), ("USER", user), ("LOGNAME", "cat")])
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let reasons = told["nodes"][0]["reasons"].as_array().unwrap();
        let given = reasons.iter().find(|given| given["reason"] == word);
        given.unwrap()["by"].clone()
    };
    assert_eq!(by("kernel", "ann", "root"), "ann");
    assert_eq!(by("disk", "", "bob"), "bob");
    assert_eq!(by("fan", "", ""), "cat");
}

#[test]
fn an_operator_takes_back_the_leave_of_a_node_that_cannot() {
    let site = Site::start();
    let node = &site.nodes[0];
    eventually(SOON, "the node is gone", || {
        let ip = *node.addr().ip();
        let left = ask_from(ip, site.node_door, "POST", "/leave?wait=10s");
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
    let refusal = "pool website would have 1 of 4 members left, and its min_members is 2";
    assert_eq!(site.refused(&three), format!("pollbal: {refusal}\n"));
    let (code, json, error) = site.ask(&[&three[..], &["--json"]].concat());
    assert_eq!((code, error), (1, format!("pollbal: {refusal}\n")));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, json!({ "error": refusal }));
    assert!(site.tell(&["status"]).contains("4 in pools"));
    let told = site.tell(&[&three[..], &["--force", "--wait"]].concat());
    assert_eq!(told, "at rest: node-1, node-2, node-3\n");
    site.perlbal
        .wait_members("website", &addrs(&site.nodes[3..]));
}

#[test]
fn explain_members_and_events_tell_what_happened() {
    let site = Site::start();
    site.tell(&["disable", "node-2", "--reason", "kernel", "--wait"]);
    let text = site.tell(&["explain", "node-2"]);
    for line in [
        format!("{}\nis       disabled (website v1), since ", site.named(2)),
        "out for  kernel".to_owned(),
        ": website serving v1, after ".to_owned(),
        ": told, at rest\n".to_owned(),
        "comes back: someone says `pollbal enable node-2 --reason kernel`\n".to_owned(),
        "node-2 leaves website at v1: disabled: kernel\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n---\n{text}");
    }
    assert_eq!(
        site.tell_json(&["explain", "node-2"])["node"]["state"],
        "disabled"
    );
    assert!(
        site.refused(&["explain", "node-9"])
            .starts_with("pollbal: ")
    );

    let line = |node: &Node| format!("{}\t{}\tv1\n", node.addr(), node.name());
    let members: String = [0, 2, 3].map(|index| line(&site.nodes[index])).concat();
    assert_eq!(site.tell(&["members", "website"]), members);
    assert_eq!(
        site.tell_json(&["members", "website"])["members"][0]["name"],
        "node-1"
    );
    assert!(
        site.refused(&["members", "nothing"])
            .contains("there is no pool nothing")
    );

    let last = site.tell(&["events", "-n", "1"]);
    assert!(
        last.ends_with("node-2 leaves website at v1: disabled: kernel\n"),
        "{last}"
    );
    assert_eq!(last.lines().count(), 1);
    assert_eq!(
        site.tell_json(&["events", "--limit", "2"])["events"][0]["kind"],
        "disabled"
    );
}

#[test]
fn a_node_that_failed_is_explained_without_saying_anything_twice() {
    let site = Site::start();
    site.nodes[3].fail(500);
    let text = eventually(SOON, "it is out", || {
        let text = site.tell(&["explain", "node-4"]);
        text.contains("is       failed (website v1), since ")
            .then_some(text)
    });
    let why = " ago: answered status 500 instead of 200";
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[1].contains(why), "{text}");
    assert!(
        lines[2].starts_with("polled   ") && lines[2].contains(&format!("{why}, after ")),
        "{text}"
    );
    assert!(lines[2].ends_with("; asked again within 100ms"), "{text}");
}

#[test]
fn a_nudge_polls_now_and_a_reload_tells_what_is_wrong() {
    let site = Site::start();
    let polls = site.nodes[0].polls();
    assert_eq!(site.tell(&["nudge", "node-1"]), "1 node: polled now\n");
    eventually(SOON, "a poll", || {
        (site.nodes[0].polls() > polls).then_some(())
    });
    assert_eq!(site.tell(&["nudge"]), "all nodes: polled now\n");
    assert_eq!(site.tell(&["reload"]), "reloaded: 4 nodes\n");
    assert_eq!(site.tell_json(&["reload"]), json!({ "nodes": 4 }));
    site.stage
        .write_config(&json!({ "pool_directry": "/x", "rise": 0 }));
    let told = site.refused(&["reload"]);
    assert!(
        told.starts_with("pollbal: ") && told.contains("pool_directry"),
        "{told}"
    );
    assert!(told.contains("rise"), "{told}");
}

#[test]
fn a_freeze_is_seen_until_it_is_thawed() {
    let site = Site::start();
    let told = site.tell(&["freeze", "--reason", "storm", "--note", "switch"]);
    assert_eq!(
        told,
        "frozen by storm: failures put nobody out until `pollbal thaw --reason storm`\n"
    );
    let text = site.tell(&["status"]);
    assert!(
        text.contains("frozen, failures put nobody out: storm ("),
        "{text}"
    );
    assert_eq!(
        site.refused(&["thaw", "--reason", "rain"]),
        "pollbal: nothing is frozen by rain\n"
    );
    assert_eq!(
        site.tell(&["thaw", "--reason", "storm"]),
        "no longer frozen by storm\n"
    );
    assert!(!site.tell(&["status"]).contains("frozen"));
}
