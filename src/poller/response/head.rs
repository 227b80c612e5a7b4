//! The head of a response, and what follows from it for the body and the connection.
//!
//! It is parsed line by line, and only for the three fields that matter. In other fields curl and load
//! balancers' health checks accept much that a strict parser rejects (control characters, folded lines, invalid names),
//! and a node that serves clients must not be removed for that.

use super::body::Framing;
use super::excerpt::{Excerpt, Protocol};
use super::{MAX_HEAD_BYTES, ParseError};

#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) framing: Framing,
    /// Whether the node keeps the connection open.
    pub(super) keep_alive: bool,
}

/// The first line of a head.
struct StatusLine {
    status: u16,
    /// Whether connections are kept open by default.
    persistent: bool,
}

/// The fields that matter.
#[derive(Default)]
struct Fields {
    /// The length, if all `Content-Length` values agree; otherwise the first value that is invalid or differs.
    length: Option<Result<usize, Excerpt>>,
    /// Whether the last transfer coding is `chunked`.
    chunked: Option<bool>,
    close: bool,
    keep_alive: bool,
}

impl Head {
    /// Parses the head at the start of `bytes`, and returns it with the bytes after it; `None` while it is incomplete.
    /// Interim responses before it are skipped.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, ParseError> {
        let mut rest = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
        let mut at = 0;
        while let Some((head, length)) = parse_one(rest)? {
            at += length;
            if let Some(head) = head {
                return Ok(Some((head, &bytes[at..])));
            }
            rest = &rest[length..];
        }
        if bytes.len() < MAX_HEAD_BYTES {
            Ok(None)
        } else {
            Err(ParseError::LongHead)
        }
    }

    /// Whether parsing may have another result now that `bytes` extend beyond `before`: the first line is checked as
    /// soon as it arrives, everything else once an empty line ends the head. So a head that arrives byte by byte is not
    /// parsed again for each byte.
    pub(super) fn may_parse(bytes: &[u8], before: usize) -> bool {
        let first_line = !bytes[..before].contains(&b'\n');
        let around = &bytes[before.saturating_sub(2)..];
        let contains = |end: &[u8]| around.windows(end.len()).any(|bytes| bytes == end);
        first_line || bytes.len() >= MAX_HEAD_BYTES || contains(b"\n\n") || contains(b"\n\r\n")
    }

    fn new(line: &StatusLine, fields: Fields) -> Result<Self, ParseError> {
        let status = line.status;
        // A length that is given in two ways, or in a way that this HTTP version does not have, may be understood
        // differently by the node.
        let ambiguous = fields.chunked.is_some() && (!line.persistent || fields.length.is_some());
        let framing = match (fields.chunked, fields.length) {
            // 101 would switch to another protocol, which was not requested.
            _ if matches!(status, 101 | 204 | 304) => Framing::Length(0),
            (Some(true), _) => Framing::CHUNKED,
            (Some(false), _) | (None, None) => Framing::UntilClosed,
            (None, Some(length)) => Framing::Length(length.map_err(ParseError::Length)?),
        };
        let keep_alive = !fields.close && (line.persistent || fields.keep_alive);
        Ok(Self {
            status,
            framing,
            keep_alive: keep_alive && !ambiguous && status != 101,
        })
    }
}

/// Parses one head if it is complete. Returns its length, and the head unless it is of an interim response.
fn parse_one(bytes: &[u8]) -> Result<Option<(Option<Head>, usize)>, ParseError> {
    let mut lines = Lines(bytes);
    // Some servers send an empty line after the previous response.
    let mut first = lines.next();
    while first.is_some_and(<[u8]>::is_empty) {
        first = lines.next();
    }
    let Some(first) = first else {
        return if StatusLine::may_begin(lines.0) {
            Ok(None)
        } else {
            Err(not_http(lines.0))
        };
    };
    let line = StatusLine::parse(first).ok_or_else(|| not_http(first))?;
    let mut fields = Fields::default();
    loop {
        match lines.next_field() {
            None => return Ok(None),
            Some([]) => break,
            Some(field) => fields.add(field),
        }
    }
    let head = match line.status {
        100 | 102..200 => None,
        _ => Some(Head::new(&line, fields)?),
    };
    Ok(Some((head, bytes.len() - lines.0.len())))
}

