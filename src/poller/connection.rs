//! The connection to one node, from poll to poll.
//!
//! It is kept open if the node keeps it open and there are descriptors for it; otherwise each poll uses a new
//! connection. A hung node does not get a new connection for each poll (see [`Connection::record_unanswered`]), unless
//! it is nudged, since it may well be a new process by then.
//!
//! A kept connection proves nothing about new ones, which are what clients need: the node may have stopped listening,
//! or another process may listen in its place. So one poll in `poll_reconnect` uses a new connection, which then
//! replaces the kept one. The kept one stays open until the new one has a response: closing it would free, in a node
//! that is out of descriptors, the very one that it lacks.
//!
//! For the same reason a node that rejected a new connection counts as healthy again only when it accepts one beside
//! another open one. If the kept one is gone by then, because it was not used meanwhile, two are opened. But there are
//! nodes that never serve more than one connection at a time. To distinguish the two kinds, the first poll that finds a
//! kept connection uses a new one as well.

use std::io;
use std::net::IpAddr;
use std::pin::pin;

use tokio::net::TcpStream;
use tracing::info;

use super::exchange::{Exchange, ExchangeError};
use super::permits::{Permit, Permits};
use super::request::{Template, host};
use super::response::Response;
use crate::awake::Budget;
use crate::model::node::NodeAddr;
use crate::outgoing;

/// Number of unanswered polls in a row, each on a new connection, after which a node counts as hung.
const HUNG_AFTER: u32 = 3;

/// A hung node gets a new connection after 4 and 8 unanswered polls in a row, and then after each multiple of this
/// number: if its machine was restarted without closing the old connection, nothing will ever arrive over that one.
const RECONNECT_EVERY: u32 = 16;

/// Number of unanswered polls in a row on new connections after which the kept one is closed, unless the node accepted
/// one beside it before: it may serve only one connection at a time, and ours must not block all others.
const CLOSE_KEPT_AFTER: u32 = 10;

/// Maximum number of new connections per poll to get one that is open beside another.
const MAX_ATTEMPTS: usize = 3;

/// The connection to one node.
pub(super) struct Connection {
    addr: NodeAddr,
    /// The default value of `Host`.
    host: Box<str>,
    permit: Option<Permit>,
    /// For a new connection beside the kept one.
    second_permit: Option<Permit>,
    /// Kept open since the previous poll.
    idle: Option<TcpStream>,
    /// An exchange whose response is outstanding. Boxed, since there is none most of the time.
    pending: Option<Box<Exchange>>,
    /// Unanswered polls in a row.
    unanswered: u32,
    /// Counts polls. It starts at a number derived from the address, so that not all nodes are reconnected at once.
    polls: u32,
    /// Polls in a row that failed on a new connection while the kept one stayed open.
    rejected: u32,
    /// The node has accepted a new connection beside the kept one, so a later rejection is a fault.
    accepts_second: bool,
    single: SingleConnection,
}

/// Whether the node serves only one of our connections at a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SingleConnection {
    No,
    /// The kept connection has just been closed, to find out.
    Suspected,
    /// No connection is kept any more.
    Yes,
}

/// What is sent in a poll, and how often over a new connection.
#[derive(Clone, Copy)]
pub(super) struct PollRequest<'a> {
    pub(super) template: &'a Template,
    /// `poll_reconnect`.
    pub(super) reconnect: u32,
    /// For a second connection.
    pub(super) permits: &'a Permits,
}

/// Whether an earlier connection was still open beside the new one that failed.
pub(super) type Beside = bool;

/// Why a poll got no response.
pub(super) enum PollError {
    /// The connection could not be established.
    Connect(io::Error, Beside),
    /// The exchange failed before the response was complete.
    Exchange(ExchangeError, Beside),
    /// The timeout expired.
    Timeout(Beside),
    /// The wait for the response to an earlier poll was ended by a nudge.
    Nudged,
}

impl Connection {
    pub(super) fn new(addr: NodeAddr) -> Self {
        Self {
            addr,
            host: host(addr),
            permit: None,
            second_permit: None,
            idle: None,
            pending: None,
            unanswered: 0,
            polls: number_of(addr),
            rejected: 0,
            accepts_second: false,
            single: SingleConnection::No,
        }
    }

    /// The node.
    pub(super) fn addr(&self) -> NodeAddr {
        self.addr
    }

    /// Waits for permission to open a connection. To be called before the timeout of a poll starts: a shortage on our
    /// side shows nothing about the node.
    pub(super) async fn acquire_permit(&mut self, permits: &Permits) {
        if self.permit.is_none() {
            self.permit = permits.acquire(self.is_hung()).await;
        }
        // With only one connection open, the node would merely seem to be healthy.
        if self.rejects_second() && self.second_permit.is_none() {
            self.second_permit = permits.acquire(true).await;
        }
    }

