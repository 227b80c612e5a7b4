//! The connection to one node, from poll to poll.
//!
//! It is kept where the node keeps it and there are descriptors for it; else each poll has one of
//! its own. A node that hangs is not given a new one at each poll: see [`Connection::give_up`]; but one
//! that is nudged is, since it may well be another process by now.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::Answer;
use super::exchange::{Broken, Exchange};
use crate::model::node::NodeAddr;

/// So many polls in a row are left without an answer, each on a fresh connection, before a node
/// counts as one that hangs.
const HANGS_FROM: u32 = 3;

/// One in so many of the permits for one poll is for nodes that hang.
const HANGING_SHARE: usize = 4;

/// A node that hangs gets a fresh connection when it has left 4, 8 and so many polls in a row
/// without an answer, and then at each of so many: where its machine was restarted without a word
/// to us, nothing will ever come over the old one.
const FRESH_EVERY: u32 = 16;

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
    /// As its `Host` header says. Made once: it would be a good part of what a poll costs us.
    host: Box<str>,
    permits: Arc<Permits>,
    permit: Option<Permit>,
    /// Kept from the poll before.
    idle: Option<TcpStream>,
    /// A request that was not answered yet.
    exchanging: Option<Exchange>,
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
    /// It was waited for what the node owes to an earlier poll, and is not to be any more.
    Nudged,
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

    /// Waits until there may be a connection; before the time of a poll begins, since a shortage of
    /// ours says nothing of the node.
    pub(super) async fn permitted(&mut self) {
        if self.permit.is_none() {
            self.permit = self.permits.take(self.hangs()).await;
        }
    }

    /// Asks for `path`, and waits for the answer no longer than `limit`. It must be
    /// [`permitted`](Self::permitted). While the node owes an answer to an earlier poll, this ends
    /// when `nudged` does, and nothing is owed any more.
    pub(super) async fn poll(
        &mut self,
        path: &str,
        limit: Duration,
        nudged: impl Future<Output = ()>,
    ) -> Result<Answer, Trouble> {
        let answered = timeout(limit, self.ask(path, nudged)).await;
        let answer = answered.unwrap_or(Err(Trouble::Timeout));
        match answer {
            Err(Trouble::Timeout) => self.give_up(),
            // Nothing was heard of it.
            Err(Trouble::Nudged) => {}
            _ => self.given_up = 0,
        }
        if self.idle.is_none() && self.exchanging.is_none() {
            self.permit = None;
        }
        answer
    }

    /// Waits no more for what the node owes to an earlier poll.
    pub(super) fn give_up_owed(&mut self) {
        self.exchanging = None;
    }

    async fn ask(
        &mut self,
        path: &str,
        nudged: impl Future<Output = ()>,
    ) -> Result<Answer, Trouble> {
        // What answers an earlier poll says only that the node lives again.
        if let Some(exchanging) = &mut self.exchanging {
            tokio::select! {
                late = exchanging.answer() => self.settle(&late),
                () = nudged => {
                    self.give_up_owed();
                    return Err(Trouble::Nudged);
                }
            }
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
    /// with ours, one for each poll, and each costs us as much as four polls. So the request of a
    /// node that hangs stays for some polls; as soon as it is answered, the poll under way asks
    /// anew.
    fn give_up(&mut self) {
        self.given_up = self.given_up.saturating_add(1);
        let fresh = self.given_up.is_power_of_two() || self.given_up.is_multiple_of(FRESH_EVERY);
        if !self.hangs() || fresh || !self.may_be_kept() {
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

    async fn exchange(&mut self, stream: TcpStream, path: &str) -> Result<Answer, Broken> {
        let exchange = Exchange::new(stream, request(&self.host, path, self.may_be_kept()));
        let answer = self.exchanging.insert(exchange).answer().await;
        self.settle(&answer);
        answer
    }

    /// After an exchange: keeps the connection if it may be used again.
    fn settle(&mut self, answer: &Result<Answer, Broken>) {
        let exchange = self.exchanging.take();
        let keeps = answer.as_ref().is_ok_and(|answer| answer.keeps);
        self.idle = exchange
            .filter(|_| keeps && self.may_be_kept())
            .map(Exchange::into_stream);
    }
}

/// Asks `host` for `path`, and says where the connection is for this alone.
fn request(host: &str, path: &str, kept: bool) -> Vec<u8> {
    const FIELDS: &str = concat!(
        "\r\nUser-Agent: pollbal/",
        env!("CARGO_PKG_VERSION"),
        "\r\nAccept: */*\r\nCache-Control: no-cache\r\n"
    );
    let end = if kept {
        "\r\n"
    } else {
        "Connection: close\r\n\r\n"
    };
    let request = ["GET ", path, " HTTP/1.1\r\nHost: ", host, FIELDS, end];
    request.concat().into_bytes()
}

/// What the `Host` header says.
fn host(addr: NodeAddr) -> Box<str> {
    let text = match addr.port() {
        80 => addr.ip().to_string(),
        _ => addr.to_string(),
    };
    text.into()
}

/// Whether the node has neither closed the connection nor said anything unasked since.
fn is_idle(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(addr: &str, kept: bool) -> String {
        let host = host(addr.parse().unwrap());
        String::from_utf8(request(&host, "/pool?all", kept)).unwrap()
    }

    #[test]
    fn a_request_says_what_is_asked_of_whom_and_whether_the_connection_is_kept() {
        let agent = format!("User-Agent: pollbal/{}", env!("CARGO_PKG_VERSION"));
        let kept = asked("10.0.0.1:8080", true);
        let lines = [
            "GET /pool?all HTTP/1.1",
            "Host: 10.0.0.1:8080",
            &agent,
            "Accept: */*",
            "Cache-Control: no-cache",
            "\r\n",
        ];
        assert_eq!(kept, lines.join("\r\n"));
        let passing = asked("10.0.0.1:8080", false);
        let end = "no-cache\r\nConnection: close\r\n\r\n";
        assert!(passing.ends_with(end), "{passing}");
    }

    #[test]
    fn the_host_names_the_port_unless_it_is_80() {
        assert!(asked("10.0.0.1:80", true).contains("\r\nHost: 10.0.0.1\r\n"));
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
