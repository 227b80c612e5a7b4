//! What stands in pool files, and when they are written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::nodes::{Node, wait_rounds};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays, text};

/// The directory is looked at every ten seconds for what others did to it.
const LOOKED_AT: Duration = Duration::from_secs(15);

fn pool_lines<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<String> {
    nodes.into_iter().map(Node::pool_line).collect()
}

fn services_lines<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<String> {
    nodes.into_iter().map(Node::services_line).collect()
}

#[track_caller]
fn wait_file(stage: &Stage, file: &str, lines: &[String]) {
    becomes(SOON, file, &Some(lines.to_vec()), || stage.lines(file));
}

/// Makes the pool directory with what an earlier run left there.
fn left_behind(stage: &Stage, files: &[(&str, &str)]) {
    fs::create_dir_all(stage.pool_directory()).unwrap();
    for (file, content) in files {
        fs::write(stage.pool_directory().join(file), content).unwrap();
        stage.own(file);
    }
}

/// Inode, time of modification and mode of each file in the directory.
fn stamps(stage: &Stage) -> BTreeMap<String, (u64, i64, i64, u32)> {
    let stamp = |name: String| {
        let metadata = fs::metadata(stage.pool_directory().join(&name)).ok()?;
        let times = (metadata.mtime(), metadata.mtime_nsec());
        Some((
            name,
            (metadata.ino(), times.0, times.1, metadata.mode() & 0o7777),
        ))
    };
    stage.files().into_iter().filter_map(stamp).collect()
}

#[test]
fn members_stand_in_the_order_of_the_services_file() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website ok v1", "website", "api", "website ok v1", "", ""]);
    let listed = |order: [usize; 6]| {
        let lines: Vec<_> = order.map(|index| nodes[index].services_line()).to_vec();
        stage.write_services(&lines);
    };
    listed([3, 5, 1, 4, 0, 2]);
    let _pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(
        &stage,
        "website.pool",
        &pool_lines([&nodes[3], &nodes[1], &nodes[0]]),
    );
    wait_file(
        &stage,
        "website.v1.pool",
        &pool_lines([&nodes[3], &nodes[0]]),
    );
    wait_file(
        &stage,
        "disabled_services",
        &services_lines([&nodes[5], &nodes[4]]),
    );
    listed([0, 1, 2, 3, 4, 5]);
    wait_file(
        &stage,
        "website.pool",
        &pool_lines([&nodes[0], &nodes[1], &nodes[3]]),
    );
    wait_file(
        &stage,
        "website.v1.pool",
        &pool_lines([&nodes[0], &nodes[3]]),
    );
    wait_file(
        &stage,
        "disabled_services",
        &services_lines([&nodes[4], &nodes[5]]),
    );
}

/// Runs with one node on port 80 that was a member in the run before, and stays one, and one on
/// another port; gives both lines of the pool's file.
fn lines_in_format(format: &Value) -> (Stage, Vec<String>) {
    let stage = Stage::new();
    let node = stage.node(1, "website");
    let port_80 = stage.ip(2);
    stage.write_services(&[format!("{port_80} 80 # new-name"), node.services_line()]);
    left_behind(
        &stage,
        &[("website.pool", &format!("{port_80} 80 # old-name\n"))],
    );
    let config = json!({ "fall": 1000, "pool_file_format": format });
    Pollbal::run(&stage, &config, &["--once"]).assert_code(0);
    let lines = stage.lines("website.pool").unwrap();
    (stage, lines)
}

#[test]
fn the_format_for_perlbal_has_a_colon_before_every_port_but_80() {
    let (stage, lines) = lines_in_format(&json!("perlbal"));
    let port_80 = format!("{} 80 # new-name", stage.ip(2));
    assert_eq!(lines, [port_80, format!("{} # node-1", stage.node_addr(1))]);
}

