//! The three listeners, and opening them: at the start, and where a reload moves them. The sockets are
//! opened before anything else, by a caller that can still reject the start or the reload.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use super::server::bind::Hint;
use super::server::bind::{ListenAddress, ListeningSocket, bind_path, bind_tcp};
pub use super::server::unix_socket::SocketError;
use super::server::unix_socket::{Mark, SocketFile};
use crate::config::listeners::{DEFAULT_ADMIN_SOCKET, ListenerSettings};

/// One of the three listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// For operators on this host: everything.
    Admin,
    /// For browsers, Prometheus and probes: read-only.
    Status,
    /// For the nodes, each for itself alone.
    Node,
}

impl Listener {
    /// All listeners.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Status, Self::Node];

    /// The configuration key for its address.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Admin => "admin_socket",
            Self::Status => "status_listen",
            Self::Node => "node_listen",
        }
    }

    /// Its label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Status => "status",
            Self::Node => "node",
        }
    }

    /// Its name in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin socket",
            Self::Status => "status listener",
            Self::Node => "node listener",
        }
    }

    /// Its address in the configuration; none if it is off.
    fn address(self, settings: &ListenerSettings) -> Option<ListenAddress> {
        match self {
            Self::Admin => settings.admin_socket.clone().map(ListenAddress::Path),
            Self::Status => settings.status_listen.map(ListenAddress::Tcp),
            Self::Node => settings.node_listen.map(ListenAddress::Tcp),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a listener could not be opened.
#[derive(Debug, Error)]
pub enum BindError {
    /// The admin socket.
    #[error("failed to open admin_socket {} (\"\" is off)", .0.display())]
    Socket(PathBuf, #[source] SocketError),
    /// A listener at an address.
    #[error("failed to open {} {address} (\"\" is off){}", .listener.key(), .hint)]
    Tcp {
        /// The listener.
        listener: Listener,
        /// Its address.
        address: SocketAddr,
        /// What may help, if that is known.
        hint: Hint,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

/// An open listener, as its owner remembers it.
#[derive(Debug)]
pub(super) struct BoundListener {
    pub(super) address: ListenAddress,
    /// The file of the admin socket.
    pub(super) file: Option<SocketFile>,
}

/// The sockets to serve on; none where a listener is to be closed.
pub(super) type Sockets = BTreeMap<Listener, Option<ListeningSocket>>;

/// Where the listeners are now, to be compared with another configuration.
#[derive(Clone, Debug, Default)]
pub struct Bound(BTreeMap<Listener, (ListenAddress, Option<Mark>)>);

impl Bound {
    pub(super) fn of(bound: &BTreeMap<Listener, BoundListener>) -> Self {
        let mark = |bound: &BoundListener| bound.file.as_ref().map(SocketFile::mark);
        let addresses = bound
            .iter()
            .map(|(listener, bound)| (*listener, (bound.address.clone(), mark(bound))));
        Self(addresses.collect())
    }

    /// Opens each listener whose address differs in `settings`; all of them, or none.
    pub fn open_changed(&self, settings: &ListenerSettings) -> Result<Changes, BindError> {
        let mut changes = Changes::default();
        for listener in Listener::ALL {
            let address = listener.address(settings);
            if self.has(listener, address.as_ref()) {
                continue;
            }
            let Some(address) = address else {
                changes.sockets.insert(listener, None);
                continue;
            };
            let (socket, file) = open(listener, &address)?;
            changes.sockets.insert(listener, Some(socket));
            let bound = BoundListener { address, file };
            changes.bound.insert(listener, bound);
        }
        Ok(changes)
    }

    /// Whether the listener is open there already, and its file is still the one that we created.
    fn has(&self, listener: Listener, address: Option<&ListenAddress>) -> bool {
        match (self.0.get(&listener), address) {
            (None, None) => true,
            (Some((ListenAddress::Path(path), Some(mark))), Some(ListenAddress::Path(desired))) => {
                path == desired && mark.is_at(path)
            }
            (Some((address, _)), Some(desired)) => address == desired,
            _ => false,
        }
    }
}

/// Listeners that have been opened or are to be closed. Dropping it closes what was opened.
#[derive(Debug, Default)]
pub struct Changes {
    pub(super) sockets: Sockets,
    pub(super) bound: BTreeMap<Listener, BoundListener>,
}

fn open(
    listener: Listener,
    address: &ListenAddress,
) -> Result<(ListeningSocket, Option<SocketFile>), BindError> {
    match address {
        ListenAddress::Path(path) => {
            let opened = bind_path(path, Path::new(DEFAULT_ADMIN_SOCKET).parent());
            let (socket, file) = opened.map_err(|error| BindError::Socket(path.clone(), error))?;
            Ok((socket, Some(file)))
        }
        ListenAddress::Tcp(address) => {
            let socket = bind_tcp(*address).map_err(|source| BindError::Tcp {
                listener,
                address: *address,
                hint: Hint::of(&source),
                source,
            })?;
            Ok((socket, None))
        }
    }
}
