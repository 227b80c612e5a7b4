//! Finds the path of the daemon's admin socket.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::cli::CONFIG_FILE;
use crate::config::listeners::DEFAULT_ADMIN_SOCKET;
use crate::config::{Config, ConfigError};
use crate::files::CONFIG_BYTES;
use crate::logging::chain;
use crate::model::text::printable;

/// The configuration has no admin socket.
#[derive(Debug, Error)]
pub(super) enum SocketError {
    #[error(
        "`admin_socket` is off (\"\") in {}, so pollbal cannot be reached; set it to a path and restart pollbal",
        .0.display()
    )]
    Off(PathBuf),
}

/// The path of the admin socket, and how it was found.
#[derive(Debug)]
pub(super) struct SocketPath {
    pub(super) socket: PathBuf,
    /// Where else the daemon may be, in case it does not listen there.
    pub(super) hint: String,
    /// Printed before the socket is used.
    pub(super) warning: Option<String>,
}

/// The socket that the flag names, else the one in the configuration file, else the default. An invalid file stops no
/// command: the daemon may have read it while it was valid.
pub(super) fn find(flag: Option<&Path>, config: Option<&Path>) -> Result<SocketPath, SocketError> {
    if let Some(flag) = flag {
        return Ok(SocketPath::named(flag));
    }
    let file = config.unwrap_or(Path::new(CONFIG_FILE));
    match Config::load(file) {
        // Errors in other keys do not matter here.
        Ok((read, _)) => match read.listeners.admin_socket {
            Some(socket) => Ok(SocketPath::configured(socket, file)),
            None => Err(SocketError::Off(file.to_owned())),
        },
        Err(error) => {
            // The default file need not exist, and not every user may read it.
            let is_wrong = config.is_some() || !matches!(error, ConfigError::Read(..));
            Ok(SocketPath::guessed(file, &error, is_wrong))
        }
    }
}

impl SocketPath {
    fn named(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            hint: "The daemon listens at `admin_socket` of its configuration".to_owned(),
            warning: None,
        }
    }

    fn configured(socket: PathBuf, file: &Path) -> Self {
        let hint = format!(
            "The socket path comes from admin_socket in {}; override with --socket or --config. After a change of \
             admin_socket, the daemon listens at the old path until it reloads: `kill -HUP` it, or use `--socket OLD`",
            file.display()
        );
        Self {
            socket,
            hint,
            warning: None,
        }
    }

    /// A guess, for a configuration that cannot be read.
    fn guessed(file: &Path, error: &ConfigError, is_wrong: bool) -> Self {
        let why = printable(&chain(error));
        let written = beginning(file).and_then(|text| admin_socket_in(&text));
        let (socket, which) = match written {
            Some(socket) => (socket, "the `admin_socket` that it seems to contain"),
            None => (DEFAULT_ADMIN_SOCKET.into(), "the default"),
        };
        let warning = is_wrong.then(|| {
            format!(
                "warning: {why}; using the socket {}, {which}",
                printable(&socket.to_string_lossy())
            )
        });
        let hint = format!(
            "The socket path is {which}, since the configuration could not be read: {why}. Override with --socket or \
             --config"
        );
        Self {
            socket,
            hint,
            warning,
        }
    }
}

/// The beginning of a file, up to the maximum length of a configuration.
fn beginning(file: &Path) -> Option<String> {
    let mut text = Vec::new();
    let file = File::open(file).ok()?;
    file.take(CONFIG_BYTES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The value of the key `admin_socket` in text that is not valid JSON, for example for lack of a comma elsewhere.
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
    fn the_flag_takes_precedence_over_the_file_and_the_file_over_the_default() {
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
    fn an_invalid_file_still_names_the_socket_or_the_default_is_used() {
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
            let found = find(None, Some(broken.path())).unwrap();
            assert_eq!(found.socket, Path::new(socket), "{text}");
            let file = broken.path().display().to_string();
            for message in [&found.hint, &found.warning.unwrap()] {
                assert!(message.contains(&file), "{text}: {message}");
                assert!(message.contains("line "), "{text}: {message}");
            }
        }
    }

    #[test]
    fn a_missing_file_is_warned_about_only_if_it_was_named() {
        let missing = Path::new("/nowhere/pollbal.json");
        let found = find(None, Some(missing)).unwrap();
        assert_eq!(found.socket, Path::new(DEFAULT_ADMIN_SOCKET));
        assert!(found.warning.unwrap().contains("/nowhere/pollbal.json"));
        let error = Config::load(missing).unwrap_err();
        assert_eq!(SocketPath::guessed(missing, &error, false).warning, None);
    }

    #[test]
    fn a_socket_that_is_off_is_not_replaced_by_the_default() {
        let off = written(r#"{ "admin_socket": "" }"#);
        assert!(matches!(
            find(None, Some(off.path())),
            Err(SocketError::Off(_))
        ));
    }
}
