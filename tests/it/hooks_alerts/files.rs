//! Alerts about files: pool files, the services file, the configuration, the state file.

use std::fs;

use serde_json::json;

use super::{alerts, config, wait_alerts};
use crate::common::http;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

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
