//! `alert_hook`: what is reported to people, that its end is reported too, and what is not reported.

mod delivery;
mod files;

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::common::becomes;
use crate::common::http;
use crate::common::nodes::{addrs, wait_rounds};
use crate::common::perlbal::Config;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;

/// A condition must hold, or be away, for up to ten seconds.
const LATER: Duration = Duration::from_secs(25);

/// What one run received, by variables and by JSON.
#[derive(Clone, Debug)]
struct Report {
    /// Kind, state and subject.
    words: String,
    text: String,
    json: Value,
}

/// A hook that appends what it receives to a file. Alerts are reported one after the other.
fn note(stage: &Stage) -> Value {
    let script = "printf '%s %s %s\\n%s\\n%s\\n' \"$POLLBAL_ALERT\" \"$POLLBAL_ALERT_STATE\" \"$POLLBAL_SUBJECT\" \
                  \"$POLLBAL_TEXT\" \"$POLLBAL_SEVERITY\" >> \"$0/alerts\"; cat >> \"$0/alerts\"";
    json!(["sh", "-c", script, stage.dir()])
}

fn alerts(stage: &Stage) -> Vec<Report> {
    let text = fs::read_to_string(stage.path("alerts")).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let reported = |lines: &[&str]| {
        let json: Value = serde_json::from_str(lines[3]).ok()?;
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        let words = [text("alert"), text("state"), text("subject")].join(" ");
        assert_eq!([&words, &text("text"), &text("severity")], lines[..3]);
        Some(Report {
            words,
            text: text("text"),
            json,
        })
    };
    // What is being written is not whole yet.
    lines.chunks_exact(4).filter_map(reported).collect()
}

/// Waits until exactly this was reported; gives the last of it.
#[track_caller]
fn wait_alerts(stage: &Stage, expected: &[String]) -> Report {
    let words = || {
        alerts(stage)
            .into_iter()
            .map(|reported| reported.words)
            .collect()
    };
    becomes(LATER, "alerts", &expected.to_vec(), words);
    alerts(stage).pop().unwrap()
}

/// The alerts in the event log: kind, level and text of each.
fn alert_events(stage: &Stage) -> Vec<[String; 3]> {
    let events = http::get(stage, "/v1/events").json();
    let events = events["events"].as_array().unwrap().clone();
    let alerts = events
        .iter()
        .filter(|event| event["kind"].as_str().unwrap().starts_with("alert"));
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    alerts
        .map(|event| ["kind", "level", "text"].map(|key| text(event, key)))
        .collect()
}

/// A pool that needs two, and alerts.
fn config(stage: &Stage) -> Value {
    json!({
        "alert_hook": note(stage),
        "pools": { "api": { "min_members": 2 } },
        // A node that a busy machine keeps from answering must not count as failed.
        "service_timeout": "5s",
    })
}

#[test]
fn a_pool_below_its_min_members_is_reported_and_that_it_is_over() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api", "api"]);
    let mut pollbal = Pollbal::start(&stage, &config(&stage));
    pollbal.wait_log(&["first round done"]);
    nodes[0].announce("api leaving");
    nodes[1].announce("api leaving");
    let words = |state: &str| format!("pool_short {state} api");
    let begin = wait_alerts(&stage, &[words("begin")]);
    assert!(begin.text.contains("1 serving"), "{}", begin.text);
    assert!(begin.text.contains("min_members 2"), "{}", begin.text);
    assert_eq!(begin.json["left_out"], 0);
    assert_eq!(begin.json["severity"], "critical");
    let (since, time) = (&begin.json["since"], &begin.json["time"]);
    let seconds = |time: &Value| {
        let time = humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
        time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
    };
    let held = seconds(time) - seconds(since);
    assert!((1.9..5.0).contains(&held), "{held} s before it is reported");
    pollbal.wait_log(&["error", "pool api below minimum"]);

    nodes[0].announce("api");
    let over = wait_alerts(&stage, &[words("begin"), words("over")]);
    let resolved = ": pool api has 2 serving members (min_members 2)";
    assert!(over.text.starts_with("resolved after "), "{}", over.text);
    assert!(over.text.ends_with(resolved), "{}", over.text);
    assert_eq!(&over.json["since"], since);
    pollbal.wait_log(&["info", "resolved after", resolved]);
    let (begin_text, over_text) = (begin.text, over.text);
    let expected = [
        ["alert", "error", &begin_text],
        ["alert-over", "info", &over_text],
    ];
    assert_eq!(alert_events(&stage), expected);
    pollbal.assert_alive();
}

