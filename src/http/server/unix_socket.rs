//! The admin socket's file: made so that nobody unasked can ever connect, put in the place of what a
//! dead pollbal left, never in that of anything else, and removed at a clean end.
//!
//! The socket is made under another name, restricted, and only then listens and takes its place by a
//! rename. A lock file beside it, there only meanwhile, lets one pollbal at a time do so.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use thiserror::Error;

use crate::config::listeners::DEFAULT_ADMIN_SOCKET;

/// Owner and group, and nobody else.
const MODE: u32 = 0o660;

/// Everybody may know that the socket is there.
const DIRECTORY_MODE: u32 = 0o755;

/// Connections that may wait to be accepted: more than the door has places.
const BACKLOG: i32 = 256;

/// Why the socket is not there.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The default's directory could not be made.
    #[error(
        "failed to make {}; make it for the user that runs pollbal, or name a path that this user may write",
        .0.display()
    )]
    MakeDirectory(PathBuf, #[source] io::Error),
    /// Another directory than the default's is missing.
    #[error("{} is missing; make it for the user that runs pollbal", .0.display())]
    NoDirectory(PathBuf),
    /// Someone listens there.
    #[error("another pollbal answers there; stop it first, or give each a socket of its own")]
    Living,
    /// Someone is about to listen there.
    #[error("another pollbal is about to open it; stop that one first")]
    Opening,
    /// What is there is no socket.
    #[error("there is a file that is no socket; move it away, or name another path")]
    NotASocket,
    /// Nobody can say whether someone listens there.
    #[error(
        "failed to find out whether another pollbal answers there; remove the file if none does"
    )]
    Unknown(#[source] io::Error),
    /// The system refused.
    #[error("failed to make the socket; may the user that runs pollbal write to {}?", .0.display())]
    Make(PathBuf, #[source] io::Error),
}

/// The file of a socket of ours; dropped, it is removed.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    mark: Mark,
}

/// What tells our file from one that somebody else put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    device: u64,
    inode: u64,
}

impl Mark {
    fn of(about: &Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
        }
    }

    /// Whether the file with this mark is still at `path`.
    pub(crate) fn is_at(self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|about| Self::of(&about) == self)
    }
}

impl SocketFile {
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.mark.is_at(&self.path) {
            // One that stays is replaced by the next pollbal.
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`.
pub(crate) fn open(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    provide(directory)?;
    let failed = |error| SocketError::Make(directory.to_owned(), error);
    let _opening = Opening::begin(beside(path, ".lock"), &failed)?;
    look(path)?;
    let new = beside(path, ".new");
    // Of a pollbal that was killed while it opened its socket.
    _ = fs::remove_file(&new);
    let made = make(&new, path);
    if made.is_err() {
        _ = fs::remove_file(&new);
    }
    made.map_err(failed)
}

/// Only a directory of our own is made: where another is missing, its path is more likely wrong.
fn provide(directory: &Path) -> Result<(), SocketError> {
    if directory.is_dir() {
        return Ok(());
    }
    if Some(directory) != Path::new(DEFAULT_ADMIN_SOCKET).parent() {
        return Err(SocketError::NoDirectory(directory.to_owned()));
    }
    // The group must get to the socket, whatever the umask.
    let made = fs::create_dir(directory)
        .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE)));
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(SocketError::MakeDirectory(directory.to_owned(), error))
        }
        _ => Ok(()),
    }
}

/// That nothing is at `path`, or what a dead pollbal left there.
fn look(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(about) if !about.file_type().is_socket() => return Err(SocketError::NotASocket),
        Ok(_) => (),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SocketError::Unknown(error)),
    }
    // Not to wait: one that is alive but hangs takes no more connections at some time.
    let called = SocketAddrUnix::new(path).and_then(|address| connect(&new_socket()?, &address));
    match called {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        // Of another kind, so certainly not left by us, but in use.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(SocketError::Living),
        Err(error) => Err(SocketError::Unknown(error.into())),
    }
}

/// Makes the socket at `new` and moves it to `path`. Until it listens nobody can connect, and it
/// listens only when it has its mode, whatever the process's umask is.
fn make(new: &Path, path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = new_socket()?;
    bind(&socket, &SocketAddrUnix::new(new)?)?;
    fs::set_permissions(new, Permissions::from_mode(MODE))?;
    listen(&socket, BACKLOG)?;
    let mark = Mark::of(&fs::symlink_metadata(new)?);
    fs::rename(new, path)?;
    let path = path.to_owned();
    Ok((UnixListener::from(socket), SocketFile { path, mark }))
}

fn new_socket() -> rustix::io::Result<rustix::fd::OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// The path with something behind its file name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The right to look at what is there and to replace it; the lock file goes with it.
struct Opening {
    path: PathBuf,
    _lock: File,
}

impl Opening {
    fn begin(
        path: PathBuf,
        failed: &impl Fn(io::Error) -> SocketError,
    ) -> Result<Self, SocketError> {
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(SocketError::Opening),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Whoever had it before has removed it; there may be another one by now.
        let mark = Mark::of(&lock.metadata().map_err(failed)?);
        if !mark.is_at(&path) {
            return Err(SocketError::Opening);
        }
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // While it is still locked.
        _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn of_many_that_replace_a_dead_ones_socket_at_once_one_has_it() {
        const MANY: usize = 4;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        for round in 0..500 {
            // Closed, but its file stays.
            drop(UnixListener::bind(&path).unwrap());
            let together = Barrier::new(MANY);
            let opened: Vec<_> = thread::scope(|scope| {
                let begin = || {
                    together.wait();
                    open(&path)
                };
                let opening: Vec<_> = (0..MANY).map(|_| scope.spawn(begin)).collect();
                let opened = opening.into_iter().map(|thread| thread.join().unwrap());
                opened.collect()
            });
            let have: Vec<_> = opened.iter().flatten().collect();
            assert_eq!(have.len(), 1, "round {round}: {opened:?}");
            assert!(have[0].1.mark.is_at(&path));
            drop(opened);
            let left = fs::read_dir(directory.path()).unwrap().count();
            assert_eq!(left, 0, "round {round}: what is left of it");
        }
    }
}
