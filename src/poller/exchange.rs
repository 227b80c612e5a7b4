//! One exchange with a node: a request over a connection, and the complete response to it.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::response::{Excerpt, ParseError, Response, ResponseParser};

/// Maximum bytes per read; most responses are far smaller.
const READ_BYTES: usize = 2 * 1024;

/// An exchange in progress. It has no buffer except for what has arrived of an incomplete response.
pub(super) struct Exchange {
    stream: TcpStream,
    /// The rest of the request that is still to be sent.
    request: Vec<u8>,
    parser: ResponseParser,
}

/// Why there is no complete response.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The head of the response is incomplete, for example because the node closed a kept connection just when it was
    /// reused.
    BeforeHead(Cause),
    /// The body of a response with this status is incomplete.
    InBody(u16, Cause),
}

#[derive(Debug, Error)]
pub(super) enum Cause {
    #[error(transparent)]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] ParseError),
    #[error("the node closed the connection{}", after(.0.as_ref()))]
    Closed(Option<Excerpt>),
}

/// What had arrived before the connection was closed.
fn after(excerpt: Option<&Excerpt>) -> String {
    excerpt.map_or_else(String::new, |excerpt| format!(", after {excerpt}"))
}

impl Exchange {
    pub(super) fn new(stream: TcpStream, request: Vec<u8>) -> Self {
        Self {
            stream,
            request,
            parser: ResponseParser::default(),
        }
    }

    /// Returns the connection for the next exchange.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Waits for the response. Cancellation-safe: another call continues where a cancelled one stopped.
    pub(super) async fn response(&mut self) -> Result<Response, ExchangeError> {
        let response = self.send_and_receive().await;
        response.map_err(|cause| match self.parser.status() {
            Some(status) => ExchangeError::InBody(status, cause),
            None => ExchangeError::BeforeHead(cause),
        })
    }

    async fn send_and_receive(&mut self) -> Result<Response, Cause> {
        while !self.request.is_empty() {
            let sent = self.stream.write(&self.request).await?;
            self.request = self.request.split_off(sent);
        }
        loop {
            if let Some(response) = poll_fn(|context| self.poll_read(context)).await? {
                return Ok(response);
            }
        }
    }

    /// Reads what has arrived, into a buffer on the stack.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Response>, Cause>> {
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(match buffer.filled() {
            [] => {
                let response = self.parser.finish()?;
                Some(response.ok_or_else(|| Cause::Closed(self.parser.partial_head()))?)
            }
            new => self.parser.feed(new)?,
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

    /// A new exchange, and the node's end of its connection.
    async fn start() -> (Exchange, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap());
        let (ours, node) = tokio::join!(ours, listener.accept());
        let exchange = Exchange::new(ours.unwrap(), REQUEST.to_vec());
        (exchange, node.unwrap().0)
    }

    /// The result when the node sends this response and closes the connection.
    async fn result_of(response: &str) -> Result<Response, ExchangeError> {
        let (mut exchange, mut node) = start().await;
        let respond = async move {
            node.read_exact(&mut [0; REQUEST.len()]).await.unwrap();
            node.write_all(response.as_bytes()).await.unwrap();
        };
        tokio::join!(exchange.response(), respond).0
    }

    #[tokio::test]
    async fn errors_before_and_within_the_body_are_distinguished() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        for broken in ["", "website", &head[..30]] {
            let outcome = result_of(broken).await;
            let before = matches!(outcome, Err(ExchangeError::BeforeHead(_)));
            assert!(before, "{broken:?}: {outcome:?}");
        }
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx";
        for broken in [head, &format!("{head}ap"), chunked] {
            let outcome = result_of(broken).await;
            let within = matches!(outcome, Err(ExchangeError::InBody(200, _)));
            assert!(within, "{broken:?}: {outcome:?}");
        }
    }

    /// What a failure reports of a response that ends there; the failure says itself that it was incomplete.
    #[tokio::test]
    async fn a_closed_connection_is_reported_with_what_had_arrived() {
        for (response, expected) in [
            ("", "the node closed the connection"),
            (
                "HTTP/1.1 2",
                "the node closed the connection, after \"HTTP/1.1 2\"",
            ),
        ] {
            let Err(ExchangeError::BeforeHead(cause)) = result_of(response).await else {
                panic!("{response:?} is a response");
            };
            assert_eq!(cause.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_wait_continues_where_a_cancelled_one_stopped() {
        let (mut exchange, mut node) = start().await;
        for piece in ["HTTP/1.1 200 OK\r\nContent-", "Length: 7\r\n\r\nweb"] {
            node.write_all(piece.as_bytes()).await.unwrap();
            let cancelled = timeout(Duration::from_millis(20), exchange.response()).await;
            assert!(cancelled.is_err(), "incomplete: {cancelled:?}");
        }
        node.write_all(b"site").await.unwrap();
        let response = exchange.response().await.unwrap();
        assert_eq!(response.body.as_deref(), Some(&b"website"[..]));
        drop(exchange);
        let mut received = Vec::new();
        node.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, REQUEST, "sent once");
    }
}
