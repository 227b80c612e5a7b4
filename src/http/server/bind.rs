//! Opening listening sockets, before anything is served on them.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::listen;

use super::unix_socket::{self, SocketError, SocketFile};

/// Maximum number of connections waiting to be accepted. The system drops some of those in excess, which
/// their clients then believe to be open; it has a limit of its own too (`net.core.somaxconn`).
const BACKLOG: i32 = 4_096;

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    Path(PathBuf),
    Tcp(SocketAddr),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(crate) enum ListeningSocket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// What to do so that an address can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Another socket is listening there.
    InUse,
    /// The address is not one of this machine.
    NotOurs,
    /// A port below 1024.
    Privileged,
    /// Nothing in particular.
    None,
}

impl Hint {
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::AddrInUse => Self::InUse,
            ErrorKind::AddrNotAvailable => Self::NotOurs,
            ErrorKind::PermissionDenied => Self::Privileged,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => {
                "; another program is listening there, or this pollbal with the listener that it had \
                 before: use another port, or stop that program"
            }
            Self::NotOurs => "; use an address of this machine, or 0.0.0.0",
            Self::Privileged => "; use a port of 1024 or above",
            Self::None => "",
        })
    }
}

/// Listens at a path; creates its directory only if that is `own_directory`.
pub(crate) fn bind_path(
    path: &Path,
    own_directory: Option<&Path>,
) -> Result<(ListeningSocket, SocketFile), SocketError> {
    let (socket, file) = unix_socket::open(path, own_directory)?;
    Ok((ListeningSocket::Unix(socket), file))
}

/// Listens at an address.
pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<ListeningSocket> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    // Again, since std uses a short backlog.
    listen(&socket, BACKLOG)?;
    Ok(ListeningSocket::Tcp(socket))
}
