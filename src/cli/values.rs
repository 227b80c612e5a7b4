//! Parsers for the values of options.

use std::num::NonZeroUsize;
use std::time::Duration;

use humantime::parse_duration;

use crate::model::overrides::ReasonName;
use crate::model::ramp::MIN_STEP;

/// Maximum duration; beyond it, `Instant` arithmetic could overflow.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// Parses the name of a reason. A value that starts with two dashes is the next option: the name is missing.
pub(super) fn reason(text: &str) -> Result<ReasonName, String> {
    if text.starts_with("--") {
        return Err("the tag is missing".to_owned());
    }
    text.parse::<ReasonName>()
        .map_err(|error| error.to_string())
}

/// Parses a duration such as `30s`, of at most a year.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if time <= MAX_DURATION => Ok(time),
        Ok(_) => Err("longer than a year".to_owned()),
        Err(error) => Err(format!("{error}; expected a time such as 30s, 5m or 2h")),
    }
}

/// Parses the time until a reason expires. Less than a second is a mistake: nobody would notice the reason.
pub(super) fn expiry(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < Duration::from_secs(1) => Err("shorter than a second".to_owned()),
        time => Ok(time),
    }
}

/// Parses the duration of a ramp: none, or at least a step.
pub(super) fn ramp(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if !time.is_zero() && time < MIN_STEP => {
            Err("expected 0s for none, or at least 1s".to_owned())
        }
        time => Ok(time),
    }
}

/// Parses a time limit for something that cannot be done in no time.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected more than zero".to_owned()),
        time => Ok(time),
    }
}

pub(super) fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected 1 or more".to_owned())
}
