//! Host names in the services file.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a host, in lower case: labels of 1 to 63 of `a–z 0–9 _ -`, at most 253 characters in all, without a dot
/// at the end. Its last label is no number, so no mistyped IPv4 address is taken for a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

/// A text is no [`HostName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host name")]
pub struct HostNameError;

impl HostName {
    /// Maximum length, in characters.
    const MAX: usize = 253;

    /// Maximum length of a label, in characters.
    const MAX_LABEL: usize = 63;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let is_label = |label: &str| {
            (1..=Self::MAX_LABEL).contains(&label.len())
                && label.bytes().all(is_allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let last = text.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() <= Self::MAX && text.split('.').all(is_label) && !is_number {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(HostNameError)
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_whatever_their_case_and_with_a_dot_at_the_end() {
        for (text, name) in [
            ("localhost", "localhost"),
            ("Web1.Example.ORG.", "web1.example.org"),
            ("web_1.node-2", "web_1.node-2"),
            ("10.0.0.1x", "10.0.0.1x"),
        ] {
            assert_eq!(text.parse::<HostName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_no_resolver_would_know_is_rejected_and_so_is_a_mistyped_address() {
        let long = "x".repeat(64);
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "-a",
            "a-",
            "a b",
            "a/b",
            "a:b",
            "[a]",
            "ä",
            "10.0.0.256",
            "10.0.0.0.1",
            "1",
            &long,
        ] {
            assert_eq!(text.parse::<HostName>(), Err(HostNameError), "{text}");
        }
        let long = ["abcdefghi"; 26].join(".");
        assert_eq!(long.parse::<HostName>(), Err(HostNameError));
    }
}
