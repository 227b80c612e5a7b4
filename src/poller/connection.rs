//! The connection to one node, from poll to poll.
//!
//! It is kept where the node keeps it and there are descriptors for it; else each poll has one of
//! its own. A node that hangs is not given a new one at each poll: see [`Connection::give_up`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::exchange::{Answer, Broken, Exchanging, Question, exchange};
use crate::model::node::NodeAddr;

/// So many polls in a row are left without an answer, each on a fresh connection, before a node
/// counts as one that hangs.
const HANGS_FROM: u32 = 3;

/// One in so many of the permits for one poll is for nodes that hang.
const HANGING_SHARE: usize = 4;

/// A node that hangs gets a fresh connection at each poll of this number only.
const FRESH_EVERY: u32 = 4;

/// How many connections may be open, shared by all nodes: as many as there may be descriptors for.
pub(super) struct Permits {
    kept: Arc<Semaphore>,
    passing: Arc<Semaphore>,
    /// Like `passing`, for nodes that hang: they have each for long, and are not to keep others
    /// waiting.
    hanging: Arc<Semaphore>,
}

/// The right to have one connection open.
enum Permit {
    /// From poll to poll.
    Kept(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    /// For one poll.
    Passing(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

/// The connection to one node.
pub(super) struct Connection {
    addr: NodeAddr,
    /// Made once: it would be a good part of what a poll costs us.
    host: HeaderValue,
    permits: Arc<Permits>,
    permit: Option<Permit>,
    /// Kept from the poll before.
    idle: Option<TcpStream>,
    /// A request that was not answered yet.
    exchanging: Option<Exchanging>,
    /// So many polls in a row were given up.
    given_up: u32,
}

/// Why there is no answer.
pub(super) enum Trouble {
    /// No connection came about.
    Connect(io::Error),
    /// It broke before the answer was whole.
    Broken(Broken),
    /// The time was over.
    Timeout,
}

impl Permits {
    /// For so many connections that are kept, and so many that are open for one poll.
    pub(super) fn new(kept: usize, passing: usize) -> Self {
        let permits = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let hanging = passing.div_ceil(HANGING_SHARE);
        Self {
            kept: permits(kept),
            passing: permits(passing - hanging),
            hanging: permits(hanging),
        }
    }

    /// Waits only when connections cannot be kept and too many are open for one poll.
    async fn take(&self, hangs: bool) -> Option<Permit> {
        if let Ok(permit) = self.kept.clone().try_acquire_owned() {
            return Some(Permit::Kept(permit));
        }
        let passing = if hangs { &self.hanging } else { &self.passing };
        let permit = passing.clone().acquire_owned().await;
        permit.ok().map(Permit::Passing)
    }
}

impl Connection {
    pub(super) fn new(addr: NodeAddr, permits: Arc<Permits>) -> Self {
        Self {
            addr,
            host: host(addr),
            permits,
            permit: None,
            idle: None,
            exchanging: None,
            given_up: 0,
        }
    }

    /// Asks for `path`, and waits for the answer no longer than `limit`.
    pub(super) async fn poll(&mut self, path: &Uri, limit: Duration) -> Result<Answer, Trouble> {
        if self.permit.is_none() {
            // Before the time begins: a shortage of ours says nothing of the node.
            self.permit = self.permits.take(self.hangs()).await;
        }
        let answered = timeout(limit, self.ask(path)).await;
        let answer = answered.unwrap_or(Err(Trouble::Timeout));
        if matches!(answer, Err(Trouble::Timeout)) {
            self.give_up();
        } else {
            self.given_up = 0;
        }
        if self.idle.is_none() && self.exchanging.is_none() {
            self.permit = None;
        }
        answer
    }

    async fn ask(&mut self, path: &Uri) -> Result<Answer, Trouble> {
        // What answers an earlier poll says only that the node lives again.
        if let Some(exchanging) = &mut self.exchanging {
            let (_, stream) = exchanging.await;
            self.settle(stream);
        }
        if let Some(stream) = self.idle.take().filter(is_idle) {
            match self.exchange(stream, path).await {
                // The node may have closed it just now; only a fresh one tells.
                Err(Broken::BeforeAnswer(_)) => {}
                answer => return answer.map_err(Trouble::Broken),
            }
        }
        let stream = self.connect().await.map_err(Trouble::Connect)?;
        self.exchange(stream, path).await.map_err(Trouble::Broken)
    }

    /// A poll came to its end without an answer: its request is given up.
    ///
    /// But a process that hangs takes no connections from the system, so its backlog would fill
    /// with ours, one for each poll. So the request of a node that hangs stays for some polls,
    /// which cost little time then, though the buffers stay too; as soon as it is answered, the
    /// poll under way asks anew.
    fn give_up(&mut self) {
        self.given_up = self.given_up.saturating_add(1);
        let fresh = !self.hangs() || self.given_up.is_multiple_of(FRESH_EVERY);
        if fresh || !self.may_be_kept() {
            self.exchanging = None;
        }
    }

    fn hangs(&self) -> bool {
        self.given_up >= HANGS_FROM
    }

    fn may_be_kept(&self) -> bool {
        matches!(self.permit, Some(Permit::Kept(_)))
    }

    async fn connect(&mut self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.addr.ip(), self.addr.port())).await?;
        if !self.may_be_kept() {
            // Ended by a reset, as HAProxy's checks are: thousands a second would otherwise fill
            // the tables of sockets in TIME_WAIT, and of connections that a firewall tracks.
            stream.set_zero_linger()?;
        }
        Ok(stream)
    }

    async fn exchange(&mut self, stream: TcpStream, path: &Uri) -> Result<Answer, Broken> {
        let exchange = Box::pin(exchange(stream, self.question(path)));
        let (answer, stream) = self.exchanging.insert(exchange).await;
        self.settle(stream);
        answer
    }

    /// After an exchange: keeps the connection if it may be used again.
    fn settle(&mut self, stream: Option<TcpStream>) {
        self.exchanging = None;
        self.idle = stream.filter(|_| self.may_be_kept());
    }

    fn question(&self, path: &Uri) -> Question {
        let mut question = Request::new(Empty::default());
        *question.uri_mut() = path.clone();
        let headers = question.headers_mut();
        headers.reserve(5);
        headers.insert(HOST, self.host.clone());
        let agent = concat!("pollbal/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if !self.may_be_kept() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        question
    }
}

/// What the `Host` header says.
fn host(addr: NodeAddr) -> HeaderValue {
    let text = match addr.port() {
        80 => addr.ip().to_string(),
        _ => addr.to_string(),
    };
    // Digits, dots and a colon always make a value.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Whether the node has neither closed the connection nor said anything unasked since.
fn is_idle(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_host(addr: &str) -> HeaderValue {
        let permits = Arc::new(Permits::new(1, 1));
        let connection = Connection::new(addr.parse().unwrap(), permits);
        connection.question(&Uri::from_static("/pool")).headers()[HOST].clone()
    }

    #[test]
    fn the_host_names_the_port_unless_it_is_80() {
        assert_eq!(asked_host("10.0.0.1:8080"), "10.0.0.1:8080");
        assert_eq!(asked_host("10.0.0.1:80"), "10.0.0.1");
    }

    #[tokio::test]
    async fn nodes_that_hang_do_not_keep_the_others_from_being_polled() {
        let permits = Permits::new(0, 8);
        let wait = Duration::from_millis(1);
        let mut hanging = Vec::new();
        while let Ok(permit) = timeout(wait, permits.take(true)).await {
            hanging.push(permit);
        }
        assert_eq!(hanging.len(), 2);
        let mut others = Vec::new();
        while let Ok(permit) = timeout(wait, permits.take(false)).await {
            others.push(permit);
        }
        assert_eq!(others.len(), 6);
    }
}
