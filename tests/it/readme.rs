//! README.md and docs/ are right: their examples are run as they stand, with their addresses and paths replaced by a
//! test's own, and print what is shown.

pub(crate) mod book;
mod haproxy;
mod operations;
mod pages;
pub(crate) mod sandbox;
mod serf;
mod settings;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pollbal::config::Config;
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::Management;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, client, eventually};
use book::{Book, blocks, section};
use sandbox::{Running, Sandbox};

/// The four nodes of all examples.
fn four_nodes(stage: &Stage) -> Vec<Node> {
    let node = |number, name: &str, announcement: &str| {
        Node::start(stage.node_addr(number), name, announcement)
    };
    vec![
        node(1, "api-node-1", "api serving v23"),
        node(2, "api-node-2", "api serving v24"),
        node(3, "website-node-1", "website"),
        node(4, "website-node-2", "website"),
    ]
}

/// The members of a pool in Perlbal, as `SHOW POOL` has them.
fn members(sandbox: &Sandbox<'_>, pool: &str) -> BTreeSet<String> {
    let mut management = Management::connect(sandbox.management);
    let lines = management.ask(&format!("SHOW POOL {pool}"));
    let first_word = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    lines.iter().map(first_word).collect()
}

fn texts(nodes: &[Node]) -> BTreeSet<String> {
    addrs(nodes).iter().map(ToString::to_string).collect()
}

#[test]
fn every_example_is_known_here() {
    // A new example needs what runs it: below, in perlbal/test (those with `sh`), or in the harness (the containers). The
    // two pictures are no examples.
    let known = [
        ("pollbal", "text"),
        ("Try it", "sh"),
        ("Quick start", "sh"),
        ("Quick start", "text"),
        ("Quick start", "json"),
        ("Quick start", "console"),
        ("Quick start", "text"),
        ("Quick start", "console"),
        ("Quick start", "text"),
        ("Quick start", "console"),
        ("Data flow", "text"),
        ("Keys", "json"),
        ("Check before use", "console"),
        ("Check before use", "json"),
        ("Check before use", "text"),
        ("Check before use", "console"),
        ("Pool directory", "console"),
        ("Hooks", "json"),
        ("Hooks", "text"),
        ("A whole site in containers", "sh"),
        ("A whole site in containers", "console"),
        ("A whole site in containers", "console"),
        ("A whole site in containers", "console"),
        ("A whole site in containers", "console"),
        ("A whole site in containers", "console"),
        ("A whole site in containers", "console"),
        ("A whole site in containers", "console"),
        ("HAProxy and Serf in containers", "sh"),
        ("HAProxy and Serf in containers", "console"),
        ("HAProxy and Serf in containers", "console"),
        ("HAProxy and Serf in containers", "console"),
        ("HAProxy and Serf in containers", "console"),
        ("HAProxy and Serf in containers", "console"),
        ("HAProxy and Serf in containers", "console"),
        ("HAProxy and Serf in containers", "console"),
        ("Configure both", "text"),
        ("Configure both", "json"),
        ("Restart and reload", "text"),
        ("Restart and reload", "json"),
        ("Debian package", "sh"),
        ("A file", "sh"),
        ("An Express handler", "js"),
        ("Ask before leaving", "sh"),
        ("Ask before leaving", "sh"),
        ("Ask before leaving", "sh"),
        ("Take a node out", "console"),
        ("Log", "text"),
        ("Log", "text"),
        ("Beside an existing Perlbal", "text"),
        ("Beside an existing Perlbal", "json"),
        ("Beside an existing Perlbal", "console"),
        ("Beside an existing Perlbal", "console"),
        ("Run the agents", "sh"),
        ("Run the agents", "json"),
        ("Run the agents", "json"),
        ("Without polls", "json"),
        ("Without polls", "sh"),
    ];
    let all = blocks();
    let found: Vec<_> = all
        .iter()
        .map(|block| (block.section.as_str(), block.info.as_str()))
        .collect();
    assert_eq!(found, known);
}

