//! What a node says of itself: the body of its `GET /pool` answer.
//!
//! Behind the pool, the status and the version there may be words `key=value`, such as `weight=50`. Keys that are not
//! known are ignored, so that nodes may announce what only a later version of pollbal understands.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{PoolName, PoolNameError, Version, VersionError};
use super::weight::{Weight, WeightError};

/// The key of the weight.
const WEIGHT: &str = "weight";

/// A node's parsed reply: `pool [ status [ version ] ] [ key=value … ]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// The pool that the node belongs to.
    pub pool: PoolName,
    /// Whether it wants requests.
    pub status: Status,
    /// What it serves, where it says so.
    pub version: Option<Version>,
    /// Its share of the pool's requests, where it gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
}

/// Whether a node wants requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// `serving` or `ok`, or no word at all.
    Serving,
    /// `leaving`, `exiting` or `quitting`.
    Leaving,
}

/// Why a body is no announcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnouncementError {
    /// It is not UTF-8 text.
    NotText,
    /// It has more than one line.
    ManyLines,
    /// It has more than three words, not counting those with a key.
    ManyWords,
    /// The first word is no pool name.
    Pool(PoolNameError),
    /// The second word is no status.
    Status,
    /// The third word is no version.
    Version(VersionError),
    /// The value of `weight` is no weight.
    Weight(WeightError),
    /// `weight` is there twice.
    TwoWeights,
}

impl Announcement {
    /// Reads the body of an answer; `None` when it is empty or blank: the node serves nothing.
    pub fn parse(body: &[u8]) -> Result<Option<Self>, AnnouncementError> {
        let text = std::str::from_utf8(body).map_err(|_| AnnouncementError::NotText)?;
        let text = text.trim_matches(blank_or_newline);
        if text.is_empty() {
            return Ok(None);
        }
        if text.contains(['\n', '\r']) {
            return Err(AnnouncementError::ManyLines);
        }
        let mut words = words(text).peekable();
        let mut word = || words.next_if(|word| !word.contains('='));
        let pool = word().unwrap_or_default();
        let (status, version) = (word(), word());
        let mut weight = None;
        for word in words {
            let (key, value) = word.split_once('=').ok_or(AnnouncementError::ManyWords)?;
            if key == WEIGHT && weight.replace(value).is_some() {
                return Err(AnnouncementError::TwoWeights);
            }
        }
        Self::of_words(pool, status, version, weight).map(Some)
    }

    /// The announcement that these words make, each of which comes from outside.
    pub fn of_words(
        pool: &str,
        status: Option<&str>,
        version: Option<&str>,
        weight: Option<&str>,
    ) -> Result<Self, AnnouncementError> {
        let version = version.map(str::parse).transpose();
        let weight = weight.map(str::parse).transpose();
        Ok(Self {
            pool: pool.parse().map_err(AnnouncementError::Pool)?,
            status: status.map_or(Ok(Status::Serving), Status::parse)?,
            version: version.map_err(AnnouncementError::Version)?,
            weight: weight.map_err(AnnouncementError::Weight)?,
        })
    }

    /// The first word of an announcement whose key is not known, if there is one.
    #[must_use]
    pub fn unknown_word(body: &[u8]) -> Option<&str> {
        let text = std::str::from_utf8(body).ok()?;
        let mut words = words(text.trim_matches(blank_or_newline));
        words.find(|word| word.split_once('=').is_some_and(|(key, _)| key != WEIGHT))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t']).filter(|word| !word.is_empty())
}

fn blank_or_newline(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

impl Status {
    fn parse(word: &str) -> Result<Self, AnnouncementError> {
        match word {
            "serving" | "ok" => Ok(Self::Serving),
            "leaving" | "exiting" | "quitting" => Ok(Self::Leaving),
            _ => Err(AnnouncementError::Status),
        }
    }
}

impl fmt::Display for AnnouncementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("it is not text"),
            Self::ManyLines => f.write_str("it has more than one line"),
            Self::ManyWords => f.write_str("it has more than three words without a key"),
            Self::Pool(error) => error.fmt(f),
            Self::Status => {
                f.write_str("the second word is not one of serving, ok, leaving, exiting, quitting")
            }
            Self::Version(error) => error.fmt(f),
            Self::Weight(error) => write!(f, "{WEIGHT}: {error}"),
            Self::TwoWeights => write!(f, "{WEIGHT} is given twice"),
        }
    }
}

