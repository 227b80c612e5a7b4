//! Where the daemon's admin socket is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::cli::CONFIG_FILE;

/// Where it is when nothing else is said.
const SOCKET: &str = "/run/pollbal/admin.sock";

/// The configuration does not say where the socket is.
#[derive(Debug, Error)]
pub(super) enum SocketError {
    #[error("failed to read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("failed to understand {} as JSON", .0.display())]
    Json(PathBuf, #[source] serde_json::Error),
    #[error(
        "`admin_socket` is off (\"\") in {}, so that nobody can ask this pollbal; give it a path, and start pollbal anew",
        .0.display()
    )]
    Off(PathBuf),
}

/// The socket of the flag; else the one of the configuration file; else the usual one. Only a file that was named has to
/// be there.
pub(super) fn find(flag: Option<&Path>, config: Option<&Path>) -> Result<PathBuf, SocketError> {
    if let Some(flag) = flag {
        return Ok(flag.to_owned());
    }
    let file = config.unwrap_or(Path::new(CONFIG_FILE));
    match configured(file) {
        Ok(Some(socket)) if socket.as_os_str().is_empty() => Err(SocketError::Off(file.to_owned())),
        Ok(Some(socket)) => Ok(socket),
        Err(error) if config.is_some() => Err(error),
        Ok(None) | Err(_) => Ok(SOCKET.into()),
    }
}

/// What the file says. Other keys may be wrong: the daemon that runs may have read it before they were.
fn configured(file: &Path) -> Result<Option<PathBuf>, SocketError> {
    let text =
        fs::read_to_string(file).map_err(|error| SocketError::Read(file.to_owned(), error))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| SocketError::Json(file.to_owned(), error))?;
    Ok(value["admin_socket"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_flag_counts_more_than_the_file_and_the_file_more_than_the_usual_place() {
        let file = written(r#"{ "admin_socket": "/x/a.sock", "no key": 1 }"#);
        let path = Some(file.path());
        assert_eq!(find(Some(Path::new("/y")), path).unwrap(), Path::new("/y"));
        assert_eq!(find(None, path).unwrap(), Path::new("/x/a.sock"));
        let other = written("{}");
        assert_eq!(find(None, Some(other.path())).unwrap(), Path::new(SOCKET));
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there_and_right_and_the_socket_on() {
        let missing = find(None, Some(Path::new("/nowhere/pollbal.json")));
        assert!(matches!(missing, Err(SocketError::Read(..))));
        let broken = written("{");
        assert!(matches!(
            find(None, Some(broken.path())),
            Err(SocketError::Json(..))
        ));
        let off = written(r#"{ "admin_socket": "" }"#);
        assert!(matches!(
            find(None, Some(off.path())),
            Err(SocketError::Off(_))
        ));
    }
}