#[test]
fn the_two_commands_and_the_installation_are_what_perlbal_test_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = |name: &str| {
        let path = root.join(name);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name} is not executable");
        fs::read_to_string(path).unwrap()
    };
    let two: Vec<String> = section("Try it")[0].lines();
    assert_eq!(two, ["perlbal/demo", "perlbal/test"]);
    let test = script(&two[1]);
    for demo in [&two[0], "haproxy/demo"] {
        assert!(script(demo).contains("\nset_up\n"));
        assert!(test.contains(&format!("{demo} --check\n")));
    }
    let functions = fs::read_to_string(root.join("perlbal/demo-functions")).unwrap();
    assert!(functions.contains("\n    perlbal/setup "));
    assert!(script(".ci/run").ends_with("exec perlbal/test\n"));

    let install = section("Quick start")[0].lines();
    assert_eq!(install[0], "sudo apt-get install perlbal");
    assert!(script("perlbal/setup").contains("\nneed perlbal "));
    assert!(script("perlbal/installation").contains(&format!("\n{} ", install[1])));
    assert!(test.contains("perlbal/installation "));
    let dockerfile = fs::read_to_string(root.join("perlbal/Dockerfile")).unwrap();
    assert!(dockerfile.contains(" && perlbal/installation "));
}

#[test]
fn the_package_is_made_as_perlbal_dockerfile_makes_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lines = section("Debian package")[0].lines();
    let dockerfile = fs::read_to_string(root.join("perlbal/Dockerfile")).unwrap();
    let needed = lines[0].strip_prefix("sudo apt-get install ").unwrap();
    assert!(dockerfile.contains(&format!("--no-install-recommends {needed} ")));
    assert!(dockerfile.contains(&format!("RUN {}\n", lines[1])));
    assert!(dockerfile.contains(&format!("&& {} ", lines[2])));
}

/// Does what the quick start says, and gives pollbal and Perlbal.
fn quick_start(stage: &Stage, sandbox: &Sandbox<'_>) -> (Running, Running) {
    let mut book = Book::of("Quick start");
    book.next("sh");
    sandbox.write("/etc/pollbal.services", &book.next("text"));
    sandbox.write_config(&book.next("json"));
    let pollbal = sandbox.start(&book.next("console"));
    let last = stage.pool_directory().join("disabled_services");
    eventually(SOON, "the last file", || last.exists().then_some(()));
    sandbox.write("/etc/perlbal/perlbal.conf", &book.next("text"));
    let perlbal = sandbox.start(&book.next("console"));
    sandbox.wait_lines(&pollbal, &book.next("text").text);
    sandbox.run(&book.next("console"));
    assert!(book.is_read());
    (pollbal, perlbal)
}

#[test]
fn the_quick_start_works_as_it_is_written() {
    let stage = Stage::new();
    let nodes = four_nodes(&stage);
    let sandbox = Sandbox::new(&stage);
    let (pollbal, _perlbal) = quick_start(&stage, &sandbox);
    sandbox.run(&Book::of("Check before use").next("console"));
    sandbox.run(&Book::of("Pool directory").next("console"));

    assert_eq!(members(&sandbox, "api"), texts(&nodes[..2]));
    for (service, names) in [
        (sandbox.rest, ["api-node-1", "api-node-2"]),
        (sandbox.www, ["website-node-1", "website-node-2"]),
    ] {
        let answer = client::get(service, "/").unwrap();
        assert!(names.contains(&answer.as_str()), "{answer}");
    }

    let mut log = Book::of("Log");
    sandbox.wait_lines(&pollbal, &log.next("text").text);
    nodes[3].announce("website leaving");
    sandbox.wait_lines(&pollbal, &log.next("text").text);
    assert_eq!(members(&sandbox, "website"), texts(&nodes[2..3]));
}

