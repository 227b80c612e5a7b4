//! Pool names and versions: words that nodes choose, made harmless by their types.
//!
//! A [`PoolName`] or [`Version`] that exists can be part of a file name, a log line or a command:
//! it has no blank, no slash, no control character and nothing that a load balancer would expand.
//!
//! A clone shares the text: one name is in thousands of members, and in each snapshot.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a pool: 1 to 64 of `A–Z a–z 0–9 _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PoolName(Arc<str>);

/// The version that a node serves: 1 to 128 of `A–Z a–z 0–9 . _ + -`, not beginning with `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Version(Arc<str>);

/// A text is no [`PoolName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolNameError;

/// A text is no [`Version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionError;

impl PoolName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Version {
    /// The longest version, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PoolName {
    type Err = PoolNameError;

    fn from_str(text: &str) -> Result<Self, PoolNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(PoolNameError)
        }
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        let length_fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if length_fits && text.bytes().all(allowed) && !text.starts_with('.') {
            Ok(Self(text.into()))
        } else {
            Err(VersionError)
        }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.as_str().to_owned()
    }
}

impl TryFrom<String> for PoolName {
    type Error = PoolNameError;

    fn try_from(text: String) -> Result<Self, PoolNameError> {
        text.parse()
    }
}

impl From<PoolName> for String {
    fn from(name: PoolName) -> Self {
        name.as_str().to_owned()
    }
}

/// So that a map by name can be asked with a `&str`.
impl Borrow<str> for PoolName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PoolNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pool name is 1 to 64 of A-Z a-z 0-9 _ -")
    }
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version is 1 to 128 of A-Z a-z 0-9 . _ + -, not beginning with a dot")
    }
}

impl std::error::Error for PoolNameError {}
impl std::error::Error for VersionError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_what_they_say_and_nothing_else() {
        for good in ["api", "My-Pool_2", &"a".repeat(64)] {
            assert!(good.parse::<PoolName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "../x",
            "a.b",
            "$HOME",
            "a#",
            "a\r\nb",
            "ä",
            &"a".repeat(65),
        ] {
            assert_eq!(bad.parse::<PoolName>(), Err(PoolNameError), "{bad}");
        }
    }

    #[test]
    fn versions_cannot_climb_out_of_a_directory() {
        for good in ["v23", "1.2.3+build-7_x", "1..2", &"1".repeat(128)] {
            assert!(good.parse::<Version>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "1/2",
            "1 2",
            "1\n",
            &"1".repeat(129),
        ] {
            assert_eq!(bad.parse::<Version>(), Err(VersionError), "{bad}");
        }
    }
}
