//! Pool files alone: `pollbal` has no management connection, and Perlbal reads what it needs by `SET nodefile`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::common::client::{Traffic, failures, get};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually};

/// New backend connections for each request: only then does Perlbal look at the file again, every 4 s at most.
const NOT_KEPT: [(&str, &str); 2] = [("persist_client", "on"), ("persist_backend", "off")];

/// Perlbal that follows `website.pool`, with the service `web` on it.
fn perlbal(stage: &Stage) -> Perlbal {
    Config::new()
        .nodefile_pool("website", &stage.pool_file("website"))
        .service_with(stage, "web", "website", &NOT_KEPT)
        .start(stage)
}

fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_secs())
}

/// When the file was last changed, in whole seconds as Perlbal compares it.
fn mtime(file: &Path) -> u64 {
    let metadata = fs::metadata(file).expect("the pool file is there");
    whole_seconds(metadata.modified().expect("files have a time here"))
}

#[track_caller]
fn wait_file(stage: &Stage, nodes: &[&Node]) {
    let lines = Some(nodes.iter().map(|node| node.pool_line()).collect());
    becomes(SOON, "website.pool", &lines, || stage.lines("website.pool"));
}

#[test]
fn changes_reach_perlbal_by_the_file_alone_with_ports_other_than_80() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website", "api"]);
    let _pollbal = Pollbal::start(&stage, &json!({}));
    wait_file(&stage, &[&nodes[0], &nodes[1]]);
    let perlbal = perlbal(&stage);
    assert_eq!(perlbal.members("website"), Some(addrs(&nodes[..2])));
    // Only traffic makes Perlbal look at the file again.
    let traffic = Traffic::start_paced(perlbal.service("web"), 2, Duration::from_millis(20));
    traffic.wait_answers_of("node-1", 1);
    traffic.wait_answers_of("node-2", 1);

    nodes[0].announce("website leaving");
    nodes[2].announce("website");
    perlbal.wait_members("website", &addrs(&nodes[1..]));
    traffic.wait_answers_of("node-3", 1);
    nodes[0].announce("website");
    nodes[1].announce("");
    perlbal.wait_members("website", &addrs([&nodes[0], &nodes[2]]));
    traffic.wait_answers_of("node-1", 1);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

#[test]
fn two_changes_within_one_second_are_both_loaded() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website"; 10]);
    let _pollbal = Pollbal::start(&stage, &json!({ "poll_interval": "20ms" }));
    let file = stage.pool_file("website");
    let mut members: Vec<&Node> = nodes.iter().collect();
    wait_file(&stage, &members);
    let perlbal = perlbal(&stage);
    let load = format!("SET website nodefile = {}", file.display());
    let traffic = Traffic::start_paced(perlbal.service("web"), 2, Duration::from_millis(20));

    // Perlbal loads the first change, and in the same second comes the second. That they fell into one second is the
    // premise of the test, not its result: a busy machine may need another go, with other nodes.
    let premise = (0..4).any(|_| {
        eventually(SOON, "a new second", || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
            (now.subsec_millis() < 100).then_some(())
        });
        let begun = whole_seconds(SystemTime::now());
        members.remove(0).announce("website leaving");
        wait_file(&stage, &members);
        perlbal.tell(&load);
        let first = mtime(&file);
        members.remove(0).announce("website leaving");
        wait_file(&stage, &members);
        assert_ne!(
            mtime(&file),
            first,
            "the times are the same in whole seconds"
        );
        whole_seconds(SystemTime::now()) == begun
    });
    assert!(
        premise,
        "this machine is too slow for two changes within a second"
    );
    perlbal.wait_members("website", &addrs(members));
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

#[test]
fn every_rewrite_has_a_time_of_its_own_in_whole_seconds() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let _pollbal = Pollbal::start(&stage, &json!({ "poll_interval": "20ms" }));
    let file = stage.pool_file("website");
    wait_file(&stage, &[&nodes[0], &nodes[1]]);
    let started = Instant::now();
    let mut times = BTreeSet::from([mtime(&file)]);
    let mut writes = 1;
    while writes < 7 {
        nodes[0].announce("website leaving");
        wait_file(&stage, &[&nodes[1]]);
        let fresh = times.insert(mtime(&file));
        assert!(fresh, "a time is used again after {:?}", started.elapsed());
        nodes[0].announce("website");
        wait_file(&stage, &[&nodes[0], &nodes[1]]);
        let fresh = times.insert(mtime(&file));
        assert!(fresh, "a time is used again after {:?}", started.elapsed());
        writes += 2;
    }
}

#[test]
fn a_pool_that_loses_its_last_member_becomes_empty_in_perlbal_too() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api"]);
    let _pollbal = Pollbal::start(&stage, &json!({ "empty_pool_grace": "1h" }));
    wait_file(&stage, &[&nodes[0]]);
    let perlbal = perlbal(&stage);
    let _traffic = Traffic::start_paced(perlbal.service("web"), 1, Duration::from_millis(20));
    nodes[0].announce("");
    perlbal.wait_members("website", &addrs([]));
    assert_eq!(stage.lines("website.pool"), Some(vec![]));
}

#[test]
fn an_emptied_file_is_deleted_after_the_grace_unless_its_pool_is_declared() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api"]);
    let grace = Duration::from_millis(1_500);
    let config = json!({
        "empty_pool_grace": "1500ms",
        "pools": { "website": {}, "shop": {} },
    });
    let _pollbal = Pollbal::start(&stage, &config);
    wait_file(&stage, &[&nodes[0]]);
    // Declared, and nobody announces it.
    becomes(SOON, "shop.pool", &Some(vec![]), || {
        stage.lines("shop.pool")
    });
    let announced = Instant::now();
    for node in &nodes {
        node.announce("");
    }
    becomes(grace, "api.pool", &Some(vec![]), || stage.lines("api.pool"));
    eventually(SOON, "api.pool is deleted", || {
        stage.lines("api.pool").is_none().then_some(())
    });
    let stayed = announced.elapsed();
    assert!(stayed >= grace, "deleted after {stayed:?}");
    wait_file(&stage, &[]);
    assert_eq!(
        stage.files(),
        ["disabled_services", "shop.pool", "website.pool"]
    );
}

#[test]
fn perlbal_starts_with_the_files_that_one_run_of_pollbal_left() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let config = json!({ "pools": { "website": {}, "shop": {} } });
    Pollbal::run(&stage, &config, &["--once"]).assert_code(0);
    // No means of this test's made these files: a missing one stops Perlbal.
    for pool in ["website", "shop"] {
        assert!(stage.pool_file(pool).exists(), "{pool}");
    }
    let perlbal = Config::new()
        .nodefile_pool("website", &stage.pool_file("website"))
        .nodefile_pool("shop", &stage.pool_file("shop"))
        .service_with(&stage, "web", "website", &NOT_KEPT)
        .start(&stage);
    assert_eq!(perlbal.members("website"), Some(addrs(&nodes)));
    assert_eq!(perlbal.members("shop"), Some(addrs([])));
    assert!(get(perlbal.service("web"), "/").is_ok());
}
