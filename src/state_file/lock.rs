//! A state file of one pollbal alone.
//!
//! The lock is one on a file beside it, since the state file itself is another one after each change. It
//! ends with the process, however that ends.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use thiserror::Error;
use tracing::{debug, warn};

use crate::files::{is_same, make_directory, read_text};

/// Behind the state file's name.
const LOCK: &str = ".lock";

/// What a temporary file of the state file ends with.
const TEMPORARY: &str = ".tmp";

/// Temporary files of versions that gave them names without the state file's: so long nobody has
/// written to one that a killed run left.
const OLD_AGE: Duration = Duration::from_secs(60);

/// The state file is not to be had.
#[derive(Debug, Error)]
pub enum Taken {
    /// Another pollbal has it.
    #[error(
        "another pollbal{} uses the state file {}; stop that one, or give each a `state_file` of its own",
        .1, .0.display()
    )]
    ByAnother(PathBuf, String),
    /// Its lock file cannot be opened: perhaps another user's pollbal has it.
    #[error(
        "failed to open {}, the lock of the state file: {}; if no other pollbal uses it, delete that",
        .0.display(), .1
    )]
    Unopened(PathBuf, io::Error),
}

/// A state file that no other pollbal uses.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Locked as long as this lives; none where nothing can be written, or where the file system has no
    /// locks.
    _lock: Option<File>,
}

impl StateFile {
    /// Takes the file, and clears what runs that were killed left beside it.
    ///
    /// # Errors
    /// Another pollbal has it, or may have it.
    pub fn take(path: &Path) -> Result<Self, Taken> {
        let lock = match lock(path) {
            Ok(lock) => Some(lock),
            Err(TryLockError::WouldBlock) => {
                return Err(Taken::ByAnother(path.to_owned(), holder(path)));
            }
            Err(TryLockError::Error(error)) => {
                none_because(error, path)?;
                None
            }
        };
        if lock.is_some() {
            clear(path);
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Whether the path leads to it, in whatever way it is written.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        path == self.path || is_same(&beside(path), &beside(&self.path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What the names of its temporary files begin and end with.
pub(super) fn temporary(path: &Path) -> (String, &'static str) {
    let name = path.file_name().unwrap_or_default();
    (format!(".{}-", name.to_string_lossy()), TEMPORARY)
}

/// That there is no lock for this reason, unless another pollbal may have one.
fn none_because(error: io::Error, path: &Path) -> Result<(), Taken> {
    let lock = beside(path);
    match error.kind() {
        // Nothing can be written there, as will be reported.
        ErrorKind::ReadOnlyFilesystem => {}
        _ if matches!(File::open(&lock), Ok(file) if file.metadata().is_ok_and(|it| it.is_file())) =>
        {
            let path = path.display();
            warn!("failed to lock the state file {path}: {error}; no other pollbal may use it");
        }
        _ if lock.symlink_metadata().is_ok() => return Err(Taken::Unopened(lock, error)),
        _ => debug!("failed to lock {}: {error}", path.display()),
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, TryLockError> {
    let open = || {
        make_directory(path.parent().unwrap_or(Path::new(".")))?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        // Never what somebody else made it point to.
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        options.custom_flags(flags).open(beside(path))
    };
    let mut lock = open().map_err(TryLockError::Error)?;
    lock.try_lock()?;
    // Whatever the umask was, the next run is to open it.
    _ = lock.set_permissions(Permissions::from_mode(0o600));
    // For people only, so it does no harm where it cannot be written.
    _ = lock.set_len(0);
    _ = writeln!(lock, "{}", std::process::id());
    Ok(lock)
}

/// Who has the lock, as far as that is known.
fn holder(path: &Path) -> String {
    let text = read_text(&beside(path), 100).unwrap_or_default();
    match text.trim().parse::<u32>() {
        Ok(process) => format!(" (process {process})"),
        Err(_) => String::new(),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(LOCK);
    lock.into()
}

/// Removes temporary files of runs that were killed. What stays is not worth a word: nobody reads it.
fn clear(path: &Path) {
    let (begin, end) = temporary(path);
    let directory = path.parent().unwrap_or(Path::new("."));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let ours = name.starts_with(&begin) && name.ends_with(end);
        if ours || is_old(name, &entry).unwrap_or(false) {
            _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether it is one that an older version left: `.state` and six letters or digits, for nobody else to
/// read, and not of a run that is writing it.
fn is_old(name: &str, entry: &fs::DirEntry) -> io::Result<bool> {
    let is_name = name.strip_prefix(".state").is_some_and(|rest| {
        rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    if !is_name {
        return Ok(false);
    }
    let about = entry.metadata()?;
    let is_left = about.modified()?.elapsed().is_ok_and(|age| age > OLD_AGE);
    Ok(about.is_file() && about.mode() & 0o777 == 0o600 && is_left)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::files::take_unlocked;

    #[test]
    fn a_state_file_is_of_one_alone_and_free_when_that_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/state.json");
        let first = StateFile::take(&path).unwrap();
        let error = StateFile::take(&path).unwrap_err().to_string();
        let process = format!("(process {})", std::process::id());
        assert!(error.contains(&process), "{error}");
        assert!(error.contains("made/state.json"), "{error}");
        let other = StateFile::take(&path.with_file_name("other.json"));
        assert!(other.is_ok(), "each has its own lock");
        drop(first);
        take_unlocked(|| StateFile::take(&path));
    }

    #[test]
    fn what_is_in_the_place_of_the_lock_and_is_none_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let lock = beside(&path);
        std::os::unix::fs::symlink("elsewhere", &lock).unwrap();
        let error = StateFile::take(&path).unwrap_err().to_string();
        assert!(error.contains(lock.to_str().unwrap()), "{error}");
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        StateFile::take(&path).unwrap_err();
    }

    #[test]
    fn a_path_that_is_written_in_another_way_leads_to_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let file = StateFile::take(&path).unwrap();
        fs::create_dir(directory.path().join("sub")).unwrap();
        assert!(file.is_at(&directory.path().join("sub/../state.json")));
        assert!(!file.is_at(&directory.path().join("other.json")));
    }

    #[test]
    fn what_killed_runs_left_is_cleared_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str, mode: u32, age: u64| {
            let mut options = OpenOptions::new();
            options.create_new(true).write(true).mode(mode);
            let file = options.open(directory.path().join(name)).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            file.set_modified(then).unwrap();
        };
        for name in [".state.json-a1B2c3.tmp", ".state.json-.tmp"] {
            make(name, 0o600, 0);
        }
        make(".stateAb12cD", 0o600, 100);
        let stay = [
            (".stateNew1234", 0o600, 0),
            (".stateYoung1", 0o600, 0),
            (".stateXy34zZ", 0o644, 100),
            (".state.other", 0o600, 100),
            (".other.json-a1B2c3.tmp", 0o600, 100),
            ("state.json", 0o600, 100),
        ];
        for (name, mode, age) in stay {
            make(name, mode, age);
        }
        let _taken = StateFile::take(&directory.path().join("state.json")).unwrap();
        let left = fs::read_dir(directory.path()).unwrap();
        let mut left: Vec<_> = left
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected: Vec<_> = stay.iter().map(|(name, _, _)| *name).collect();
        expected.push("state.json.lock");
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}
