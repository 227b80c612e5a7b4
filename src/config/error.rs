//! What can be wrong with the configuration and the services file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::KeyError;
use crate::logging::{chain, count};
use crate::model::services::LineErrors;

/// Why there is no configuration, or no list of nodes.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("failed to read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The configuration is no JSON.
    #[error("failed to understand {} as JSON", .0.display())]
    Json(PathBuf, #[source] serde_json::Error),
    /// The configuration's keys are wrong; all that are.
    #[error("{}", Listed(.0, &.1[..TOLD.min(.1.len())], .1.len().saturating_sub(TOLD)))]
    Keys(PathBuf, Vec<KeyError>),
    /// Lines of the services file are wrong.
    #[error("{}", Listed(.0, &.1.first, .1.more))]
    Services(PathBuf, LineErrors),
    /// A file is no text.
    #[error("{}: line {} is not UTF-8; save the file as UTF-8", .0.display(), .1)]
    NotUtf8(PathBuf, usize),
}

/// Maximum number of keys that are told of those that are wrong.
const TOLD: usize = 20;

/// Maximum number of errors in a line that has the file's name already.
const IN_BRIEF: usize = 3;

impl ConfigError {
    /// The error in one line, for a text that names the file itself: of several errors the first ones, and
    /// how many more there are.
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
    let shown = errors.iter().take(IN_BRIEF).map(ToString::to_string);
    let text = shown.collect::<Vec<_>>().join("; ");
    match errors.len().saturating_sub(IN_BRIEF) + more {
        0 => text,
        more => format!("{text}; and {}", count(more, "more error")),
    }
}

/// Several errors of one file, and how many more there are: a line each, each with the file.
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
    use crate::model::services::parse_list;

    #[test]
    fn a_line_that_names_the_file_has_the_first_errors_and_a_count() {
        let refused = |lines| {
            let errors = parse_list(&"x\n".repeat(lines)).unwrap_err();
            ConfigError::Services("/etc/services".into(), errors).in_brief()
        };
        let three = refused(3);
        assert!(
            three.starts_with("line 1: ") && three.contains("; line 3: "),
            "{three}"
        );
        assert!(!three.contains("/etc/services") && !three.contains("more error"));
        assert_eq!(refused(4), format!("{three}; and 1 more error"));
        assert_eq!(refused(100_000), format!("{three}; and 99997 more errors"));
    }
}
