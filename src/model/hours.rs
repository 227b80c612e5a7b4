//! Hours of the day, such as 08:00-22:00.

use std::fmt;
use std::str::FromStr;

const MINUTES_A_DAY: u16 = 24 * 60;

/// A minute of the day, by the local clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minute(u16);

/// From one minute of the day until another, over midnight if that is the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: u16,
    /// The first minute that is outside; 1440 is midnight.
    until: u16,
}

/// A text is no [`Hours`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoursError;

impl Minute {
    /// That minute of that hour.
    #[must_use]
    pub const fn of(hour: u8, minute: u8) -> Self {
        Self((hour as u16 * 60 + minute as u16) % MINUTES_A_DAY)
    }
}

impl Hours {
    /// The whole day.
    pub const ALL: Self = Self {
        from: 0,
        until: MINUTES_A_DAY,
    };

    /// Whether the minute lies in them.
    #[must_use]
    pub fn contain(self, Minute(minute): Minute) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{}-{}", time(self.from), time(self.until))
    }
}

impl fmt::Display for HoursError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not hours of the day such as 08:00-22:00")
    }
}

impl std::error::Error for HoursError {}

impl FromStr for Hours {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, HoursError> {
        let (from, until) = text.split_once('-').ok_or(HoursError)?;
        let (from, until) = (minutes(from)?, minutes(until)?);
        // Never, or always? Whoever means always has 00:00-24:00.
        if from == until || from == MINUTES_A_DAY {
            return Err(HoursError);
        }
        Ok(Self { from, until })
    }
}

/// `HH:MM`, until 24:00.
fn minutes(text: &str) -> Result<u16, HoursError> {
    let digits = |text: &str| {
        let two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        two.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':').ok_or(HoursError)?;
    let (hour, minute) = (digits(hour), digits(minute));
    let (hour, minute) = hour.zip(minute).ok_or(HoursError)?;
    let minutes = hour * 60 + minute;
    let exists = minute < 60 && minutes <= MINUTES_A_DAY;
    exists.then_some(minutes).ok_or(HoursError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(hours: &str, hour: u8, minute: u8) -> bool {
        let hours: Hours = hours.parse().unwrap();
        hours.contain(Minute::of(hour, minute))
    }

    #[test]
    fn hours_begin_with_their_first_minute_and_end_before_their_last() {
        assert!(!contain("08:00-22:00", 7, 59));
        assert!(contain("08:00-22:00", 8, 0));
        assert!(contain("08:00-22:00", 21, 59));
        assert!(!contain("08:00-22:00", 22, 0));
    }

    #[test]
    fn hours_may_go_over_midnight_or_be_the_whole_day() {
        assert!(contain("22:30-06:00", 23, 0));
        assert!(contain("22:30-06:00", 0, 0));
        assert!(contain("22:30-06:00", 5, 59));
        assert!(!contain("22:30-06:00", 6, 0));
        assert!(!contain("22:30-06:00", 22, 29));
        for minute in 0..MINUTES_A_DAY {
            assert!(Hours::ALL.contain(Minute(minute)));
        }
        assert_eq!("00:00-24:00".parse(), Ok(Hours::ALL));
    }

    #[test]
    fn hours_are_printed_as_they_are_read() {
        for text in ["08:00-22:00", "22:30-06:05", "00:00-24:00", "12:00-00:00"] {
            assert_eq!(text.parse::<Hours>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_are_no_hours_is_refused() {
        for text in [
            "",
            "8-22",
            "08:00",
            "8:00-22:00",
            "08:00-25:00",
            "08:60-22:00",
            "08:00-24:01",
            "+8:00-22:00",
            "08:00-08:00",
            "24:00-06:00",
            "08:00 - 22:00",
            "08:00-22:00-23:00",
        ] {
            assert_eq!(text.parse::<Hours>(), Err(HoursError), "{text}");
        }
    }
}
