//! `example.json`, the template of the configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pollbal::config::Config;
use serde_json::{Value, json};

use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;

/// The keys of an object, as `Config::keys` tells them; those of all pools together, and of all load balancers of a kind.
fn keys(template: &Value) -> BTreeSet<String> {
    let fields = |object: &Value| -> Vec<String> {
        let object = object.as_object().expect("an object");
        object
            .keys()
            .filter(|key| !key.starts_with("README"))
            .cloned()
            .collect()
    };
    let mut keys: BTreeSet<_> = fields(template).into_iter().collect();
    let serf = fields(&template["serf"]).into_iter();
    keys.extend(serf.map(|key| format!("serf.{key}")));
    for kind in ["perlbal", "haproxy"] {
        for one in template[kind].as_array().expect("an array") {
            keys.extend(fields(one).iter().map(|key| format!("{kind}[].{key}")));
        }
    }
    for pool in template["pools"].as_object().expect("an object").values() {
        keys.extend(fields(pool).iter().map(|key| format!("pools.<pool>.{key}")));
    }
    keys
}

#[test]
fn the_docs_have_every_key_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## Keys\n").expect("a section");
    let tables = section.split("\n## ").next().expect("its beginning");
    let rows = tables.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: BTreeSet<_> = rows
        .filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect();
    assert_eq!(named, Config::keys());
}

#[test]
fn the_template_has_every_key_and_is_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.json");
    let template: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(keys(&template), Config::keys());
    assert!(template["README"].is_string());

    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let mut own = template;
    own["pool_directory"] = json!(stage.pool_directory());
    own["services_file"] = json!(stage.services_file());
    Pollbal::run(&stage, &own, &["check"]).assert_code(0);
}
