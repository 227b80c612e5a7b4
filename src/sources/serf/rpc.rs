//! The agent's protocol, without I/O: requests, and what the agent answers.
//!
//! Requests and answers are MessagePack values, one behind the other, with nothing that says how long they are. So
//! [`Frames`] walks through what was received, once, until a value is complete; only then is it decoded. Nothing the
//! agent sends is trusted: a value may have at most [`MAX_BYTES`] and [`MAX_DEPTH`], a list [`MAX_MEMBERS`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use rmp_serde::Deserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Maximum length of an answer, in bytes: 10,000 members with as many tags as Serf allows.
const MAX_BYTES: usize = 8 << 20;

/// Maximum depth of an answer: a list of members with tags has four levels.
const MAX_DEPTH: usize = 8;

/// Maximum number of members.
const MAX_MEMBERS: usize = 10_000;

/// What precedes each request and each answer.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RequestHeader<'a> {
    command: &'a str,
    seq: u64,
}

/// What follows the header of a handshake.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Handshake {
    pub(super) version: u32,
}

/// What follows the header of an authentication.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Auth<'a> {
    pub(super) auth_key: &'a str,
}

/// The header of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AnswerHeader {
    pub(super) seq: u64,
    /// Empty if the request succeeded.
    pub(super) error: Text,
}

/// The answer to `members`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MembersAnswer {
    #[serde(deserialize_with = "bounded")]
    pub(super) members: Vec<Member>,
}

/// A member of the cluster, as the agent knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// Its name, which may be anything.
    pub name: Text,
    /// Its address; `None` if that is neither IPv4 nor IPv6.
    #[serde(deserialize_with = "address")]
    pub addr: Option<IpAddr>,
    /// Its tags, which may be anything too.
    pub tags: Option<BTreeMap<Text, Text>>,
    /// Whether it is alive.
    pub status: Text,
}

/// A text that need not be UTF-8, as Serf takes what it is given; what is not is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(pub String);

/// Why an answer is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("its answer is longer than {} MiB", MAX_BYTES >> 20)]
    TooLong,
    #[error("its answer is nested too deeply")]
    TooDeep,
    #[error("its answer is not MessagePack")]
    Invalid,
    #[error("its answer is not as expected: {0}")]
    Unexpected(String),
}

impl Member {
    /// The value of a tag, if it has it.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        let tags = self.tags.as_ref()?.iter();
        let mut values = tags.filter(|(tag, _)| tag.0 == name);
        values.next().map(|(_, value)| value.0.as_str())
    }
}

/// A request: its header, and the body where the command has one.
pub(super) fn request(command: &str, seq: u64, body: Option<&impl Serialize>) -> Vec<u8> {
    let header = RequestHeader { command, seq };
    // Nothing fails to be written into a `Vec`, and these types can be represented.
    let mut bytes = rmp_serde::to_vec_named(&header).unwrap_or_default();
    let body = body.map(rmp_serde::to_vec_named);
    bytes.extend(body.and_then(Result::ok).unwrap_or_default());
    bytes
}

/// Decodes a complete value.
pub(super) fn decode<'de, T: Deserialize<'de>>(frame: &'de [u8]) -> Result<T, FrameError> {
    let mut deserializer = Deserializer::from_read_ref(frame);
    deserializer.set_max_depth(MAX_DEPTH + 1);
    T::deserialize(&mut deserializer).map_err(|error| FrameError::Unexpected(error.to_string()))
}

/// Divides what is received into values.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) received: Vec<u8>,
    /// How much of the first value was walked through.
    walked: usize,
    /// Number of values that are still to come, at each level of the first value.
    open: Vec<u64>,
}

/// What a value's first bytes tell: their length with what follows them, and how many values are inside.
struct Head {
    length: usize,
    inside: u64,
}

