//! The mock nodes: one process, one thread, that answers for all of 127.0.0.0/8 on one port.
//!
//! The local address of a connection tells which node is asked. A connection to 127.0.0.1, which is no node, is the
//! conductor's: it sends commands, a line each (`commands.rs`), and is notified when a changed answer has been given.

mod commands;
pub(crate) mod request;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::clock::now;
use crate::rhythm::Rhythm;
use request::Request;

/// This many nodes there can be: two second octets of 250 times 250 addresses each.
pub(crate) const MOST: usize = 125_000;
const PER_OCTET: usize = 62_500;

const LISTENER: Token = Token(usize::MAX);

/// Whom a connection is to, where it is to no node.
const CONDUCTOR: u32 = u32::MAX;

/// The address of a node.
pub(crate) fn address(index: usize) -> Ipv4Addr {
    let octet = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    let rest = index % PER_OCTET;
    Ipv4Addr::new(
        127,
        octet(1 + index / PER_OCTET),
        octet(1 + rest / 250),
        octet(1 + rest % 250),
    )
}

/// The node of an address, or the conductor; `None` where nobody of this run can mean it, such as one of the network's.
fn index(address: IpAddr) -> Option<u32> {
    let IpAddr::V4(address) = address else {
        return None;
    };
    match address.octets().map(u32::from) {
        [127, 0, 0, 1] => Some(CONDUCTOR),
        [127, b @ 1..=2, c @ 1..=250, d @ 1..=250] => {
            Some((b - 1) * 62_500 + (c - 1) * 250 + (d - 1))
        }
        _ => None,
    }
}

#[derive(Clone, Copy, Default)]
struct Node {
    /// When it was polled last; 0 where it was not since the rhythm was begun.
    polled: u64,
    leaving: bool,
    /// Its answer was changed, and it has not yet been given.
    changed: bool,
}

struct Connection {
    stream: TcpStream,
    node: u32,
    /// What came of a request that is not whole yet.
    begun: Vec<u8>,
}

struct Nodes {
    poll: Poll,
    listener: TcpListener,
    /// There was no descriptor for a connection that waits.
    full: bool,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    open: usize,
    conductor: Option<usize>,
    states: Vec<Node>,
    /// Polls, of all nodes since the start.
    polls: u64,
    rhythm: Rhythm,
    /// One of each this many nodes is in `api`, the others are in `web`.
    home: u32,
    /// The nodes are in this many pools by turns instead, unless it is 0.
    pools: u32,
    /// This many of each ten nodes do not answer.
    hanging: u32,
    slow: Option<(u32, Duration)>,
    /// Late answers: when, and on which connection.
    late: VecDeque<(u64, usize)>,
}

/// Serves until the conductor's connection ends.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    // All pollers may come at once.
    rustix::net::listen(&listener, 65_535)?;
    let poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut nodes = Nodes {
        poll,
        listener,
        full: false,
        connections: Vec::new(),
        free: Vec::new(),
        open: 0,
        conductor: None,
        states: vec![Node::default(); MOST],
        polls: 0,
        rhythm: Rhythm::new(0),
        home: 1,
        pools: 0,
        hanging: 0,
        slow: None,
        late: VecDeque::new(),
    };
    nodes.run()
}

