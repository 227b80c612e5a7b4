//! One exchange with a node: a request over a connection, and its whole answer.
//!
//! hyper has more than 20 KB of buffers for each of its connections. So between two polls a
//! connection is a bare socket, and hyper has it only for the time of one exchange; both run in
//! the node's own task.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::MAX_BODY_BYTES;

/// What is asked; it has no body.
pub(super) type Question = Request<Empty<Bytes>>;

type Http = http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>;

/// So much is read at a time, and so long may the answer's head be, in bytes: as long as nginx
/// lets it be (`proxy_buffer_size`). There is one such buffer for each exchange under way.
const BUFFER_BYTES: usize = 8 * 1024;

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// `None` when it is longer than [`MAX_BODY_BYTES`].
    pub(super) body: Option<Bytes>,
}

/// Why there is no whole answer.
pub(super) enum Broken {
    /// The answer's head did not come whole, as when a kept connection is closed just when it is
    /// used.
    BeforeAnswer(hyper::Error),
    /// The body broke off.
    InBody(Box<dyn std::error::Error + Send + Sync>),
}

/// Asks over `stream`, and gives it back when it may be used again.
pub(super) async fn exchange(
    stream: TcpStream,
    question: Question,
) -> (Result<Answer, Broken>, Option<TcpStream>) {
    let handshake = http1::Builder::new()
        .read_buf_exact_size(Some(BUFFER_BYTES))
        // A question is one piece.
        .writev(false)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = match handshake {
        Ok(made) => made,
        Err(error) => return (Err(Broken::BeforeAnswer(error)), None),
    };
    let mut connection = Some(connection);
    // The sender lives until the connection is taken apart: without it, hyper closes.
    let answer = drive(&mut connection, ask(&mut sender, question)).await;
    let stream = poll_fn(|context| Poll::Ready(take_idle(&mut connection, context))).await;
    (answer, stream)
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>, question: Question) -> Result<Answer, Broken> {
    let response = sender.send_request(question).await;
    let (head, body) = response.map_err(Broken::BeforeAnswer)?.into_parts();
    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Some(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => None,
        Err(error) => return Err(Broken::InBody(error)),
    };
    Ok(Answer {
        status: head.status,
        body,
    })
}

/// Runs the connection until `asking` is done.
///
/// Each wakes the other when it has something for it, so any order would be right; this one costs
/// the fewest turns of the task.
async fn drive<T>(connection: &mut Option<Http>, asking: impl Future<Output = T>) -> T {
    let mut asking = pin!(asking);
    let mut asked = false;
    poll_fn(|context| {
        if !mem::replace(&mut asked, true) {
            // Hands the question over, and then nothing can be there yet.
            let done = asking.as_mut().poll(context);
            run(connection, context);
            return done;
        }
        // Twice: the head, then the body.
        for _ in 0..2 {
            run(connection, context);
            if let Poll::Ready(done) = asking.as_mut().poll(context) {
                return Poll::Ready(done);
            }
        }
        Poll::Pending
    })
    .await
}

/// Runs the connection as far as it goes; one that has ended is dropped, which tells `ask`.
fn run(connection: &mut Option<Http>, context: &mut Context<'_>) {
    let ended = connection
        .as_mut()
        .is_some_and(|connection| connection.poll_without_shutdown(context).is_ready());
    if ended {
        *connection = None;
    }
}

/// The socket, if the node keeps the connection and sent nothing behind its answer.
fn take_idle(connection: &mut Option<Http>, context: &mut Context<'_>) -> Option<TcpStream> {
    run(connection, context);
    let parts = connection.take()?.into_parts();
    parts.read_buf.is_empty().then(|| parts.io.into_inner())
}

/// An exchange under way.
pub(super) type Exchanging =
    Pin<Box<dyn Future<Output = (Result<Answer, Broken>, Option<TcpStream>)> + Send>>;
