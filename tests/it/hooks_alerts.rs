//! `alert_hook`: what is reported to people, that its end is reported too, and what is not reported.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::common::http;
use crate::common::nodes::{addrs, wait_rounds};
use crate::common::perlbal::Config;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, stays};

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

#[test]
fn pool_files_that_cannot_be_written_are_reported_until_they_can() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["api", "api"]);
    let obstacle = stage.pool_file("api");
    fs::create_dir_all(obstacle.join("full")).unwrap();
    let _pollbal = Pollbal::start(&stage, &config(&stage));
    let words = |state: &str| {
        format!(
            "files_not_written {state} {}",
            stage.pool_directory().display()
        )
    };
    let reported = wait_alerts(&stage, &[words("begin")]);
    assert!(
        reported.text.contains("failed to write"),
        "{}",
        reported.text
    );
    fs::remove_dir_all(&obstacle).unwrap();
    wait_alerts(&stage, &[words("begin"), words("over")]);
}

#[test]
fn a_services_file_that_is_refused_is_reported_with_what_is_wrong() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let pollbal = Pollbal::start(&stage, &config(&stage));
    pollbal.wait_log(&["first round done"]);
    stage.write_services(&["nonsense".to_owned(), "10.0.0.1 0".to_owned()]);
    let words = |state: &str| {
        format!(
            "services_refused {state} {}",
            stage.services_file().display()
        )
    };
    let reported = wait_alerts(&stage, &[words("begin")]);
    assert_eq!(reported.json["severity"], "degraded");
    for word in ["line 1", "line 2", "the last good list stays active"] {
        assert!(reported.text.contains(word), "{}", reported.text);
    }
    stage.list(&nodes);
    wait_alerts(&stage, &[words("begin"), words("over")]);
}

#[test]
fn a_reload_that_is_refused_is_reported_at_once_and_over_with_the_next_good_one() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["api", "api"]);
    let good = config(&stage);
    let pollbal = Pollbal::start(&stage, &good);
    pollbal.wait_log(&["first round done"]);
    let mut wrong = good.clone();
    wrong["rise"] = json!(0);
    stage.write_config(&wrong);
    pollbal.reload();
    let file = pollbal.config_file().display().to_string();
    let words = |state: &str| format!("reload_refused {state} {file}");
    let reported = wait_alerts(&stage, &[words("begin")]);
    assert!(reported.text.contains("rise"), "{}", reported.text);
    stage.write_config(&good);
    pollbal.reload();
    wait_alerts(&stage, &[words("begin"), words("over")]);
}

#[test]
fn a_state_file_that_cannot_be_written_is_reported() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["api", "api"]);
    let mut config = config(&stage);
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    fs::write(stage.path("obstacle"), "").unwrap();
    let path = stage.path("obstacle/state.json");
    config["state_file"] = json!(path);
    stage.write_config(&config);
    pollbal.reload();
    let words = |state: &str| format!("state_not_written {state} {}", path.display());
    let reported = wait_alerts(&stage, &[words("begin")]);
    assert!(
        reported.text.contains("failed to write"),
        "{}",
        reported.text
    );
    fs::remove_file(stage.path("obstacle")).unwrap();
    wait_alerts(&stage, &[words("begin"), words("over")]);
}

#[test]
fn a_state_file_that_is_refused_is_reported_until_what_was_set_aside_is_gone() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["api", "api"]);
    let mut config = config(&stage);
    let file = stage.path("state.json");
    config["state_file"] = json!(file);
    fs::write(&file, "{\"version\": 1, \"orders\": {\"disab").unwrap();
    let pollbal = Pollbal::start(&stage, &config);
    let words = |state: &str| format!("state_refused {state} {}", file.display());
    let reported = wait_alerts(&stage, &[words("begin")]);
    let aside = stage.path("state.json.broken");
    for word in ["failed to understand", &aside.display().to_string()] {
        assert!(reported.text.contains(word), "{}", reported.text);
    }
    // A good file in its place is not the end of it: what was lost is in the other.
    let order = json!({ "reason": "storm" });
    assert_eq!(http::post(&stage, "/v1/freeze", &order).status, 200);
    pollbal.wait_log(&["storm"]);
    becomes(SOON, "a good file", &true, || file.exists());
    assert_eq!(alerts(&stage).len(), 1);
    fs::rename(&aside, stage.path("for later")).unwrap();
    wait_alerts(&stage, &[words("begin"), words("over")]);
}

#[test]
fn outside_of_the_hours_only_the_log_has_alerts_and_a_reload_may_open_them() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // In a zone three and a half hours behind UTC, from two hours on.
    let minutes = |ahead: u64| (now.as_secs() / 60 + 24 * 60 - 210 + ahead) % (24 * 60);
    let time = |minutes: u64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let hours = |from, until| json!(format!("{}-{}", time(minutes(from)), time(minutes(until))));
    let mut own = config(&stage);
    own["alert_hours"] = hours(120, 180);
    let config = stage.write_config(&own);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command
        .env("TZ", "<-0330>3:30")
        .arg("--config")
        .arg(&config);
    let pollbal = Pollbal::spawn(command, config);
    pollbal.wait_log(&["first round done"]);
    nodes[0].announce("api leaving");
    pollbal.wait_log(&["error", "pool api below minimum"]);
    let enough = nodes[0].polls() + 10;
    let polled = || nodes[0].polls() >= enough;
    stays(SOON, "alerts", &0, || alerts(&stage).len(), polled);
    own["alert_hours"] = hours(24 * 60 - 60, 120);
    stage.write_config(&own);
    pollbal.reload();
    wait_alerts(&stage, &["pool_short begin api".to_owned()]);
}

