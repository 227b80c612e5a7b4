//! The commands for the running daemon that answer at once: what they print, and how they end.

mod orders;
pub(crate) mod site;

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::http::{self};
use crate::common::nodes::Node;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::{SOON, becomes, eventually};
use site::Site;

#[test]
fn status_shows_the_site_and_is_a_probe() {
    let site = Site::start();
    let text = site.tell(&["status"]);
    for line in [
        "4 nodes: 4 in pools",
        "website        4        4    2    0  v1 ×4",
        "in sync",
        "DRAINING",
    ] {
        assert!(text.contains(line), "{line}\n---\n{text}");
    }
    assert!(text.ends_with("\nOK: 4 nodes: 4 in pools\n"), "{text}");
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
        "pollbal: no listed node and no pool is called nothing; the pools are: website\n"
    );

    let json = site.tell_json(&["status"]);
    assert_eq!(
        (&json["health"], &json["healthy"]),
        (&json!("ok"), &json!(true))
    );
    assert_eq!(json["counts"]["members"], 4);

    // Below its min_members clients are not served as they should be.
    for node in &site.nodes[1..] {
        node.announce("");
    }
    wait_verdict(
        &site,
        &["status"],
        2,
        "CRITICAL: pool website has 1 of its min_members of 2",
    );
    assert!(site.ask(&["status"]).1.contains("below min_members"));
    site.nodes[0].announce("");
    wait_verdict(
        &site,
        &["status"],
        2,
        "CRITICAL: pool website has no members",
    );
}

/// Waits until the command ends with this code and this last line.
#[track_caller]
fn wait_verdict(site: &Site, arguments: &[&str], code: i32, line: &str) {
    let asked = || {
        let (code, text, error) = site.ask(arguments);
        assert_eq!(error, "");
        (code, text.lines().last().unwrap_or_default().to_owned())
    };
    becomes(SOON, "code and verdict", &(code, line.to_owned()), asked);
}

#[test]
fn a_node_that_fails_is_judged_and_one_that_is_out_by_order_is_not_down() {
    let site = Site::start();
    site.tell(&["disable", "node-1", "--reason", "kernel"]);
    wait_verdict(&site, &["status"], 0, "OK: 4 nodes: 3 in pools, 1 disabled");
    site.nodes[1].fail(500);
    let line = "DEGRADED: 1 of 4 nodes down (website 1/4)";
    wait_verdict(&site, &["status"], 1, line);
    assert_eq!(code_of(&site, &["--exit-zero-on", "degraded"]), 0);
    assert_eq!(code_of(&site, &["--exit-zero-on", "degraded", "--json"]), 0);
    assert_eq!(code_of(&site, &["--json"]), 1);
    let status = http::get(&site.stage, "/v1/status").json();
    assert_eq!(
        (&status["health"], &status["verdict"]),
        (&json!("degraded"), &json!(line))
    );
    let problem = &status["problems"][0];
    assert_eq!(
        (&problem["kind"], &problem["severity"], &problem["subject"]),
        (&json!("nodes_down"), &json!("degraded"), &json!("nodes"))
    );

    // Each is judged by itself, and by its pool with all that concerns it.
    let of = |name: &str| {
        let (code, text, _) = site.ask(&["status", name]);
        let last = text.lines().rev().take(2).map(str::to_owned);
        (code, last.collect::<Vec<_>>())
    };
    let down = "DEGRADED: node-2 is down: HTTP 500, expected 200".to_owned();
    let (code, last) = of("node-2");
    assert_eq!((code, &last[0]), (1, &down));
    let all = format!("overall: {line}");
    let well = |said: &str| (0, vec![format!("OK: {said}"), all.clone()]);
    assert_eq!(of("node-3"), well("node-3 serves in website"));
    assert_eq!(of("node-1"), well("node-1 is disabled"));
    let (code, last) = of("website");
    assert_eq!((code, last[0].as_str()), (1, line));

    // With so few members that min_members holds a failing one, it is reported as failing, not as down.
    site.nodes[2].fail(500);
    let line = "CRITICAL: pool website has 1 of its min_members of 2; 1 of 4 nodes down (website 1/4); \
                1 of 4 nodes kept in though failing (website 1/4)";
    wait_verdict(&site, &["status"], 2, line);
    assert_eq!(code_of(&site, &["--exit-zero-on", "degraded"]), 2);
    assert_eq!(code_of(&site, &["--exit-zero-on", "critical"]), 0);
    let (code, last) = of("node-3");
    let kept = "DEGRADED: node-3 fails, kept in website by min_members: HTTP 500, expected 200";
    assert_eq!((code, last[0].as_str()), (1, kept));
    let metrics = http::get(&site.stage, "/metrics").ok().to_owned();
    assert!(metrics.contains("\npollbal_health 2\n"), "{metrics}");
}

fn code_of(site: &Site, arguments: &[&str]) -> i32 {
    site.ask(&[&["status"], arguments].concat()).0
}