impl Frames {
    /// The first value, if it is complete.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        loop {
            let Some(head) = head(&self.received[self.walked..])? else {
                return self.incomplete();
            };
            let end = self.walked.saturating_add(head.length);
            if end > MAX_BYTES {
                return Err(FrameError::TooLong);
            }
            if end > self.received.len() {
                return self.incomplete();
            }
            self.walked = end;
            if head.inside > 0 {
                self.open.push(head.inside);
                if self.open.len() > MAX_DEPTH {
                    return Err(FrameError::TooDeep);
                }
                continue;
            }
            self.close();
            if self.open.is_empty() {
                let rest = self.received.split_off(self.walked);
                self.walked = 0;
                return Ok(Some(std::mem::replace(&mut self.received, rest)));
            }
        }
    }

    fn incomplete<T>(&self) -> Result<Option<T>, FrameError> {
        if self.received.len() > MAX_BYTES {
            return Err(FrameError::TooLong);
        }
        Ok(None)
    }

    /// Counts a value that is complete, and with it those that it completes.
    fn close(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
    }
}

/// Reads a value's head; `None` if it is not there as a whole.
fn head(bytes: &[u8]) -> Result<Option<Head>, FrameError> {
    let Some((&marker, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    // A number of this many bytes, in network order.
    let number = |size: usize| {
        let bytes = rest.get(..size)?;
        Some(
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    };
    let plain = |size: usize| Some((size, 0, 0));
    let data =
        |size: usize, more: usize| Some((size, number(size)?.saturating_add(more as u64), 0));
    let values = |size: usize, times: u64| Some((size, 0, number(size)? * times));
    // The size of what follows the marker, the length of the data behind that, and the number of values inside.
    let parts = match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => plain(0),
        0x80..=0x8f => Some((0, 0, u64::from(marker & 0x0f) * 2)),
        0x90..=0x9f => Some((0, 0, u64::from(marker & 0x0f))),
        0xa0..=0xbf => plain(usize::from(marker & 0x1f)),
        0xc4 | 0xd9 => data(1, 0),
        0xc5 | 0xda => data(2, 0),
        0xc6 | 0xdb => data(4, 0),
        // An extension's type is a byte behind its length.
        0xc7 => data(1, 1),
        0xc8 => data(2, 1),
        0xc9 => data(4, 1),
        0xcc | 0xd0 => plain(1),
        0xcd | 0xd1 | 0xd4 => plain(2),
        0xca | 0xce | 0xd2 => plain(4),
        0xcb | 0xcf | 0xd3 => plain(8),
        0xd5 => plain(3),
        0xd6 => plain(5),
        0xd7 => plain(9),
        0xd8 => plain(17),
        0xdc => values(2, 1),
        0xdd => values(4, 1),
        0xde => values(2, 2),
        0xdf => values(4, 2),
        0xc1 => return Err(FrameError::Invalid),
    };
    Ok(parts.map(|(size, data, inside)| Head {
        length: usize::try_from(data)
            .unwrap_or(usize::MAX)
            .saturating_add(1 + size),
        inside,
    }))
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

/// An address is 4 or 16 bytes, which older agents send as a text.
fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    struct AddressVisitor;

    impl Visitor<'_> for AddressVisitor {
        type Value = Option<IpAddr>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address of 4 or 16 bytes")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            self.visit_bytes(text.as_bytes())
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            let ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let ip = ipv4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            Ok(ip.ok().map(|ip| ip.to_canonical()))
        }
    }

    deserializer.deserialize_any(AddressVisitor)
}

/// A list of at most [`MAX_MEMBERS`].
fn bounded<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Member>, D::Error> {
    struct MembersVisitor;

    impl<'de> Visitor<'de> for MembersVisitor {
        type Value = Vec<Member>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX_MEMBERS} members")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = list.next_element()? {
                if members.len() == MAX_MEMBERS {
                    return Err(A::Error::invalid_length(MAX_MEMBERS + 1, &self));
                }
                members.push(member);
            }
            Ok(members)
        }
    }

    deserializer.deserialize_any(MembersVisitor)
}

#[cfg(test)]
mod tests;
