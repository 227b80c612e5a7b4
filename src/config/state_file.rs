//! The key `state_file`: a file that only pollbal writes, so it must not be any other file.

use std::fs;
use std::path::{self, Path, PathBuf};

use serde_json::Value;

use super::reader::ObjectReader;
use super::{Config, KeyError, listeners};

pub(super) fn read_state_file(reader: &ObjectReader<'_>) -> Option<PathBuf> {
    let usable = |text: &&str| text.is_empty() || listeners::is_file_path(text);
    let read = |value: &Value| value.as_str().filter(usable).map(PathBuf::from);
    let expected = "a path that starts with `/`, such as \"/run/pollbal/state.json\"; \"\" is off";
    let path = reader.read("state_file", expected, read);
    let path = path.unwrap_or_else(|| PathBuf::from("/run/pollbal/state.json"));
    (!path.as_os_str().is_empty()).then_some(path)
}

/// The error if the state file would replace something else. `config_file` is the file that was read.
pub(super) fn check(config: &Config, config_file: &Path) -> Option<KeyError> {
    let state_file = config.state_file.as_deref()?;
    let found = is_taken(state_file, config, config_file).or_else(|| is_special(state_file))?;
    Some(KeyError {
        key: "state_file".to_owned(),
        problem: format!(
            "expected a path of a new file or of a state file, found \"{}\", {found}",
            state_file.display()
        ),
    })
}

/// What else the configuration has at this path. Paths are compared lexically.
fn is_taken(state_file: &Path, config: &Config, config_file: &Path) -> Option<&'static str> {
    let is_same = |other: &Path| path::absolute(other).is_ok_and(|other| other == state_file);
    if is_same(config_file) {
        Some("which is this configuration")
    } else if config.services_file.as_deref().is_some_and(is_same) {
        Some("which is services_file")
    } else if config
        .listeners
        .admin_socket
        .as_deref()
        .is_some_and(is_same)
    {
        Some("which is admin_socket")
    } else if state_file.parent().is_some_and(|parent| {
        path::absolute(&config.pool_directory).is_ok_and(|directory| directory == parent)
    }) {
        Some("which is in pool_directory")
    } else {
        None
    }
}

/// What is at this path, unless it is a regular file or nothing.
fn is_special(state_file: &Path) -> Option<&'static str> {
    let kind = fs::symlink_metadata(state_file).ok()?.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("which is a directory")
    } else if kind.is_symlink() {
        Some("which is a symbolic link")
    } else {
        Some("which is not a regular file")
    }
}
