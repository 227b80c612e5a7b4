//! One connection: HTTP/1 by hyper, within the limits of time and size, and an end that the other
//! side understands.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::http::server::counters::Refusal;
use crate::http::server::error::{Form, Refused};
use crate::http::server::io_timeout::{Answer, Course, Ending, Late, Watched};
use crate::http::server::limits::{HEAD_BYTES, HEAD_TIME, LINGER_BYTES, LINGER_TIME, WRITE_TIME};
use crate::http::server::service::{Admitted, Answered};

/// So long requests under way may take when their door is closed while pollbal goes on.
const LAST_REQUEST: Duration = Duration::from_secs(2);

/// Serves requests until the other side, a limit or the closing of the door ends it.
pub(crate) async fn serve<S>(stream: S, admitted: Admitted, closed: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (gate, address) = (&admitted.gate, admitted.address);
    let course = Course::new();
    let unread = Arc::new(AtomicBool::new(false));
    let service = service_fn(|mut request: Request<Incoming>| {
        if let Some(user) = admitted.user {
            request.extensions_mut().insert(user);
        }
        course.request_begins();
        let (gate, course, unread) = (gate.clone(), course.clone(), unread.clone());
        // One that can be moved, as `poll_without_shutdown` needs it.
        Box::pin(async move {
            let answered = gate.answer(address, request).await;
            let Answered {
                response,
                unread: some,
            } = answered;
            unread.store(some, Ordering::Relaxed);
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, course)))
        })
    });
    let watched = TokioIo::new(Watched::new(stream, course.clone()));
    let mut connection = Builder::new()
        .max_buf_size(HEAD_BYTES)
        .max_header_size(HEAD_BYTES)
        // The course has one for the head, and another between requests.
        .header_read_timeout(None)
        .serve_connection(watched, service);
    let serving = poll_fn(|cx| connection.poll_without_shutdown(cx));
    let ended = if let Some(ended) = closed.run_until_cancelled(serving).await {
        ended
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        let last = poll_fn(|cx| connection.poll_without_shutdown(cx));
        match timeout(LAST_REQUEST, last).await {
            Ok(ended) => ended,
            Err(_) => return,
        }
    };
    let (stream, ending) = connection.into_parts().io.into_inner().into_inner();
    let end = End::of(ending, ended.err().as_ref(), unread.load(Ordering::Relaxed));
    if let Some(refused) = &end.refused {
        gate.count(refused.refusal);
    }
    // It keeps its place until then, since it has a descriptor.
    _ = timeout(LINGER_TIME, finish(stream, &end, Form::of(gate.door, "/"))).await;
}

/// How a connection ends.
struct End {
    /// Why, if it was not by the answer to a request.
    refused: Option<Refused>,
    /// Whether that is still to be said.
    say: bool,
    /// The other side may still be writing.
    linger: bool,
}

impl End {
    fn of(ending: Ending, error: Option<&hyper::Error>, unread: bool) -> Self {
        let refused = match ending.late {
            Some(late) => too_late(late),
            None => error.and_then(not_understood),
        };
        let not_read = refused
            .as_ref()
            .is_some_and(|refused| refused.refusal == Refusal::NotRead);
        Self {
            say: ending.between_requests && !not_read,
            linger: (refused.is_some() || unread) && !not_read,
            refused,
        }
    }
}

fn too_late(late: Late) -> Option<Refused> {
    let status = StatusCode::REQUEST_TIMEOUT;
    let (refusal, reason) = match late {
        // That is how connections end when all is well.
        Late::Idle => return None,
        Late::Head => (Refusal::TooSlow, "the head of the request did not come"),
        Late::Write => (Refusal::NotRead, "the answer was not read"),
    };
    let limit = match late {
        Late::Write => WRITE_TIME,
        Late::Idle | Late::Head => HEAD_TIME,
    };
    let reason = format!("{reason} within {}", humantime::format_duration(limit));
    Some(Refused::closing(refusal, status, reason))
}

fn not_understood(error: &hyper::Error) -> Option<Refused> {
    if error.is_parse_too_large() {
        let reason = format!("the head of the request is too long: {HEAD_BYTES} bytes are read");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Some(Refused::closing(Refusal::HeadTooLong, status, reason));
    }
    let reason = "this is no request of HTTP/1".to_owned();
    let status = StatusCode::BAD_REQUEST;
    error
        .is_parse()
        .then(|| Refused::closing(Refusal::NotUnderstood, status, reason))
}

/// Closes the stream so that what was said last is read: not at once where the other side still
/// writes, since the system would then tell it "connection reset" and nothing else.
async fn finish<S>(mut stream: S, end: &End, form: Form) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(refused) = end.refused.as_ref().filter(|_| end.say) {
        stream.write_all(&refused.bytes(form)).await?;
    }
    stream.shutdown().await?;
    if end.linger {
        let mut nowhere = tokio::io::sink();
        let mut rest = stream.take(LINGER_BYTES as u64);
        tokio::io::copy(&mut rest, &mut nowhere).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
