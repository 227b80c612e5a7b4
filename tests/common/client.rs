//! Steady client traffic through a load balancer, over kept-alive connections, and what became of each request.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::nodes::Node;
use super::{SOON, clock, eventually, runtime};

/// A client gives up a request after this: longer than anything that a test allows.
const PATIENCE: Duration = Duration::from_secs(5);

/// What traffic asks for: an answer that takes its time, as real ones do, so that many requests are under way at once
/// and Perlbal uses many connections in turn instead of the latest one over and over.
const WORK: &str = "/?wait=4";

/// Without an answer of a node that is waited for in this time, a burst is sent.
const UNHEARD: Duration = Duration::from_millis(300);

/// Requests of a burst, each of which needs a connection of its own: with two nodes, one of 65,536 bursts leaves one of
/// them without.
const BURST: usize = 16;

/// Long enough for all of a burst to be under way at once.
const BURST_WORK: &str = "/?wait=100";

/// A request and what came of it: the name of the node that answered, or why there was no answer.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// In the query, so that a log's line of it can be found.
    pub(crate) number: u64,
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcome: Result<String, String>,
}

/// Clients that send requests until they are dropped or stopped.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    service: SocketAddrV4,
    /// Whether connections are used again.
    keeps: bool,
    stop: AtomicBool,
    record: Mutex<Vec<Exchange>>,
}

impl Traffic {
    /// This many clients, each with a connection of its own and a few milliseconds of rest between two requests, so
    /// that Perlbal has connections that are idle and others that are busy.
    pub(crate) fn start(service: SocketAddrV4, clients: usize) -> Self {
        Self::start_paced(service, clients, Duration::from_millis(3))
    }

    /// The same with another rest, for light traffic.
    pub(crate) fn start_paced(service: SocketAddrV4, clients: usize, rest: Duration) -> Self {
        Self::start_clients(service, clients, rest, true)
    }

    /// The same with a new connection for each request, where a load balancer closes those that are kept.
    pub(crate) fn start_unkept(service: SocketAddrV4, clients: usize) -> Self {
        Self::start_clients(service, clients, Duration::from_millis(3), false)
    }

    fn start_clients(service: SocketAddrV4, clients: usize, rest: Duration, keeps: bool) -> Self {
        let shared = Arc::new(Shared {
            service,
            keeps,
            stop: AtomicBool::new(false),
            record: Mutex::new(Vec::new()),
        });
        let clients = (0..clients)
            .map(|_| runtime().spawn(Arc::clone(&shared).run(rest)))
            .collect();
        Self { shared, clients }
    }

    /// What became of all requests so far.
    pub(crate) fn record(&self) -> Vec<Exchange> {
        self.shared.record().clone()
    }

    /// Waits until this many requests more have been answered.
    #[track_caller]
    pub(crate) fn wait_answers(&self, more: usize) {
        let answered = || {
            self.shared
                .record()
                .iter()
                .filter(|one| one.outcome.is_ok())
                .count()
        };
        let enough = answered() + more;
        eventually(SOON, "requests are answered", || {
            (answered() >= enough).then_some(())
        });
    }

    /// Waits until this many requests that were sent after `at` have been answered, by whichever node.
    #[track_caller]
    pub(crate) fn wait_answers_after(&self, at: Instant, count: usize) {
        self.wait_answers_after_for(SOON, at, count);
    }

    #[track_caller]
    pub(crate) fn wait_answers_after_for(&self, deadline: Duration, at: Instant, count: usize) {
        eventually(deadline, "later requests are answered", || {
            let record = self.shared.record();
            let later = record.iter().rev().take_while(|one| one.sent > at);
            (later.filter(|one| one.outcome.is_ok()).count() >= count).then_some(())
        });
    }

    /// Waits until that node has answered this many requests that were sent from now on. Perlbal chooses a node at
    /// random for each connection, and opens one only when it needs one: chance can leave a member without, or a new
    /// member has to wait until old connections are used up. More requests at once bring it a connection.
    #[track_caller]
    pub(crate) fn wait_answers_of(&self, node: &str, count: usize) {
        self.wait_answers_of_for(SOON, node, count);
    }

    #[track_caller]
    pub(crate) fn wait_answers_of_for(&self, deadline: Duration, node: &str, count: usize) {
        let since = Instant::now();
        let (mut last, mut changed) = (0, since);
        eventually(deadline, &format!("{node} answers requests"), || {
            let answered = self.answered_by(node, since);
            if answered > last {
                (last, changed) = (answered, Instant::now());
            } else if changed.elapsed() > UNHEARD {
                self.burst();
                changed = Instant::now();
            }
            (answered >= count).then_some(())
        });
    }

    fn answered_by(&self, node: &str, since: Instant) -> usize {
        let record = self.shared.record();
        let by_node = record
            .iter()
            .filter(|one| one.sent > since && one.outcome.as_deref() == Ok(node));
        by_node.count()
    }

    /// Sends more requests at once than Perlbal has idle connections for, and waits for their answers.
    fn burst(&self) {
        let mut requests = JoinSet::new();
        for _ in 0..BURST {
            let shared = Arc::clone(&self.shared);
            requests.spawn_on(
                async move { shared.send(&mut None, BURST_WORK).await },
                runtime().handle(),
            );
        }
        runtime().block_on(requests.join_all());
    }

