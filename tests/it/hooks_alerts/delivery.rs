//! When alerts are reported, how many, and what happens when their hook fails.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{LATER, alerts, config, note, wait_alerts};
use crate::common::nodes::wait_rounds;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, stays};

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
fn a_restart_reports_nothing_again_and_that_it_is_over() {
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
