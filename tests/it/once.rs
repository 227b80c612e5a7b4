//! `--once`: one full round and its sync, and an exit code that says whether all is in sync.

use std::fs;

use serde_json::json;

use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;

#[test]
fn it_ends_with_0_when_all_is_in_sync() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api serving v1", "website", "website leaving", "api"]);
    // A node that fails is out: that is in sync too.
    nodes[3].fail(500);
    let perlbal = Config::new()
        .pool_with("website", &[stage.node_addr(9)])
        .pool("api__v1")
        .start(&stage);
    let config = json!({ "perlbal": perlbal.management() });
    Pollbal::run(&stage, &config, &["--once"]).assert_code(0);
    // No waiting: it ended when all was done.
    assert_eq!(perlbal.members("api"), Some(addrs(&nodes[..1])));
    assert_eq!(perlbal.members("api__v1"), Some(addrs(&nodes[..1])));
    assert_eq!(perlbal.members("website"), Some(addrs(&nodes[1..2])));
    assert_eq!(stage.lines("api.pool"), Some(vec![nodes[0].pool_line()]));
    assert_eq!(
        stage.lines("website.pool"),
        Some(vec![nodes[1].pool_line()])
    );
    let out: Vec<String> = nodes[2..].iter().map(Node::services_line).collect();
    assert_eq!(stage.lines("disabled_services"), Some(out));

    // Nor does a second run find anything to do.
    Pollbal::run(&stage, &config, &["--once"]).assert_code(0);
}

#[test]
fn it_writes_files_alone_where_no_perlbal_is_configured() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    Pollbal::run(&stage, &json!({}), &["--once"]).assert_code(0);
    assert_eq!(
        stage.lines("website.pool"),
        Some(vec![nodes[0].pool_line()])
    );
}

#[test]
fn it_ends_with_1_when_a_perlbal_is_not_there_and_does_the_rest() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let perlbal = Config::new().start(&stage);
    let mut down = Config::new().start(&stage);
    down.kill();
    let config = json!({ "perlbal": [down.management(), perlbal.management()] });
    let ended = Pollbal::run(&stage, &config, &["--once"]);
    ended.assert_code(1);
    assert!(
        ended.stderr.contains(&down.management().to_string()),
        "{}",
        ended.stderr
    );
    assert_eq!(perlbal.members("website"), Some(addrs(&nodes)));
    assert_eq!(
        stage.lines("website.pool"),
        Some(vec![nodes[0].pool_line()])
    );
}

#[test]
fn it_ends_with_1_when_a_pool_name_is_taken_by_a_service() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api"]);
    let perlbal = Perlbal::with_service(&stage, "website", "elsewhere");
    let config = json!({ "perlbal": perlbal.management() });
    Pollbal::run(&stage, &config, &["--once"]).assert_code(1);
    assert_eq!(perlbal.members("api"), Some(addrs(&nodes[1..])));
}

#[test]
fn it_ends_with_1_when_a_file_cannot_be_written() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api"]);
    fs::create_dir_all(stage.pool_file("api").join("full")).unwrap();
    let perlbal = Config::new().start(&stage);
    let config = json!({ "perlbal": perlbal.management() });
    Pollbal::run(&stage, &config, &["--once"]).assert_code(1);
    assert_eq!(perlbal.members("api"), Some(addrs(&nodes[1..])));
    assert_eq!(
        stage.lines("website.pool"),
        Some(vec![nodes[0].pool_line()])
    );
}

#[test]
fn it_ends_with_1_when_a_pool_must_not_be_created() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let perlbal = Config::new().start(&stage);
    let config = json!({ "perlbal": {
        "address": perlbal.management(),
        "create_pools": false,
    }});
    Pollbal::run(&stage, &config, &["--once"]).assert_code(1);
    assert!(perlbal.pools().is_empty());
}