#[test]
fn a_file_is_a_node() {
    let stage = Stage::new();
    let sandbox = Sandbox::new(&stage);
    // Perlbal is a web server for files, too.
    let at = stage.node_addr(1);
    let files = format!(
        "CREATE SERVICE files\nSET role = web_server\nSET listen = {at}\nSET docroot = /var/www\nENABLE files\n\
         CREATE SERVICE management\nSET role = management\nSET listen = 127.0.0.1:16000\nENABLE management\n"
    );
    sandbox.write_text("/etc/perlbal/perlbal.conf", &files);
    let _files = sandbox.start_perlbal("perlbal --config=/etc/perlbal/perlbal.conf");
    stage.write_services(&[format!("{at} # file-node")]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    pollbal.wait_log(&["file-node", "404"]);

    let here = Some(vec![format!("{at} # file-node")]);
    let lines = section("A file")[0].lines();
    let comments: Vec<_> = lines
        .iter()
        .map(|line| {
            let (command, comment) = line.split_once("  #").expect("a comment on each line");
            let mark = pollbal.mark();
            sandbox.run_command(command);
            match comment.trim() {
                "a member of website" => {
                    becomes(SOON, comment, &here, || stage.lines("website.pool"));
                }
                "leaving" => {
                    pollbal.wait_log_after(mark, &["file-node leaves website: leaving"]);
                }
                "back, at version v7" => {
                    becomes(SOON, comment, &here, || stage.lines("website.v7.pool"));
                }
                "idle" => {
                    pollbal.wait_log_after(mark, &["file-node leaves website (v7): idle"]);
                    becomes(SOON, comment, &Some(vec![]), || stage.lines("website.pool"));
                }
                other => panic!("what is \"{other}\", of {command}?"),
            }
            comment.trim()
        })
        .collect();
    assert_eq!(comments.len(), 4);
}

#[test]
fn the_express_handler_leaves_first_and_ends_later() {
    let stage = Stage::new();
    let sandbox = Sandbox::new(&stage);
    let at = stage.node_addr(1);
    sandbox.write("/etc/node.js", &Book::of("An Express handler").next("js"));
    let mut node = sandbox.start_node("/etc/node.js");
    stage.write_services(&[format!("{at} # express")]);
    let pollbal = Pollbal::start(&stage, &json!({}));
    let here = Some(vec![format!("{at} # express")]);
    becomes(SOON, "it joins", &here, || stage.lines("api.v23.pool"));
    assert_eq!(client::get(at, "/").unwrap(), "hello from api");

    node.signal(Signal::TERM);
    pollbal.wait_log(&["express leaves api (v23): leaving"]);
    assert_eq!(
        client::get(at, "/").unwrap(),
        "hello from api",
        "it serves on"
    );
    let ended = eventually(SOON, "it ends by itself", || node.ended());
    assert!(ended.success(), "{ended}");
}

#[test]
fn a_dry_run_beside_an_existing_perlbal_prints_what_is_shown() {
    let stage = Stage::new();
    let nodes = four_nodes(&stage);
    let sandbox = Sandbox::new(&stage);
    let services = &section("Quick start")[1];
    sandbox.write("/etc/pollbal.services", services);
    let mut book = Book::of("Beside an existing Perlbal");
    sandbox.write("/etc/perlbal/perlbal.conf", &book.next("text"));
    let _perlbal = sandbox.start_perlbal("perlbal --config=/etc/perlbal/perlbal.conf");
    sandbox.write_config(&book.next("json"));
    sandbox.run(&book.next("console"));
    sandbox.run(&book.next("console"));
    assert!(book.is_read());
    assert_eq!(members(&sandbox, "api"), texts(&nodes[..2]));
    assert_eq!(members(&sandbox, "website"), texts(&nodes[2..]));
    assert!(
        !stage.pool_directory().exists(),
        "a dry run writes no files"
    );
}

#[test]
fn what_is_wrong_is_reported_as_is_shown() {
    let stage = Stage::new();
    let sandbox = Sandbox::new(&stage);
    let mut book = Book::of("Check before use");
    book.next("console");
    sandbox.write_config(&book.next("json"));
    sandbox.write("/etc/pollbal.services", &book.next("text"));
    sandbox.run(&book.next("console"));
}

#[test]
fn the_hook_says_what_is_shown() {
    let stage = Stage::new();
    let sandbox = Sandbox::new(&stage);
    let _nodes = stage.nodes(&["website"]);
    let mut book = Book::of("Hooks");
    let hook = serde_json::from_str(&book.next("json").text).unwrap();
    let ended = Pollbal::run(&stage, &hook, &["--once"]);
    ended.assert_code(0);
    let shown = book.next("text");
    let expected = sandbox.plain(&shown.text);
    let found = sandbox.plain(&ended.stderr);
    assert!(found.contains(&expected[0]), "{expected:?} in {found:#?}");
}

#[test]
fn every_example_configuration_is_accepted() {
    let wrong = "Check before use";
    let configurations = blocks()
        .into_iter()
        .filter(|block| block.info == "json" && block.section != wrong);
    for block in configurations {
        let value = serde_json::from_str(&block.text).expect("JSON");
        let (_, errors) = Config::from_value(&value);
        assert!(errors.is_empty(), "{}: {errors:?}", block.section);
    }
}

fn example() -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}
