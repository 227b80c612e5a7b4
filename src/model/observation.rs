//! What one poll of one node gave.

pub mod wire;

use std::fmt;
use std::time::{Duration, Instant};

use humantime::format_duration;
use serde::{Deserialize, Serialize};

use super::announcement::{Announcement, AnnouncementError, Status};
use super::text::quotable;

/// One poll of a node: what it gave, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// What it gave.
    pub observation: Observation,
    /// When the node was asked.
    pub asked_at: Instant,
    /// From then until its whole answer was there, or the poll was given up.
    pub took: Duration,
}

/// What one poll gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// The node said which pool it belongs to.
    Announced(Announcement),
    /// The node answered with an empty body: it serves nothing.
    Nothing,
    /// The node did not answer properly.
    Failed(Failure),
}

/// How a node failed to answer properly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No connection came about; the system's reason.
    #[serde(deserialize_with = "wire::text")]
    Connect(String),
    /// The node takes no new connections, while an earlier one is still open; the reason.
    #[serde(deserialize_with = "wire::text")]
    NoNewConnections(String),
    /// The response was not complete within this time (`service_timeout`).
    Timeout(Duration),
    /// The same, on a new connection, while an earlier one is still open.
    TimeoutOnNew(Duration),
    /// The answer's status was not 200.
    Status(u16),
    /// The connection closed before the response was complete; the reason.
    #[serde(deserialize_with = "wire::text")]
    Broken(String),
    /// What the node sent is no HTTP; what it does instead.
    #[serde(deserialize_with = "wire::text")]
    Malformed(String),
    /// The body is longer than this many bytes.
    TooLong(usize),
    /// The body is no announcement; its harmless beginning.
    NotUnderstood(
        AnnouncementError,
        #[serde(deserialize_with = "wire::text")] String,
    ),
    /// Its source says that it failed; nobody polled it.
    Reported,
    /// Its tags in Serf are no announcement; their harmless beginning.
    Tags(
        AnnouncementError,
        #[serde(deserialize_with = "wire::text")] String,
    ),
}

impl Poll {
    /// A poll that took no time.
    #[must_use]
    pub fn at(asked_at: Instant, observation: Observation) -> Self {
        Self {
            observation,
            asked_at,
            took: Duration::ZERO,
        }
    }
}

impl Observation {
    /// Whether the node wants requests.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self, Self::Announced(announcement) if announcement.status == Status::Serving)
    }
}

impl Failure {
    /// Whether `other` is the same kind of failure, for a log that speaks only of changes:
    /// a body that differs at each poll is still the same trouble.
    #[must_use]
    pub fn same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NotUnderstood(a, _), Self::NotUnderstood(b, _))
            | (Self::Tags(a, _), Self::Tags(b, _)) => a == b,
            (Self::Broken(_), Self::Broken(_)) | (Self::Malformed(_), Self::Malformed(_)) => true,
            (a, b) if a.is_silence() && b.is_silence() => true,
            _ => self == other,
        }
    }

    /// Whether the node did not respond in time.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::TimeoutOnNew(_))
    }

    /// A body that is no announcement, kept short and printable for the log.
    #[must_use]
    pub fn not_understood(error: AnnouncementError, body: &[u8]) -> Self {
        const SHOWN_CHARS: usize = 40;
        let text = String::from_utf8_lossy(body);
        let mut shown = quotable(&text, SHOWN_CHARS);
        if text.chars().nth(SHOWN_CHARS).is_some() {
            shown.push('…');
        }
        Self::NotUnderstood(error, shown)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(reason) => write!(f, "cannot connect: {reason}"),
            Self::NoNewConnections(reason) => write!(
                f,
                "takes no new connections: {reason}; the connection kept for polls is still open"
            ),
            Self::Timeout(limit) => write!(
                f,
                "no complete response within service_timeout ({})",
                format_duration(*limit)
            ),
            Self::TimeoutOnNew(limit) => write!(
                f,
                "no complete response within service_timeout ({}) on a new connection; the connection kept for polls is \
                 still open",
                format_duration(*limit)
            ),
            Self::Status(code) => write!(f, "HTTP {code}, expected 200"),
            Self::Broken(reason) => write!(
                f,
                "the connection closed before the response was complete: {reason}"
            ),
            Self::Malformed(what) => f.write_str(what),
            Self::TooLong(limit) => write!(f, "the body is longer than {limit} bytes"),
            Self::NotUnderstood(error, shown) => {
                write!(f, "answered \"{shown}\", which is not understood: {error}")
            }
            Self::Reported => f.write_str("Serf says that it failed"),
            Self::Tags(error, shown) => {
                write!(
                    f,
                    "has the Serf tags \"{shown}\", which are not understood: {error}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_body_reaches_the_log_short_and_escaped() {
        let body = format!("\x1b[2J{}", "x".repeat(10_000));
        let failure = Failure::not_understood(AnnouncementError::ManyWords, body.as_bytes());
        let text = failure.to_string();
        assert!(text.chars().all(|c| !c.is_control()), "{text}");
        assert!(text.len() < 200, "{text}");
    }

    #[test]
    fn a_body_that_changes_at_each_poll_is_one_kind_of_failure() {
        let at =
            |body: &str| Failure::not_understood(AnnouncementError::ManyLines, body.as_bytes());
        assert!(at("12:00:01\nx").same_kind(&at("12:00:02\nx")));
        assert!(!Failure::Status(500).same_kind(&Failure::Status(404)));
    }
}
