//! One connection: HTTP/1 by hyper, within the limits of time and size.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::http::StatusCode;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::counters::RejectReason;
use super::error::Rejection;
use super::io_timeout::{PhasedBody, RequestPhase, TimedOut, TimedStream};
use super::limits::{HEAD_TIMEOUT, MAX_HEAD_BYTES};
use super::service::Accepted;

/// Time for requests in progress when their listener is closed while the server goes on.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Time for the last bytes of a connection that has timed out.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves requests until the client, a limit or the closing of the listener ends the connection.
pub(super) async fn serve<S>(stream: S, accepted: Accepted, closed: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = &accepted.service;
    let phase = RequestPhase::new();
    let handler = service_fn(|mut request: Request<Incoming>| {
        if let Some(user) = accepted.user {
            request.extensions_mut().insert(user);
        }
        phase.request_started();
        let (service, phase, address) = (service.clone(), phase.clone(), accepted.address);
        // `poll_without_shutdown` needs one that is `Unpin`.
        Box::pin(async move {
            let response = service.respond(address, request).await;
            Ok::<_, Infallible>(response.map(|body| PhasedBody::new(body, phase)))
        })
    });
    let stream = TokioIo::new(TimedStream::new(stream, phase.clone()));
    let mut connection = Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        // The stream has one for the head, and another between requests.
        .header_read_timeout(None)
        .serve_connection(stream, handler);
    let serving = poll_fn(|cx| connection.poll_without_shutdown(cx));
    let ended = if let Some(ended) = closed.run_until_cancelled(serving).await {
        ended
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        let rest = poll_fn(|cx| connection.poll_without_shutdown(cx));
        match timeout(CLOSE_GRACE, rest).await {
            Ok(ended) => ended,
            Err(_) => return,
        }
    };
    let (mut stream, timed_out) = connection.into_parts().io.into_inner().into_inner();
    let reason = match (timed_out, &ended) {
        // That is how connections usually end.
        (Some(TimedOut::Idle), _) | (None, Ok(())) => None,
        (Some(TimedOut::Head), _) => Some(RejectReason::RequestTimeout),
        (Some(TimedOut::Write), _) => Some(RejectReason::WriteTimeout),
        // hyper has responded to these.
        (None, Err(error)) if error.is_parse_too_large() => Some(RejectReason::HeadTooLong),
        (None, Err(error)) => error.is_parse().then_some(RejectReason::Malformed),
    };
    if let Some(reason) = reason {
        service.counters().count_rejected(reason);
    }
    let farewell = async {
        if timed_out == Some(TimedOut::Head) {
            let bytes = head_timeout().bytes(service.error_format("/"));
            stream.write_all(&bytes).await?;
        }
        stream.shutdown().await
    };
    _ = timeout(LAST_WRITE_TIMEOUT, farewell).await;
}

fn head_timeout() -> Rejection {
    let within = humantime::format_duration(HEAD_TIMEOUT);
    let text = format!("the head of the request did not arrive within {within}");
    let status = StatusCode::REQUEST_TIMEOUT;
    Rejection::closing(RejectReason::RequestTimeout, status, text)
}

#[cfg(test)]
mod tests;
