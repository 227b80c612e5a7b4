//! Opening doors: the listening sockets, before anything is done with them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::net::listen;
use thiserror::Error;

use crate::config::listeners::DoorSettings;
use crate::http::Door;
use crate::http::server::unix_socket::{self, Mark, SocketError, SocketFile};

/// Connections that may wait to be accepted. Of more than that the system forgets some, which their
/// callers then take for open; it has a limit of its own too (`net.core.somaxconn`).
const BACKLOG: i32 = 4_096;

/// Why a door could not be opened.
#[derive(Debug, Error)]
pub enum DoorError {
    /// The admin socket.
    #[error("failed to open admin_socket {} (\"\" is off)", .0.display())]
    Socket(PathBuf, #[source] SocketError),
    /// One that listens at an address.
    #[error("failed to open {} {address} (\"\" is off){}", .door.key(), .hint)]
    Listen {
        /// Which door.
        door: Door,
        /// Where.
        address: SocketAddr,
        /// What may be done, if that is known.
        hint: Hint,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// What to do so that a door can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Someone listens there.
    InUse,
    /// The address is not of this machine.
    NotOurs,
    /// A port below 1024.
    Privileged,
    /// Nothing in particular.
    None,
}

impl Hint {
    fn of(error: &io::Error) -> Self {
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
                "; another program listens there, or this pollbal by the door that it had before: \
                 take another port, or stop that one"
            }
            Self::NotOurs => "; take an address of this machine, or 0.0.0.0",
            Self::Privileged => "; take a port from 1024 on",
            Self::None => "",
        })
    }
}

/// Where a door is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path(PathBuf),
    Address(SocketAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Where the door is to be; none where it is off.
fn place(settings: &DoorSettings, door: Door) -> Option<Place> {
    match door {
        Door::Admin => settings.admin_socket.clone().map(Place::Path),
        Door::Status => settings.status_listen.map(Place::Address),
        Door::Node => settings.node_listen.map(Place::Address),
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A door that is open, as its owner remembers it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) place: Place,
    /// The admin socket's.
    pub(crate) file: Option<SocketFile>,
}

/// What was opened, for whoever is to listen there: none where a door is to be closed.
pub(crate) type Listeners = BTreeMap<Door, Option<Listener>>;

/// Where the doors of now are, to be compared with another configuration anywhere.
#[derive(Clone, Debug, Default)]
pub struct Standing(BTreeMap<Door, (Place, Option<Mark>)>);

impl Standing {
    pub(crate) fn of(kept: &BTreeMap<Door, Kept>) -> Self {
        let mark = |kept: &Kept| kept.file.as_ref().map(SocketFile::mark);
        let places = kept
            .iter()
            .map(|(door, kept)| (*door, (kept.place.clone(), mark(kept))));
        Self(places.collect())
    }

    /// Opens every door that is elsewhere in `settings`; all of them, or none.
    pub fn open_changed(&self, settings: &DoorSettings) -> Result<Changes, DoorError> {
        let mut changes = Changes::default();
        for door in Door::ALL {
            let place = place(settings, door);
            if self.has(door, place.as_ref()) {
                continue;
            }
            let Some(place) = place else {
                changes.listeners.insert(door, None);
                continue;
            };
            let (listener, file) = open(door, &place)?;
            changes.listeners.insert(door, Some(listener));
            changes.kept.insert(door, Kept { place, file });
        }
        Ok(changes)
    }

    /// Whether the door is open there already, and its file is still the one that we made.
    fn has(&self, door: Door, place: Option<&Place>) -> bool {
        match (self.0.get(&door), place) {
            (None, None) => true,
            (Some((Place::Path(path), Some(mark))), Some(Place::Path(wanted))) => {
                path == wanted && mark.is_at(path)
            }
            (Some((place, _)), Some(wanted)) => place == wanted,
            _ => false,
        }
    }
}

/// Doors that were opened or are to be closed. Dropped, what was opened is closed again.
#[derive(Debug, Default)]
pub struct Changes {
    pub(crate) listeners: Listeners,
    pub(crate) kept: BTreeMap<Door, Kept>,
}

fn open(door: Door, place: &Place) -> Result<(Listener, Option<SocketFile>), DoorError> {
    match place {
        Place::Path(path) => {
            let opened = unix_socket::open(path);
            let (listener, file) =
                opened.map_err(|error| DoorError::Socket(path.clone(), error))?;
            Ok((Listener::Unix(listener), Some(file)))
        }
        Place::Address(address) => {
            let listener = listen_at(*address).map_err(|source| DoorError::Listen {
                door,
                address: *address,
                hint: Hint::of(&source),
                source,
            })?;
            Ok((Listener::Tcp(listener), None))
        }
    }
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // Once more, since std lets few wait.
    listen(&listener, BACKLOG)?;
    Ok(listener)
}
