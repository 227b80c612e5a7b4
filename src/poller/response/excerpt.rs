//! An excerpt of a response that is not valid HTTP, safe to log, and a guess at the protocol it belongs to.

use std::fmt;

/// The first bytes that arrived, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::poller) struct Excerpt(String);

/// Maximum length of an excerpt, in bytes.
const MAX_BYTES: usize = 40;

/// A protocol that is recognized by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::poller) enum Protocol {
    Tls,
    Ssh,
    /// HTTP/2 with prior knowledge, as spoken by gRPC servers.
    Http2,
}

impl Excerpt {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let excerpt = &bytes[..bytes.len().min(MAX_BYTES)];
        let more = if bytes.len() > MAX_BYTES { "…" } else { "" };
        Self(format!("\"{}{more}\"", excerpt.escape_ascii()))
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Protocol {
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // An alert or handshake record of SSL 3.0 to TLS 1.3.
            [0x15 | 0x16, 3, 0..=4, ..] => Some(Self::Tls),
            [b'S', b'S', b'H', b'-', ..] => Some(Self::Ssh),
            // A SETTINGS or GOAWAY frame on stream 0, shorter than 256 bytes.
            [0, 0, _, 4 | 7, 0, 0, 0, 0, 0, ..] => Some(Self::Http2),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS, not HTTP",
            Self::Ssh => "SSH, not HTTP",
            Self::Http2 => "HTTP/2, not HTTP/1.1",
        })
    }
}
