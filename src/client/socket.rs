//! Where the daemon's admin socket is.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::cli::CONFIG_FILE;
use crate::config::doors::DEFAULT_ADMIN_SOCKET;
use crate::config::{Config, ConfigError};
use crate::logging::chain;
use crate::model::text::printable;

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

/// Where to ask.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) socket: PathBuf,
    /// Where else the daemon may be, when nobody is there.
    pub(super) elsewhere: String,
}

/// The socket of the flag; else the one of the configuration file; else the usual one. Only a file that was named has to
/// be there.
pub(super) fn find(flag: Option<&Path>, config: Option<&Path>) -> Result<Place, SocketError> {
    if let Some(flag) = flag {
        return Ok(Place::named(flag));
    }
    let file = config.unwrap_or(Path::new(CONFIG_FILE));
    match Config::load(file) {
        // Its other keys may be wrong: the daemon that runs may have read it before they were.
        Ok((read, _)) => match read.doors.admin_socket {
            Some(socket) => Ok(Place::configured(socket, file)),
            None => Err(SocketError::Off(file.to_owned())),
        },
        Err(error) if config.is_some() => Err(error.into()),
        Err(error) => Ok(Place::usual(&error)),
    }
}

impl Place {
    fn named(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            elsewhere: "the daemon's place is `admin_socket` of its configuration".to_owned(),
        }
    }

    fn configured(socket: PathBuf, file: &Path) -> Self {
        let elsewhere = format!(
            "this place is `admin_socket` of {}; where that was changed, the daemon is still at the old place until it \
             reloads: `kill -HUP` it, or ask with `--socket OLD`. `--config` names another file",
            file.display()
        );
        Self { socket, elsewhere }
    }

    fn usual(error: &ConfigError) -> Self {
        let elsewhere = format!(
            "this is the usual place, since the configuration does not say where it is: {}. `--socket` names another \
             place, `--config` another file",
            printable(&chain(error))
        );
        Self {
            socket: DEFAULT_ADMIN_SOCKET.into(),
            elsewhere,
        }
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
        let found = |flag, path| find(flag, path).unwrap().socket;
        assert_eq!(found(Some(Path::new("/y")), path), Path::new("/y"));
        assert_eq!(found(None, path), Path::new("/x/a.sock"));
        let other = written("{}");
        assert_eq!(
            found(None, Some(other.path())),
            Path::new(DEFAULT_ADMIN_SOCKET)
        );
    }

    #[test]
    fn where_the_file_is_not_understood_it_is_told_why_the_usual_place_was_asked() {
        let broken = written("{");
        let error = Config::load(broken.path()).unwrap_err();
        let place = Place::usual(&error);
        assert_eq!(place.socket, Path::new(DEFAULT_ADMIN_SOCKET));
        let file = broken.path().display().to_string();
        assert!(place.elsewhere.contains(&file), "{}", place.elsewhere);
        assert!(place.elsewhere.contains("line 1"), "{}", place.elsewhere);
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