#[test]
fn an_alert_reaches_a_person_while_hooks_of_many_nodes_hang() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"; 40]);
    let mut config = config(&stage);
    config["node_hook"] = json!(["sleep", "1000"]);
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    for node in &nodes {
        node.announce("");
    }
    wait_alerts(&stage, &["pool_empty begin api".to_owned()]);
}

#[test]
fn a_restart_tells_nothing_anew_and_that_it_is_over() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api", "web"]);
    let mut config = config(&stage);
    config["pools"]["web"] = json!({ "min_members": 1 });
    let mut pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    let words = |state: &str, pool: &str| format!("pool_short {state} {pool}");
    nodes[0].announce("api leaving");
    let mut expected = vec![words("begin", "api")];
    let begin = wait_alerts(&stage, &expected);
    assert_eq!(pollbal.terminate().code(), Some(0));
    // A single round writes files, and knows nothing of alerts.
    Pollbal::run(&stage, &config, &["--once"]).assert_code(0);
    let mut pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    // It would be reported before this one.
    nodes[2].announce("");
    expected.push("pool_empty begin web".to_owned());
    wait_alerts(&stage, &expected);
    assert_eq!(pollbal.terminate().code(), Some(0));
    nodes[0].announce("api");
    let _pollbal = Pollbal::start(&stage, &config);
    expected.push(words("over", "api"));
    let over = wait_alerts(&stage, &expected);
    assert_eq!(over.json["since"], begin.json["since"]);
}

#[test]
fn no_more_alerts_than_the_limit_and_one_of_each_kind_first() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["api"]);
    let pools = (0..5).map(|number| (format!("p{number}"), json!({ "min_members": 1 })));
    let config = json!({
        "alert_hook": note(&stage),
        "alert_limit": 3,
        "alert_interval": "8s",
        "pools": pools.collect::<serde_json::Map<_, _>>(),
        "perlbal": stage.free_addr(),
    });
    let pollbal = Pollbal::start(&stage, &config);
    // All empty after two seconds; the Perlbal is lost after five.
    let empty = |pool: &str| format!("pool_empty begin {pool}");
    let lost = format!(
        "load_balancer_lost begin {}",
        config["perlbal"].as_str().unwrap()
    );
    let begun = || {
        let reported = alerts(&stage).into_iter().map(|reported| reported.words);
        reported.filter(|words| words.contains(" begin ")).collect()
    };
    let first = vec![empty("p0"), empty("p1"), empty("p2")];
    let all = [first.clone(), vec![empty("p3"), lost, empty("p4")]].concat();
    becomes(LATER, "the first three", &first, begun);
    becomes(LATER, "the next three", &all, begun);
    let reported = alerts(&stage);
    let next = &reported[3];
    assert_eq!(next.json["left_out"], 2);
    let skipped = "(2 other alerts skipped before: pool_empty, load_balancer_lost)";
    assert!(next.text.ends_with(skipped), "{}", next.text);
    drop(pollbal);
}

#[test]
fn an_alert_whose_hook_fails_is_reported_again_before_the_next() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let mut config = config(&stage);
    // Fails whenever it may, and notes all the same. What is noted has failed already, or never will.
    let script = config["alert_hook"][2].as_str().unwrap().to_owned();
    config["alert_hook"][2] = json!(format!(
        "! rm \"$0/fail\" 2>&-; well=$?; {script}; exit $well"
    ));
    let fail = || fs::write(stage.path("fail"), "").unwrap();
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    let words = |state: &str| format!("pool_short {state} api");
    let (begin, over) = (words("begin"), words("over"));
    fail();
    nodes[0].announce("api leaving");
    wait_alerts(&stage, &[begin.clone(), begin.clone()]);
    fail();
    nodes[0].announce("api");
    wait_alerts(&stage, &[begin.clone(), begin, over.clone(), over]);
    pollbal.wait_log(&["alert_hook is tried again"]);
    assert_eq!(pollbal.log_with(&["warn", "alert_hook"]).len(), 2);
}

#[test]
fn an_alert_whose_hook_always_fails_is_reported_three_times_and_holds_up_no_end() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let mut config = config(&stage);
    let script = "echo $POLLBAL_ALERT_STATE >> \"$0/reported\"; exit 1";
    config["alert_hook"] = json!(["sh", "-c", script, stage.dir()]);
    let mut pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    nodes[0].announce("api leaving");
    let reported = || -> Vec<String> {
        let text = fs::read_to_string(stage.path("reported")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let mut expected = vec!["begin".to_owned(); 3];
    becomes(LATER, "three tries", &expected, reported);
    // A fourth would come first.
    nodes[0].announce("api");
    expected.push("over".to_owned());
    becomes(LATER, "the next", &expected, reported);
    // It waits for its second try.
    let began = Instant::now();
    assert_eq!(pollbal.terminate().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(2), "held up");
    assert_eq!(reported(), expected);
}

#[test]
fn a_dry_run_and_once_alert_nobody() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    let config = config(&stage);
    Pollbal::run(&stage, &config, &["--once"]).assert_code(0);
    let pollbal = Pollbal::start_with(&stage, &config, &["--dry-run"]);
    pollbal.wait_log(&["first round done"]);
    // Three seconds: longer than what must hold.
    wait_rounds(&nodes, 30);
    assert_eq!(alerts(&stage).len(), 0);
    assert_eq!(pollbal.log_with(&["below minimum"]), Vec::<String>::new());
}
