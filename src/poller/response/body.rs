//! The body of a response.

use super::excerpt::Excerpt;
use super::{MAX_BODY_BYTES, MAX_HEAD_BYTES, ParseError};

/// How the end of a body is determined, and what is still expected of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    /// After this many more bytes.
    Length(usize),
    /// After an empty chunk.
    Chunks(Chunk),
    /// When the node closes the connection.
    UntilClosed,
}

/// The next part of a chunked body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunk {
    Size,
    /// This many more bytes of the chunk.
    Data(usize),
    /// The line end after the data.
    End,
    /// The trailers after the last chunk, of which this many bytes have been skipped.
    Trailers(usize),
}

/// A body that is being parsed.
#[derive(Debug)]
pub(super) struct Body {
    framing: Framing,
    pub(super) bytes: Vec<u8>,
}

/// How far parsing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Incomplete,
    Complete,
    /// Longer than [`MAX_BODY_BYTES`], or announced to be.
    TooLong,
}

impl Framing {
    pub(super) const CHUNKED: Self = Self::Chunks(Chunk::Size);
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            bytes: Vec::new(),
        }
    }

    pub(super) fn ends_by_close(&self) -> bool {
        matches!(self.framing, Framing::UntilClosed)
    }

    /// Parses what belongs to the body, and removes it from `rest`. An incomplete line stays there.
    pub(super) fn parse(&mut self, rest: &mut &[u8]) -> Result<Progress, ParseError> {
        let Self { framing, bytes } = self;
        match framing {
            Framing::Length(left) => Ok(append(bytes, rest, left)),
            Framing::UntilClosed => {
                let mut all = rest.len();
                let appended = append(bytes, rest, &mut all);
                Ok(if appended == Progress::Complete {
                    Progress::Incomplete
                } else {
                    appended
                })
            }
            Framing::Chunks(chunk) => parse_chunks(chunk, bytes, rest),
        }
    }
}

fn parse_chunks(
    chunk: &mut Chunk,
    bytes: &mut Vec<u8>,
    rest: &mut &[u8],
) -> Result<Progress, ParseError> {
    loop {
        let (progress, next) = match chunk {
            Chunk::Size => match parse_size(rest)? {
                None => (Progress::Incomplete, Chunk::Size),
                Some(0) => (Progress::Complete, Chunk::Trailers(0)),
                Some(size) => (Progress::Complete, Chunk::Data(size)),
            },
            Chunk::Data(left) => (append(bytes, rest, left), Chunk::End),
            Chunk::End => (parse_chunk_end(rest)?, Chunk::Size),
            Chunk::Trailers(skipped) => return skip_trailers(skipped, rest),
        };
        if progress != Progress::Complete {
            return Ok(progress);
        }
        *chunk = next;
    }
}

/// Moves up to `left` bytes from `rest` to the body.
fn append(bytes: &mut Vec<u8>, rest: &mut &[u8], left: &mut usize) -> Progress {
    if bytes.len().saturating_add(*left) > MAX_BODY_BYTES {
        return Progress::TooLong;
    }
    let (new, after) = rest.split_at(rest.len().min(*left));
    bytes.extend_from_slice(new);
    *rest = after;
    *left -= new.len();
    if *left == 0 {
        Progress::Complete
    } else {
        Progress::Incomplete
    }
}

/// The size of the next chunk; `None` while its line is incomplete.
fn parse_size(rest: &mut &[u8]) -> Result<Option<usize>, ParseError> {
    let Some(line) = line(rest)? else {
        return Ok(None);
    };
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (size, after) = line.split_at(digits.count());
    // Extensions, and anything else after the size, are ignored.
    let ends = after.first().is_none_or(|byte| b" \t;".contains(byte));
    if size.is_empty() || !ends {
        return Err(ParseError::ChunkSize(Excerpt::of(line)));
    }
    let size = str::from_utf8(size).map(|size| usize::from_str_radix(size, 16));
    // Hexadecimal digits are valid UTF-8, so the only possible error is overflow.
    Ok(Some(
        size.map_or(usize::MAX, |size| size.unwrap_or(usize::MAX)),
    ))
}

/// Parses the line end after a chunk.
fn parse_chunk_end(rest: &mut &[u8]) -> Result<Progress, ParseError> {
    if let Some(after) = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n")) {
        *rest = after;
        Ok(Progress::Complete)
    } else if b"\r\n".starts_with(rest) {
        Ok(Progress::Incomplete)
    } else {
        Err(ParseError::ChunkEnd(Excerpt::of(rest)))
    }
}

/// Skips the fields after the last chunk, up to an empty line.
fn skip_trailers(skipped: &mut usize, rest: &mut &[u8]) -> Result<Progress, ParseError> {
    loop {
        let before = rest.len();
        let Some(line) = line(rest)? else {
            return Ok(Progress::Incomplete);
        };
        *skipped += before - rest.len();
        if *skipped > MAX_HEAD_BYTES {
            return Err(ParseError::LongLine);
        }
        if line.is_empty() {
            return Ok(Progress::Complete);
        }
    }
}

/// The next line, without its end; `None` while it is incomplete.
fn line<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, ParseError> {
    let within = &rest[..rest.len().min(MAX_HEAD_BYTES)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if rest.len() < MAX_HEAD_BYTES {
            Ok(None)
        } else {
            Err(ParseError::LongLine)
        };
    };
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
}