fn not_http(bytes: &[u8]) -> ParseError {
    match Protocol::of(bytes) {
        Some(protocol) => ParseError::Protocol(protocol),
        None => ParseError::NotHttp(Excerpt::of(bytes)),
    }
}

impl StatusLine {
    const BEGINNING: &[u8] = b"HTTP/";

    /// Whether `bytes` may be the beginning of a status line, or of an empty line before it.
    fn may_begin(bytes: &[u8]) -> bool {
        let known = bytes.len().min(Self::BEGINNING.len());
        bytes[..known] == Self::BEGINNING[..known] || bytes == b"\r"
    }

    /// Accepts any version: some servers respond as HTTP/2.0 over an HTTP/1.1 connection.
    fn parse(line: &[u8]) -> Option<Self> {
        let line = line.strip_prefix(Self::BEGINNING)?;
        let end = line.iter().position(|byte| *byte == b' ')?;
        let (version, rest) = line.split_at(end);
        let is_version = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        let (status, after) = rest.trim_ascii_start().split_at_checked(3)?;
        let status = u16::try_from(number(status)?).ok()?;
        let ends = after.first().is_none_or(|byte| *byte == b' ');
        let is_valid =
            !version.is_empty() && version.iter().all(is_version) && ends && status >= 100;
        is_valid.then_some(Self {
            status,
            persistent: version != b"1.0",
        })
    }
}

/// Iterates over the complete lines, without their ends; keeps what follows them.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = self.0.split_at(end);
        self.0 = &after[1..];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The next field, with its continuation lines, which begin with a blank.
    fn next_field(&mut self) -> Option<&'a [u8]> {
        let begin = self.0;
        let mut field = self.next()?;
        while !field.is_empty() && matches!(self.0.first(), Some(b' ' | b'\t')) {
            self.next()?;
            field = &begin[..begin.len() - self.0.len()];
        }
        Some(field)
    }
}

impl Fields {
    /// Adds a field if it is one of those that matter. Lines that are not fields are ignored.
    fn add(&mut self, field: &[u8]) {
        let Some(colon) = field.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = (field[..colon].trim_ascii(), &field[colon + 1..]);
        let values = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if name.eq_ignore_ascii_case(b"Content-Length") {
            values().for_each(|value| self.add_length(value));
        } else if name.eq_ignore_ascii_case(b"Transfer-Encoding") {
            // RFC 9110, 5.6.1: an element may be empty; `identity` (RFC 2616, 3.6) has no effect.
            let has_effect =
                |value: &&[u8]| !value.is_empty() && !value.eq_ignore_ascii_case(b"identity");
            for value in values().filter(has_effect) {
                self.chunked = Some(value.eq_ignore_ascii_case(b"chunked"));
            }
        } else if name.eq_ignore_ascii_case(b"Connection") {
            for value in values() {
                self.close |= value.eq_ignore_ascii_case(b"close");
                self.keep_alive |= value.eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }

    fn add_length(&mut self, value: &[u8]) {
        let length = number(value).ok_or_else(|| Excerpt::of(value));
        match (&self.length, length) {
            (None, length) => self.length = Some(length),
            (Some(Ok(before)), Ok(length)) if *before != length => {
                self.length = Some(Err(Excerpt::of(value)));
            }
            (Some(Ok(_)), Err(value)) => self.length = Some(Err(value)),
            (Some(_), _) => {}
        }
    }
}

fn number(value: &[u8]) -> Option<usize> {
    // `parse` accepts "+7" as well.
    let digits = value.iter().all(u8::is_ascii_digit);
    str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}
