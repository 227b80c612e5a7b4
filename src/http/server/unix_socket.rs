//! The file of a Unix socket: created so that nobody else can ever connect, replacing what a dead process
//! left behind but nothing else, and removed at a clean shutdown.
//!
//! The socket is created under another name with restricted permissions; only then does it listen and
//! take its place by a rename. A lock file beside it, which exists only meanwhile, lets one process at a
//! time do so.

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

/// Only owner and group may connect.
const MODE: u32 = 0o660;

/// Everybody may see that the socket exists.
const DIRECTORY_MODE: u32 = 0o755;

/// Maximum number of connections waiting to be accepted: more than a listener on a socket serves.
const BACKLOG: i32 = 256;

/// Why the socket could not be opened.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The directory could not be created.
    #[error(
        "failed to create {}; create it for the user that runs pollbal, or use a path that this user may write",
        .0.display()
    )]
    MakeDirectory(PathBuf, #[source] io::Error),
    /// The directory is missing, and is not one to create.
    #[error("{} is missing; create it for the user that runs pollbal", .0.display())]
    NoDirectory(PathBuf),
    /// Another process is listening there.
    #[error("another pollbal is using it; stop that one first, or give each its own socket")]
    Living,
    /// Another process is about to listen there.
    #[error("another pollbal is opening it; stop that one first")]
    Opening,
    /// There is a file that is not a socket.
    #[error("there is a file that is not a socket; move it away, or use another path")]
    NotASocket,
    /// It is unknown whether another process is listening there.
    #[error("failed to find out whether another pollbal is using it; remove the file if not")]
    Unknown(#[source] io::Error),
    /// A system call failed.
    #[error("failed to create the socket; may the user that runs pollbal write to {}?", .0.display())]
    Make(PathBuf, #[source] io::Error),
}

/// The file of an open socket. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    mark: Mark,
}

/// Identifies our file, in case somebody else has put another in its place.
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
            // If it remains, the next process replaces it.
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`. If its directory is missing, it is created only if it is `own_directory`: that of
/// another path is more likely a mistake.
pub(super) fn open(
    path: &Path,
    own_directory: Option<&Path>,
) -> Result<(UnixListener, SocketFile), SocketError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    provide(directory, own_directory)?;
    let failed = |error| SocketError::Make(directory.to_owned(), error);
    let _opening = Opening::begin(beside(path, ".lock"), &failed)?;
    check_unused(path)?;
    let new = beside(path, ".new");
    // Left behind by a process that was killed while it opened its socket.
    _ = fs::remove_file(&new);
    let created = create(&new, path);
    if created.is_err() {
        _ = fs::remove_file(&new);
    }
    created.map_err(failed)
}

fn provide(directory: &Path, own: Option<&Path>) -> Result<(), SocketError> {
    if directory.is_dir() {
        return Ok(());
    }
    if Some(directory) != own {
        return Err(SocketError::NoDirectory(directory.to_owned()));
    }
    // The group must be able to reach the socket, whatever the umask.
    let made = fs::create_dir(directory)
        .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE)));
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(SocketError::MakeDirectory(directory.to_owned(), error))
        }
        _ => Ok(()),
    }
}

/// Fails unless `path` is free, or has the socket of a dead process.
fn check_unused(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(about) if !about.file_type().is_socket() => return Err(SocketError::NotASocket),
        Ok(_) => (),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SocketError::Unknown(error)),
    }
    // Without waiting: a process that hangs stops accepting connections at some point.
    let connected = SocketAddrUnix::new(path).and_then(|address| connect(&new_socket()?, &address));
    match connected {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        // EPROTOTYPE: a socket of another type, so not one of ours, but in use.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(SocketError::Living),
        Err(error) => Err(SocketError::Unknown(error.into())),
    }
}

/// Creates the socket at `new` and moves it to `path`. Nobody can connect until it listens, which it
/// does only once it has its mode, whatever the umask is.
fn create(new: &Path, path: &Path) -> io::Result<(UnixListener, SocketFile)> {
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

/// The path with a suffix to its file name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The right to inspect the path and to replace what is there. Dropping it removes the lock file.
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
        // The previous holder has removed it, so there may be another one by now.
        let mark = Mark::of(&lock.metadata().map_err(failed)?);
        if !mark.is_at(&path) {
            return Err(SocketError::Opening);
        }
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // While still holding the lock.
        _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn of_many_that_replace_a_dead_socket_at_once_exactly_one_succeeds() {
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
                    open(&path, None)
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
