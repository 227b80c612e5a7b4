//! The limits of time, to the second: tokio's time stands still while something is done and leaps
//! when all wait.

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use futures_util::stream;
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::http::Door;
use crate::http::server::counters::Counters;
use crate::http::server::limits::{BODY_TIME, IDLE_TIME, Limits};
use crate::http::server::origin::KnownHosts;
use crate::http::server::service::Gate;
use crate::model::node::Node;
use crate::model::node_index::NodeIndex;

/// The system's buffers between both sides.
const BUFFER: usize = 4_096;

/// A connection to a door, from the other side.
struct Caller {
    stream: DuplexStream,
    counters: Arc<Counters>,
    closed: CancellationToken,
    server: JoinHandle<()>,
    start: Instant,
}

impl Caller {
    /// At the node door, as one of its nodes.
    fn new() -> Self {
        let (stream, server) = tokio::io::duplex(BUFFER);
        let (counters, closed) = (Arc::new(Counters::default()), CancellationToken::new());
        let address = [10, 0, 0, 1];
        let node = Node {
            addr: "10.0.0.1:80".parse().unwrap(),
            name: String::new(),
        };
        let (_, nodes) = watch::channel(Arc::new(NodeIndex::new(&[node])));
        let (_, hosts) = watch::channel(KnownHosts::default());
        let limits = Limits::new(Door::Node, 20_000);
        let (kept, long) = (counters.clone(), Arc::default());
        let gate = Gate::new(
            Door::Node,
            limits,
            router(),
            kept,
            (Some(nodes), hosts),
            long,
        );
        let admitted = Arc::new(gate).admit(Some(address.into())).unwrap();
        Self {
            stream,
            counters,
            server: tokio::spawn(serve(server, admitted, closed.clone())),
            closed,
            start: Instant::now(),
        }
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// What is answered, up to the end of a short body.
    async fn hear(&mut self) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(b"\n") || heard.ends_with(b"\r\n") {
            heard.push(self.stream.read_u8().await.unwrap());
        }
        String::from_utf8(heard).unwrap()
    }

    /// What is said until the end, and when that is.
    async fn hear_all(&mut self) -> (String, Duration) {
        let mut heard = String::new();
        self.stream.read_to_string(&mut heard).await.unwrap();
        (heard, self.start.elapsed())
    }

