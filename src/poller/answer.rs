//! A node's answer, put together from what comes over a connection, piece by piece.
//!
//! Pure: bytes are arguments. httparse understands heads, sizes of chunks and trailers. Where an
//! answer ends is told by RFC 9112, section 6.3; what that leaves open is as hyper has it.

mod body;
mod head;

use thiserror::Error;

use self::body::{Body, Progress};
use self::head::Head;

/// The longest body that is read, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 4_096;

/// The longest head, in bytes, with the interim ones (1xx) before it: as long as nginx lets it be
/// (`proxy_buffer_size`). A chunk's size, with its extensions, and trailers are no longer either.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// So many fields at most are in a head or in trailers; hyper takes as many.
const MAX_FIELDS: usize = 100;

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `None` when it is longer than [`MAX_BODY_BYTES`].
    pub(super) body: Option<Vec<u8>>,
    /// Whether the connection can be used again: the node keeps it, and said nothing more.
    pub(super) keeps: bool,
}

/// An answer that is being read. It holds no more than what came of it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The beginning of something that is understood only when it is whole: a head, a chunk's
    /// size, trailers.
    begun: Vec<u8>,
    /// When the head is whole.
    body: Option<(Head, Body)>,
}

/// Why bytes are no answer.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Syntax(#[from] httparse::Error),
    #[error("the head is longer than {MAX_HEAD_BYTES} bytes")]
    LongHead,
    #[error("invalid Content-Length")]
    Length,
    #[error("Transfer-Encoding in an HTTP/1.0 answer")]
    Coding,
    #[error("invalid chunk")]
    Chunk,
    #[error("the connection was closed before the answer was whole")]
    Closed,
}

impl Reading {
    /// Takes what came next, and gives the answer if it is whole now.
    pub(super) fn take(&mut self, new: &[u8]) -> Result<Option<Answer>, Unreadable> {
        let begun = std::mem::take(&mut self.begun);
        if begun.is_empty() {
            self.read(new)
        } else {
            self.read(&[&begun, new].concat())
        }
    }

    fn read(&mut self, mut rest: &[u8]) -> Result<Option<Answer>, Unreadable> {
        if self.body.is_none()
            && let Some((head, behind)) = Head::read(rest)?
        {
            let body = Body::new(head.framing);
            self.body = Some((head, body));
            rest = behind;
        }
        let progress = match &mut self.body {
            Some((_, body)) => body.read(&mut rest)?,
            None => Progress::More,
        };
        if progress == Progress::More {
            self.begun = rest.to_vec();
            return Ok(None);
        }
        let whole = progress == Progress::Whole;
        Ok(self.body.take().map(|(head, body)| Answer {
            status: head.status,
            body: whole.then_some(body.bytes),
            keeps: whole && head.keeps && rest.is_empty(),
        }))
    }

    /// The node closed the connection, which ends an answer that tells no length.
    pub(super) fn end(&mut self) -> Result<Answer, Unreadable> {
        let body = self.body.take_if(|(_, body)| body.ends_by_close());
        let (head, body) = body.ok_or(Unreadable::Closed)?;
        Ok(Answer {
            status: head.status,
            body: Some(body.bytes),
            keeps: false,
        })
    }

    /// Whether the head is whole.
    pub(super) fn has_head(&self) -> bool {
        self.body.is_some()
    }
}

#[cfg(test)]
mod tests;
