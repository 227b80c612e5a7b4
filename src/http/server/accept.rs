//! Accepting connections at one listener.
//!
//! A connection that is rejected gets the reason and is closed: a few of them once the client has read that, all
//! further ones at once, unread and without a task of their own, which is cheap enough for thousands per second.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::bind::ListeningSocket;
use super::connection::serve;
use super::error::Rejection;
use super::peer::PeerUser;
use super::service::ListenerService;
use crate::log_throttle::OncePerWindow;
use crate::supervision::contained;

/// Delay after an error that will recur at once, such as a lack of descriptors.
const ERROR_DELAY: Duration = Duration::from_millis(100);

/// At most this many rejected connections stay open until the client has read the reason.
static LINGERING: Semaphore = Semaphore::const_new(16);

/// Maximum time for a client to read the reason of a rejection.
const LINGER_TIMEOUT: Duration = Duration::from_millis(200);

/// Maximum bytes that are read of a rejected connection.
const LINGER_BYTES: u64 = 64 * 1024;

/// A listening socket on the server's runtime.
enum Acceptor {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A connection.
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Acceptor {
    fn new(socket: ListeningSocket) -> io::Result<Self> {
        Ok(match socket {
            ListeningSocket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
            ListeningSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
        })
    }

    /// The next connection and its address.
    async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
            Self::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                Ok((Stream::Tcp(stream), Some(address.ip().to_canonical())))
            }
        }
    }
}

/// Accepts connections until `closed`; each is a task of `connections`.
pub(crate) async fn accept(
    socket: ListeningSocket,
    service: Arc<ListenerService>,
    connections: TaskTracker,
    closed: CancellationToken,
) {
    let acceptor = match Acceptor::new(socket) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            let name = service.name();
            return error!("{name} failed to listen: {error}; restart the program");
        }
    };
    let mut failures = Failures::default();
    while let Some(accepted) = closed.run_until_cancelled(acceptor.accept()).await {
        match accepted {
            Ok((stream, address)) => {
                handle_connection(stream, address, &service, &connections, &closed);
            }
            Err(error) => failures.handle(&error, service.name()).await,
        }
    }
}

/// Serves a connection, or rejects it.
fn handle_connection(
    stream: Stream,
    address: Option<IpAddr>,
    service: &Arc<ListenerService>,
    connections: &TaskTracker,
    closed: &CancellationToken,
) {
    let mut accepted = match service.accept_connection(address) {
        Ok(accepted) => accepted,
        Err(rejection) => return reject(stream, &rejection, service, connections),
    };
    let closed = closed.clone();
    match stream {
        Stream::Unix(stream) => {
            accepted.user = PeerUser::of(&stream);
            connections.spawn(contained(serve(stream, accepted, closed)));
        }
        Stream::Tcp(stream) => {
            // A response is one write, or a stream whose events must not wait.
            _ = stream.set_nodelay(true);
            connections.spawn(contained(serve(stream, accepted, closed)));
        }
    }
}

/// Sends the reason and closes the connection.
fn reject(
    stream: Stream,
    rejection: &Rejection,
    service: &ListenerService,
    connections: &TaskTracker,
) {
    let bytes = rejection.bytes(service.error_format("/"));
    let Ok(lingering) = LINGERING.try_acquire() else {
        return send_and_close(stream, &bytes);
    };
    match stream {
        Stream::Unix(stream) => connections.spawn(linger(stream, bytes, lingering)),
        Stream::Tcp(stream) => connections.spawn(linger(stream, bytes, lingering)),
    };
}

/// Without waiting for anything.
fn send_and_close(stream: Stream, bytes: &[u8]) {
    let socket: io::Result<OwnedFd> = match stream {
        Stream::Unix(stream) => stream.into_std().map(Into::into),
        Stream::Tcp(stream) => stream.into_std().map(Into::into),
    };
    if let Ok(socket) = socket {
        // The buffer of a new connection has room for a line.
        _ = send(&socket, bytes, SendFlags::NOSIGNAL);
    }
}

/// Reads what the client sends meanwhile: if that were unread at the close, the kernel would reset the connection, and
/// the client would see that instead of the reason.
async fn linger<S>(mut stream: S, bytes: Vec<u8>, _lingering: SemaphorePermit<'static>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let farewell = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    _ = timeout(LINGER_TIMEOUT, farewell).await;
}

/// Handles errors of accepting connections.
#[derive(Default)]
struct Failures(OncePerWindow);

impl Failures {
    async fn handle(&mut self, error: &io::Error, name: &str) {
        // These concern a single connection.
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
        ) {
            return;
        }
        if self.0.check(Instant::now()) {
            let exhausted = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
            let hint = if exhausted.contains(&error.raw_os_error()) {
                "; raise the limit of open files (LimitNOFILE= of the service, or ulimit -n)"
            } else {
                ""
            };
            error!(
                "{name} failed to accept a connection: {error}{hint}; logged at most once a minute"
            );
        }
        sleep(ERROR_DELAY).await;
    }
}
