//! The directory of pool files: reading it, and changing one file at a time.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FsWord, fstatfs};
use thiserror::Error;

use super::names::parse_file_name;
use super::owned::{self, Owned};
use super::plan::{ActualFile, DISABLED_SERVICES, Files};
use crate::files::{LIST_BYTES, make_directory, read_limited};

/// Represents content that cannot be read; it is never desired, so the file is written again.
const UNREADABLE: &str = "\0";

/// The type that `statfs` gives for a tmpfs (linux/magic.h, `TMPFS_MAGIC`).
const TMPFS: FsWord = 0x0102_1994;

const TEMPORARY_PREFIX: &str = ".pollbal-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Why the directory does not have the desired content.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// The directory could not be made, opened or listed.
    #[error("failed to use the pool directory {}", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    /// Another process writes there.
    #[error("another pollbal writes the pool directory {}; stop it first", .0.display())]
    Locked(PathBuf),
    /// A file could not be written; the one before is whole.
    #[error("failed to write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// A file could not be deleted.
    #[error("failed to delete {}", .0.display())]
    Remove(PathBuf, #[source] io::Error),
}

/// The directory, and what is known of its files.
pub struct Directory {
    path: PathBuf,
    /// Locked while this lives, so that two pollbals do not write one directory.
    lock: Option<File>,
    /// Whether it is known to lie in memory (tmpfs), where nothing is waited for.
    in_memory: bool,
    files: BTreeMap<String, (Stamp, ActualFile)>,
    owned: Owned,
    /// The latest time of modification that a file had which is there no more.
    newest_gone: SystemTime,
}

/// What shows that a file was changed by someone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            bytes: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}

