//! A mock node's own control, by plain HTTP from outside.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use crate::common::{SOON, eventually};

/// Tells the node what to announce and how to answer from now on.
#[track_caller]
pub(crate) fn announce(node: SocketAddrV4, query: &str) {
    ask(node, "POST", &format!("/announce?{query}"));
}

/// How many requests that were no polls have reached the node since it was started.
#[track_caller]
pub(crate) fn requests(node: SocketAddrV4) -> u64 {
    count(node, "requests ")
}

/// How often it was polled since it was started.
#[track_caller]
pub(crate) fn polls(node: SocketAddrV4) -> u64 {
    count(node, "polls ")
}

/// Whether a request for that path has reached the node since it was started.
#[track_caller]
pub(crate) fn has_request(node: SocketAddrV4, path: &str) -> bool {
    let line = format!("path {path}");
    let text = ask(node, "GET", "/announce");
    text.lines().any(|known| known == line)
}

#[track_caller]
fn count(node: SocketAddrV4, word: &str) -> u64 {
    let text = ask(node, "GET", "/announce");
    let number = text
        .lines()
        .find_map(|line| line.strip_prefix(word)?.parse().ok());
    number.unwrap_or_else(|| panic!("not understood: {text}"))
}

/// The answer's body; waits for a node that was only just started.
#[track_caller]
fn ask(node: SocketAddrV4, method: &str, path: &str) -> String {
    let answer = eventually(SOON, &format!("{node} answers {path}"), || {
        exchange(node, method, path).ok()
    });
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    assert!(head.contains(" 200 "), "{method} {path}: {answer}");
    body.to_owned()
}

fn exchange(node: SocketAddrV4, method: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&node.into(), Duration::from_secs(1))?;
    stream.set_read_timeout(Some(SOON))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}
