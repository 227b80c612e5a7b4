//! Reads text files that others write, up to a maximum size, replaces files as a whole, and creates directories that
//! others read.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use thiserror::Error;

use crate::model::text::without_mark;

/// Maximum size of the configuration, in bytes: enough for ten thousand pools with all keys each.
pub const CONFIG_BYTES: u64 = 4 << 20;

/// Maximum size of a services file, a pool file or the state file, in bytes: enough for half a million nodes.
pub const LIST_BYTES: u64 = 64 << 20;

/// Why a text file could not be read.
#[derive(Debug, Error)]
pub enum TextError {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The line with this number (from 1) is not UTF-8.
    #[error("line {0} is not UTF-8; save the file as UTF-8")]
    NotUtf8(usize),
}

/// Whether two paths refer to the same file or directory.
#[must_use]
pub fn is_same(one: &Path, other: &Path) -> bool {
    let entry = |path: &Path| {
        let about = fs::metadata(path).ok()?;
        Some((about.dev(), about.ino()))
    };
    one == other || entry(one).is_some_and(|one| entry(other) == Some(one))
}

/// Reads a file of any kind and of at most `limit` bytes.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_file() && about.len() > limit {
        return Err(too_long(Some(about.len()), limit));
    }
    let mut bytes = Vec::new();
    // Only regular files have a size, and they may grow meanwhile.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_long(None, limit));
    }
    Ok(bytes)
}

/// Reads a text file of at most `limit` bytes, without its byte order mark.
///
/// # Errors
/// It cannot be read, is longer, or is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, TextError> {
    let bytes = read_limited(path, limit)?;
    match String::from_utf8(bytes) {
        Ok(text) if without_mark(&text).len() == text.len() => Ok(text),
        Ok(text) => Ok(without_mark(&text).to_owned()),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.split(|byte| *byte == b'\n').count();
            Err(TextError::NotUtf8(line))
        }
    }
}

/// Creates a directory and its parents if they are missing, readable by everyone whatever the umask is.
///
/// # Errors
/// It cannot be created.
pub fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| *above != Path::new(""));
    above.map_or(Ok(()), make_directory)?;
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Replaces a file as a whole: whoever reads it sees what was there or `content`. Creates its directory if missing.
///
/// # Errors
/// It cannot be written. What was there stays.
pub fn replace(
    path: &Path,
    temporary: &tempfile::Builder<'_, '_>,
    permissions: Permissions,
    content: &[u8],
) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    make_directory(directory)?;
    let mut file = temporary.tempfile_in(directory)?;
    // Regardless of the umask.
    file.as_file().set_permissions(permissions)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn too_long(bytes: Option<u64>, limit: u64) -> io::Error {
    let has = bytes.map_or_else(String::new, |bytes| format!("it has {bytes} bytes, and "));
    let text = format!("{has}no more than {limit} bytes are read");
    io::Error::new(ErrorKind::FileTooLarge, text)
}

/// Takes what was locked until just now. A process that another test is starting has inherited the lock, until it
/// executes its program.
#[cfg(test)]
pub(crate) fn take_unlocked<T, E: std::fmt::Debug>(mut take: impl FnMut() -> Result<T, E>) -> T {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match take() {
            Ok(taken) => return taken,
            Err(error) => assert!(std::time::Instant::now() < until, "{error:?}"),
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(3 << 30).unwrap();
        let error = read_limited(&path, 100).unwrap_err().to_string();
        assert!(
            error.contains("3221225472") && error.contains("100"),
            "{error}"
        );
        assert!(read_limited(Path::new("/dev/zero"), 100).is_err());
        file.set_len(100).unwrap();
        assert_eq!(read_limited(&path, 100).unwrap(), [0; 100]);
        assert!(read_limited(&path, 99).is_err());
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_what_is_not_utf_8_is_reported_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text");
        fs::write(&path, "\u{feff}a\n").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "a\n");
        fs::write(&path, b"one\ntwo\nM\xfcnchen\n").unwrap();
        let error = read_text(&path, 100).unwrap_err().to_string();
        assert!(error.starts_with("line 3 is not UTF-8"), "{error}");
    }
}
