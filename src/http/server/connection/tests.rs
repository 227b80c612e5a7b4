//! Timeouts, to the second: the clock of tokio is paused while something runs, and advances when everything
//! waits.

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::routing::{get, post};
use futures_util::stream;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use std::net::IpAddr;
use std::sync::Arc;

use super::super::counters::ListenerCounters;
use super::super::error::ErrorFormat;
use super::super::limits::{BODY_TIMEOUT, IDLE_TIMEOUT, Limits, WRITE_TIMEOUT};
use super::super::service::{ListenerService, Policy, ServiceParts};
use super::*;

/// Size of the buffers between client and server, in bytes.
const BUFFER: usize = 4_096;

/// Accepts everything.
struct Open;

impl Policy for Open {
    fn check_source(&self, _: Option<IpAddr>) -> Result<(), Rejection> {
        Ok(())
    }

    fn check_request(&self, _: &Parts) -> Result<(), Rejection> {
        Ok(())
    }

    fn error_format(&self, _: &str) -> ErrorFormat {
        ErrorFormat::Plain
    }
}

/// A connection to a listener, from the side of the client.
struct Caller {
    stream: DuplexStream,
    counters: Arc<ListenerCounters>,
    closed: CancellationToken,
    server: JoinHandle<()>,
    start: Instant,
}

impl Caller {
    fn new() -> Self {
        let (stream, server) = tokio::io::duplex(BUFFER);
        let (counters, closed) = (Arc::<ListenerCounters>::default(), CancellationToken::new());
        let service = ListenerService::new(ServiceParts {
            name: "listener",
            limits: Limits {
                connections: 8,
                per_address: None,
                body_bytes: 1024,
                rate: None,
            },
            policy: Box::new(Open),
            router: router(),
            counters: counters.clone(),
            budget: Arc::default(),
        });
        let accepted = Arc::new(service).accept_connection(Some([10, 0, 0, 1].into()));
        Self {
            stream,
            counters,
            server: tokio::spawn(serve(server, accepted.unwrap(), closed.clone())),
            closed,
            start: Instant::now(),
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The response, up to the end of a short body.
    async fn read_line(&mut self) -> String {
        let mut received = Vec::new();
        while !received.ends_with(b"\n") || received.ends_with(b"\r\n") {
            received.push(self.stream.read_u8().await.unwrap());
        }
        String::from_utf8(received).unwrap()
    }

    /// Everything until the end, and when that is.
    async fn read_to_end(&mut self) -> (String, Duration) {
        let mut received = String::new();
        self.stream.read_to_string(&mut received).await.unwrap();
        (received, self.start.elapsed())
    }

    /// Waits until the connection has released its slot; when that is.
    async fn wait_end(self) -> Duration {
        self.server.await.unwrap();
        self.start.elapsed()
    }

    fn rejected(&self, reason: RejectReason) -> u64 {
        self.counters.rejected(reason)
    }
}

fn router() -> Router {
    let events = || {
        let events = stream::unfold((), |()| async {
            sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>("event\n".repeat(100)), ()))
        });
        Body::from_stream(events)
    };
    Router::new()
        .route("/", get(|| async { "here\n" }))
        .route("/echo", post(|body: String| async { body }))
        .route("/big", get(|| async { "x".repeat(1 << 20) }))
        .route("/events", get(move || async move { events() }))
        .route("/panic", get(|| async { panic_now() }))
        .route("/second", get(|| after(Duration::from_secs(1))))
        .route("/minute", get(|| after(Duration::from_secs(60))))
}

fn panic_now() -> &'static str {
    panic!("this handler panics")
}

async fn after(time: Duration) -> &'static str {
    sleep(time).await;
    "at last\n"
}

