//! Outgoing connections.

use std::io;

use tokio::net::{TcpStream, ToSocketAddrs};

/// Connects, but never to itself.
///
/// If nothing listens on a port of this machine that is in the range of local ports, sooner or later a connection to it
/// is assigned that same port as its source, and TCP connects it to itself: requests come back as responses, and while
/// the connection is open, nothing can listen there.
pub(crate) async fn connect(to: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    if is_to_itself(&stream) {
        // Closed by a reset: in TIME_WAIT it would still keep the port from its server.
        stream.set_zero_linger()?;
        let reason = "nobody listens there (connected to itself: the port lies in the range of local \
                      ports; reserve it by net.ipv4.ip_local_reserved_ports)";
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason));
    }
    Ok(stream)
}

fn is_to_itself(stream: &TcpStream) -> bool {
    // A connection that is already broken has no peer.
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(ours), Ok(theirs)) if ours == theirs)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn a_connection_to_itself_is_known() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = free.local_addr().unwrap();
        assert!(connect(addr).await.is_ok());
        drop(free);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(addr).unwrap();
        let stream = socket.connect(addr).await.unwrap();
        assert!(is_to_itself(&stream));
    }
}
