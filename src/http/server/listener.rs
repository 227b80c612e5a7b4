//! Accepting connections at one door.
//!
//! A connection for which there is no place is told so and closed. A few at a time may ask before that,
//! since some clients throw away what is said to them unasked; all others are refused at once, unread
//! and without a task of their own: that is cheap enough for thousands a second.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::http::server::bind::Listener;
use crate::http::server::connection::serve;
use crate::http::server::error::{Form, Refused};
use crate::http::server::limits::ASK_TIME;
use crate::http::server::service::Gate;
use crate::http::server::user::User;
use crate::log_throttle::OncePerWindow;
use crate::supervision::contained;

/// After an error that will be there again at once, such as that there are no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens, on the doors' runtime.
enum Accepting {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A connection.
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Accepting {
    fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
            Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
        })
    }

    /// The next connection, and where it comes from.
    async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(address.ip().to_canonical())))
            }
        }
    }
}

impl Stream {
    /// Waits until there is something to read, or an end; `readable` alone may be wrong.
    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.async_io(Interest::READABLE, || look(stream)).await,
            Self::Tcp(stream) => stream.async_io(Interest::READABLE, || look(stream)).await,
        }
    }
}

fn look(stream: impl AsFd) -> io::Result<()> {
    recv(stream, &mut [0], RecvFlags::PEEK)?;
    Ok(())
}

/// Takes connections until `closed`; each is a task of `connections`.
pub(crate) async fn listen(
    listener: Listener,
    gate: Arc<Gate>,
    connections: TaskTracker,
    closed: CancellationToken,
) {
    let listener = match Accepting::new(listener) {
        Ok(listener) => listener,
        Err(error) => {
            error!(
                "failed to listen at the {}: {error}; restart pollbal",
                gate.door
            );
            return;
        }
    };
    let mut failures = Failures::default();
    while let Some(accepted) = closed.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, address)) => take(stream, address, &gate, &connections, &closed),
            Err(error) => failures.after(&error, &gate).await,
        }
    }
}

/// Serves a connection, or refuses it.
fn take(
    stream: Stream,
    address: Option<IpAddr>,
    gate: &Arc<Gate>,
    connections: &TaskTracker,
    closed: &CancellationToken,
) {
    let mut admitted = match gate.admit(address) {
        Ok(admitted) => admitted,
        Err(refused) => return refuse(stream, refused, gate, connections),
    };
    let closed = closed.clone();
    match stream {
        Stream::Unix(stream) => {
            admitted.user = User::of(&stream);
            connections.spawn(contained(serve(stream, admitted, closed)));
        }
        Stream::Tcp(stream) => {
            // An answer is one write, or a stream whose events are not to wait.
            _ = stream.set_nodelay(true);
            connections.spawn(contained(serve(stream, admitted, closed)));
        }
    }
}

/// Says why, and closes the connection; as soon as it has asked, if it may.
fn refuse(stream: Stream, refused: Refused, gate: &Gate, connections: &TaskTracker) {
    let form = Form::of(gate.door, "/");
    let Some(heard) = gate.hear() else {
        return say_no(stream, &refused, form);
    };
    connections.spawn(contained(async move {
        // Whether it asked or closed, or does neither, it is told the same.
        _ = timeout(ASK_TIME, stream.readable()).await;
        say_no(stream, &refused, form);
        drop(heard);
    }));
}

/// Says why, and closes the connection. None of it waits, and whether it is heard does not matter.
fn say_no(stream: Stream, refused: &Refused, form: Form) {
    let socket: io::Result<OwnedFd> = match stream {
        Stream::Unix(stream) => stream.into_std().map(Into::into),
        Stream::Tcp(stream) => stream.into_std().map(Into::into),
    };
    let Ok(socket) = socket else { return };
    // The buffer of a new connection has room for a line.
    _ = send(&socket, &refused.bytes(form), SendFlags::NOSIGNAL);
    _ = shutdown(&socket, Shutdown::Write);
    // Closed with something unread, the connection would be reset, and the line might not be read.
    _ = recv(&socket, &mut [0; 4_096], RecvFlags::empty());
}

/// What is done when no connection can be accepted.
#[derive(Default)]
struct Failures(OncePerWindow);

impl Failures {
    async fn after(&mut self, error: &io::Error, gate: &Gate) {
        // Of that one connection.
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
        ) {
            return;
        }
        if self.0.check(Instant::now()) {
            let few = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
            let hint = if few.contains(&error.raw_os_error()) {
                "; raise the limit of open files (LimitNOFILE= of the service, or ulimit -n)"
            } else {
                ""
            };
            error!(
                "the {} failed to accept a connection: {error}{hint}; told once a minute",
                gate.door
            );
        }
        sleep(PAUSE).await;
    }
}
