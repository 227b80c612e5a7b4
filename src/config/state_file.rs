//! The key `state_file`: a file that pollbal alone writes, so it must be no other.

use std::fs;
use std::path::{self, Path, PathBuf};

use serde_json::Value;

use super::section::Section;
use super::{Config, KeyError, listeners};

pub(super) fn read_state_file(section: &Section<'_>) -> Option<PathBuf> {
    let usable = |text: &&str| text.is_empty() || listeners::is_file_path(text);
    let read = |value: &Value| value.as_str().filter(usable).map(PathBuf::from);
    let expected = "a path that begins with `/`, such as \"/run/pollbal/state.json\"; \"\" is off";
    let path = section.read("state_file", expected, read);
    let path = path.unwrap_or_else(|| PathBuf::from("/run/pollbal/state.json"));
    (!path.as_os_str().is_empty()).then_some(path)
}

/// Why the state file of this configuration, read from `config_file`, cannot be where it is to be:
/// it would take the place of something else.
pub(super) fn cannot_be(config: &Config, config_file: &Path) -> Option<KeyError> {
    let state_file = config.state_file.as_deref()?;
    let found = is_taken(state_file, config, config_file).or_else(|| is_special(state_file))?;
    Some(KeyError {
        key: "state_file".to_owned(),
        problem: format!(
            "expected a path at which there is nothing, or the state file, found \"{}\", {found}",
            state_file.display()
        ),
    })
}

/// Whether the configuration has something else there. Paths are compared as they are written.
fn is_taken(state_file: &Path, config: &Config, config_file: &Path) -> Option<&'static str> {
    let is_same = |other: &Path| path::absolute(other).is_ok_and(|other| other == state_file);
    if is_same(config_file) {
        Some("which is this configuration")
    } else if is_same(&config.services_file) {
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

/// Whether there is something that is no regular file.
fn is_special(state_file: &Path) -> Option<&'static str> {
    let kind = fs::symlink_metadata(state_file).ok()?.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("which is a directory")
    } else if kind.is_symlink() {
        Some("which is a symbolic link")
    } else {
        Some("which is no regular file")
    }
}