#[test]
fn the_format_services_never_has_a_colon() {
    let (stage, lines) = lines_in_format(&json!("services"));
    let port_80 = format!("{} 80 # new-name", stage.ip(2));
    let addr = stage.node_addr(1);
    assert_eq!(
        lines,
        [port_80, format!("{} {} # node-1", addr.ip(), addr.port())]
    );
}

#[test]
fn disabled_services_lists_each_node_that_is_in_no_pool_for_whatever_reason() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["website", "website leaving", "", "website", "website"]);
    nodes[3].fail(503);
    nodes[4].die();
    let _pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "disabled_services", &services_lines(&nodes[1..]));
    nodes[1].announce("website");
    nodes[2].announce("api ok v2");
    nodes[3].recover();
    nodes[4].revive();
    wait_file(&stage, "disabled_services", &[]);
    nodes[0].announce("website quitting");
    wait_file(&stage, "disabled_services", &services_lines(&nodes[..1]));
}

#[test]
fn each_version_has_its_file() {
    let stage = Stage::new();
    let nodes = stage.nodes(&[
        "website ok 1.0",
        "website ok 2.0-rc+1",
        "website",
        "api ok 1.0",
    ]);
    let config = json!({ "empty_pool_grace": 500 });
    let _pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..3]));
    wait_file(&stage, "website.1.0.pool", &pool_lines(&nodes[..1]));
    wait_file(&stage, "website.2.0-rc+1.pool", &pool_lines(&nodes[1..2]));
    wait_file(&stage, "api.1.0.pool", &pool_lines(&nodes[3..]));
    nodes[0].announce("website ok 2.0-rc+1");
    wait_file(&stage, "website.2.0-rc+1.pool", &pool_lines(&nodes[..2]));
    wait_file(&stage, "website.1.0.pool", &[]);
    assert_eq!(stage.lines("website.pool"), Some(pool_lines(&nodes[..3])));
    eventually(SOON, "the empty version's file is deleted", || {
        stage.lines("website.1.0.pool").is_none().then_some(())
    });
}

#[test]
fn files_have_mode_0644_whatever_the_umask() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website ok v1", ""]);
    let config = json!({ "pools": { "declared": {} } });
    let _pollbal = Pollbal::start_behind(&stage, &config, "umask 077");
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    wait_file(&stage, "disabled_services", &services_lines(&nodes[1..]));
    let stamps = stamps(&stage);
    assert_eq!(stamps.len(), 4, "{stamps:?}");
    assert!(stamps.values().all(|stamp| stamp.3 == 0o644), "{stamps:?}");
}

#[test]
fn a_file_is_written_only_when_its_content_changes() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website ok v1", "website", "api", ""]);
    let config = json!({ "poll_interval": "50ms", "empty_pool_grace": "1h" });
    let pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "disabled_services", &services_lines(&nodes[3..]));
    wait_file(&stage, "website.v1.pool", &pool_lines(&nodes[..1]));
    wait_rounds(&nodes, 2);
    let before = stamps(&stage);
    let others = |mut stamps: BTreeMap<_, _>| {
        stamps.retain(|name: &String, _| name.starts_with("website"));
        stamps
    };
    let enough = nodes[0].polls() + 30;
    stays(
        SOON,
        "files",
        &before,
        || stamps(&stage),
        || nodes[0].polls() >= enough,
    );
    // Nor when others do, nor at a restart.
    nodes[2].announce("web2");
    wait_file(&stage, "web2.pool", &pool_lines(&nodes[2..3]));
    wait_file(&stage, "api.pool", &[]);
    wait_rounds(&nodes, 2);
    assert_eq!(others(stamps(&stage)), others(before));
    let before = stamps(&stage);
    pollbal.kill();
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    wait_rounds(&nodes, 5);
    assert_eq!(stamps(&stage), before);
}

