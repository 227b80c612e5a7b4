//! Times of day, as an argument: nothing in the model reads a clock.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A time of day, in milliseconds since 1970, UTC. What has to survive a restart is stored in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Number of milliseconds since the beginning of 1970.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0
    }

    /// So long after it.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis(time)))
    }

    /// So long before it.
    #[must_use]
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(millis(time)))
    }

    /// How long it is from `earlier` to here; nothing when the clock was put back meanwhile.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// By the clock that never goes back.
    pub now: Instant,
    /// The time of day.
    pub today: Timestamp,
}

impl Clock {
    /// The time of day at another moment.
    #[must_use]
    pub fn of(&self, other: Instant) -> Timestamp {
        match other.checked_duration_since(self.now) {
            Some(later) => self.today.after(later),
            None => self.today.before(self.now - other),
        }
    }
}

/// How long pollbal itself stood still, in which it could neither hear nor do anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standstill {
    /// By the clock that never goes back.
    pub time: Duration,
    /// By the time of day, which may be set meanwhile.
    pub day: Duration,
}

impl Standstill {
    /// What came since there was no more than `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            time: self.time.saturating_sub(earlier.time),
            day: self.day.saturating_sub(earlier.day),
        }
    }
}

impl Timestamp {
    /// In RFC 3339, UTC, with milliseconds.
    #[must_use]
    pub fn rfc3339_millis(self) -> String {
        format!("{:.3}", self.to_jiff())
    }

    /// Years after 9999, which RFC 3339 does not have, become the last moment before them.
    fn to_jiff(self) -> jiff::Timestamp {
        let millis = i64::try_from(self.0).ok();
        let time = millis.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
        time.unwrap_or(jiff::Timestamp::MAX)
    }
}

/// In RFC 3339, UTC, without the milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}", self.to_jiff())
    }
}

/// From RFC 3339.
impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let time: jiff::Timestamp = text.parse()?;
        Ok(Self(u64::try_from(time.as_millisecond()).unwrap_or(0)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, millis))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(time.0)
    }
}

/// Whole milliseconds.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_in_rfc_3339() {
        let time = Timestamp::from_millis(1_785_376_984_567);
        assert_eq!(time.to_string(), "2026-07-30T02:03:04Z");
        let text = time.rfc3339_millis();
        assert_eq!(text, "2026-07-30T02:03:04.567Z");
        assert_eq!(text.parse::<Timestamp>().unwrap(), time);
        let round = Timestamp::from_millis(1_785_376_984_000);
        assert_eq!(round.rfc3339_millis(), "2026-07-30T02:03:04.000Z");
        let never = Timestamp::from_millis(u64::MAX).to_string();
        assert!(never.starts_with("9999-12-30T"), "{never}");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