    /// Ends the traffic, requests under way included, and gives the record.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Vec<Exchange> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            runtime().block_on(client).expect("a client panicked");
        }
        self.record()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        for client in &self.clients {
            client.abort();
        }
    }
}

impl Shared {
    fn record(&self) -> std::sync::MutexGuard<'_, Vec<Exchange>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, rest: Duration) {
        let mut connection = None;
        while !self.stop.load(Ordering::Relaxed) {
            self.send(&mut connection, WORK).await;
            connection = connection.filter(|_| self.keeps);
            sleep(rest).await;
        }
    }

    /// Sends a request on this connection, or a new one, and records what becomes of it.
    async fn send(&self, connection: &mut Option<SendRequest<Empty<Bytes>>>, path: &str) {
        let number = next_number();
        let path = format!("{path}&number={number}");
        let sent = Instant::now();
        let answer = timeout(PATIENCE, exchange(connection, self.service, &path)).await;
        let outcome = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
        if outcome.is_err() {
            *connection = None;
        }
        let ended = Instant::now();
        self.record().push(Exchange {
            number,
            sent,
            ended,
            outcome,
        });
    }
}

/// The number of a request, which no other of this program has.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The failures of a record, for an assertion that shows them.
pub(crate) fn failures(record: &[Exchange]) -> Vec<String> {
    let failed = record.iter().filter_map(|one| one.outcome.clone().err());
    failed.collect()
}

/// Proves that from 100 ms after now on no request reaches these nodes, while this many others are answered, and that
/// no client noticed anything.
#[track_caller]
pub(crate) fn no_more_requests(traffic: Traffic, going: &[Node], answers: usize) {
    let late = clock::after(Instant::now(), Duration::from_millis(100));
    traffic.wait_answers_after(late, answers);
    let requests: usize = going
        .iter()
        .map(|node| node.arrivals_after(late).len())
        .sum();
    assert_eq!(requests, 0, "requests to removed members");
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

/// A single request on a connection of its own; the first line of the answer's body.
pub(crate) fn get(service: SocketAddrV4, path: &str) -> Result<String, String> {
    runtime().block_on(get_async(service, path))
}

/// The same, under way while the test goes on.
pub(crate) fn get_later(
    service: SocketAddrV4,
    path: &'static str,
) -> JoinHandle<Result<String, String>> {
    runtime().spawn(get_async(service, path))
}

/// Requests that are under way while the test goes on, each on a connection of its own.
pub(crate) struct Requests(Vec<JoinHandle<Exchange>>);

impl Requests {
    pub(crate) fn send(service: SocketAddrV4, count: usize) -> Self {
        let send = |_| {
            runtime().spawn(async move {
                let number = next_number();
                let sent = Instant::now();
                let outcome = get_async(service, &format!("/?number={number}")).await;
                Exchange {
                    number,
                    sent,
                    ended: Instant::now(),
                    outcome,
                }
            })
        };
        Self((0..count).map(send).collect())
    }

    /// What became of them, when all have ended.
    #[track_caller]
    pub(crate) fn finish(self) -> Vec<Exchange> {
        let ended = self.0.into_iter().map(|request| {
            let ended = runtime().block_on(request);
            ended.expect("a client panicked")
        });
        ended.collect()
    }
}

/// Proves that each was answered properly, and sooner than this after `since`.
#[track_caller]
pub(crate) fn assert_answered_within(limit: Duration, since: Instant, record: &[Exchange]) {
    assert_eq!(failures(record), [""; 0]);
    let took = |one: &Exchange| clock::counted_between(since, one.ended);
    let longest = record.iter().map(took).max().unwrap_or_default();
    assert!(longest < limit, "answered only after {longest:?}");
}

async fn get_async(service: SocketAddrV4, path: &str) -> Result<String, String> {
    let answer = timeout(PATIENCE, exchange(&mut None, service, path)).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
}

/// A request on the connection, which is opened if there is none. Nothing is sent twice: a kept-alive connection that
/// turns out to be closed is a failure, for Perlbal keeps it far longer than any test rests.
async fn exchange(
    connection: &mut Option<SendRequest<Empty<Bytes>>>,
    service: SocketAddrV4,
    path: &str,
) -> Result<String, String> {
    if connection.as_ref().is_none_or(SendRequest::is_closed) {
        *connection = Some(connect(service).await?);
    }
    let Some(sender) = connection else {
        return Err("no connection".to_owned());
    };
    let failed = |why: hyper::Error| format!("broken: {why}");
    let request = Request::get(path)
        .header("host", "localhost")
        .body(Empty::new())
        .map_err(|why| why.to_string())?;
    sender.ready().await.map_err(failed)?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(failed)?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if !status.is_success() {
        return Err(format!("{status}: {text}"));
    }
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

async fn connect(service: SocketAddrV4) -> Result<SendRequest<Empty<Bytes>>, String> {
    let stream = TcpStream::connect(service)
        .await
        .map_err(|why| format!("failed to connect: {why}"))?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|why| format!("failed to begin HTTP: {why}"))?;
    // Its errors come back by the sender.
    runtime().spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
