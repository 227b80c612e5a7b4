//! Keeps `docs/api-v1.schema.json`, which describes the types to programs, up to date.

use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::hooks::{Alert, NodeChange};
use super::{
    CancelLeave, Disable, Enable, Events, Explanation, Freeze, LeaveStep, Members, Nudge, Ordered,
    Problem, Progress, Reload, Reloaded, RollStep, Status, Weigh,
};

/// Set, the test writes the file instead of comparing it.
const WRITE: &str = "WRITE_API_SCHEMA";

fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    // The bodies of requests, and of responses.
    add::<(Disable, Enable, Weigh, CancelLeave, Freeze, Nudge, Reload)>(&mut generator);
    add::<(Status, Explanation, Members, Events, Progress)>(&mut generator);
    add::<(Ordered, Reloaded, Problem)>(&mut generator);
    // What commands print, and hooks get.
    add::<(RollStep, LeaveStep, NodeChange, Alert)>(&mut generator);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pollbal, HTTP API, version 1",
        "description": "Each type of docs/api.md is one of $defs. Fields are only ever added.",
        "$defs": generator.take_definitions(true),
    })
}

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

#[test]
fn the_schema_in_the_docs_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api-v1.schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os(WRITE).is_some() {
        fs::write(path, text).unwrap();
        return;
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(
        text == written,
        "the types have changed: write docs/api-v1.schema.json again by {WRITE}=1 cargo test --lib api::schema"
    );
}
