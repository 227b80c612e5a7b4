//! The configuration's keys and defaults as they are described, and `example.json`.

use std::collections::{BTreeMap, BTreeSet};

use pollbal::config::Config;
use serde_json::{Map, Value, json};

use super::book::{self, section};
use super::example;
use super::sandbox::Sandbox;
use crate::common::stage::Stage;

/// Key and default of each row of the tables of keys.
fn key_table() -> BTreeMap<String, String> {
    let tables = book::text_of("Keys");
    let rows = tables.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, _, default] = cells[..] else {
            panic!("three cells in {row}")
        };
        (key.trim_matches('`').to_owned(), default.to_owned())
    })
    .collect()
}

/// The keys of an object, with those inside as `perlbal[].address` and `pools.<pool>.rise`; comments skipped.
fn keys(object: &Map<String, Value>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let is_comment = |key: &String| key.starts_with("README") || key.starts_with('_');
    for (key, value) in object.iter().filter(|(key, _)| !is_comment(key)) {
        all.insert(key.clone());
        let (prefix, inside): (String, Vec<&Value>) = match value {
            Value::Array(values) => (format!("{key}[]"), values.iter().collect()),
            Value::Object(_) if key == "serf" => (key.clone(), vec![value]),
            Value::Object(pools) => ("pools.<pool>".to_owned(), pools.values().collect()),
            _ => continue,
        };
        for object in inside.into_iter().filter_map(Value::as_object) {
            all.extend(
                keys(object)
                    .into_iter()
                    .map(|inner| format!("{prefix}.{inner}")),
            );
        }
    }
    all
}

#[test]
fn docs_and_template_have_the_same_keys() {
    let described: BTreeSet<String> = key_table().into_keys().collect();
    assert_eq!(described, keys(&example()));
}

#[test]
fn the_described_defaults_are_those_of_the_program() {
    let table = key_table();
    let value = |text: &str| serde_json::from_str::<Value>(text.trim_matches('`')).ok();
    let read = |value: Value| {
        let (config, errors) = Config::from_value(&value);
        assert!(errors.is_empty(), "{errors:?}");
        config
    };
    // Where the default is no value, the table says in words what it is.
    let defaults = |prefix: &str| -> Map<String, Value> {
        let inside = table.iter().filter_map(|(key, default)| {
            let key = key
                .strip_prefix(prefix)
                .filter(|key| !key.contains(['.', '[']))?;
            Some((key.to_owned(), value(default)?))
        });
        inside.collect()
    };
    let top = defaults("");
    let keys = table.iter().filter(|(key, _)| !key.contains(['.', '[']));
    assert_eq!(
        top.len(),
        keys.count(),
        "all keys have a value for default: {top:?}"
    );
    assert_eq!(read(Value::Object(top)), read(json!({})));

    let mut perlbal = defaults("perlbal[].");
    assert_eq!(perlbal.len(), 4, "{perlbal:?}");
    perlbal.insert("address".to_owned(), json!("127.0.0.1:16000"));
    assert_eq!(
        read(json!({ "perlbal": perlbal })),
        read(json!({ "perlbal": "127.0.0.1:16000" }))
    );

    let mut haproxy = defaults("haproxy[].");
    assert_eq!(haproxy.len(), 7, "{haproxy:?}");
    haproxy.insert("socket".to_owned(), json!("/run/haproxy/admin.sock"));
    assert_eq!(
        read(json!({ "haproxy": haproxy })),
        read(json!({ "haproxy": "/run/haproxy/admin.sock" }))
    );

    let mut serf = defaults("serf.");
    assert_eq!(serf.len(), 6, "{serf:?}");
    serf.insert("address".to_owned(), json!("127.0.0.1:7373"));
    assert_eq!(
        read(json!({ "serf": serf })),
        read(json!({ "serf": "127.0.0.1:7373" }))
    );

    let pool = defaults("pools.<pool>.");
    assert_eq!(pool.len(), 2, "{pool:?}");
    assert_eq!(
        read(json!({ "pools": { "api": pool } })),
        read(json!({ "pools": { "api": {} } }))
    );
}

#[test]
fn the_template_is_in_order_as_soon_as_there_are_nodes() {
    let stage = Stage::new();
    let sandbox = Sandbox::new(&stage);
    sandbox.write("/etc/pollbal.services", &section("Quick start")[1]);
    sandbox.write_json(Value::Object(example()));
    let said = sandbox.run_command("pollbal check");
    assert!(said.starts_with("/etc/pollbal.json: OK\n"), "{said}");
    assert!(!said.contains("warning"), "{said}");
}
