//! Which files are pollbal's own: of the pool directory, and the state file. What is not stays as it is.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::json;

use crate::common::http::post;
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays};

fn pool_lines(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::pool_line).collect()
}

#[track_caller]
fn wait_file(stage: &Stage, file: &str, lines: Vec<String>) {
    becomes(SOON, file, &Some(lines), || stage.lines(file));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_pool_file_that_somebody_else_wrote_stays_as_it_is_and_is_reported_once() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    fs::create_dir(stage.pool_directory()).unwrap();
    let by_hand = "10.0.0.9:80 # by hand\n";
    for name in ["legacy", "website.v9"] {
        fs::write(stage.pool_file(name), by_hand).unwrap();
    }
    fs::write(stage.pool_file("empty"), "").unwrap();
    let config = json!({ "empty_pool_grace": 0, "poll_interval": "50ms" });
    for run in 0..2 {
        let mut pollbal = Pollbal::start(&stage, &config);
        wait_file(&stage, "website.pool", pool_lines(&nodes));
        let reported = pollbal.wait_log(&["warn", "stay as they are", "delete them"]);
        for name in ["legacy.pool", "website.v9.pool", "empty.pool"] {
            assert!(reported.contains(name), "{reported}");
        }
        let enough = nodes[0].polls() + 20;
        let content = || {
            let read = |name| fs::read_to_string(stage.pool_file(name)).ok();
            ["legacy", "website.v9", "empty"].map(read)
        };
        let kept = [by_hand, by_hand, ""].map(|text| Some(text.to_owned()));
        stays(SOON, "what is not ours", &kept, content, || {
            nodes[0].polls() >= enough
        });
        assert_eq!(
            pollbal.log_with(&["stay as they are"]).len(),
            1,
            "run {run}"
        );
        assert_eq!(pollbal.terminate().code(), Some(0));
    }
}

#[test]
fn what_pollbal_wrote_is_emptied_and_deleted_also_by_the_next_run() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["old ok v1", "website"]);
    let config = json!({ "empty_pool_grace": "200ms" });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "old.pool", pool_lines(&nodes[..1]));
    wait_file(&stage, "old.v1.pool", pool_lines(&nodes[..1]));
    pollbal.kill();
    nodes[0].announce("website");
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", pool_lines(&nodes));
    eventually(SOON, "the old files are gone", || {
        let files = stage.files();
        (!files.iter().any(|name| name.starts_with("old"))).then_some(())
    });
    // Behind that: a crash in between leaves a name in the list, never a file out of it.
    let list = stage.pool_directory().join(".pollbal-owned");
    eventually(SOON, "the names are forgotten", || {
        let names = fs::read_to_string(&list).unwrap();
        (!names.contains("old")).then_some(())
    });
    assert_eq!(
        pollbal.log_with(&["stay as they are"]),
        Vec::<String>::new()
    );
    // Now the name is free for others.
    fs::write(stage.pool_file("old"), "10.0.0.9:80 # by hand\n").unwrap();
    drop(pollbal);
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["stay as they are", "old.pool"]);
    assert_eq!(
        stage.lines("old.pool"),
        Some(vec!["10.0.0.9:80 # by hand".to_owned()])
    );
}

#[test]
fn without_its_list_pollbal_owns_what_it_is_to_write_and_nothing_else() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["old", "website"]);
    let config = json!({ "empty_pool_grace": 0 });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "old.pool", pool_lines(&nodes[..1]));
    pollbal.kill();
    fs::remove_file(stage.pool_directory().join(".pollbal-owned")).unwrap();
    nodes[0].announce("website");
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", pool_lines(&nodes));
    pollbal.wait_log(&["stay as they are", "old.pool"]);
    assert_eq!(stage.lines("old.pool"), Some(pool_lines(&nodes[..1])));
    // It announces that pool again, so that its file is pollbal's again.
    nodes[0].announce("old");
    wait_file(&stage, "website.pool", pool_lines(&nodes[1..]));
    nodes[0].announce("website");
    eventually(SOON, "the file is gone", || {
        stage.lines("old.pool").is_none().then_some(())
    });
}

