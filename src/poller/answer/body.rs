//! The body of an answer.

use httparse::{EMPTY_HEADER, Status};

use super::{MAX_BODY_BYTES, MAX_FIELDS, MAX_HEAD_BYTES, Unreadable};

/// How a body ends, and what is still to come of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(usize),
    /// After a chunk of no bytes.
    Chunks(Chunk),
    /// When the node closes the connection.
    UntilClosed,
}

/// What comes next of a body in chunks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunk {
    Size,
    /// So many bytes of it.
    Data(usize),
    /// The end of a line behind the data.
    End,
    /// What stands behind the last chunk.
    Trailers,
}

/// A body that is being read.
#[derive(Debug)]
pub(super) struct Body {
    framing: Framing,
    pub(super) bytes: Vec<u8>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Whole,
    /// Longer than [`MAX_BODY_BYTES`], or said to be.
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

    /// Takes from `rest` what belongs to the body, but for the beginning of what is understood
    /// only when it is whole.
    pub(super) fn read(&mut self, rest: &mut &[u8]) -> Result<Progress, Unreadable> {
        let Self { framing, bytes } = self;
        match framing {
            Framing::Length(left) => Ok(append(bytes, rest, left)),
            Framing::UntilClosed => {
                let mut all = rest.len();
                let appended = append(bytes, rest, &mut all);
                Ok(if appended == Progress::Whole {
                    Progress::More
                } else {
                    appended
                })
            }
            Framing::Chunks(chunk) => read_chunks(chunk, bytes, rest),
        }
    }
}

fn read_chunks(
    chunk: &mut Chunk,
    bytes: &mut Vec<u8>,
    rest: &mut &[u8],
) -> Result<Progress, Unreadable> {
    loop {
        let (progress, next) = match chunk {
            Chunk::Size => match read_size(rest)? {
                None => (Progress::More, Chunk::Size),
                Some(0) => (Progress::Whole, Chunk::Trailers),
                Some(size) => (Progress::Whole, Chunk::Data(size)),
            },
            Chunk::Data(left) => (append(bytes, rest, left), Chunk::End),
            Chunk::End => (read_end(rest)?, Chunk::Size),
            Chunk::Trailers => return read_trailers(rest),
        };
        if progress != Progress::Whole {
            return Ok(progress);
        }
        *chunk = next;
    }
}

/// Moves up to `left` bytes to the body.
fn append(bytes: &mut Vec<u8>, rest: &mut &[u8], left: &mut usize) -> Progress {
    if bytes.len().saturating_add(*left) > MAX_BODY_BYTES {
        return Progress::TooLong;
    }
    let (new, behind) = rest.split_at(rest.len().min(*left));
    bytes.extend_from_slice(new);
    *rest = behind;
    *left -= new.len();
    if *left == 0 {
        Progress::Whole
    } else {
        Progress::More
    }
}

/// The size of the next chunk; `None` as long as its line is not whole.
fn read_size(rest: &mut &[u8]) -> Result<Option<usize>, Unreadable> {
    match httparse::parse_chunk_size(within(rest)) {
        Ok(Status::Complete((length, size))) => {
            let (line, behind) = rest.split_at(length);
            // httparse takes one without digits too.
            if !line[0].is_ascii_hexdigit() || has_bare_newline(line) {
                return Err(Unreadable::Chunk);
            }
            *rest = behind;
            Ok(Some(usize::try_from(size).unwrap_or(usize::MAX)))
        }
        Ok(Status::Partial) if rest.len() < MAX_HEAD_BYTES => Ok(None),
        _ => Err(Unreadable::Chunk),
    }
}

fn read_end(rest: &mut &[u8]) -> Result<Progress, Unreadable> {
    const END: &[u8] = b"\r\n";
    if let Some(behind) = rest.strip_prefix(END) {
        *rest = behind;
        Ok(Progress::Whole)
    } else if END.starts_with(rest) {
        Ok(Progress::More)
    } else {
        Err(Unreadable::Chunk)
    }
}

/// Passes over the fields behind the last chunk, up to an empty line.
fn read_trailers(rest: &mut &[u8]) -> Result<Progress, Unreadable> {
    match httparse::parse_headers(within(rest), &mut [EMPTY_HEADER; MAX_FIELDS])? {
        Status::Complete((length, _)) => {
            let (trailers, behind) = rest.split_at(length);
            if has_bare_newline(trailers) {
                return Err(Unreadable::Chunk);
            }
            *rest = behind;
            Ok(Progress::Whole)
        }
        Status::Partial if rest.len() < MAX_HEAD_BYTES => Ok(Progress::More),
        Status::Partial => Err(Unreadable::Chunk),
    }
}

/// Whether a line ends otherwise than by CR LF, as httparse lets it; hyper refuses that among chunks.
fn has_bare_newline(lines: &[u8]) -> bool {
    let mut ends = lines.split(|byte| *byte == b'\n');
    // Nothing stands behind the last end.
    ends.next_back();
    ends.any(|line| !line.ends_with(b"\r"))
}

/// As much as may be looked at.
fn within(rest: &[u8]) -> &[u8] {
    &rest[..rest.len().min(MAX_HEAD_BYTES)]
}