#[test]
fn each_rewrite_has_its_own_whole_second() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let config = json!({ "poll_interval": "20ms", "empty_pool_grace": 0 });
    let _pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    let second = || Some(fs::metadata(stage.pool_file("website")).ok()?.mtime());
    let mut seconds = vec![second().unwrap()];
    for count in [1, 2, 1, 2, 1, 2] {
        nodes[1].announce(if count == 2 { "website" } else { "api" });
        wait_file(&stage, "website.pool", &pool_lines(&nodes[..count]));
        seconds.push(second().unwrap());
    }
    // Deleted and made again, it must not seem to be the one before either.
    for node in &nodes {
        node.announce("api");
    }
    eventually(SOON, "the file is deleted", || {
        second().is_none().then_some(())
    });
    nodes[0].announce("website");
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    seconds.push(second().unwrap());
    assert!(
        seconds.windows(2).all(|pair| pair[0] < pair[1]),
        "{seconds:?}"
    );
}

#[test]
fn a_file_that_was_deleted_by_hand_comes_back_with_another_second() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api"]);
    let _pollbal = Pollbal::start(&stage, &json!({ "poll_interval": "20ms" }));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    let second = || fs::metadata(stage.pool_file("website")).unwrap().mtime();
    let mut seconds = vec![second()];
    // Each time both happen within one second, if the machine is quick enough, at least once.
    for count in [2, 1, 2, 1] {
        fs::remove_file(stage.pool_file("website")).unwrap();
        nodes[1].announce(if count == 2 { "website" } else { "api" });
        wait_file(&stage, "website.pool", &pool_lines(&nodes[..count]));
        seconds.push(second());
    }
    assert!(
        seconds.windows(2).all(|pair| pair[0] != pair[1]),
        "{seconds:?}"
    );
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 150]);
    let config = json!({ "poll_interval": "50ms", "service_timeout": "5s" });
    let _pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    let whole = [text(&pool_lines(&nodes)), text(&pool_lines(&nodes[..149]))];
    for round in 1..=15 {
        nodes[149].announce(if round % 2 == 0 { "website" } else { "" });
        let expected = &whole[round % 2];
        // Without a pause between two looks: half a file would be there for a moment only.
        eventually(SOON, "the other content", || {
            let mut observed = String::new();
            for _ in 0..200 {
                observed = fs::read_to_string(stage.pool_file("website")).unwrap();
                assert!(
                    whole.contains(&observed),
                    "neither the one nor the other: {observed:?}"
                );
            }
            (observed == *expected).then_some(())
        });
    }
}

#[test]
fn what_was_changed_or_deleted_by_hand_is_restored() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api", "new", ""]);
    let _pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "disabled_services", &services_lines(&nodes[3..]));
    wait_file(&stage, "website.pool", &pool_lines(&nodes[..1]));
    let website = stage.pool_file("website");
    fs::write(&website, "10.0.0.1 80 # by hand\n").unwrap();
    fs::remove_file(stage.pool_file("api")).unwrap();
    fs::write(stage.pool_file("new"), [0xff, 0x00]).unwrap();
    fs::remove_file(stage.pool_directory().join("disabled_services")).unwrap();
    let expected = [
        Some(text(&pool_lines(&nodes[..1]))),
        Some(text(&pool_lines(&nodes[1..2]))),
        Some(text(&pool_lines(&nodes[2..3]))),
        Some(text(&services_lines(&nodes[3..]))),
    ];
    becomes(LOOKED_AT, "the files", &expected, || {
        let files = ["website.pool", "api.pool", "new.pool", "disabled_services"];
        files.map(|file| {
            let bytes = fs::read(stage.pool_directory().join(file)).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        })
    });
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_what_it_points_to_left_alone() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    left_behind(&stage, &[]);
    for (file, target) in [("website.pool", "treasure"), ("stale.pool", "treasure-2")] {
        fs::write(stage.path(target), "precious\n").unwrap();
        symlink(stage.path(target), stage.pool_directory().join(file)).unwrap();
        stage.own(file);
    }
    let _pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, "website.pool", &pool_lines(&nodes));
    wait_file(&stage, "stale.pool", &[]);
    for target in ["treasure", "treasure-2"] {
        assert_eq!(
            fs::read_to_string(stage.path(target)).unwrap(),
            "precious\n"
        );
    }
}