#[test]
fn modes_do_not_hang_on_the_umask() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website ok v1"]);
    for umask in ["077", "000", "0277"] {
        let (pools, kept) = (stage.path(umask), stage.path("state-of").join(umask));
        let config = json!({ "pool_directory": pools.join("made"), "state_file": kept });
        let pollbal = Pollbal::start_behind(&stage, &config, &format!("umask {umask}"));
        pollbal.wait_log(&["wrote website.pool"]);
        let order = json!({ "nodes": ["node-1"], "reason": "test", "force": true });
        post(&stage, "/v1/disable", &order).ok();
        let directories = [pools.clone(), pools.join("made"), stage.path("state-of")];
        for directory in directories {
            assert_eq!(mode(&directory), 0o755, "{umask}: {directory:?}");
        }
        for name in ["website.pool", "website.v1.pool", "disabled_services"] {
            let path = pools.join("made").join(name);
            eventually(SOON, name, || path.exists().then_some(()));
            assert_eq!(mode(&path), 0o644, "{umask}: {name}");
        }
        assert_eq!(mode(&kept), 0o600, "{umask}");
        let enable = json!({ "nodes": ["node-1"], "reason": "test" });
        post(&stage, "/v1/enable", &enable).ok();
        nodes[0].wait_polls(1);
    }
}

#[test]
fn two_pollbals_do_not_share_a_state_file() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let kept = stage.path("state.json");
    let left = stage.path(".state.json-x1Y2z3.tmp");
    File::create(&left).unwrap();
    let pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "website.pool", pool_lines(&nodes));
    assert!(!left.exists(), "a killed run left it");
    let other = json!({ "admin_socket": "", "pool_directory": stage.path("other") });
    let ended = Pollbal::run(&stage, &other, &[]);
    ended.assert_code(78);
    let process = format!("process {}", pollbal.pid().as_raw_pid());
    for words in [&kept.display().to_string(), "another pollbal", &process] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    assert!(!stage.path("other").exists(), "nothing was touched");
    // Nor does a reload take one that another has; what only looks takes none.
    let own = stage.path("own.json");
    let mut other = other;
    other["state_file"] = json!(own);
    let second = Pollbal::start(&stage, &other);
    second.wait_log(&["wrote website.pool"]);
    other["state_file"] = json!(kept);
    let config = stage.write_config(&other);
    assert_eq!(second.config_file(), &config);
    second.reload();
    second.wait_log(&["error", "another pollbal", "state.json"]);
    second.wait_log(&["error", "reload rejected"]);
    Pollbal::run(&stage, &other, &["--dry-run", "--once"]).assert_code(0);
    // When the first ends, it may.
    pollbal.kill();
    let mark = second.mark();
    stage.write_config(&other);
    second.reload();
    second.wait_log_after(mark, &["info", "reloaded"]);
    let again = stage.write_config(&json!({ "admin_socket": "", "state_file": own }));
    assert_eq!(second.config_file(), &again);
}

#[test]
fn another_pool_directory_leaves_files_behind_and_that_is_reported() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api"]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "website.pool", pool_lines(&nodes[..1]));
    wait_file(&stage, "api.pool", pool_lines(&nodes[1..]));
    // The same directory under another name is no other one.
    let name = stage
        .pool_directory()
        .join("../")
        .join(stage.pool_directory().file_name().unwrap());
    stage.write_config(&json!({ "pool_directory": name }));
    let answer = post(&stage, "/v1/reload", &json!({})).json();
    assert!(answer["warnings"].is_null(), "{answer}");
    let new = stage.path("new");
    stage.write_config(&json!({ "pool_directory": new }));
    let answer = post(&stage, "/v1/reload", &json!({})).json();
    let warning = answer["warnings"][0].as_str().unwrap_or_default();
    let (old, new) = (stage.pool_directory(), new);
    for words in [
        old.to_str().unwrap(),
        new.to_str().unwrap(),
        "follow nobody any more; point their readers",
        "then delete them: api.pool, website.pool",
    ] {
        assert!(warning.contains(words), "{words}: {answer}");
    }
    pollbal.wait_log(&["warn", "then delete them", "website.pool"]);
    assert_eq!(stage.lines("website.pool"), Some(pool_lines(&nodes[..1])));
}

#[test]
fn a_pool_file_and_a_state_file_beyond_all_bounds_are_not_read() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    fs::create_dir(stage.pool_directory()).unwrap();
    let kept = stage.path("state.json");
    for path in [&stage.pool_file("website"), &kept] {
        let file = File::create(path).unwrap();
        file.set_len(3 << 30).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o600))
            .unwrap();
    }
    let pollbal = Pollbal::start(&stage, &json!({ "pools": { "website": {} } }));
    pollbal.wait_log(&["error", "state.json", "3221225472 bytes"]);
    // Before that a look would read all of the file.
    pollbal.wait_log(&["wrote website.pool"]);
    wait_file(&stage, "website.pool", pool_lines(&nodes));
    let config = stage.path("pollbal.json");
    File::create(&config).unwrap().set_len(3 << 30).unwrap();
    pollbal.reload();
    pollbal.wait_log(&["error", "pollbal.json", "3221225472 bytes"]);
    pollbal.wait_log(&["error", "reload rejected"]);
}
