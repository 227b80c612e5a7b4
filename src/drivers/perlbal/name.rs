//! Names of pools and services in Perlbal, which accepts fewer than nodes may announce.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::model::names::{PoolName, Version};

/// The name of a pool or service in Perlbal: `\w+` in lower case. Perlbal accepts no other, and
/// converts what precedes a `=` to lower case but not what follows it (Perlbal.pm,
/// `run_manage_command`).
///
/// A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PerlbalName(Arc<str>);

/// The text is not a [`PerlbalName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a name in Perlbal is made of a-z 0-9 _")]
pub struct PerlbalNameError;

impl PerlbalName {
    /// Perlbal's name for a pool, unless the configuration gives another one.
    #[must_use]
    pub fn of_pool(pool: &PoolName) -> Self {
        Self(to_word(pool.as_str()).into())
    }

    /// The name of this pool's version pool.
    #[must_use]
    pub fn at_version(&self, version: &Version) -> Self {
        Self(Self::version_pool(self.as_str(), version).into())
    }

    /// The name of the version pool of a pool whose name in Perlbal is `pool`, as text.
    #[must_use]
    pub fn version_pool(pool: &str, version: &Version) -> String {
        format!("{pool}__{}", to_word(version.as_str()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as text that shares its memory.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// Converts to lower case, and replaces what is not a word character by `_`.
fn to_word(text: &str) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    text.chars().map(word).collect()
}

impl FromStr for PerlbalName {
    type Err = PerlbalNameError;

    fn from_str(text: &str) -> Result<Self, PerlbalNameError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !text.is_empty() && text.chars().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(PerlbalNameError)
        }
    }
}

impl fmt::Display for PerlbalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gets_a_name_that_perlbal_accepts() {
        let pool: PoolName = "My-API_2".parse().unwrap();
        let name = PerlbalName::of_pool(&pool);
        assert_eq!(name.as_str(), "my_api_2");
        let version: Version = "1.2+B".parse().unwrap();
        assert_eq!(name.at_version(&version).as_str(), "my_api_2__1_2_b");
    }

    #[test]
    fn only_lower_case_word_characters_are_accepted() {
        assert!("my_api_2".parse::<PerlbalName>().is_ok());
        for bad in ["", "Api", "my-api", "my api", "a.b", "ä"] {
            assert_eq!(bad.parse::<PerlbalName>(), Err(PerlbalNameError), "{bad}");
        }
    }
}
