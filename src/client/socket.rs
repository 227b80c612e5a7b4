//! Where the daemon's admin socket is.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::cli::CONFIG_FILE;
use crate::config::doors::DEFAULT_ADMIN_SOCKET;
use crate::config::{Config, ConfigError};

/// The configuration does not say where the socket is.
#[derive(Debug, Error)]
pub(super) enum SocketError {
    #[error(transparent)]
    Config(#[from] ConfigError),
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
    match Config::load(file) {
        // Its other keys may be wrong: the daemon that runs may have read it before they were.
        Ok((read, _)) => read
            .doors
            .admin_socket
            .ok_or_else(|| SocketError::Off(file.to_owned())),
        Err(error) if config.is_some() => Err(error.into()),
        Err(_) => Ok(DEFAULT_ADMIN_SOCKET.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        assert_eq!(
            find(None, Some(other.path())).unwrap(),
            Path::new(DEFAULT_ADMIN_SOCKET)
        );
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there_and_right_and_the_socket_on() {
        let missing = find(None, Some(Path::new("/nowhere/pollbal.json")));
        assert!(matches!(
            missing,
            Err(SocketError::Config(ConfigError::Read(..)))
        ));
        let broken = written("{");
        assert!(matches!(
            find(None, Some(broken.path())),
            Err(SocketError::Config(ConfigError::Json(..)))
        ));
        let off = written(r#"{ "admin_socket": "" }"#);
        assert!(matches!(
            find(None, Some(off.path())),
            Err(SocketError::Off(_))
        ));
    }
}
