//! Nodes in the test's own process, each with a listener on its own loopback address.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::mock_node::server::{self, Announcement, Arrival, Behaviour, MockNode, StayRequest};
use super::{SOON, eventually, runtime};

/// A running (or stopped) node; dropped, it stops.
pub(crate) struct Node {
    addr: SocketAddrV4,
    mock: Arc<MockNode>,
    server: Option<JoinHandle<()>>,
}

impl Node {
    pub(crate) fn start(addr: SocketAddrV4, name: &str, announcement: &str) -> Self {
        let mut node = Self {
            addr,
            mock: MockNode::new(name, Announcement::parse(announcement)),
            server: None,
        };
        node.revive();
        node
    }

    pub(crate) fn addr(&self) -> SocketAddrV4 {
        self.addr
    }

    pub(crate) fn name(&self) -> &str {
        self.mock.name()
    }

    /// `10.0.0.1 80 # name`, as the services file and `disabled_services` have it.
    pub(crate) fn services_line(&self) -> String {
        format!("{} {} # {}", self.addr.ip(), self.addr.port(), self.name())
    }

    /// `10.0.0.1:8080 # name`, as a pool file has a node on a port other than 80.
    pub(crate) fn pool_line(&self) -> String {
        format!("{} # {}", self.addr, self.name())
    }

    /// From now on the node says this at `/pool`; an empty line is an idle node.
    pub(crate) fn announce(&self, line: &str) {
        self.mock.state().announcement = Announcement::parse(line);
    }

    pub(crate) fn hang(&self) {
        self.behave(Behaviour::Hang);
    }

    pub(crate) fn slow(&self, delay: Duration) {
        self.behave(Behaviour::Slow(delay));
    }

    /// Answers polls with this status instead of an announcement.
    pub(crate) fn fail(&self, status: u16) {
        self.behave(Behaviour::Fail(
            StatusCode::from_u16(status).expect("an HTTP status"),
        ));
    }

    /// Answers polls promptly again.
    pub(crate) fn recover(&self) {
        self.behave(Behaviour::Prompt);
    }

    fn behave(&self, behaviour: Behaviour) {
        self.mock.state().behaviour = behaviour;
    }

    /// Dies: the listener and every connection are gone.
    pub(crate) fn die(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            eventually(SOON, "the node's server ends", || {
                server.is_finished().then_some(())
            });
        }
    }

    /// Listens (again) on the same address.
    pub(crate) fn revive(&mut self) {
        self.die();
        let bound = runtime().block_on(TcpListener::bind(self.addr));
        let listener =
            bound.unwrap_or_else(|why| panic!("a node failed to listen on {}: {why}", self.addr));
        self.server = Some(runtime().spawn(server::serve(listener, Arc::clone(&self.mock))));
    }

    /// How often it was polled, whether it answered or not.
    pub(crate) fn polls(&self) -> u64 {
        self.mock.state().polls
    }

    /// Waits for this many polls more.
    #[track_caller]
    pub(crate) fn wait_polls(&self, more: u64) {
        let enough = self.polls() + more;
        eventually(SOON, "the node is polled", || {
            (self.polls() >= enough).then_some(())
        });
    }

    /// When it first answered a poll with exactly this line, after `since`; waits for it.
    #[track_caller]
    pub(crate) fn wait_sent(&self, line: &str, since: Instant) -> Instant {
        eventually(SOON, &format!("{} says \"{line}\"", self.name()), || {
            let lines = self.mock.sent_lines();
            lines
                .iter()
                .find(|sent| sent.at >= since && sent.line == line)
                .map(|sent| sent.at)
        })
    }

    /// When it was asked to stay (`POST`), and notified that this is over (`DELETE`).
    pub(crate) fn stay_requests(&self) -> Vec<StayRequest> {
        self.mock.stay_requests()
    }

    /// The requests that reached it through a load balancer (not polls).
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.mock.arrivals()
    }

    pub(crate) fn arrivals_after(&self, at: Instant) -> Vec<Arrival> {
        let mut arrivals = self.arrivals();
        arrivals.retain(|arrival| arrival.at > at);
        arrivals
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Not `die`, which panics when the server does not end: here it need not be waited for.
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

/// Waits until each of these nodes has been polled this many times more. After two, what it said before is known: the
/// second poll begins when the first has been answered.
#[track_caller]
pub(crate) fn wait_rounds(nodes: &[Node], more: u64) {
    let enough: Vec<u64> = nodes.iter().map(|node| node.polls() + more).collect();
    eventually(SOON, "all nodes are polled", || {
        let mut polled = nodes.iter().zip(&enough);
        polled
            .all(|(node, enough)| node.polls() >= *enough)
            .then_some(())
    });
}

/// The addresses of these nodes, as `Perlbal::members` gives them.
pub(crate) fn addrs<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> BTreeSet<SocketAddrV4> {
    nodes.into_iter().map(Node::addr).collect()
}
