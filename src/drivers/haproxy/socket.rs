//! The address of a stats socket, as in `haproxy.cfg`.

use std::fmt;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Maximum length of a Unix socket's path (`sun_path`, without the final zero).
const MAX_PATH: usize = 107;

/// What a TCP address begins with.
const TCP: &str = "ipv4@";

/// Where a stats socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatsSocket {
    /// A Unix socket: `/run/haproxy/admin.sock`.
    Unix(PathBuf),
    /// A TCP socket: `ipv4@127.0.0.1:9999`.
    Tcp(SocketAddrV4),
}

/// A text is no [`StatsSocket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected an absolute path or ipv4@<address>:<port>")]
pub struct StatsSocketError;

impl StatsSocket {
    /// Whether only this machine reaches it.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(addr) => addr.ip().is_loopback(),
        }
    }
}

impl FromStr for StatsSocket {
    type Err = StatsSocketError;

    fn from_str(text: &str) -> Result<Self, StatsSocketError> {
        if let Some(addr) = text.strip_prefix(TCP) {
            let addr: SocketAddrV4 = addr.parse().map_err(|_| StatsSocketError)?;
            let has_port = addr.port() != 0;
            return has_port.then_some(Self::Tcp(addr)).ok_or(StatsSocketError);
        }
        let is_path = text.starts_with('/') && text.len() <= MAX_PATH;
        let is_printable = !text.chars().any(char::is_control);
        let path = || Self::Unix(text.into());
        (is_path && is_printable).then(path).ok_or(StatsSocketError)
    }
}

impl fmt::Display for StatsSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(addr) => write!(f, "{TCP}{addr}"),
        }
    }
}
