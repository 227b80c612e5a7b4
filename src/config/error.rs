//! Errors in the configuration and the services file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::KeyError;
use crate::logging::{chain, count};
use crate::model::services::LineErrors;

/// Why the configuration or the list of nodes could not be read.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("failed to read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The configuration is not valid JSON.
    #[error("{} is not valid JSON", .0.display())]
    Json(PathBuf, #[source] serde_json::Error),
    /// Keys of the configuration are invalid.
    #[error("{}", Listed(.0, &.1[..MAX_KEYS.min(.1.len())], .1.len().saturating_sub(MAX_KEYS)))]
    Keys(PathBuf, Vec<KeyError>),
    /// Lines of the services file are invalid.
    #[error("{}", Listed(.0, &.1.first, .1.more))]
    Services(PathBuf, LineErrors),
    /// A file is not text.
    #[error("{}: line {} is not UTF-8; save the file as UTF-8", .0.display(), .1)]
    NotUtf8(PathBuf, usize),
}

/// Maximum number of invalid keys listed.
const MAX_KEYS: usize = 20;

/// Maximum number of errors listed in one line.
const MAX_IN_BRIEF: usize = 3;

impl ConfigError {
    /// The error in one line without the file's name: the first errors, and how many more there are.
    #[must_use]
    pub fn in_brief(&self) -> String {
        match self {
            Self::Keys(_, errors) => first_of(errors, 0),
            Self::Services(_, errors) => first_of(&errors.first, errors.more),
            other => chain(other),
        }
    }
}

fn first_of(errors: &[impl ToString], more: usize) -> String {
    let shown = errors.iter().take(MAX_IN_BRIEF).map(ToString::to_string);
    let text = shown.collect::<Vec<_>>().join("; ");
    match errors.len().saturating_sub(MAX_IN_BRIEF) + more {
        0 => text,
        more => format!("{text}; and {}", count(more, "more error")),
    }
}

/// The first errors of a file and how many more there are, one per line with the file's name.
struct Listed<'a, E>(&'a Path, &'a [E], usize);

impl<E: fmt::Display> fmt::Display for Listed<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, errors, more) = self;
        for (index, error) in errors.iter().enumerate() {
            let newline = if index > 0 { "\n" } else { "" };
            write!(f, "{newline}{}: {error}", path.display())?;
        }
        match more {
            0 => Ok(()),
            more => write!(
                f,
                "\n{}: and {}",
                path.display(),
                count(*more, "more error")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::services::parse_listing;

    #[test]
    fn the_error_in_brief_has_the_first_errors_and_a_count() {
        let brief = |lines| {
            let errors = parse_listing(&"x\n".repeat(lines)).unwrap_err();
            ConfigError::Services("/etc/services".into(), errors).in_brief()
        };
        let three = brief(3);
        assert!(
            three.starts_with("line 1: ") && three.contains("; line 3: "),
            "{three}"
        );
        assert!(!three.contains("/etc/services") && !three.contains("more error"));
        assert_eq!(brief(4), format!("{three}; and 1 more error"));
        assert_eq!(brief(100_000), format!("{three}; and 99997 more errors"));
    }
}