#[test]
fn a_pool_without_members_is_reported_whatever_its_min_members_and_what_is_so_when_it_is_over() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "web"]);
    let config =
        json!({ "alert_hook": note(&stage), "pools": { "api": {} }, "alert_nodes_down": 0 });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    nodes[0].fail(500);
    let begin = wait_alerts(&stage, &["pool_empty begin api".to_owned()]);
    let text = "pool api has no members, requests to it wait (of its nodes: 1 failed)";
    assert_eq!(begin.text, text);
    assert_eq!(begin.json["severity"], "critical");
    pollbal.wait_log(&["error", text]);
    // One that nobody declared, too, as long as a node belongs to it.
    nodes[1].fail(500);
    let words = |pool: &str| format!("pool_empty begin {pool}");
    wait_alerts(&stage, &[words("api"), words("web")]);
    nodes[0].recover();
    nodes[1].announce("api");
    nodes[1].recover();
    let mut over: Vec<_> = ["api", "web"]
        .map(|pool| format!("pool_empty over {pool}"))
        .into();
    let mut expected = vec![words("api"), words("web")];
    expected.append(&mut over);
    wait_alerts(&stage, &expected);
    let texts: Vec<_> = alerts(&stage)
        .into_iter()
        .skip(2)
        .map(|reported| reported.text)
        .collect();
    assert!(texts[0].starts_with("resolved after "), "{texts:?}");
    assert!(
        texts[0].ends_with(": pool api has 2 serving members")
            || texts[0].ends_with(": pool api has 1 serving member"),
        "{texts:?}"
    );
    assert!(
        texts[1].ends_with(": pool web has no serving members, and no node announces it any more"),
        "{texts:?}"
    );
}

#[test]
fn nodes_that_are_down_are_reported_by_share_and_time_and_no_reminder_comes_when_they_are_back() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api", "api", "web"]);
    let config = json!({
        "alert_hook": note(&stage),
        "alert_nodes_down": "50%",
        "alert_nodes_down_after": "1s",
        // The reminder is due in the five seconds that it must be away for its end.
        "alert_interval": "4s",
        "pools": { "api": {}, "web": {} },
    });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    nodes[0].fail(500);
    pollbal.wait_log(&["node-1 removed from api"]);
    // A third of a pool, and a fourth of all, for three seconds: nothing.
    wait_rounds(&nodes, 30);
    assert_eq!(alerts(&stage).len(), 0);
    nodes[1].fail(500);
    let words = |state: &str| format!("nodes_down {state} nodes");
    let begin = wait_alerts(&stage, &[words("begin")]);
    assert_eq!(begin.text, "2 of 4 nodes down (api 2/3)");
    assert_eq!(begin.json["severity"], "degraded");
    nodes[0].recover();
    nodes[1].recover();
    let over = wait_alerts(&stage, &[words("begin"), words("over")]);
    assert!(over.text.ends_with(": 0 of 4 nodes down"), "{}", over.text);
}

#[test]
fn held_members_are_none_and_a_moment_is_nothing() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let pollbal = Pollbal::start(&stage, &config(&stage));
    pollbal.wait_log(&["first round done"]);
    let mark = pollbal.mark();
    nodes[0].announce("api leaving");
    pollbal.wait_log(&["node-1 leaves api"]);
    nodes[0].announce("api");
    pollbal.wait_log_after(mark, &["node-1 joins api"]);
    // Three seconds: longer than it must hold to be reported.
    wait_rounds(&nodes, 30);
    assert_eq!(alerts(&stage).len(), 0);
    // It stays in the pool, and is reported all the same.
    nodes[1].fail(500);
    let short = "pool_short begin api".to_owned();
    wait_alerts(&stage, &[short]);
    assert_eq!(stage.lines("api.pool").map(|lines| lines.len()), Some(2));
}

