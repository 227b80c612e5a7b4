//! Nodes that do all that a node must not do: they stay out, each with its reason reported once, and harm nobody else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::common::pollbal::Pollbal;
use crate::common::process::peak_memory;
use crate::common::raw_node::{Answer, RawNode, Reply};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, stays};

/// What a node does, and the words that the log has for it.
type Misdeed = (Answer, &'static [&'static str]);

const OPEN: &str = "HTTP/1.1 200 OK\r\n";

/// The misdeeds of all bad nodes.
fn misdeeds() -> Vec<Misdeed> {
    let mut all = broken_messages();
    all.extend(bad_answers());
    all
}

/// What is no HTTP, or not to its end.
fn broken_messages() -> Vec<Misdeed> {
    let bytes = |text: &str| Answer::Bytes(format!("{OPEN}{text}").into_bytes());
    vec![
        (
            Answer::Endless(OPEN, "X-Word: more\r\n"),
            &["head longer than 16384 bytes"],
        ),
        (
            bytes("Content-Length: 99\r\n\r\nwebsite"),
            &["closed before the response was complete"],
        ),
        (
            bytes("Content-Length: -7\r\n\r\nwebsite"),
            &["Content-Length \"-7\""],
        ),
        (
            bytes("Content-Length: 7\r\nContent-Length: 3\r\n\r\nwebsite"),
            &["Content-Length \"3\"", "not the only one"],
        ),
        (
            bytes("Transfer-Encoding: chunked\r\n\r\nzz\r\nwebsite\r\n0\r\n\r\n"),
            &["\"zz\" instead of a chunk's size"],
        ),
        (
            bytes("Transfer-Encoding: chunked\r\n\r\n7\r\nwebsite and more\r\n0\r\n\r\n"),
            &["\" and more\\r\\n0\\r\\n\\r\\n\" instead of a chunk's end"],
        ),
        (
            Answer::Bytes(b"website\n".to_vec()),
            &["answered \"website\", which is not HTTP"],
        ),
        (
            Answer::Bytes(vec![0xff, 0x00, 0x1b, 0x07]),
            &["answered \"\\xff\\x00\\x1b\\x07\", which is not HTTP"],
        ),
        (
            Answer::Bytes("HTTP/\u{202e}\u{1b}[2J\r\n".into()),
            &["answered \"HTTP/\\xe2\\x80\\xae\\x1b[2J\", which is not HTTP"],
        ),
        (
            Answer::Bytes(vec![0x15, 3, 1, 0, 2, 2, 70]),
            &["speaks TLS, not HTTP"],
        ),
        (
            Answer::BytesAndOpen(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n".to_vec()),
            &["speaks SSH, not HTTP"],
        ),
        (
            Answer::Bytes(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
            &[
                "closed before the response was complete",
                "after \"HTTP/1.1 200 OK\\r\\nContent-Le\"",
            ],
        ),
        (Answer::Reset, &["closed before the response was complete"]),
        (
            Answer::CloseAtOnce,
            &["closed before the response was complete"],
        ),
    ]
}

/// What comes too late, is too long, or is not understood.
fn bad_answers() -> Vec<Misdeed> {
    let drip = |text: &str| Answer::Drip(format!("{OPEN}{text}").into_bytes());
    let body = |bytes: &[u8]| Answer::body(bytes);
    let status = |status| Answer::says(move |_| Reply::Status(status));
    vec![
        (Answer::Hang, &["service_timeout"]),
        (
            drip("Content-Length: 7\r\n\r\nwebsite"),
            &["service_timeout"],
        ),
        (
            Answer::BytesAndOpen(format!("{OPEN}Content-Length: 99\r\n\r\nwebsite").into()),
            &["service_timeout"],
        ),
        (
            Answer::BytesAndOpen(
                format!("{OPEN}Transfer-Encoding: chunked\r\n\r\n7\r\nwebsite\r\n").into(),
            ),
            &["service_timeout"],
        ),
        (Answer::Gigabyte, &["longer than 4096 bytes"]),
        (
            Answer::Endless(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "1\r\n \r\n",
            ),
            &["longer than 4096 bytes"],
        ),
        (status(500), &["HTTP 500"]),
        (status(204), &["HTTP 204"]),
        (body(&[0xff, 0xfe, 0x00, 0x80]), &["not text"]),
        (
            body(b"<!DOCTYPE html>\n<html lang=\"en\">\n<title>Hi</title>\n</html>\n"),
            &["<!doctype html>", "more than one line"],
        ),
        (body(b"../../etc/x"), &["../../etc/x", "a pool name is"]),
        (body(b"/etc/x"), &["/etc/x", "a pool name is"]),
        (body(b".."), &["\"..\"", "a pool name is"]),
        (body(b"api\r\nSHUTDOWN"), &["more than one line"]),
        (
            body(b"api\nPOOL website ADD 127.0.0.1:1"),
            &["more than one line"],
        ),
        (body(b"api\rSHUTDOWN"), &["more than one line"]),
        (body(b"api;SHUTDOWN"), &["a pool name is"]),
        (body(b"$HOME"), &["$HOME", "a pool name is"]),
        (body("p\u{f6}\u{f6}l".as_bytes()), &["a pool name is"]),
        (body(b"\x1b[2J\x07\x00\x9b"), &["not text"]),
        (body(b"\x1b[2J\x07\x00\x08"), &["a pool name is"]),
        (
            body("\u{202e}\u{85}\u{2028}".as_bytes()),
            &["a pool name is"],
        ),
        (body(&[b'x'; 10_000]), &["longer than 4096 bytes"]),
        (body(&[b'x'; 4_096]), &["a pool name is"]),
        (body(&[b'x'; 65]), &["a pool name is"]),
        (body(b"api serving v1 extra"), &["more than three words"]),
        (body(b"api gone"), &["the second word is not one of"]),
        (body(b"api Serving"), &["the second word is not one of"]),
        (body(b"api serving ../../etc/x"), &["a version is"]),
        (body(b"api serving .hidden"), &["a version is"]),
    ]
}

/// Bad nodes on the stage, numbered from 1, each with the words that the log must have.
fn bad_nodes(stage: &Stage) -> Vec<(RawNode, &'static [&'static str])> {
    let nodes = (1..).zip(misdeeds()).map(|(number, (answer, words))| {
        let name = format!("bad-{number}-");
        let node = RawNode::start(stage.node_addr(number), &name, answer);
        (node, words)
    });
    nodes.collect()
}

fn good_nodes(stage: &Stage) -> Vec<RawNode> {
    let node = |number| {
        let name = format!("good-{number}");
        RawNode::start(stage.node_addr(number), &name, Answer::body("website\n"))
    };
    (101..104).map(node).collect()
}

fn services_lines<'a>(nodes: impl IntoIterator<Item = &'a RawNode>) -> Vec<String> {
    nodes.into_iter().map(RawNode::services_line).collect()
}

