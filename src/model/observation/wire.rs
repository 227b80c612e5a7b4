//! The serialized form of polls, for sending them to another pollbal (not used yet).
//!
//! The clocks of two machines need not agree, so that times are relative: to when a poll is sent at one end, and to
//! when it is received at the other. There it seems to have begun later by the time on the way.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize};

use super::{Observation, Poll};
use crate::model::text::{printable, shortened};

/// Maximum characters of a text that another pollbal sent.
const MAX_TEXT: usize = 1_000;

/// Maximum age of a poll that another pollbal sent: an older one says nothing of the present.
const MAX_AGE: Duration = Duration::from_secs(3_600);

/// The name of a pollbal that polls: 1 to 64 of `A–Z a–z 0–9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ObserverName(Arc<str>);

/// A text is no [`ObserverName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserverNameError;

/// A poll on its way from the pollbal that polled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WirePoll {
    /// The pollbal that polled.
    pub observer: ObserverName,
    /// What the poll gave.
    pub observation: Observation,
    /// Nanoseconds from the request to the node until this was sent.
    age_ns: u64,
    /// Nanoseconds from the request until the whole response was there, or the poll was given up.
    took_ns: u64,
}

impl WirePoll {
    /// A poll by this observer that is sent at `sent_at`.
    #[must_use]
    pub fn new(observer: ObserverName, poll: &Poll, sent_at: Instant) -> Self {
        Self {
            observer,
            observation: poll.observation.clone(),
            age_ns: nanos(sent_at.saturating_duration_since(poll.asked_at)),
            took_ns: nanos(poll.took),
        }
    }

    /// The poll as received at `received_at`; `None` if it is more than an hour old.
    #[must_use]
    pub fn into_poll(self, received_at: Instant) -> Option<Poll> {
        let age = Duration::from_nanos(self.age_ns);
        let asked_at = received_at.checked_sub(age);
        Some(Poll {
            observation: self.observation,
            asked_at: asked_at.filter(|_| age <= MAX_AGE)?,
            took: Duration::from_nanos(self.took_ns),
        })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A text of another pollbal: printable and of bounded length, whatever was sent.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(shortened(&printable(&text), MAX_TEXT))
}

impl FromStr for ObserverName {
    type Err = ObserverNameError;

    fn from_str(text: &str) -> Result<Self, ObserverNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(ObserverNameError)
        }
    }
}

impl TryFrom<String> for ObserverName {
    type Error = ObserverNameError;

    fn try_from(text: String) -> Result<Self, ObserverNameError> {
        text.parse()
    }
}

impl From<ObserverName> for String {
    fn from(name: ObserverName) -> Self {
        name.0.to_string()
    }
}

impl fmt::Display for ObserverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ObserverNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a pollbal is 1 to 64 of A-Z a-z 0-9 . _ -")
    }
}

impl std::error::Error for ObserverNameError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Failure;
    use super::*;
    use crate::model::announcement::{Announcement, AnnouncementError, Status};
    use crate::model::names::{PoolNameError, VersionError};

    fn observer() -> ObserverName {
        "lb-1.example".parse().unwrap()
    }

    fn announcement() -> impl Strategy<Value = Announcement> {
        let status = prop_oneof![Just(Status::Serving), Just(Status::Leaving)];
        let version = prop::option::of("[a-z0-9][a-zA-Z0-9._+-]{0,20}");
        let weight = prop::option::of((1..=256_u16).prop_map(|weight| weight.try_into().unwrap()));
        let parts = ("[a-zA-Z0-9_-]{1,64}", status, version, weight);
        parts.prop_map(|(pool, status, version, weight)| Announcement {
            pool: pool.parse().unwrap(),
            status,
            version: version.map(|version| version.parse().unwrap()),
            weight,
        })
    }

    fn announcement_error() -> impl Strategy<Value = AnnouncementError> {
        prop_oneof![
            Just(AnnouncementError::NotText),
            Just(AnnouncementError::ManyLines),
            Just(AnnouncementError::ManyWords),
            Just(AnnouncementError::Pool(PoolNameError)),
            Just(AnnouncementError::Status),
            Just(AnnouncementError::Version(VersionError)),
        ]
    }

    fn failure() -> impl Strategy<Value = Failure> {
        let text = || "[ -~ä…]{0,100}";
        prop_oneof![
            text().prop_map(Failure::Connect),
            text().prop_map(Failure::NoNewConnections),
            Just(Failure::Timeout(Duration::from_millis(500))),
            Just(Failure::TimeoutOnNew(Duration::from_secs(2))),
            any::<u16>().prop_map(Failure::Status),
            text().prop_map(Failure::Broken),
            text().prop_map(Failure::Malformed),
            any::<u32>().prop_map(|limit| Failure::TooLong(limit as usize)),
            (announcement_error(), text())
                .prop_map(|(error, shown)| Failure::NotUnderstood(error, shown)),
            Just(Failure::Reported),
            (announcement_error(), text()).prop_map(|(error, shown)| Failure::Tags(error, shown)),
        ]
    }

    fn observation() -> impl Strategy<Value = Observation> {
        prop_oneof![
            announcement().prop_map(Observation::Announced),
            Just(Observation::Nothing),
            failure().prop_map(Observation::Failed),
        ]
    }

    proptest! {
        #[test]
        fn a_poll_is_the_same_at_the_other_end_by_its_age(
            observation in observation(),
            age in 0u64..1 << 40,
            took in any::<u32>(),
        ) {
            let sent_at = Instant::now();
            let poll = Poll {
                observation,
                asked_at: sent_at.checked_sub(Duration::from_nanos(age)).unwrap_or(sent_at),
                took: Duration::from_nanos(took.into()),
            };
            let wire = WirePoll::new(observer(), &poll, sent_at);
            let sent = serde_json::to_string(&wire).unwrap();
            let received: WirePoll = serde_json::from_str(&sent).unwrap();
            prop_assert_eq!(&received.observer, &observer());
            prop_assert_eq!(received.clone().into_poll(sent_at), Some(poll.clone()));
            let later = sent_at + Duration::from_secs(3);
            let moved = received.into_poll(later).unwrap();
            prop_assert_eq!(later - moved.asked_at, sent_at - poll.asked_at);
        }
    }

    #[test]
    fn what_another_pollbal_sends_is_harmless() {
        let sent = |text: &str, age: u64| {
            let poll = serde_json::json!({
                "observer": "lb-1",
                "observation": { "failed": { "malformed": text } },
                "age_ns": age,
                "took_ns": 1,
            });
            serde_json::from_value::<WirePoll>(poll).unwrap()
        };
        let hostile = sent(&format!("\x1b[2J\n{}", "x".repeat(10_000)), 1);
        let Observation::Failed(failure) = hostile.observation else {
            panic!("{hostile:?}");
        };
        let text = failure.to_string();
        assert!(text.chars().all(|c| !c.is_control()), "{text}");
        assert!(text.len() < 1_100, "{}", text.len());
        for age in [3_600_000_000_001, u64::MAX] {
            assert_eq!(sent("x", age).into_poll(Instant::now()), None);
        }
        for name in ["", "a b", "../x", &"a".repeat(65)] {
            assert!(name.parse::<ObserverName>().is_err(), "{name}");
        }
    }
}