const GET: &str = "GET / HTTP/1.1\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_head_that_arrives_too_slowly_is_rejected() {
    let mut caller = Caller::new();
    for byte in "GET / HTTP/1.1\r\n".chars().take(6) {
        caller.send(&byte.to_string()).await;
        sleep(Duration::from_millis(900)).await;
    }
    let (received, at) = caller.read_to_end().await;
    assert!(received.starts_with("HTTP/1.1 408 "), "{received}");
    assert!(
        received.ends_with("\nthe head of the request did not arrive within 5s\n"),
        "{received}"
    );
    assert_eq!(at.as_secs(), 5);
    assert_eq!(caller.rejected(RejectReason::RequestTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed_without_a_response() {
    let mut caller = Caller::new();
    assert_eq!(caller.read_to_end().await, (String::new(), HEAD_TIMEOUT));
    assert_eq!(caller.rejected(RejectReason::RequestTimeout), 0);
}

#[tokio::test(start_paused = true)]
async fn between_requests_there_is_more_time_and_then_the_connection_is_closed() {
    let mut caller = Caller::new();
    for _ in 0..3 {
        caller.send(GET).await;
        assert!(caller.read_line().await.ends_with("\r\n\r\nhere\n"));
        sleep(IDLE_TIMEOUT * 9 / 10).await;
    }
    // The head of a later request has as much time as that of the first.
    caller.send("GET").await;
    caller.start = Instant::now();
    let (received, at) = caller.read_to_end().await;
    assert!(
        received.contains(" 408 ") && at == HEAD_TIMEOUT,
        "{at:?}: {received}"
    );

    let mut caller = Caller::new();
    caller.send(GET).await;
    caller.read_line().await;
    assert_eq!(caller.read_to_end().await, (String::new(), IDLE_TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_too_slowly_is_rejected() {
    let mut caller = Caller::new();
    caller
        .send("POST /echo HTTP/1.1\r\ncontent-length: 9\r\n\r\n")
        .await;
    for _ in 0..4 {
        caller.send("a").await;
        sleep(Duration::from_secs(2)).await;
    }
    let (received, at) = caller.read_to_end().await;
    assert!(received.starts_with("HTTP/1.1 408 "), "{received}");
    assert!(received.ends_with("\nthe body did not arrive within 10s\n"));
    assert!(at >= BODY_TIMEOUT && at < BODY_TIMEOUT + Duration::from_secs(1));
    assert_eq!(caller.rejected(RejectReason::RequestTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_nobody_reads_is_abandoned() {
    let mut caller = Caller::new();
    caller.send("GET /big HTTP/1.1\r\n\r\n").await;
    let counters = caller.counters.clone();
    assert_eq!(caller.wait_end().await, WRITE_TIMEOUT);
    assert_eq!(counters.rejected(RejectReason::WriteTimeout), 1);
    assert_eq!(counters.open(), 0);

    // Nor does it help to read a little of it now and then.
    let mut caller = Caller::new();
    caller.send("GET /big HTTP/1.1\r\n\r\n").await;
    let mut some = [0; 1_000];
    while caller.stream.read_exact(&mut some).await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
    let took = caller.start.elapsed();
    assert!(took < WRITE_TIMEOUT + Duration::from_secs(6), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_lasts_as_long_as_it_is_read() {
    let mut caller = Caller::new();
    caller.send("GET /events HTTP/1.1\r\n\r\n").await;
    let mut some = [0; 600];
    for _ in 0..600 {
        caller.stream.read_exact(&mut some).await.unwrap();
    }
    assert!(caller.start.elapsed() > Duration::from_secs(500));
    caller.start = Instant::now();
    let end = caller.wait_end().await;
    // The buffer takes some events until nothing more can be written.
    assert!(end > WRITE_TIMEOUT && end < WRITE_TIMEOUT + Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_fails_alone() {
    let mut caller = Caller::new();
    caller.send("GET /panic HTTP/1.1\r\n\r\n").await;
    let received = caller.read_line().await;
    assert!(received.starts_with("HTTP/1.1 500 "), "{received}");
    assert!(received.ends_with("\r\ninternal server error\n"));
    caller.send(GET).await;
    assert!(caller.read_line().await.ends_with("here\n"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_rejected_and_counted() {
    let long = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(MAX_HEAD_BYTES));
    // hyper closes this one without a response.
    let h2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (sent, response, reason) in [
        (
            "nonsense\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            RejectReason::Malformed,
        ),
        (h2, "", RejectReason::Malformed),
        (
            &long,
            "HTTP/1.1 431 Request Header Fields Too Large\r\n",
            RejectReason::HeadTooLong,
        ),
    ] {
        let mut caller = Caller::new();
        // The connection may be closed before everything has been sent.
        _ = caller.stream.write_all(sent.as_bytes()).await;
        let (received, _) = caller.read_to_end().await;
        assert!(received.starts_with(response), "{received}");
        assert!(received.matches("HTTP/1.1").count() <= 1, "{received}");
        assert_eq!(caller.rejected(reason), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order() {
    let mut caller = Caller::new();
    caller.send(&[GET, GET, "nonsense\r\n\r\n"].concat()).await;
    let (received, _) = caller.read_to_end().await;
    assert_eq!(
        received.matches("HTTP/1.1 200 OK\r\n").count(),
        2,
        "{received}"
    );
    assert_eq!(received.matches("HTTP/1.1 400 ").count(), 1, "{received}");
    assert_eq!(caller.rejected(RejectReason::Malformed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_listener_lets_requests_in_progress_end_within_a_time() {
    for (path, expected, end) in [
        ("/second", "at last\n", Duration::from_secs(1)),
        ("/minute", "", CLOSE_GRACE),
    ] {
        let mut caller = Caller::new();
        caller.send(&format!("GET {path} HTTP/1.1\r\n\r\n")).await;
        // Until the request is in progress.
        sleep(Duration::from_millis(1)).await;
        caller.closed.cancel();
        let (received, at) = caller.read_to_end().await;
        assert!(received.ends_with(expected), "{received}");
        assert!(at >= end && at < end + Duration::from_millis(100), "{at:?}");
    }
    let mut idle = Caller::new();
    idle.send(GET).await;
    idle.read_line().await;
    idle.closed.cancel();
    let (received, at) = idle.read_to_end().await;
    assert!(received.is_empty() && at < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_is_rejected_before_it_is_read() {
    let chunked = "POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let long = "POST /echo HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n";
    for (head, chunk) in [
        (long, "x".repeat(2_000)),
        (chunked, format!("7d0\r\n{}\r\n", "x".repeat(2_000))),
    ] {
        let mut caller = Caller::new();
        caller.send(head).await;
        caller.send(&chunk).await;
        let received = caller.read_line().await;
        assert!(received.starts_with("HTTP/1.1 413 "), "{received}");
        assert!(
            received.ends_with("the body is too long: the maximum is 1024 bytes\n"),
            "{received}"
        );
        assert_eq!(caller.rejected(RejectReason::BodyTooLong), 1);
        let end = caller.wait_end().await;
        assert!(end <= Duration::from_secs(1), "{end:?}");
    }
    let mut caller = Caller::new();
    caller
        .send("POST /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nword\n")
        .await;
    assert!(caller.read_line().await.ends_with("\r\n\r\nword\n"));
}