#[test]
fn a_sorry_server_is_reported_when_it_comes_and_when_it_goes() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    let mut config = config(&stage);
    config["pools"]["api"] = json!({ "sorry": [stage.free_addr()] });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    nodes[0].announce("");
    let words = |state: &str| format!("sorry_server {state} api");
    let reported = wait_alerts(&stage, &[words("begin")]);
    let addr = config["pools"]["api"]["sorry"][0].as_str().unwrap();
    assert!(reported.text.contains(addr), "{}", reported.text);
    nodes[0].announce("api");
    wait_alerts(&stage, &[words("begin"), words("over")]);
    // The log tells it as a change of the pool, and only so.
    assert_eq!(pollbal.log_with(&["sorry server", "pool api has"]).len(), 2);
    assert_eq!(
        pollbal.log_with(&["sorry server is active"]),
        Vec::<String>::new()
    );
}

#[test]
fn a_perlbal_that_is_gone_for_long_is_reported_and_that_it_is_back() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let mut perlbal = Config::new().pool("api").start(&stage);
    let mut config = config(&stage);
    config["perlbal"] = json!(perlbal.management());
    let pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("api", &addrs(&nodes));
    // A restart is nothing to wake anyone for.
    perlbal.kill();
    perlbal.start();
    perlbal.wait_members("api", &addrs(&nodes));
    perlbal.kill();
    let words = |state: &str| format!("load_balancer_lost {state} {}", perlbal.management());
    wait_alerts(&stage, &[words("begin")]);
    let (begin, over) = (words("begin"), words("over"));
    perlbal.start();
    wait_alerts(&stage, &[begin, over]);
    // The log has what the driver says of it, and no more.
    let kinds = alert_events(&stage).into_iter().map(|[kind, ..]| kind);
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(kinds, ["alert", "alert-over"]);
    assert_eq!(pollbal.log_with(&["unreachable"]), Vec::<String>::new());
}

#[test]
fn a_perlbal_that_a_reload_takes_out_is_not_lost() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let perlbal = Config::new().pool("api").start(&stage);
    let mut config = config(&stage);
    config["perlbal"] = json!(perlbal.management());
    let pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("api", &addrs(&nodes));
    config["perlbal"] = json!([]);
    stage.write_config(&config);
    pollbal.reload();
    pollbal.wait_log(&["reloaded: 2 nodes"]);
    // Takes as long to be reported as a Perlbal that is lost, and begins later.
    stage.write_services(&["nonsense".to_owned()]);
    let refused = format!("services_refused begin {}", stage.services_file().display());
    wait_alerts(&stage, &[refused]);
}

#[test]
fn a_perlbal_that_does_not_obey_is_reported_until_it_does() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["api", "api"]);
    let perlbal = Config::new().pool("other").start(&stage);
    let mut config = config(&stage);
    config["perlbal"] = json!({
        "address": perlbal.management(), "create_pools": false, "resync_interval": "500ms",
    });
    let _pollbal = Pollbal::start(&stage, &config);
    let words = |state: &str| format!("load_balancer_not_in_sync {state} {}", perlbal.management());
    let begin = wait_alerts(&stage, &[words("begin")]);
    // What differs, not where to look for it.
    assert!(
        begin.text.contains("pool `api` is missing"),
        "{}",
        begin.text
    );
    assert!(!begin.text.contains("the log"), "{}", begin.text);
    perlbal.ask("CREATE POOL api");
    let over = wait_alerts(&stage, &[words("begin"), words("over")]);
    let text = format!(
        ": Perlbal {} is connected and in sync",
        perlbal.management()
    );
    assert!(over.text.ends_with(&text), "{}", over.text);
}