impl std::error::Error for AnnouncementError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: &str) -> Result<Option<Announcement>, AnnouncementError> {
        Announcement::parse(body.as_bytes())
    }

    fn announcement(pool: &str, status: Status, version: Option<&str>) -> Announcement {
        Announcement {
            pool: pool.parse().unwrap(),
            status,
            version: version.map(|version| version.parse().unwrap()),
            weight: None,
        }
    }

    #[test]
    fn one_two_and_three_words_are_understood() {
        let serving = |version| Ok(Some(announcement("api", Status::Serving, version)));
        assert_eq!(parse("api"), serving(None));
        assert_eq!(parse("api ok\n"), serving(None));
        assert_eq!(parse("  api \t serving  v23 \r\n"), serving(Some("v23")));
    }

    #[test]
    fn a_weight_may_follow_and_keys_that_are_not_known_are_ignored() {
        let weighted = |version| {
            let announcement = announcement("api", Status::Serving, version);
            let weight = Some("50".parse().unwrap());
            Ok(Some(Announcement {
                weight,
                ..announcement
            }))
        };
        assert_eq!(parse("api weight=50"), weighted(None));
        assert_eq!(parse("api ok weight=50 zone=a\n"), weighted(None));
        assert_eq!(
            parse("api ok v23 load=1=2 weight=50"),
            weighted(Some("v23"))
        );
        for weight in ["0", "257", "", "5%", "a"] {
            let expected = Err(AnnouncementError::Weight(WeightError));
            assert_eq!(parse(&format!("api weight={weight}")), expected, "{weight}");
        }
        assert_eq!(
            parse("api weight=50 weight=50"),
            Err(AnnouncementError::TwoWeights)
        );
        assert_eq!(
            parse("api weight=50 serving"),
            Err(AnnouncementError::ManyWords)
        );
        assert!(matches!(
            parse("weight=50"),
            Err(AnnouncementError::Pool(_))
        ));
    }

    #[test]
    fn the_first_word_with_an_unknown_key_is_found() {
        let unknown = |body: &'static str| Announcement::unknown_word(body.as_bytes());
        assert_eq!(unknown("api ok v1 weight=50\n"), None);
        assert_eq!(unknown("api weight=50 zone=a Weight=1\n"), Some("zone=a"));
    }

    #[test]
    fn each_word_for_leaving_means_leaving() {
        for word in ["leaving", "exiting", "quitting"] {
            let expected = announcement("api", Status::Leaving, None);
            assert_eq!(parse(&format!("api {word}")), Ok(Some(expected)));
        }
    }

    #[test]
    fn an_empty_or_blank_body_serves_nothing() {
        for body in ["", " ", "\r\n", "\n\n \t\n"] {
            assert_eq!(parse(body), Ok(None), "{body:?}");
        }
    }

    #[test]
    fn what_is_not_one_line_of_known_words_is_refused() {
        assert_eq!(parse("api\r\nSHUTDOWN"), Err(AnnouncementError::ManyLines));
        assert_eq!(parse("api gone"), Err(AnnouncementError::Status));
        assert_eq!(parse("api Serving"), Err(AnnouncementError::Status));
        assert_eq!(parse("api ok v1 x"), Err(AnnouncementError::ManyWords));
        assert_eq!(
            Announcement::parse(b"\xff\xfe"),
            Err(AnnouncementError::NotText)
        );
        assert!(matches!(
            parse("../../etc/x"),
            Err(AnnouncementError::Pool(_))
        ));
        assert!(matches!(
            parse("api ok ../x"),
            Err(AnnouncementError::Version(_))
        ));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Announcement::parse(&body);
        }

        #[test]
        fn what_is_understood_holds_only_harmless_characters(body in "[ -~\\r\\n]{0,40}") {
            if let Ok(Some(announcement)) = parse(&body) {
                let version = announcement.version.map(|v| v.to_string()).unwrap_or_default();
                let all = format!("{}{version}", announcement.pool);
                prop_assert!(all.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b)));
            }
        }
    }
}
