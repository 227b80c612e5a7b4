//! The floor: what polling costs at least. One thread, epoll, kept connections, a request that was made before, ticks
//! of 5 ms, and an answer's bytes are read and forgotten.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream as Connect};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::nodes::address;

const TICK: Duration = Duration::from_millis(5);

/// What pollbal asks.
const REQUEST: &[u8] = b"GET /pool HTTP/1.1\r\nHost: 127.100.100.100:10000\r\nUser-Agent: floor\r\nCache-Control: no-cache\r\n\r\n";

/// Polls these nodes for ever.
pub(crate) fn poll(port: u16, nodes: usize, interval: Duration) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut streams = Vec::with_capacity(nodes);
    for node in 0..nodes {
        let stream = Connect::connect(SocketAddrV4::new(address(node), port))?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(node), Interest::READABLE)?;
        streams.push(stream);
    }
    let mut events = Events::with_capacity(1024);
    let mut buffer = [0; 4096];
    let begin = Instant::now();
    let mut sent: u128 = 0;
    let mut tick = begin;
    loop {
        let now = Instant::now();
        if now >= tick {
            let due = (now - begin).as_nanos() * nodes as u128 / interval.as_nanos();
            for number in sent..due {
                let node = usize::try_from(number % nodes as u128).unwrap_or(0);
                streams[node].write_all(REQUEST)?;
            }
            sent = due;
            tick = now + TICK;
        }
        match poll.poll(
            &mut events,
            Some(tick.saturating_duration_since(Instant::now())),
        ) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let Token(node) = event.token();
            match streams[node].read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}
