//! `example.json`, the template of the configuration.

mod common;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use common::pollbal::Pollbal;
use common::stage::Stage;

#[test]
fn the_template_has_every_key_and_is_accepted() {
    const KEYS: [&str; 24] = [
        "pool_directory",
        "services_file",
        "poll_interval",
        "service_timeout",
        "poll_path",
        "rise",
        "fall",
        "perlbal",
        "pools",
        "accept_undeclared_pools",
        "max_undeclared_pools",
        "admin_socket",
        "status_listen",
        "node_listen",
        "pool_file_format",
        "empty_pool_grace",
        "pre_init_hook",
        "post_init_hook",
        "pre_quit_hook",
        "file_update_hook",
        "file_remove_hook",
        "hook_timeout",
        "metrics_per_node",
        "README",
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.json");
    let template: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for key in KEYS {
        assert!(template.get(key).is_some(), "{key} is missing");
    }
    let one = |object: &Value, keys: &[&str]| keys.iter().all(|key| object.get(key).is_some());
    let perlbals = template["perlbal"].as_array().unwrap();
    let keys = ["address", "create_pools", "resync_interval", "timeout"];
    assert!(perlbals.iter().any(|perlbal| one(perlbal, &keys)));
    let mut pools = template["pools"].as_object().unwrap().values();
    let keys = ["perlbal_pool", "rise", "fall", "min_members", "nodes"];
    assert!(pools.any(|pool| one(pool, &keys)));

    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let mut own = template;
    own["pool_directory"] = json!(stage.pool_directory());
    own["services_file"] = json!(stage.services_file());
    Pollbal::run(&stage, &own, &["check"]).assert_code(0);
}
