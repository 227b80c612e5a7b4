//! Daily time windows, such as 08:00-22:00.

use std::fmt;
use std::str::FromStr;

const MINUTES_PER_DAY: u16 = 24 * 60;

/// A minute of the day in local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minute(u16);

/// A daily time window: from one minute of the day until another, across midnight if that is the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindow {
    from: u16,
    /// The first minute after the window; 1440 is midnight.
    until: u16,
}

/// The text is not a valid [`TimeWindow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindowError;

impl Minute {
    /// The given minute of the given hour.
    #[must_use]
    pub const fn of(hour: u8, minute: u8) -> Self {
        Self((hour as u16 * 60 + minute as u16) % MINUTES_PER_DAY)
    }
}

impl TimeWindow {
    /// The whole day.
    pub const ALL: Self = Self {
        from: 0,
        until: MINUTES_PER_DAY,
    };

    /// Whether the window contains the minute.
    #[must_use]
    pub fn contains(self, Minute(minute): Minute) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{}-{}", time(self.from), time(self.until))
    }
}

impl fmt::Display for TimeWindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not hours of the day such as 08:00-22:00")
    }
}

impl std::error::Error for TimeWindowError {}

impl FromStr for TimeWindow {
    type Err = TimeWindowError;

    fn from_str(text: &str) -> Result<Self, TimeWindowError> {
        let (from, until) = text.split_once('-').ok_or(TimeWindowError)?;
        let (from, until) = (parse_minutes(from)?, parse_minutes(until)?);
        // Ambiguous: never, or always? Always is written 00:00-24:00.
        if from == until || from == MINUTES_PER_DAY {
            return Err(TimeWindowError);
        }
        Ok(Self { from, until })
    }
}

/// Minutes since midnight of an `HH:MM`, 24:00 at most.
fn parse_minutes(text: &str) -> Result<u16, TimeWindowError> {
    let digits = |text: &str| {
        let two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        two.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':').ok_or(TimeWindowError)?;
    let (hour, minute) = (digits(hour), digits(minute));
    let (hour, minute) = hour.zip(minute).ok_or(TimeWindowError)?;
    let minutes = hour * 60 + minute;
    let exists = minute < 60 && minutes <= MINUTES_PER_DAY;
    exists.then_some(minutes).ok_or(TimeWindowError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(window: &str, hour: u8, minute: u8) -> bool {
        let window: TimeWindow = window.parse().unwrap();
        window.contains(Minute::of(hour, minute))
    }

    #[test]
    fn a_window_includes_its_first_minute_and_excludes_its_last() {
        assert!(!contains("08:00-22:00", 7, 59));
        assert!(contains("08:00-22:00", 8, 0));
        assert!(contains("08:00-22:00", 21, 59));
        assert!(!contains("08:00-22:00", 22, 0));
    }

    #[test]
    fn a_window_may_cross_midnight_or_be_the_whole_day() {
        assert!(contains("22:30-06:00", 23, 0));
        assert!(contains("22:30-06:00", 0, 0));
        assert!(contains("22:30-06:00", 5, 59));
        assert!(!contains("22:30-06:00", 6, 0));
        assert!(!contains("22:30-06:00", 22, 29));
        for minute in 0..MINUTES_PER_DAY {
            assert!(TimeWindow::ALL.contains(Minute(minute)));
        }
        assert_eq!("00:00-24:00".parse(), Ok(TimeWindow::ALL));
    }

    #[test]
    fn a_window_is_printed_as_it_is_parsed() {
        for text in ["08:00-22:00", "22:30-06:05", "00:00-24:00", "12:00-00:00"] {
            assert_eq!(text.parse::<TimeWindow>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_invalid_window_is_rejected() {
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
            assert_eq!(text.parse::<TimeWindow>(), Err(TimeWindowError), "{text}");
        }
    }
}
