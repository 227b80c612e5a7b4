//! The files of the Debian package besides the program: the man pages and completions match the definition of the
//! command line, and the configuration is accepted.

#[path = "../../packaging/generate.rs"]
mod generated;

use std::fs;

use serde_json::{Value, json};

use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use generated::{DIRECTORY, files};

#[test]
fn man_pages_and_completions_match_the_definition_of_the_command_line() {
    for (path, content) in files().unwrap() {
        let existing = fs::read(format!("{DIRECTORY}/{path}")).unwrap_or_default();
        assert!(
            existing == content,
            "packaging/{path} does not match the definition of the command line; regenerate it with:\n\
             cargo run --example package-docs"
        );
    }
}

#[test]
fn every_man_page_is_of_a_command_and_all_are_packaged() {
    let generated: Vec<_> = files().unwrap().into_iter().map(|(path, _)| path).collect();
    for entry in fs::read_dir(format!("{DIRECTORY}/man")).unwrap() {
        let page = entry.unwrap().file_name().into_string().unwrap();
        let page = format!("man/{page}");
        assert!(
            generated.contains(&page),
            "packaging/{page} is of no command"
        );
    }
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(manifest.contains("[\"packaging/man/*.8\", \"usr/share/man/man8/\", \"644\"]"));
}

#[test]
fn readme_and_docs_are_packaged_side_by_side_with_what_they_show() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let directory = "usr/share/doc/pollbal/";
    for (files, place) in [
        ("README.md", ""),
        ("SECURITY.md", ""),
        ("docs/*.md", "docs/"),
        ("docs/*.json", "docs/"),
        ("docs/images/*", "docs/images/"),
    ] {
        let asset = format!("[\"{files}\", \"{directory}{place}\", \"644\"]");
        assert!(manifest.contains(&asset), "{asset}");
    }
}

#[test]
fn the_packaged_configuration_is_accepted_and_waits_for_nodes() {
    let stage = Stage::new();
    let text = fs::read_to_string(format!("{DIRECTORY}/debian/pollbal.json")).unwrap();
    let shipped: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shipped["perlbal"], json!(["127.0.0.1:16000"]));
    let services = fs::read_to_string(format!("{DIRECTORY}/debian/pollbal.services")).unwrap();
    fs::write(stage.services_file(), &services).unwrap();
    let mut own = shipped;
    own["pool_directory"] = json!(stage.pool_directory());
    own["services_file"] = json!(stage.services_file());
    let ended = Pollbal::run(&stage, &own, &["check"]);
    ended.assert_code(0);
    assert!(
        ended
            .stdout
            .contains("no nodes listed: pollbal will do nothing"),
        "{}",
        ended.stdout
    );

    // Its examples are valid when they are uncommented.
    let examples = services.replace("# 10.", "10.");
    fs::write(stage.services_file(), examples).unwrap();
    let ended = Pollbal::run(&stage, &own, &["check"]);
    ended.assert_code(0);
    assert!(ended.stdout.contains("10.0.0.1:8080 # api-node-1"));
}