    /// Sends the request, and waits for the response until the `budget` is spent. Requires
    /// [`acquire_permit`](Self::acquire_permit). While the response to an earlier poll is outstanding, `nudged` ends
    /// the wait and abandons that response.
    pub(super) async fn poll(
        &mut self,
        request: PollRequest<'_>,
        budget: &mut Budget,
        nudged: impl Future<Output = ()>,
    ) -> Result<Response, PollError> {
        self.polls = self.polls.wrapping_add(1);
        let is_unknown = self.idle.is_some() && !self.accepts_second;
        let is_turn = self.polls.is_multiple_of(request.reconnect);
        let due = request.reconnect > 0 && (is_turn || is_unknown);
        // By reference: as an argument it would be in memory twice.
        let spent = budget.spend(pin!(self.run(request, due, nudged))).await;
        let result = spent.unwrap_or_else(|| Err(PollError::Timeout(self.idle.is_some())));
        let is_unanswered = matches!(result, Err(PollError::Timeout(_))) && self.pending.is_some();
        match &result {
            // Nothing is known about the node.
            Err(PollError::Nudged) => {}
            Err(_) if budget.paused() => self.close_all(),
            Err(PollError::Timeout(_)) => self.record_unanswered(),
            _ => self.unanswered = 0,
        }
        match &result {
            Ok(_) => self.record_accepted(),
            Err(PollError::Nudged) => {}
            Err(error) => self.record_rejected(error, is_unanswered),
        }
        if self.single == SingleConnection::Yes || request.reconnect == 1 {
            self.close_idle();
        }
        // With no connection left, the node may be another process by the next poll.
        self.accepts_second &= self.idle.is_some() || self.rejects_second();
        self.release_permits();
        result
    }

    /// Abandons the outstanding response to an earlier poll.
    pub(super) fn abandon(&mut self) {
        self.pending = None;
    }

    async fn run(
        &mut self,
        request: PollRequest<'_>,
        mut due: bool,
        nudged: impl Future<Output = ()>,
    ) -> Result<Response, PollError> {
        // A response to an earlier poll shows only that the node is alive again, and that it accepted the connection,
        // which was a new one then.
        if let Some(pending) = &mut self.pending {
            tokio::select! {
                late = pending.response() => {
                    self.finish_exchange(&late);
                    due &= late.is_err();
                }
                () = nudged => {
                    self.abandon();
                    return Err(PollError::Nudged);
                }
            }
        }
        let new = due || self.rejected > 0;
        if !new && let Some(stream) = self.idle.take().filter(is_idle) {
            match self.exchange(stream, request).await {
                // The node may have sent this before it received the request; only a new connection can show it.
                Err(ExchangeError::BeforeHead(_) | ExchangeError::InBody(400 | 408, _)) => {}
                Ok(response) if may_have_crossed(&response) => {}
                result => return result.map_err(|error| PollError::Exchange(error, false)),
            }
            self.idle = None;
        }
        for _ in 0..MAX_ATTEMPTS {
            self.reserve_second(request.permits);
            let beside = self.idle.is_some();
            let stream = self.connect().await;
            let stream = stream.map_err(|error| PollError::Connect(error, beside))?;
            let result = self.exchange(stream, request).await;
            let response = result.map_err(|error| PollError::Exchange(error, beside))?;
            if !self.rejects_second() || self.idle.is_none() {
                return Ok(response);
            }
        }
        Err(PollError::Timeout(true))
    }

    /// Keeps the kept connection open beside a new one if there is a permit for that; otherwise closes it.
    fn reserve_second(&mut self, permits: &Permits) {
        self.idle.take_if(|stream| !is_idle(stream));
        if self.idle.is_some() && self.second_permit.is_none() {
            self.second_permit = permits.try_acquire_second();
            if self.second_permit.is_none() {
                self.close_idle();
            }
        }
    }

    fn record_accepted(&mut self) {
        self.rejected = 0;
        if self.single == SingleConnection::Suspected {
            self.single = SingleConnection::Yes;
            let addr = self.addr;
            info!(
                node = %addr,
                "{addr} answers on a new connection only while no other one of pollbal's is open: \
                 it is polled with a connection each time from now on"
            );
        }
    }

