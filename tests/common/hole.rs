//! An address at which nobody answers, not even by a refusal: a machine without power or network.

use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::listen;

/// A connection on loopback that takes longer is not made.
const UNANSWERED: Duration = Duration::from_millis(300);

/// Such an address, until it is dropped.
pub(crate) struct Hole {
    _listener: TcpListener,
    _fillers: Vec<TcpStream>,
}

impl Hole {
    pub(crate) fn at(addr: SocketAddrV4) -> Self {
        let listener = TcpListener::bind(addr).expect("failed to listen");
        let fillers = close(&listener, addr);
        Self {
            _listener: listener,
            _fillers: fillers,
        }
    }
}

/// From now on nobody gets through to the listener, as long as the connections live: the kernel drops each SYN for
/// one whose backlog is full.
pub(crate) fn close(listener: impl AsFd, addr: SocketAddrV4) -> Vec<TcpStream> {
    listen(listener, 0).expect("failed to shorten the backlog");
    let connect = || TcpStream::connect_timeout(&addr.into(), UNANSWERED).ok();
    std::iter::from_fn(connect).collect()
}
