//! What a mock node is: a small HTTP server that announces a pool at `GET /pool`, answers every other path with
//! its name, and remembers who asked for what and when.
//!
//! The program `mock-node` runs one of them for the demo, the tests run hundreds in their own process. What a node
//! announces, and how (promptly, late, never, with an error), changes at run time: by a handle here, by
//! `POST /announce?…` (see [`super::control`]) from outside.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::control;

/// Number of entries of each log are kept: more than any test makes, and little memory for a node that runs for weeks.
const LOG_DEPTH: usize = 100_000;

/// What the node says of itself. An empty pool is an idle node, which answers with an empty body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) pool: String,
    pub(crate) status: String,
    pub(crate) version: String,
    /// Words such as `weight=50`.
    pub(crate) keys: Vec<String>,
}

impl Announcement {
    /// The words of an announcement such as `api leaving v23 weight=50`; what is missing is empty.
    pub(crate) fn parse(line: &str) -> Self {
        let words = line.split_whitespace().map(str::to_owned);
        let (keys, words): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        let mut words = words.into_iter();
        let mut word = || words.next().unwrap_or_default();
        Self {
            pool: word(),
            status: word(),
            version: word(),
            keys,
        }
    }
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A version without a status would be taken for the status, so the default status is said out loud.
        let status = match (self.status.as_str(), self.version.as_str()) {
            ("", version) if !version.is_empty() => "serving",
            (status, _) => status,
        };
        let words = [self.pool.as_str(), status, self.version.as_str()];
        let said: Vec<&str> = if self.pool.is_empty() {
            Vec::new()
        } else {
            let keys = self.keys.iter().map(String::as_str);
            let words = words.into_iter().chain(keys);
            words.filter(|word| !word.is_empty()).collect()
        };
        f.write_str(&said.join(" "))
    }
}

/// How the node answers `GET /pool`; all other paths are answered promptly whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Behaviour {
    #[default]
    Prompt,
    Slow(Duration),
    Hang,
    Fail(StatusCode),
}

/// A request for anything but what is named here: the traffic that a load balancer sent here.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) path: String,
}

/// A request for `/pool_please_dont_go`: `POST` asks the node to stay, `DELETE` says that this is over.
#[derive(Clone, Debug)]
pub(crate) struct StayRequest {
    pub(crate) at: Instant,
    pub(crate) method: Method,
}

/// An answer to `GET /pool` (its line, or the status of an error), taken down just before it goes out.
#[derive(Clone, Debug)]
pub(crate) struct SentLine {
    pub(crate) at: Instant,
    pub(crate) line: String,
}

/// All that changes while the node runs.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) announcement: Announcement,
    pub(crate) behaviour: Behaviour,
    /// Polls that came in, answered or not.
    pub(crate) polls: u64,
    /// Requests for anything else.
    pub(crate) requests: u64,
    pub(super) arrivals: VecDeque<Arrival>,
    sent: VecDeque<SentLine>,
    stay_requests: VecDeque<StayRequest>,
}

impl State {
    fn tell(&mut self, line: &str) {
        let reported = SentLine {
            at: Instant::now(),
            line: line.to_owned(),
        };
        remember(&mut self.sent, reported);
    }
}

/// One node, shared by its connections and by anyone who changes what it says.
#[derive(Debug)]
pub(crate) struct MockNode {
    name: String,
    state: Mutex<State>,
}

impl MockNode {
    pub(crate) fn new(name: &str, announcement: Announcement) -> Arc<Self> {
        let state = State {
            announcement,
            ..State::default()
        };
        Arc::new(Self {
            name: name.to_owned(),
            state: Mutex::new(state),
        })
    }

    /// The state, even after a panic elsewhere: a test that fails must not make its neighbours fail too.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The traffic so far, oldest first.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.state().arrivals.iter().cloned().collect()
    }

    /// The answers to polls so far, oldest first.
    pub(crate) fn sent_lines(&self) -> Vec<SentLine> {
        self.state().sent.iter().cloned().collect()
    }

    /// The stay requests so far, oldest first.
    pub(crate) fn stay_requests(&self) -> Vec<StayRequest> {
        self.state().stay_requests.iter().cloned().collect()
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/pool") => self.poll().await,
            (&Method::GET, "/announce") => self.reply(StatusCode::OK, control::show(&self.state())),
            (&Method::POST, "/announce") => {
                let query = request.uri().query().unwrap_or_default();
                let outcome = control::apply(&mut self.state(), query);
                match outcome {
                    Ok(()) => self.reply(StatusCode::OK, control::show(&self.state())),
                    Err(why) => self.reply(StatusCode::BAD_REQUEST, format!("{why}\n")),
                }
            }
            (method, "/pool_please_dont_go") => {
                let request = StayRequest {
                    at: Instant::now(),
                    method: method.clone(),
                };
                remember(&mut self.state().stay_requests, request);
                self.reply(StatusCode::OK, String::new())
            }
            _ => self.serve_traffic(request).await,
        }
    }

    async fn poll(&self) -> Response<Full<Bytes>> {
        let behaviour = {
            let mut state = self.state();
            state.polls += 1;
            state.behaviour
        };
        match behaviour {
            Behaviour::Prompt => {}
            Behaviour::Slow(delay) => tokio::time::sleep(delay).await,
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Fail(status) => {
                self.state().tell(status.as_str());
                return self.reply(status, "not well\n".to_owned());
            }
        }
        let line = {
            let mut state = self.state();
            let line = state.announcement.to_string();
            state.tell(&line);
            line
        };
        self.reply(StatusCode::OK, line)
    }

    /// The node's name; `?wait=N` holds the answer back for N milliseconds, for a request that is long in flight.
    async fn serve_traffic(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let arrival = Arrival {
            at: Instant::now(),
            path: request.uri().path().to_owned(),
        };
        {
            let mut state = self.state();
            state.requests += 1;
            remember(&mut state.arrivals, arrival);
        }
        let query = request.uri().query().unwrap_or_default();
        let mut waits = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("wait="));
        let wait = waits.next().and_then(|ms| ms.parse().ok());
        if let Some(wait) = wait {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        self.reply(StatusCode::OK, format!("{}\n", self.name))
    }

    /// Perlbal speaks HTTP/1.0 with `Connection: keep-alive`; hyper then answers in kind, and a body of known size
    /// makes it send the `Content-Length` without which Perlbal closes the connection.
    fn reply(&self, status: StatusCode, body: String) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        if let Ok(name) = self.name.parse() {
            response.headers_mut().insert("x-node", name);
        }
        response
    }
}

fn remember<T>(log: &mut VecDeque<T>, entry: T) {
    if log.len() == LOG_DEPTH {
        log.pop_front();
    }
    log.push_back(entry);
}

/// Answers on the listener until the future is dropped; that also drops every connection, as the death of a node does.
pub(crate) async fn serve(listener: TcpListener, node: Arc<MockNode>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&node)));
                }
                // Out of file descriptors, or a client that was gone at once: the next one may fare better.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, node: Arc<MockNode>) {
    // Without it the last piece of an answer can wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let node = Arc::clone(&node);
        async move { Ok::<_, Infallible>(node.answer(&request).await) }
    });
    // A connection that breaks is the peer's affair; the node has nothing to tell about it.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
