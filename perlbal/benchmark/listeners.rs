//! pollbal's listeners: which are open, and requests at them as others make them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::Outcome;
use crate::clock::now;
use crate::site::free_port;

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which listeners are open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listeners {
    /// In the site's directory.
    pub(crate) admin: bool,
    pub(crate) status: Option<SocketAddrV4>,
    pub(crate) node: Option<SocketAddrV4>,
}

impl Listeners {
    /// As where the configuration does not say otherwise.
    pub(crate) fn usual() -> Self {
        Self {
            admin: true,
            ..Self::none()
        }
    }

    pub(crate) fn none() -> Self {
        Self {
            admin: false,
            status: None,
            node: None,
        }
    }
}

/// A free place for a listener.
pub(crate) fn free_address() -> Outcome<SocketAddrV4> {
    let port = free_port(Ipv4Addr::LOCALHOST)?;
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// What is answered at the admin socket.
pub(crate) fn query_admin(socket: &Path, path: &str) -> Outcome<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    body(&mut stream)
}

/// What is answered at the status listener to a scrape, asked for as Prometheus does.
pub(crate) fn scrape(listener: SocketAddrV4, path: &str) -> Outcome<Vec<u8>> {
    let mut stream = TcpStream::connect(listener)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {listener}\r\nUser-Agent: Prometheus/2.42.0\r\n\
         Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n\
         Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    body(&mut stream)
}

/// A nudge that was sent and whose answer was not looked at.
pub(crate) struct Nudge {
    /// When its first byte was sent.
    pub(crate) sent: u64,
    stream: TcpStream,
}

impl Nudge {
    /// Sends one as that node, from its address.
    pub(crate) fn send(listener: SocketAddrV4, node: Ipv4Addr) -> Outcome<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddrV4::new(node, 0))?;
        connect(&socket, &listener)?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "POST /nudge HTTP/1.1\r\nHost: {listener}\r\nPollbal-Request: true\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let sent = now();
        stream.write_all(request.as_bytes())?;
        Ok(Self { sent, stream })
    }

    /// An error where it was refused.
    pub(crate) fn finish(mut self) -> Outcome<()> {
        body(&mut self.stream).map(|_| ())
    }
}

/// The body of a good answer, after which the connection ends.
fn body(stream: &mut impl Read) -> Outcome<Vec<u8>> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let end = end.ok_or("a listener answers without a head")?;
    let body = answer.split_off(end + 4);
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        let head = String::from_utf8_lossy(&answer);
        let status = head.lines().next().unwrap_or_default();
        let why = String::from_utf8_lossy(&body);
        return Err(format!("a listener answers {status}: {}", why.trim()).into());
    }
    Ok(body)
}
