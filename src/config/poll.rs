//! The keys that decide how nodes are polled.

use std::time::Duration;

use serde_json::Value;

use super::section::{Section, expectation};
use crate::model::names::PoolName;
use crate::model::node::{AddrBlock, NodeAddr};

/// How nodes are polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollSettings {
    /// Between two polls of one node.
    pub interval: Duration,
    /// For the whole answer: connect, headers, body.
    pub timeout: Duration,
    /// Before a node is asked again out of its turn, when `rise` or `fall` asks for more than one
    /// answer.
    pub retry_interval: Duration,
    /// What is asked for; begins with `/`.
    pub path: String,
    /// One poll in so many is asked on a new connection; 0: none that need not be.
    pub reconnect: u32,
    /// What is sent with each poll.
    pub headers: Headers,
    /// What is sent instead to nodes of these blocks, the narrowest first.
    pub pool_headers: Vec<(AddrBlock, Headers)>,
}

/// Header fields of a request: names that are tokens, each once, and values without control
/// characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// A pool's `poll_headers`, and the nodes that get them.
pub(super) type OfPool = (PoolName, Vec<AddrBlock>, Headers);

/// Nodes may refuse longer requests: many servers take 8 KiB.
const MAX_HEADERS_BYTES: usize = 4_096;

/// They belong to the connection and to the framing of messages, which are pollbal's own matter.
const OURS: [&str; 10] = [
    "Connection",
    "Content-Length",
    "Expect",
    "HTTP2-Settings",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

impl Default for PollSettings {
    fn default() -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        Self {
            interval: SECOND,
            timeout: SECOND / 2,
            retry_interval: SECOND / 5,
            path: "/pool".to_owned(),
            // A node that takes no new connections is found within 10 polls.
            reconnect: 10,
            headers: Headers::default(),
            pool_headers: Vec::new(),
        }
    }
}

impl PollSettings {
    /// What is sent to this node.
    #[must_use]
    pub fn headers_of(&self, addr: NodeAddr) -> &Headers {
        let mut blocks = self.pool_headers.iter();
        let of_pool = blocks.find(|(block, _)| block.contains(addr.ip()));
        of_pool.map_or(&self.headers, |(_, headers)| headers)
    }
}

impl Headers {
    /// Each name and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether one has this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// These, and of `others` those that have other names.
    fn over(&self, others: &Self) -> Self {
        let others = others.iter().filter(|(name, _)| !self.has(name));
        others.chain(self.iter()).collect()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(headers: T) -> Self {
        let headers = headers.into_iter();
        Self(
            headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }
}

/// Reads all of it; `of_pools` is what pools want sent to their nodes.
pub(super) fn read_poll(section: &Section<'_>, of_pools: &[OfPool]) -> PollSettings {
    let default = PollSettings::default();
    let millis = Duration::from_millis;
    let headers = read_headers(section).unwrap_or_default();
    PollSettings {
        interval: section.time("poll_interval", default.interval, millis(10)),
        timeout: section.time("service_timeout", default.timeout, millis(1)),
        retry_interval: section.time("retry_interval", default.retry_interval, millis(10)),
        path: read_path(section).unwrap_or(default.path),
        reconnect: section.integer("poll_reconnect", default.reconnect, 0..=u32::MAX),
        pool_headers: by_block(section, of_pools, &headers),
        headers,
    }
}

fn read_path(section: &Section<'_>) -> Option<String> {
    let usable = |text: &&str| {
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"#<>".contains(&byte);
        text.starts_with('/') && text.bytes().all(fits)
    };
    let read = |value: &Value| value.as_str().filter(usable).map(str::to_owned);
    let expected = "a path that begins with `/`, without blanks or `#<>`, such as \"/pool\"";
    section.read("poll_path", expected, read)
}

/// Reads `poll_headers`, of the whole file or of a pool.
pub(super) fn read_headers(section: &Section<'_>) -> Option<Headers> {
    const KEY: &str = "poll_headers";
    let value = section.get(KEY)?;
    let Some(map) = value.as_object() else {
        let expected =
            "an object of header names and values, such as {\"Host\": \"www.example.com\"}";
        section.error(KEY, expectation(expected, value));
        return None;
    };
    let mut headers = Headers::default();
    for (name, value) in map {
        // A value may be a secret, and is not repeated.
        let wrong = |why: &str| section.error(&format!("{KEY}.{}", name.escape_debug()), why);
        let Some(value) = value.as_str() else {
            wrong("expected a text");
            continue;
        };
        match fault(name, value) {
            Some(why) => wrong(why),
            None if headers.has(name) => {
                wrong("it is there twice, upper and lower case being the same");
            }
            None => headers.0.push((name.clone(), value.to_owned())),
        }
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    if bytes > MAX_HEADERS_BYTES {
        let why = format!("{bytes} bytes together; at most {MAX_HEADERS_BYTES} are sent");
        section.error(KEY, why);
    }
    Some(headers)
}

/// Why this cannot be sent.
fn fault(name: &str, value: &str) -> Option<&'static str> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t';
    if name.is_empty() || !name.bytes().all(token) {
        Some("no name of a header: write letters, digits and `-`")
    } else if OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
        Some("belongs to the connection, which is pollbal's own matter")
    } else if value.trim_ascii().is_empty() || !value.bytes().all(visible) {
        Some("expected visible ASCII characters, with blanks between them: no line breaks")
    } else if name.eq_ignore_ascii_case("Host")
        && !value.bytes().all(|byte| byte.is_ascii_graphic())
    {
        Some("expected a host, without blanks")
    } else {
        None
    }
}

/// What pools want sent, by blocks of nodes, the narrowest first: a node may be in several.
fn by_block(
    section: &Section<'_>,
    of_pools: &[OfPool],
    all: &Headers,
) -> Vec<(AddrBlock, Headers)> {
    let mut found: Vec<(AddrBlock, Headers, &PoolName)> = Vec::new();
    for (pool, blocks, headers) in of_pools {
        let headers = headers.over(all);
        for block in blocks {
            let mut others = found.iter().filter(|(other, ..)| other == block);
            match others.find(|(_, others, _)| *others != headers) {
                Some((_, _, other)) => section.error(
                    &format!("pools.{pool}.poll_headers"),
                    format!(
                        "differ from those of pools.{other}, which lists {block} in its `nodes` too"
                    ),
                ),
                None => found.push((*block, headers.clone(), pool)),
            }
        }
    }
    found.sort_by_key(|(block, ..)| std::cmp::Reverse(block.bits()));
    found
        .into_iter()
        .map(|(block, headers, _)| (block, headers))
        .collect()
}
