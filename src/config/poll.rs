//! The keys of polling.

use std::time::Duration;

use serde_json::Value;

use super::reader::{ObjectReader, expected_message};
use crate::model::addr_block::AddrBlock;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;

/// How nodes are polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollSettings {
    /// Time between two polls of a node.
    pub interval: Duration,
    /// Time limit for the complete response: connect, headers, body.
    pub timeout: Duration,
    /// Time until the next poll of a node while `rise` or `fall` needs more than one.
    pub retry_interval: Duration,
    /// The path that is requested; starts with `/`.
    pub path: String,
    /// One poll in this many uses a new connection; 0: none unless necessary.
    pub reconnect: u32,
    /// Header fields sent with each poll.
    pub headers: Headers,
    /// Header fields sent to the nodes in these blocks instead, the narrowest block first.
    pub pool_headers: Vec<(AddrBlock, Headers)>,
}

/// Header fields of a request. Names are tokens and unique, values have no control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// A pool's `poll_headers`, and the nodes that they are sent to.
pub(super) type PoolHeaders = (PoolName, Vec<AddrBlock>, Headers);

/// Maximum size of all header fields together, in bytes. Many servers reject requests of more than 8 KiB.
const MAX_HEADERS_BYTES: usize = 4_096;

/// Header fields that belong to the connection or the framing of messages, which pollbal manages itself.
const RESERVED: [&str; 10] = [
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
            // Detects within 10 polls that a node no longer accepts connections.
            reconnect: 10,
            headers: Headers::default(),
            pool_headers: Vec::new(),
        }
    }
}

impl PollSettings {
    /// The header fields sent to this node.
    #[must_use]
    pub fn headers_of(&self, addr: NodeAddr) -> &Headers {
        let mut blocks = self.pool_headers.iter();
        let of_pool = blocks.find(|(block, _)| block.contains(addr.ip()));
        of_pool.map_or(&self.headers, |(_, headers)| headers)
    }
}

impl Headers {
    /// The names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is a field with this name, ignoring case.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// These fields, and those of `others` with other names.
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

/// Reads all keys of polling.
pub(super) fn read_poll(reader: &ObjectReader<'_>, pool_headers: &[PoolHeaders]) -> PollSettings {
    let default = PollSettings::default();
    let millis = Duration::from_millis;
    let headers = read_headers(reader).unwrap_or_default();
    PollSettings {
        interval: reader.time("poll_interval", default.interval, millis(10)),
        timeout: reader.time("service_timeout", default.timeout, millis(1)),
        retry_interval: reader.time("retry_interval", default.retry_interval, millis(10)),
        path: read_path(reader).unwrap_or(default.path),
        reconnect: reader.integer("poll_reconnect", default.reconnect, 0..=u32::MAX),
        pool_headers: by_block(reader, pool_headers, &headers),
        headers,
    }
}

fn read_path(reader: &ObjectReader<'_>) -> Option<String> {
    let usable = |text: &&str| {
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"#<>".contains(&byte);
        text.starts_with('/') && text.bytes().all(fits)
    };
    let read = |value: &Value| value.as_str().filter(usable).map(str::to_owned);
    let expected = "a path that starts with `/`, without spaces or `#<>`, such as \"/pool\"";
    reader.read("poll_path", expected, read)
}

/// Reads `poll_headers`, either the general one or a pool's.
pub(super) fn read_headers(reader: &ObjectReader<'_>) -> Option<Headers> {
    const KEY: &str = "poll_headers";
    let value = reader.get(KEY)?;
    let Some(map) = value.as_object() else {
        let expected =
            "an object of header names and values, such as {\"Host\": \"www.example.com\"}";
        reader.error(KEY, expected_message(expected, value));
        return None;
    };
    let mut headers = Headers::default();
    for (name, value) in map {
        // Errors do not show values, which may be secret.
        let wrong = |why: &str| reader.error(&format!("{KEY}.{}", name.escape_debug()), why);
        let Some(value) = value.as_str() else {
            wrong("expected a string");
            continue;
        };
        match fault(name, value) {
            Some(why) => wrong(why),
            None if headers.has(name) => {
                wrong("duplicate header (names are case-insensitive)");
            }
            None => headers.0.push((name.clone(), value.to_owned())),
        }
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    if bytes > MAX_HEADERS_BYTES {
        let why = format!("{bytes} bytes in total; the maximum is {MAX_HEADERS_BYTES}");
        reader.error(KEY, why);
    }
    Some(headers)
}

/// Why a header field cannot be sent.
fn fault(name: &str, value: &str) -> Option<&'static str> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t';
    if name.is_empty() || !name.bytes().all(token) {
        Some("not a header name: use letters, digits and `-`")
    } else if RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(name))
    {
        Some("belongs to the connection, which pollbal manages itself")
    } else if value.trim_ascii().is_empty() || !value.bytes().all(visible) {
        Some("expected printable ASCII characters, not only spaces: no line breaks")
    } else if name.eq_ignore_ascii_case("Host")
        && !value.bytes().all(|byte| byte.is_ascii_graphic())
    {
        Some("expected a host, without spaces")
    } else {
        None
    }
}

/// The header fields of pools by blocks of nodes, the narrowest first, since a node may be in several.
fn by_block(
    reader: &ObjectReader<'_>,
    pool_headers: &[PoolHeaders],
    all: &Headers,
) -> Vec<(AddrBlock, Headers)> {
    let mut found: Vec<(AddrBlock, Headers, &PoolName)> = Vec::new();
    for (pool, blocks, headers) in pool_headers {
        let headers = headers.over(all);
        for block in blocks {
            let mut others = found.iter().filter(|(other, ..)| other == block);
            match others.find(|(_, others, _)| *others != headers) {
                Some((_, _, other)) => reader.error(
                    &format!("pools.{pool}.poll_headers"),
                    format!(
                        "differ from those of pools.{other}, which lists {block} in its `nodes` too"
                    ),
                ),
                None => found.push((*block, headers.clone(), pool)),
            }
        }
    }
    found.sort_by_key(|(block, ..)| std::cmp::Reverse(block.prefix_len()));
    found
        .into_iter()
        .map(|(block, headers, _)| (block, headers))
        .collect()
}