    /// Records a failed poll. If the kept connection is still open, the node rejected a new one: by not responding, or
    /// in another way. If not even a first connection can be established, the node is down rather than short of
    /// descriptors.
    fn record_rejected(&mut self, error: &PollError, by_silence: bool) {
        if self.single == SingleConnection::Suspected {
            self.single = SingleConnection::No;
        }
        let is_down = matches!(error, PollError::Connect(_, false));
        if self.idle.is_none() && (is_down || !self.rejects_second()) {
            self.rejected = 0;
            return;
        }
        self.rejected = self.rejected.saturating_add(1);
        if by_silence && self.rejected >= CLOSE_KEPT_AFTER && !self.accepts_second {
            self.close_idle();
            self.rejected = 0;
            self.single = SingleConnection::Suspected;
        }
    }

    /// Records a poll without a response, and usually abandons its request.
    ///
    /// But a hung process accepts no connections, so one per poll would fill its backlog, and each costs us as much as
    /// four polls. So the request to a hung node stays outstanding for several polls; once it is answered, the current
    /// poll sends a new one.
    fn record_unanswered(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
        let reconnect =
            self.unanswered.is_power_of_two() || self.unanswered.is_multiple_of(RECONNECT_EVERY);
        if !self.is_hung() || reconnect || !self.can_be_kept() {
            self.pending = None;
        }
    }

    /// Closes all connections, which may be dead without our noticing; the next poll opens a new one.
    fn close_all(&mut self) {
        self.pending = None;
        self.close_idle();
    }

    /// Returns the permits that are not needed until the next poll.
    fn release_permits(&mut self) {
        if self.idle.is_none() || self.pending.is_none() {
            self.second_permit = None;
        }
        if self.idle.is_none() && self.pending.is_none() {
            self.permit = None;
        }
    }

    /// Whether the node rejects a second connection although it accepted one before: it is short of descriptors.
    fn rejects_second(&self) -> bool {
        self.accepts_second && self.rejected > 0
    }

    fn is_hung(&self) -> bool {
        self.unanswered >= HUNG_AFTER
    }

    fn can_be_kept(&self) -> bool {
        matches!(self.permit, Some(Permit::Kept(_)))
    }

    async fn connect(&mut self) -> io::Result<TcpStream> {
        let stream = outgoing::connect((self.addr.ip(), self.addr.port())).await?;
        if !self.can_be_kept() {
            reset_on_close(&stream);
        }
        Ok(stream)
    }

    async fn exchange(
        &mut self,
        stream: TcpStream,
        request: PollRequest<'_>,
    ) -> Result<Response, ExchangeError> {
        let kept =
            self.can_be_kept() && request.reconnect != 1 && self.single != SingleConnection::Yes;
        let request = request.template.request(&self.host, kept);
        let exchange = Box::new(Exchange::new(stream, request));
        let result = self.pending.insert(exchange).response().await;
        self.finish_exchange(&result);
        result
    }

    /// Ends an exchange: keeps the connection if it can be reused, in place of any other. A node that is short of
    /// descriptors has accepted a second connection only if the other one is still open: otherwise closing that one may
    /// have freed a descriptor.
    fn finish_exchange(&mut self, result: &Result<Response, ExchangeError>) {
        let exchange = self.pending.take();
        let Ok(response) = result else { return };
        let beside = self.idle.as_ref().is_some_and(is_idle);
        self.accepts_second |= beside;
        if beside || !self.rejects_second() {
            self.rejected = 0;
        }
        self.close_idle();
        self.idle = exchange
            .filter(|_| response.keep_alive && self.can_be_kept())
            .map(|exchange| exchange.into_stream());
    }

    fn close_idle(&mut self) {
        if let Some(stream) = self.idle.take() {
            reset_on_close(&stream);
        }
    }
}

/// A number that differs between adjacent addresses and ports.
fn number_of(addr: NodeAddr) -> u32 {
    let octets = match addr.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let [.., a, b, c, d] = octets;
    u32::from_be_bytes([a, b, c, d]).wrapping_add(addr.port().into())
}

/// Makes the connection close with a reset, as `HAProxy`'s health checks do: otherwise hundreds or thousands per second
/// would fill the system with sockets in `TIME_WAIT`, and the connection tables of firewalls.
fn reset_on_close(stream: &TcpStream) {
    // Fails only if the connection is gone already.
    _ = stream.set_zero_linger();
}

/// Whether a response on a kept connection may have crossed the request, because the node timed out waiting for one.
/// Some servers send 400 for that.
fn may_have_crossed(response: &Response) -> bool {
    response.status == 408 || (response.status == 400 && !response.keep_alive)
}

/// Whether the node has neither closed the connection nor sent anything unsolicited since.
fn is_idle(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
