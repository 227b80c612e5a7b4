//! Parses a node's HTTP response incrementally, from the bytes that arrive over a connection.
//!
//! Pure: bytes are arguments. RFC 9112, section 6.3, defines where a response ends. Everything that hyper accepts is
//! parsed in the same way, and more is accepted: a strict parser rejects responses that serve clients well.

mod body;
mod excerpt;
mod head;

use thiserror::Error;

use self::body::{Body, Progress};
pub(super) use self::excerpt::Excerpt;
use self::excerpt::Protocol;
use self::head::Head;

/// Maximum length of a body, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 4_096;

/// Maximum length of a head, in bytes, including the interim responses (1xx) before it: the same as `HAProxy`'s default
/// (`tune.bufsize`). It also limits a chunk's size line with its extensions, and the trailers.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// A complete response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// `None` if it is longer than [`MAX_BODY_BYTES`].
    pub(super) body: Option<Vec<u8>>,
    /// Whether the connection can be reused: the node keeps it open, and sent nothing after the response.
    pub(super) keep_alive: bool,
}

/// A response that is being parsed. It keeps only what has arrived of it.
#[derive(Debug, Default)]
pub(super) struct ResponseParser {
    /// The incomplete beginning of an element that is parsed only as a whole: a head, a chunk's size, trailers.
    buffer: Vec<u8>,
    /// Set once the head is complete.
    body: Option<(Head, Body)>,
}

/// Why bytes are not a valid response; the messages have the node as their subject.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum ParseError {
    #[error("speaks {0}")]
    Protocol(Protocol),
    #[error("answered {0}, which is not HTTP")]
    NotHttp(Excerpt),
    #[error("answered with a head longer than {MAX_HEAD_BYTES} bytes")]
    LongHead,
    #[error("answered with Content-Length {0}, which is no length, or not the only one")]
    Length(Excerpt),
    #[error("answered in chunks, with {0} instead of a chunk's size")]
    ChunkSize(Excerpt),
    #[error("answered in chunks, with {0} instead of a chunk's end")]
    ChunkEnd(Excerpt),
    #[error("answered in chunks, with a line longer than {MAX_HEAD_BYTES} bytes")]
    LongLine,
}

impl ResponseParser {
    /// Parses the bytes that arrived next. Returns the response once it is complete.
    pub(super) fn feed(&mut self, new: &[u8]) -> Result<Option<Response>, ParseError> {
        if self.buffer.is_empty() {
            let mut rest = new;
            let response = self.parse(&mut rest)?;
            self.buffer = rest.to_vec();
            return Ok(response);
        }
        let before = self.buffer.len();
        self.buffer.extend_from_slice(new);
        if self.body.is_none() && !Head::may_parse(&self.buffer, before) {
            return Ok(None);
        }
        let mut all = std::mem::take(&mut self.buffer);
        let mut rest = &all[..];
        let response = self.parse(&mut rest)?;
        let parsed = all.len() - rest.len();
        all.drain(..parsed);
        self.buffer = all;
        Ok(response)
    }

    /// Parses as much of `rest` as possible, and removes that from it.
    fn parse(&mut self, rest: &mut &[u8]) -> Result<Option<Response>, ParseError> {
        if self.body.is_none()
            && let Some((head, after)) = Head::parse(rest)?
        {
            let body = Body::new(head.framing);
            self.body = Some((head, body));
            *rest = after;
        }
        let progress = match &mut self.body {
            Some((_, body)) => body.parse(rest)?,
            None => Progress::Incomplete,
        };
        if progress == Progress::Incomplete {
            return Ok(None);
        }
        let complete = progress == Progress::Complete;
        Ok(self.body.take().map(|(head, body)| Response {
            status: head.status,
            body: complete.then_some(body.bytes),
            keep_alive: complete && head.keep_alive && rest.is_empty(),
        }))
    }

    /// Handles the end of the connection, which ends a response without a length. Returns `None` if the response is
    /// incomplete.
    pub(super) fn finish(&mut self) -> Result<Option<Response>, ParseError> {
        if self.body.is_none() {
            // Parsing was deferred until more arrived, so these bytes may turn out to be no head only now.
            Head::parse(&self.buffer)?;
        }
        let body = self.body.take_if(|(_, body)| body.ends_by_close());
        Ok(body.map(|(head, body)| Response {
            status: head.status,
            body: Some(body.bytes),
            keep_alive: false,
        }))
    }

    /// The status, once the head is complete.
    pub(super) fn status(&self) -> Option<u16> {
        self.body.as_ref().map(|(head, _)| head.status)
    }

    /// What has arrived of an incomplete head.
    pub(super) fn partial_head(&self) -> Option<Excerpt> {
        (self.body.is_none() && !self.buffer.is_empty()).then(|| Excerpt::of(&self.buffer))
    }
}

#[cfg(test)]
mod tests;