#[test]
fn a_file_that_is_refused_is_reported_with_since_when() {
    /// What is over is no more reported, though it counts as standing for longer.
    const AT_ONCE: Duration = Duration::from_secs(3);
    let site = Site::start();
    assert_eq!(site.tell_json(&["status"])["site_problems"], json!([]));
    site.stage.write_services(&["nonsense".to_owned()]);
    let status = eventually(SOON, "a problem that has lasted", || {
        let status = http::get(&site.stage, "/v1/status").json();
        status["site_problems"][0]["since"]
            .is_string()
            .then_some(status)
    });
    assert_eq!(
        (&status["health"], &status["healthy"]),
        (&json!("degraded"), &json!(false))
    );
    assert_eq!(status["problems"], status["site_problems"]);
    let condition = &status["site_problems"][0];
    let services_file = site.stage.services_file();
    assert_eq!(condition["kind"], "services_refused");
    assert_eq!(condition["subject"], services_file.to_str().unwrap());
    assert!(condition["since"].as_str().unwrap().ends_with('Z'));
    let reported = condition["text"].as_str().unwrap();
    assert!(reported.contains("line 1"), "{reported}");
    let text = site.ask(&["status"]).1;
    assert!(text.contains(reported), "{text}");
    let line = "DEGRADED: services file rejected";
    wait_verdict(&site, &["status"], 1, line);

    site.refused(&["reload"]);
    let line = "DEGRADED: reload rejected; services file rejected";
    wait_verdict(&site, &["status"], 1, line);
    site.stage.list(&site.nodes);
    site.tell(&["reload"]);
    let health = || site.ask(&["status"]).0;
    becomes(AT_ONCE, "exit code", &0, health);
}

#[test]
fn an_unknown_name_is_reported_with_similar_names() {
    let site = Site::start();
    for (arguments, reported) in [
        (
            &["explain", "node-7"][..],
            "no listed node is called node-7; the nearest are node-1, node-2, node-3",
        ),
        (
            &["disable", "nod-1", "--reason", "kernel"],
            "no listed node is called nod-1; the nearest are node-1, ",
        ),
        (
            &["members", "wbsite"],
            "there is no pool wbsite: it is neither declared nor announced by a node; the pools are: website",
        ),
        (
            &["status", "wbsite"],
            "no listed node and no pool is called wbsite; the pools are: website",
        ),
    ] {
        let refused = site.refused(arguments);
        assert!(refused.contains(reported), "{arguments:?}: {refused}");
    }
    let (code, _, error) = site.ask(&["stauts"]);
    assert_eq!(code, 64);
    assert!(
        error.contains("the commands are: run, check, status, "),
        "{error}"
    );
    let socket = site.stage.admin_socket();
    let output = pollbal(&["--json", "--socket", socket.to_str().unwrap(), "status"]);
    let reported: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reported["counts"]["nodes"], 4);
}

#[test]
fn a_configuration_that_is_broken_stops_no_command_and_a_reload_says_so() {
    let site = Site::start();
    let config = site.pollbal.config_file();
    let right = fs::read_to_string(config).unwrap();
    // As a comma is forgotten.
    fs::write(config, right.replace(",\n", "\n")).unwrap();
    let config = config.to_str().unwrap();
    let ask = |arguments: &[&str]| {
        let output = pollbal(&[&["--config", config], arguments].concat());
        let reported = stderr(&output);
        let warning = format!("pollbal: warning: {config} is not valid JSON: ");
        let rest = reported
            .strip_prefix(&warning)
            .unwrap_or_else(|| panic!("{arguments:?}: {reported}"));
        let rest = rest.split_once('\n').expect("a line").1.to_owned();
        (output.status.code(), stdout(&output), rest)
    };
    let (code, reported, error) = ask(&["status"]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{reported}");
    let disable = ["disable", "node-1", "--reason", "kernel"];
    assert_eq!(ask(&disable).0, Some(0));
    let (code, _, error) = ask(&["reload"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("is not valid JSON") && error.contains("line "),
        "{error}"
    );
    eventually(SOON, "it is remembered", || {
        ask(&["status"]).1.contains("reload").then_some(())
    });
    let enable = ["enable", "node-1", "--reason", "kernel", "--wait"];
    assert_eq!(ask(&enable).0, Some(0));
    fs::write(config, right).unwrap();
    assert_eq!(site.tell(&["reload"]), "reloaded: 4 nodes\n");
}

#[test]
fn explain_members_and_events_tell_what_happened() {
    let site = Site::start();
    site.tell(&["disable", "node-2", "--reason", "kernel", "--wait"]);
    let text = site.tell(&["explain", "node-2"]);
    for line in [
        format!("{}\nis        disabled (website v1), since ", site.named(2)),
        "disabled  kernel".to_owned(),
        ": website serving v1, after ".to_owned(),
        ": removed, drained\n".to_owned(),
        "returns   after `pollbal enable node-2 --reason kernel`\n".to_owned(),
        "node-2 leaves website (v1): disabled: kernel\n".to_owned(),
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
        last.ends_with("node-2 leaves website (v1): disabled: kernel\n"),
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
        text.contains("is        failed (website v1), since ")
            .then_some(text)
    });
    let why = " ago: HTTP 500, expected 200";
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[1].contains(why), "{text}");
    assert!(
        lines[2].starts_with("polled   ") && lines[2].contains(&format!("{why}, after ")),
        "{text}"
    );
    assert!(lines[2].ends_with("; next poll within 100ms"), "{text}");
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
    let reported = site.refused(&["reload"]);
    assert!(
        reported.starts_with("pollbal: ") && reported.contains("pool_directry"),
        "{reported}"
    );
    assert!(reported.contains("rise"), "{reported}");
}