impl Directory {
    /// Nothing is known of the directory yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            lock: None,
            in_memory: false,
            files: BTreeMap::new(),
            owned: Owned::default(),
            newest_gone: UNIX_EPOCH,
        }
    }

    /// Whether it is known to lie in memory, where no disk can hang.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// How many files are known.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// The path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory if missing, takes its lock and clears what a crash left behind.
    pub fn open(&mut self) -> Result<(), DirectoryError> {
        if self
            .lock
            .as_ref()
            .is_some_and(|lock| is_at(lock, &self.path))
        {
            return Ok(());
        }
        let failed = |error| DirectoryError::Directory(self.path.clone(), error);
        make_directory(&self.path).map_err(failed)?;
        let lock = File::open(&self.path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {
                self.in_memory = fstatfs(&lock).is_ok_and(|system| system.f_type == TMPFS);
                self.lock = Some(lock);
            }
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::Locked(self.path.clone())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        for name in names(&self.path).map_err(failed)? {
            if name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX) {
                // Not worth a word if it stays: nobody reads it.
                _ = fs::remove_file(self.path.join(name));
            }
        }
        Ok(())
    }

    /// Reads what is there; files that did not change since are not read again.
    pub fn read(&mut self, now: Instant) -> Result<(), DirectoryError> {
        self.owned.read(&self.path);
        let failed = |error| DirectoryError::Directory(self.path.clone(), error);
        let mut files = BTreeMap::new();
        for name in names(&self.path)
            .map_err(failed)?
            .into_iter()
            .filter(|name| is_ours(name))
        {
            let path = self.path(&name);
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if !metadata.is_file() && !metadata.is_symlink() {
                continue;
            }
            let stamp = Stamp::of(&metadata);
            let file = match self.files.remove(&name) {
                Some((known, file)) if known == stamp => file,
                known => {
                    self.newest_gone = self.newest_gone.max(latest(known.as_ref()));
                    let content = read_file(&path).unwrap_or_else(|_| UNREADABLE.to_owned());
                    let empty_since = content.is_empty().then_some(now);
                    ActualFile {
                        content,
                        empty_since,
                    }
                }
            };
            files.insert(name, (stamp, file));
        }
        for gone in std::mem::replace(&mut self.files, files).into_values() {
            self.newest_gone = self.newest_gone.max(latest(Some(&gone)));
        }
        Ok(())
    }

    /// The files, as they were read or written last.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, ActualFile> {
        self.files
            .iter()
            .map(|(name, (_, file))| (name.clone(), file.clone()))
            .collect()
    }

    /// The files that are pollbal's own: it is known that it wrote them, or it is to write them now.
    #[must_use]
    pub fn own_files(&self, desired: &Files) -> BTreeMap<String, ActualFile> {
        let mut files = self.files();
        files.retain(|name, _| self.is_own(name) || desired.contains_key(name));
        files
    }

    /// The files with a pool's name of which nobody can know that pollbal wrote them.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        let names = self.files.keys().map(String::as_str);
        names.filter(|name| !self.is_own(name))
    }

    fn is_own(&self, name: &str) -> bool {
        name == DISABLED_SERVICES || self.owned.contains(name)
    }

    /// Records that the desired files are pollbal's own, before they are written for the first time, and
    /// forgets which are there no more.
    pub fn own(&mut self, desired: &Files) -> Result<(), DirectoryError> {
        let Some(list) = self.owned.change(desired, &self.files) else {
            return Ok(());
        };
        let path = self.path(owned::NAME);
        self.replace(&path, owned::TEMPORARY_PREFIX, &list, UNIX_EPOCH)
            .map_err(|error| DirectoryError::Write(path, bare(error)))?;
        self.owned.is_written();
        Ok(())
    }

    /// Gives a file this content, whole or not at all.
    pub fn write(&mut self, name: &str, content: &str, now: Instant) -> Result<(), DirectoryError> {
        let path = self.path(name);
        let known = latest(self.files.get(name));
        let stamp = self
            .replace(&path, TEMPORARY_PREFIX, content, known)
            .map_err(|error| DirectoryError::Write(path, bare(error)))?;
        self.pretend(name, content, stamp, now);
        Ok(())
    }

    fn replace(
        &self,
        path: &Path,
        prefix: &str,
        content: &str,
        known: SystemTime,
    ) -> io::Result<Stamp> {
        let mut file = tempfile::Builder::new()
            .prefix(prefix)
            .suffix(TEMPORARY_SUFFIX)
            .tempfile_in(&self.path)?;
        file.write_all(content.as_bytes())?;
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
        file.as_file().set_modified(self.next_mtime(path, known)?)?;
        file.as_file().sync_all()?;
        let file = file.persist(path)?;
        Ok(Stamp::of(&file.metadata()?))
    }

    /// Now, or a second after the file's present time of modification if that is later: a
    /// reader may take a file for unchanged when this time is the same in whole seconds (Pool.pm,
    /// `_load_nodefile_sync`). It only ever grows, so no earlier one comes back.
    fn next_mtime(&self, path: &Path, known: SystemTime) -> io::Result<SystemTime> {
        let there = match fs::metadata(path) {
            Ok(metadata) => metadata.modified()?,
            Err(_) => known,
        };
        let whole = there
            .max(self.newest_gone)
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        // Someone may have set a time beyond all bounds.
        let next_second = UNIX_EPOCH.checked_add(Duration::from_secs(whole.saturating_add(1)));
        let now = SystemTime::now();
        Ok(next_second.map_or(now, |next_second| now.max(next_second)))
    }

    /// Deletes a file.
    pub fn remove(&mut self, name: &str) -> Result<(), DirectoryError> {
        let path = self.path(name);
        if let Ok(modified) = fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            self.newest_gone = self.newest_gone.max(modified);
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DirectoryError::Remove(path, error));
            }
            _ => {}
        }
        self.forget(name);
        Ok(())
    }

    /// Treats a file as written although it is not, for a dry run.
    pub fn pretend_written(&mut self, name: &str, content: &str, now: Instant) {
        let nowhere = Stamp {
            inode: 0,
            bytes: 0,
            seconds: 0,
            nanoseconds: 0,
        };
        self.pretend(name, content, nowhere, now);
    }

    /// Moves the times since when files are empty by a pause.
    pub fn stood_still(&mut self, pause: Duration) {
        for (_, file) in self.files.values_mut() {
            file.empty_since = file.empty_since.map(|since| since + pause);
        }
    }

    /// Takes a file for deleted, for a dry run.
    pub fn forget(&mut self, name: &str) {
        self.files.remove(name);
    }

    fn pretend(&mut self, name: &str, content: &str, stamp: Stamp, now: Instant) {
        let empty_since = content.is_empty().then_some(now);
        let file = ActualFile {
            content: content.to_owned(),
            empty_since,
        };
        self.files.insert(name.to_owned(), (stamp, file));
    }
}

/// Whether the path still leads to what is open; it may have been deleted and created again.
fn is_at(open: &File, path: &Path) -> bool {
    match (open.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// The system's own error, without the name of a temporary file: it is another one at each try,
/// and only changes are logged.
#[allow(clippy::needless_pass_by_value, reason = "it is used in `map_err`")]
fn bare(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    }
}

/// Only a regular file, or a link to one: anything else could keep us waiting.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = read_limited(path, LIST_BYTES)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The time of modification of a file that was there, in whole seconds.
fn latest(gone: Option<&(Stamp, ActualFile)>) -> SystemTime {
    let seconds = gone.and_then(|(stamp, _)| u64::try_from(stamp.seconds).ok());
    let since = Duration::from_secs(seconds.unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

pub(super) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

/// Other names cannot be ours, and are left alone.
fn is_ours(name: &str) -> bool {
    name == DISABLED_SERVICES || parse_file_name(name).is_some()
}

#[cfg(test)]
mod tests;