fn pool_lines<'a>(nodes: impl IntoIterator<Item = &'a RawNode>) -> Vec<String> {
    nodes.into_iter().map(RawNode::pool_line).collect()
}

/// Everything below a directory, by its path there.
fn all_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(
                all_below(&path)
                    .into_iter()
                    .map(|below| format!("{name}/{below}")),
            );
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[test]
fn each_bad_node_is_out_with_its_reason_reported_once_and_the_good_ones_stay() {
    let stage = Stage::new();
    let good = good_nodes(&stage);
    let bad = bad_nodes(&stage);
    let refused = format!("{} {} # refused", stage.ip(99), stage.node_addr(99).port());
    let mut lines = services_lines(bad.iter().map(|(node, _)| node));
    lines.push(refused.clone());
    let disabled = lines.clone();
    lines.extend(services_lines(&good));
    stage.write_services(&lines);
    // Nodes that close first leave TIME_WAIT behind; Linux then drops a first SYN now and then, and
    // the second comes a second later. That is no fault of the node's, so there is time for it, for
    // each of the two connections that a poll may make.
    let config = json!({ "poll_interval": "100ms", "service_timeout": "4s" });
    let mut pollbal = Pollbal::start(&stage, &config);

    becomes(
        SOON,
        "good nodes are members",
        &Some(pool_lines(&good)),
        || stage.lines("website.pool"),
    );
    let look = || {
        let files = stage.files();
        // A temporary file is there for a moment only.
        let files: Vec<_> = files
            .into_iter()
            .filter(|name| !name.starts_with(".pollbal-"))
            .collect();
        (
            files,
            stage.lines("website.pool"),
            stage.lines("disabled_services"),
        )
    };
    let required = (
        vec!["disabled_services".to_owned(), "website.pool".to_owned()],
        Some(pool_lines(&good)),
        Some(disabled),
    );
    becomes(SOON, "bad nodes are out", &required, look);
    let enough = || {
        let at_once = |node: &RawNode| node.connections() >= 10;
        bad.iter()
            .all(|(node, _)| node.polls() >= 3 || at_once(node))
            && good.iter().all(|node| node.polls() >= 30)
    };
    stays(3 * SOON, "pools and files", &required, look, enough);
    pollbal.assert_alive();

    for (node, words) in &bad {
        let reported = pollbal.log_with(&[node.name()]);
        assert_eq!(
            reported.len(),
            1,
            "reported once of {}: {reported:#?}",
            node.name()
        );
        let reported = pollbal.log_with(&[&[node.name()], *words].concat());
        assert_eq!(
            reported.len(),
            1,
            "the log says {words:?} of {}",
            node.name()
        );
    }
    assert_eq!(
        pollbal
            .log_with(&["refused is in no pool", "connect"])
            .len(),
        1
    );
    for line in pollbal.log() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(!line.contains(['\u{202e}', '\u{2028}']), "{line:?}");
        assert!(
            line.chars().count() < 300,
            "{} characters: {line}",
            line.chars().count()
        );
    }
    // Written every 10 s at most, with since when each node is where it is.
    let mut files = all_below(stage.dir());
    files.retain(|file| file != "state.json");
    let expected = [
        "admin.sock",
        "pollbal.json",
        "pool/.pollbal-owned",
        "pool/disabled_services",
        "pool/website.pool",
        "services",
        "state.json.lock",
    ];
    assert_eq!(files, expected);
}