    /// Waits until the connection has no place any more; when that is.
    async fn wait_end(self) -> Duration {
        self.server.await.unwrap();
        self.start.elapsed()
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        self.counters.of(Door::Node).refused(refusal)
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

const GET: &str = "GET / HTTP/1.1\r\npollbal-request: true\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_too_slowly_is_refused_when_its_time_is_over() {
    let mut caller = Caller::new();
    for byte in "GET / HTTP/1.1\r\npollbal-request: true\r\n"
        .chars()
        .take(6)
    {
        caller.say(&byte.to_string()).await;
        sleep(Duration::from_millis(900)).await;
    }
    let (said, at) = caller.hear_all().await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(
        said.ends_with("\nthe head of the request did not come within 5s\n"),
        "{said}"
    );
    assert_eq!(at.as_secs(), 5);
    assert_eq!(caller.refused(Refusal::TooSlow), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let mut caller = Caller::new();
    assert_eq!(caller.hear_all().await, (String::new(), HEAD_TIME));
    assert_eq!(caller.refused(Refusal::TooSlow), 0);
}

#[tokio::test(start_paused = true)]
async fn between_requests_there_is_more_time_and_then_the_connection_is_closed_without_a_word() {
    let mut caller = Caller::new();
    for _ in 0..3 {
        caller.say(GET).await;
        assert!(caller.hear().await.ends_with("\r\n\r\nhere\n"));
        sleep(IDLE_TIME * 9 / 10).await;
    }
    // The head of a later request has no more time than that of the first.
    caller.say("GET").await;
    caller.start = Instant::now();
    let (said, at) = caller.hear_all().await;
    assert!(said.contains(" 408 ") && at == HEAD_TIME, "{at:?}: {said}");

    let mut caller = Caller::new();
    caller.say(GET).await;
    caller.hear().await;
    assert_eq!(caller.hear_all().await, (String::new(), IDLE_TIME));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_too_slowly_is_refused_when_its_time_is_over() {
    let mut caller = Caller::new();
    caller
        .say("POST /echo HTTP/1.1\r\npollbal-request: true\r\ncontent-length: 9\r\n\r\n")
        .await;
    for _ in 0..4 {
        caller.say("a").await;
        sleep(Duration::from_secs(2)).await;
    }
    let (said, at) = caller.hear_all().await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.ends_with("\nthe body did not come within 10s\n"));
    assert!(at >= BODY_TIME && at < BODY_TIME + Duration::from_secs(1));
    assert_eq!(caller.refused(Refusal::TooSlow), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_given_up() {
    let mut caller = Caller::new();
    caller
        .say("GET /big HTTP/1.1\r\npollbal-request: true\r\n\r\n")
        .await;
    let counters = caller.counters.clone();
    assert_eq!(caller.wait_end().await, WRITE_TIME);
    assert_eq!(counters.of(Door::Node).refused(Refusal::NotRead), 1);
    assert_eq!(counters.of(Door::Node).open(), 0);

    // Nor does it help to read a little of it now and then.
    let mut caller = Caller::new();
    caller
        .say("GET /big HTTP/1.1\r\npollbal-request: true\r\n\r\n")
        .await;
    let mut some = [0; 1_000];
    while caller.stream.read_exact(&mut some).await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
    let took = caller.start.elapsed();
    assert!(took < WRITE_TIME + Duration::from_secs(6), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_lasts_as_long_as_it_is_read() {
    let mut caller = Caller::new();
    caller
        .say("GET /events HTTP/1.1\r\npollbal-request: true\r\n\r\n")
        .await;
    let mut some = [0; 600];
    for _ in 0..600 {
        caller.stream.read_exact(&mut some).await.unwrap();
    }
    assert!(caller.start.elapsed() > Duration::from_secs(500));
    caller.start = Instant::now();
    let end = caller.wait_end().await;
    // The buffer takes some events until nothing more can be written.
    assert!(end > WRITE_TIME && end < WRITE_TIME + Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_fails_alone() {
    let mut caller = Caller::new();
    caller
        .say("GET /panic HTTP/1.1\r\npollbal-request: true\r\n\r\n")
        .await;
    let said = caller.hear().await;
    assert!(said.starts_with("HTTP/1.1 500 "), "{said}");
    assert!(said.ends_with("\r\nthis is a fault of pollbal; its log says more\n"));
    caller.say(GET).await;
    assert!(caller.hear().await.ends_with("here\n"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_refused_with_a_reason() {
    let long = format!(
        "GET / HTTP/1.1\r\npollbal-request: true\r\nx: {}",
        "x".repeat(HEAD_BYTES)
    );
    let h2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (said, status, reason, refusal) in [
        (
            "nonsense\r\n\r\n",
            "400 Bad Request",
            "no request of HTTP/1",
            Refusal::NotUnderstood,
        ),
        (
            h2,
            "400 Bad Request",
            "no request of HTTP/1",
            Refusal::NotUnderstood,
        ),
        (
            &long,
            "431 Request Header Fields Too Large",
            "too long: 16384 bytes are read",
            Refusal::HeadTooLong,
        ),
    ] {
        let mut caller = Caller::new();
        caller.say(said).await;
        let (heard, _) = caller.hear_all().await;
        assert!(
            heard.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{heard}"
        );
        assert!(heard.ends_with(&format!("{reason}\n")), "{heard}");
        assert_eq!(heard.matches("HTTP/1.1").count(), 1, "{heard}");
        assert_eq!(caller.refused(refusal), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_together_are_answered_in_turn() {
    let mut caller = Caller::new();
    caller.say(&[GET, GET, "nonsense\r\n\r\n"].concat()).await;
    let (heard, _) = caller.hear_all().await;
    assert_eq!(heard.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{heard}");
    assert_eq!(heard.matches("HTTP/1.1 400 ").count(), 1, "{heard}");
    assert_eq!(caller.refused(Refusal::NotUnderstood), 1);
}

#[tokio::test(start_paused = true)]
async fn a_door_that_is_closed_lets_requests_under_way_end_but_not_for_ever() {
    for (path, said, end) in [
        ("/second", "at last\n", Duration::from_secs(1)),
        ("/minute", "", LAST_REQUEST),
    ] {
        let mut caller = Caller::new();
        caller
            .say(&format!(
                "GET {path} HTTP/1.1\r\npollbal-request: true\r\n\r\n"
            ))
            .await;
        // Until the request is under way.
        sleep(Duration::from_millis(1)).await;
        caller.closed.cancel();
        let (heard, at) = caller.hear_all().await;
        assert!(heard.ends_with(said), "{heard}");
        assert!(at >= end && at < end + Duration::from_millis(100), "{at:?}");
    }
    let mut idle = Caller::new();
    idle.say(GET).await;
    idle.hear().await;
    idle.closed.cancel();
    let (heard, at) = idle.hear_all().await;
    assert!(heard.is_empty() && at < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let chunked =
        "POST /echo HTTP/1.1\r\npollbal-request: true\r\ntransfer-encoding: chunked\r\n\r\n";
    for (head, chunk) in [
        (
            "POST /echo HTTP/1.1\r\npollbal-request: true\r\ncontent-length: 99999999\r\n\r\n",
            "x".repeat(2_000),
        ),
        (chunked, format!("7d0\r\n{}\r\n", "x".repeat(2_000))),
    ] {
        let mut caller = Caller::new();
        caller.say(head).await;
        caller.say(&chunk).await;
        // More comes while the refusal is on its way: it is still read.
        let heard = caller.hear().await;
        caller.say(&chunk).await;
        assert!(heard.starts_with("HTTP/1.1 413 "), "{heard}");
        assert!(heard.ends_with("the body is too long: 1024 bytes are read\n"));
        assert_eq!(caller.refused(Refusal::BodyTooLong), 1);
        let end = caller.wait_end().await;
        assert!(end <= LINGER_TIME, "{end:?}");
    }
    let mut caller = Caller::new();
    caller
        .say("POST /echo HTTP/1.1\r\npollbal-request: true\r\ncontent-length: 5\r\n\r\nword\n")
        .await;
    assert!(caller.hear().await.ends_with("\r\n\r\nword\n"));
}