impl Nodes {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 16_384];
        loop {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                    continue;
                }
                let Token(at) = event.token();
                let over = event.is_read_closed() || event.is_error();
                if !self.read(at, &mut buffer) || over {
                    self.close(at);
                    if self.conductor == Some(at) {
                        return Ok(());
                    }
                }
            }
            if self.full {
                self.accept()?;
            }
            self.give_late_answers();
        }
    }

    /// How long nothing may happen.
    fn patience(&self) -> Option<Duration> {
        if self.full {
            return Some(Duration::from_millis(5));
        }
        let (due, _) = self.late.front()?;
        // The kernel's clock for this counts milliseconds.
        Some(Duration::from_nanos(due.saturating_sub(now())) + Duration::from_millis(1))
    }

    fn accept(&mut self) -> io::Result<()> {
        self.full = false;
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    // Anyone who waited has gone again.
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => continue,
                    _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                        self.full = true;
                        return Ok(());
                    }
                    _ => return Err(error),
                },
            };
            // The socket is open to the network too, as only so it is to all of 127.0.0.0/8.
            let Some(node) = stream.local_addr().ok().and_then(|local| index(local.ip())) else {
                continue;
            };
            let at = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let mut connection = Connection {
                stream,
                node,
                begun: Vec::new(),
            };
            self.poll
                .registry()
                .register(&mut connection.stream, Token(at), Interest::READABLE)?;
            if connection.node == CONDUCTOR {
                connection.stream.set_nodelay(true)?;
                self.conductor = Some(at);
            }
            self.connections[at] = Some(connection);
            self.open += 1;
        }
    }

    fn close(&mut self, at: usize) {
        if self
            .connections
            .get_mut(at)
            .and_then(Option::take)
            .is_some()
        {
            self.free.push(at);
            self.open -= 1;
        }
    }

    /// Takes what came on a connection; false where it has ended.
    fn read(&mut self, at: usize, buffer: &mut [u8]) -> bool {
        loop {
            let Some(Some(connection)) = self.connections.get_mut(at) else {
                return true;
            };
            let read = match connection.stream.read(buffer) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            let begun = &mut connection.begun;
            let goes_on = if begun.is_empty() && buffer[..read].ends_with(b"\r\n\r\n") {
                self.take(at, &buffer[..read])
            } else {
                begun.extend_from_slice(&buffer[..read]);
                let conductor = connection.node == CONDUCTOR;
                let end: &[u8] = if conductor { b"\n" } else { b"\r\n\r\n" };
                if begun.ends_with(end) {
                    let whole = std::mem::take(begun);
                    self.take(at, &whole)
                } else {
                    true
                }
            };
            if !goes_on {
                return false;
            }
            // A buffer that is not full has emptied the socket; only then does the next byte wake us.
            if read < buffer.len() {
                return true;
            }
        }
    }

    /// Takes whole requests or commands; false where the connection is to be closed.
    fn take(&mut self, at: usize, bytes: &[u8]) -> bool {
        let Some(Some(connection)) = self.connections.get(at) else {
            return true;
        };
        let index = connection.node;
        if index == CONDUCTOR {
            return self.command(at, bytes);
        }
        let request = Request::parse(bytes);
        if request.poll {
            self.note_poll(index);
            if index % 10 < self.hanging {
                return true;
            }
            if let Some((slow, delay)) = self.slow
                && slow == index
            {
                self.late
                    .push_back((now() + crate::clock::nanoseconds(delay), at));
                return true;
            }
        }
        self.answer(at, request.keep_alive, request.poll)
    }

    fn note_poll(&mut self, index: u32) {
        self.polls += 1;
        let healthy = index % 10 >= self.hanging;
        let Some(node) = self.states.get_mut(index as usize) else {
            return;
        };
        let now = now();
        // The rhythm is that of nodes that answer.
        if healthy {
            match node.polled {
                0 => self.rhythm.begin(),
                polled => self.rhythm.record(now - polled),
            }
        }
        node.polled = now;
    }

    fn answer(&mut self, at: usize, keep_alive: bool, poll: bool) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(at) else {
            return true;
        };
        let index = connection.node;
        let node = self.states.get_mut(index as usize);
        let leaving = node.as_ref().is_some_and(|node| node.leaving);
        let answer = request::answer(index.is_multiple_of(self.home), leaving, keep_alive);
        let answer = match index.checked_rem(self.pools) {
            Some(other) => &request::in_pool(answer, other)[..],
            None => answer,
        };
        // Before the write: on loopback that delivers, and pollbal may go on before it is over here.
        let stamp = now();
        let written = connection.stream.write(answer);
        if let Some(node) = node
            && node.changed
            && poll
        {
            node.changed = false;
            self.tell(&format!("changed {index} {stamp}\n"));
        }
        keep_alive && written.is_ok_and(|written| written == answer.len())
    }

    fn give_late_answers(&mut self) {
        while let Some((due, at)) = self.late.front().copied() {
            if due > now() {
                return;
            }
            self.late.pop_front();
            if !self.answer(at, true, true) {
                self.close(at);
            }
        }
    }

    /// Tells the conductor something.
    fn tell(&mut self, line: &str) {
        let conductor = self.conductor.and_then(|at| self.connections.get_mut(at));
        if let Some(Some(conductor)) = conductor {
            // It reads all the time; a line that does not fit would be missed there, and reported.
            _ = conductor.stream.write_all(line.as_bytes());
        }
    }
}