#[test]
fn good_nodes_keep_their_rhythm_beside_bad_ones() {
    let stage = Stage::alone();
    let good = good_nodes(&stage);
    let bad = bad_nodes(&stage);
    let mut lines = services_lines(bad.iter().map(|(node, _)| node));
    lines.extend(services_lines(&good));
    stage.write_services(&lines);
    let config = json!({ "poll_interval": "200ms", "service_timeout": "2s" });
    let _pollbal = Pollbal::start(&stage, &config);
    for node in &good {
        node.wait_polls(30);
        // The first poll is out of turn: all nodes are asked at once.
        let times = &node.times()[1..];
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let longest = gaps.iter().max().unwrap();
        assert!(
            *longest < Duration::from_millis(600),
            "{}: {gaps:?}",
            node.name()
        );
        let all = times[times.len() - 1] - times[0];
        let mean = all / u32::try_from(gaps.len()).unwrap();
        assert!(
            mean > Duration::from_millis(190),
            "polled too often: {gaps:?}"
        );
        assert!(
            mean < Duration::from_millis(250),
            "polled too rarely: {gaps:?}"
        );
    }
}

#[test]
fn bodies_without_end_fill_no_memory() {
    let stage = Stage::new();
    let endless = Answer::Endless(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "9\r\nwebsite \n\r\n",
    );
    let head = Answer::Endless("HTTP/1.1 200 OK\r\n", "X-Word: more\r\n");
    let nodes: Vec<_> = [Answer::Gigabyte, Answer::Gigabyte, endless, head]
        .into_iter()
        .zip(1..)
        .map(|(answer, number)| RawNode::start(stage.node_addr(number), "bad", answer))
        .collect();
    stage.write_services(&services_lines(&nodes));
    let config = json!({ "poll_interval": "50ms", "service_timeout": "5s" });
    let pollbal = Pollbal::start(&stage, &config);
    for node in &nodes {
        node.wait_polls(20);
    }
    let peak = peak_memory(pollbal.pid());
    assert!(peak < 80 * 1024, "{peak} KiB");
    for node in &nodes {
        // What the system's buffers hold has left the node too.
        let longest = node.longest_answer();
        assert!(longest < 32 << 20, "{longest} bytes were taken");
    }
}
