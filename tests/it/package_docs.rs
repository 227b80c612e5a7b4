//! What the Debian package brings beside the program: the man page and the completions are what the definitions of the
//! command line give, and the configuration is accepted.

#[path = "../../perlbal/package_docs.rs"]
mod generated;

use std::fs;

use serde_json::{Value, json};

use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use generated::{DIRECTORY, files};

#[test]
fn man_page_and_completions_are_what_the_definitions_give() {
    for (name, content) in files().unwrap() {
        let kept = fs::read(format!("{DIRECTORY}/{name}")).unwrap_or_default();
        assert!(
            kept == content,
            "perlbal/debian/{name} is not what the command line's definitions give now; make it anew with:\n\
             cargo run --example package-docs"
        );
    }
}

#[test]
fn each_page_in_the_package_is_of_a_command_and_all_are_packed() {
    let made: Vec<_> = files().unwrap().into_iter().map(|(name, _)| name).collect();
    let kept = fs::read_dir(DIRECTORY).unwrap();
    let pages = kept
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".8"));
    for page in pages {
        assert!(
            made.contains(&page),
            "perlbal/debian/{page} is of no command"
        );
    }
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(manifest.contains("[\"perlbal/debian/*.8\", \"usr/share/man/man8/\", \"644\"]"));
}

#[test]
fn readme_and_docs_are_packed_beside_each_other_with_what_they_show() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let directory = "usr/share/doc/pollbal/";
    for (files, place) in [
        ("README.md", ""),
        ("SECURITY.md", ""),
        ("docs/*.md", "docs/"),
        ("docs/images/*", "docs/images/"),
    ] {
        let asset = format!("[\"{files}\", \"{directory}{place}\", \"644\"]");
        assert!(manifest.contains(&asset), "{asset}");
    }
}

#[test]
fn the_configuration_as_it_comes_is_accepted_and_waits_for_nodes() {
    let stage = Stage::new();
    let text = fs::read_to_string(format!("{DIRECTORY}/pollbal.json")).unwrap();
    let shipped: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shipped["perlbal"], json!(["127.0.0.1:16000"]));
    let services = fs::read_to_string(format!("{DIRECTORY}/pollbal.services")).unwrap();
    fs::write(stage.services_file(), &services).unwrap();
    let mut own = shipped;
    own["pool_directory"] = json!(stage.pool_directory());
    own["services_file"] = json!(stage.services_file());
    let ended = Pollbal::run(&stage, &own, &["check"]);
    ended.assert_code(0);
    assert!(
        ended.stdout.contains("without a node nothing is done"),
        "{}",
        ended.stdout
    );

    // Its examples are right when they lose the mark that makes them comments.
    let examples = services.replace("# 10.", "10.");
    fs::write(stage.services_file(), examples).unwrap();
    let ended = Pollbal::run(&stage, &own, &["check"]);
    ended.assert_code(0);
    assert!(ended.stdout.contains("10.0.0.1:8080 # api-node-1"));
}
