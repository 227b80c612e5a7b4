//! Steady clients of Perlbal's service, each with one connection that it keeps and one request after the other.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Outcome;
use crate::clock::now;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: keep-alive\r\n\r\n";

/// From when to when a request took, by the clock that all share.
pub(crate) type Span = (u64, u64);

/// Running clients.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<Outcome<Vec<Span>>>>,
}

impl Clients {
    pub(crate) fn start(service: SocketAddrV4, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |_| {
            let stop = stop.clone();
            thread::spawn(move || ask(service, &stop))
        };
        let running = (0..clients).map(start).collect();
        Self { stop, running }
    }

    /// Ends them, and says when each request was, the longest last.
    pub(crate) fn finish(self) -> Outcome<Vec<Span>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.running {
            let took = client.join().map_err(|_| "a client has panicked")?;
            all.extend(took.map_err(|why| format!("a client's request failed: {why}"))?);
        }
        all.sort_unstable_by_key(|(begin, end)| end - begin);
        Ok(all)
    }
}

fn ask(service: SocketAddrV4, stop: &AtomicBool) -> Outcome<Vec<Span>> {
    let mut stream = TcpStream::connect(service)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut took = Vec::new();
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let begin = now();
        stream.write_all(REQUEST)?;
        let mut filled = 0;
        // The node's answer ends in its only line of text.
        while !buffer[..filled].ends_with(b" v23\n") {
            match stream.read(&mut buffer[filled..])? {
                0 => return Err("Perlbal has closed the connection".into()),
                read => filled += read,
            }
        }
        if !buffer.starts_with(b"HTTP/1.1 200") && !buffer.starts_with(b"HTTP/1.0 200") {
            return Err("not served".into());
        }
        took.push((begin, now()));
        // Steady, not as fast as may be: Perlbal shall not be busy by the clients alone.
        thread::sleep(Duration::from_millis(1));
    }
    Ok(took)
}
