//! Where the daemon's admin socket is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::cli::CONFIG_FILE;
use crate::config::listeners::DEFAULT_ADMIN_SOCKET;
use crate::config::{Config, ConfigError};
use crate::logging::chain;
use crate::model::text::printable;

/// The configuration says that there is no socket.
#[derive(Debug, Error)]
pub(super) enum SocketError {
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
    /// What is to be said before anything is asked there.
    pub(super) warning: Option<String>,
}

/// The socket of the flag; else the one of the configuration file; else the usual one. A file that is
/// not understood stops no command: the daemon has read it when it was right, and is well.
pub(super) fn find(flag: Option<&Path>, config: Option<&Path>) -> Result<Place, SocketError> {
    if let Some(flag) = flag {
        return Ok(Place::named(flag));
    }
    let file = config.unwrap_or(Path::new(CONFIG_FILE));
    match Config::load(file) {
        // Its other keys may be wrong: the daemon that runs may have read it before they were.
        Ok((read, _)) => match read.listeners.admin_socket {
            Some(socket) => Ok(Place::configured(socket, file)),
            None => Err(SocketError::Off(file.to_owned())),
        },
        Err(error) => {
            // One that nobody named need not be there, nor may everybody read it.
            let is_wrong = config.is_some() || !matches!(error, ConfigError::Read(..));
            Ok(Place::guessed(file, &error, is_wrong))
        }
    }
}

impl Place {
    fn named(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            elsewhere: "the daemon's place is `admin_socket` of its configuration".to_owned(),
            warning: None,
        }
    }

    fn configured(socket: PathBuf, file: &Path) -> Self {
        let elsewhere = format!(
            "this place is `admin_socket` of {}; where that was changed, the daemon is still at the old place until it \
             reloads: `kill -HUP` it, or ask with `--socket OLD`. `--config` names another file",
            file.display()
        );
        Self {
            socket,
            elsewhere,
            warning: None,
        }
    }

    /// Where the file does not say it in a way that is understood.
    fn guessed(file: &Path, error: &ConfigError, is_wrong: bool) -> Self {
        let why = printable(&chain(error));
        let written = beginning(file).and_then(|text| admin_socket_in(&text));
        let (socket, which) = match written {
            Some(socket) => (socket, "the `admin_socket` that seems to be written there"),
            None => (DEFAULT_ADMIN_SOCKET.into(), "the usual place"),
        };
        let warning = is_wrong.then(|| {
            format!(
                "warning: {why}; this asks at {}, {which}",
                printable(&socket.to_string_lossy())
            )
        });
        let elsewhere = format!(
            "this is {which}, since the configuration does not say where it is: {why}. `--socket` names another place, \
             `--config` another file"
        );
        Self {
            socket,
            elsewhere,
            warning,
        }
    }
}

/// As much of a file as a configuration may be long.
fn beginning(file: &Path) -> Option<String> {
    /// Maximum length in bytes; more is not looked at.
    const LONGEST: u64 = 1 << 20;
    let mut text = Vec::new();
    let file = File::open(file).ok()?;
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The value of the key `admin_socket` in what is no JSON: a comma that is missing elsewhere does not
/// make it wrong.
fn admin_socket_in(text: &str) -> Option<PathBuf> {
    let behind = text.split("\"admin_socket\"").skip(1);
    let mut values = behind.filter_map(|rest| {
        let value = rest.trim_start().strip_prefix(':')?;
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<String>();
        values.next()?.ok()
    });
    let value = values.next().filter(|value| !value.is_empty());
    value.map(PathBuf::from)
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
    fn a_file_that_is_not_understood_names_the_socket_all_the_same_or_the_usual_one_is_asked() {
        for (text, socket) in [
            ("{", DEFAULT_ADMIN_SOCKET),
            ("", DEFAULT_ADMIN_SOCKET),
            (
                r#"{ "fall": 1 "admin_socket" : "/x/\"a.sock" }"#,
                "/x/\"a.sock",
            ),
            (r#"{ "admin_socket": "/x/a.sock""#, "/x/a.sock"),
            (r#"{ "admin_socket": "#, DEFAULT_ADMIN_SOCKET),
            (r#"{ "admin_socket": "", }"#, DEFAULT_ADMIN_SOCKET),
            (r#"{ "_admin_socket": "/x", }"#, DEFAULT_ADMIN_SOCKET),
        ] {
            let broken = written(text);
            let place = find(None, Some(broken.path())).unwrap();
            assert_eq!(place.socket, Path::new(socket), "{text}");
            let file = broken.path().display().to_string();
            for told in [&place.elsewhere, &place.warning.unwrap()] {
                assert!(told.contains(&file), "{text}: {told}");
                assert!(told.contains("line "), "{text}: {told}");
            }
        }
    }

    #[test]
    fn one_that_is_missing_is_worth_a_warning_only_where_it_was_named() {
        let missing = Path::new("/nowhere/pollbal.json");
        let place = find(None, Some(missing)).unwrap();
        assert_eq!(place.socket, Path::new(DEFAULT_ADMIN_SOCKET));
        assert!(place.warning.unwrap().contains("/nowhere/pollbal.json"));
        let error = Config::load(missing).unwrap_err();
        assert_eq!(Place::guessed(missing, &error, false).warning, None);
    }

    #[test]
    fn a_socket_that_is_off_is_not_looked_for_elsewhere() {
        let off = written(r#"{ "admin_socket": "" }"#);
        assert!(matches!(
            find(None, Some(off.path())),
            Err(SocketError::Off(_))
        ));
    }
}
