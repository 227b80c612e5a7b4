//! One exchange with a node: a request over a connection, and its whole answer.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::answer::{Answer, Reading, Unreadable};

/// So much is read at a time, in bytes; most answers are a small part of it.
const READ_BYTES: usize = 2 * 1024;

/// An exchange under way. It holds no buffer but for what came of an answer that is not whole.
pub(super) struct Exchange {
    stream: TcpStream,
    /// What is still to be sent of it.
    request: Vec<u8>,
    reading: Reading,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// The answer's head did not come whole, as when a kept connection is closed just when it is
    /// used.
    BeforeAnswer(Cause),
    /// The body broke off.
    InBody(Cause),
}

#[derive(Debug, Error)]
pub(super) enum Cause {
    #[error(transparent)]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Exchange {
    pub(super) fn new(stream: TcpStream, request: Vec<u8>) -> Self {
        Self {
            stream,
            request,
            reading: Reading::default(),
        }
    }

    /// The connection, for the next exchange.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Waits for the answer. What waits may be dropped, and another wait goes on from there.
    pub(super) async fn answer(&mut self) -> Result<Answer, Broken> {
        let answer = self.ask().await;
        answer.map_err(|cause| {
            if self.reading.has_head() {
                Broken::InBody(cause)
            } else {
                Broken::BeforeAnswer(cause)
            }
        })
    }

    async fn ask(&mut self) -> Result<Answer, Cause> {
        while !self.request.is_empty() {
            let sent = self.stream.write(&self.request).await?;
            self.request = self.request.split_off(sent);
        }
        loop {
            if let Some(answer) = poll_fn(|context| self.poll_read(context)).await? {
                return Ok(answer);
            }
        }
    }

    /// Reads what is there, into a buffer that is there only as long.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Answer>, Cause>> {
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(match buffer.filled() {
            [] => Some(self.reading.end()?),
            new => self.reading.take(new)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const REQUEST: &[u8] = b"GET /pool";

    /// An exchange that has just begun, and the node's end of it.
    async fn begin() -> (Exchange, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap());
        let (ours, node) = tokio::join!(ours, listener.accept());
        let exchange = Exchange::new(ours.unwrap(), REQUEST.to_vec());
        (exchange, node.unwrap().0)
    }

    /// What comes of this answer, behind which the node closes the connection.
    async fn said(answer: &str) -> Result<Answer, Broken> {
        let (mut exchange, mut node) = begin().await;
        let say = async move {
            node.read_exact(&mut [0; REQUEST.len()]).await.unwrap();
            node.write_all(answer.as_bytes()).await.unwrap();
        };
        tokio::join!(exchange.answer(), say).0
    }

    #[tokio::test]
    async fn what_breaks_off_before_the_body_is_told_from_what_does_within() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        for broken in ["", "website", &head[..30]] {
            let outcome = said(broken).await;
            let before = matches!(outcome, Err(Broken::BeforeAnswer(_)));
            assert!(before, "{broken:?}: {outcome:?}");
        }
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx";
        for broken in [head, &format!("{head}ap"), chunked] {
            let outcome = said(broken).await;
            let within = matches!(outcome, Err(Broken::InBody(_)));
            assert!(within, "{broken:?}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_wait_goes_on_where_the_one_before_was_dropped() {
        let (mut exchange, mut node) = begin().await;
        for piece in ["HTTP/1.1 200 OK\r\nContent-", "Length: 7\r\n\r\nweb"] {
            node.write_all(piece.as_bytes()).await.unwrap();
            let dropped = timeout(Duration::from_millis(20), exchange.answer()).await;
            assert!(dropped.is_err(), "not whole yet: {dropped:?}");
        }
        node.write_all(b"site").await.unwrap();
        let answer = exchange.answer().await.unwrap();
        assert_eq!(answer.body.as_deref(), Some(&b"website"[..]));
        drop(exchange);
        let mut asked = Vec::new();
        node.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, REQUEST, "asked once");
    }
}
