//! Times, as the page shows them.
//!
//! They come as RFC 3339 texts. What is shown is how long ago that was, or the time of day in UTC;
//! the script makes local time of it, for which the whole time stands in `datetime`.

use std::fmt;
use std::time::{Duration, SystemTime};

use askama::filters::HtmlSafe;
use humantime::{format_rfc3339_seconds, parse_rfc3339};

/// A time on the page, a `<time>` element.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    time: Option<SystemTime>,
    now: Option<SystemTime>,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// "3 min ago", "in 5 min".
    Ago,
    /// "for 3 min".
    Length,
    /// The time of day, and the day unless it is today's.
    Clock,
}

impl When {
    /// How long before `now` it was.
    pub(super) fn ago(time: &str, now: &str) -> Self {
        Self::new(time, now, Form::Ago)
    }

    /// How long before `now` it began.
    pub(super) fn length(time: &str, now: &str) -> Self {
        Self::new(time, now, Form::Length)
    }

    /// At what time of day it was.
    pub(super) fn clock(time: &str, now: &str) -> Self {
        Self::new(time, now, Form::Clock)
    }

    fn new(time: &str, now: &str, form: Form) -> Self {
        Self {
            time: parse_rfc3339(time).ok(),
            now: parse_rfc3339(now).ok(),
            form,
        }
    }
}

/// Nothing of the text that came in is written, only what was understood of it.
impl HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(time), Some(now)) = (self.time, self.now) else {
            return f.write_str("at an unknown time");
        };
        let whole = format_rfc3339_seconds(time).to_string();
        match self.form {
            Form::Ago => write!(f, r#"<time datetime="{whole}">{}</time>"#, ago(time, now)),
            Form::Length => {
                let text = length(now.duration_since(time).unwrap_or_default());
                write!(
                    f,
                    r#"<time class="length" datetime="{whole}">for {text}</time>"#
                )
            }
            Form::Clock => {
                let today = format_rfc3339_seconds(now).to_string();
                let text = clock(&whole, &today);
                write!(f, r#"<time class="clock" datetime="{whole}">{text}</time>"#)
            }
        }
    }
}

/// The time of day, of a whole time without fractions; with its day, unless it is that of `today`.
fn clock(whole: &str, today: &str) -> String {
    let day = whole.get(..10).unwrap_or_default();
    let time = whole.get(11..19).unwrap_or_default();
    if today.starts_with(day) {
        time.to_owned()
    } else {
        format!("{day} {time}")
    }
}

/// The script has the same words.
fn ago(time: SystemTime, now: SystemTime) -> String {
    match now.duration_since(time) {
        Ok(age) => format!("{} ago", length(age)),
        Err(ahead) => format!("in {}", length(ahead.duration())),
    }
}

/// A length of time, in one unit or two.
pub(super) fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if minutes == 0 {
        format!("{seconds} s")
    } else if hours == 0 {
        format!("{minutes} min")
    } else if days == 0 {
        format!("{hours} h {} min", minutes % 60)
    } else {
        format!("{days} d {} h", hours % 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-07-30T02:03:04.567Z";

    fn ago(time: &str) -> String {
        When::ago(time, NOW).to_string()
    }

    #[test]
    fn a_time_is_told_by_its_distance() {
        assert_eq!(
            ago("2026-07-30T02:03:01.000Z"),
            r#"<time datetime="2026-07-30T02:03:01Z">3 s ago</time>"#
        );
        assert!(ago("2026-07-30T02:00:01.000Z").contains(">3 min ago<"));
        assert!(ago("2026-07-29T20:00:01.000Z").contains(">6 h 3 min ago<"));
        assert!(ago("2026-07-01T00:00:00.000Z").contains(">29 d 2 h ago<"));
        assert!(ago("2026-07-30T04:03:05.000Z").contains(">in 2 h 0 min<"));
    }

    #[test]
    fn a_clock_has_the_day_unless_it_is_today() {
        let clock = |time| When::clock(time, NOW).to_string();
        assert!(clock("2026-07-30T01:00:00.999Z").contains(">01:00:00<"));
        assert!(clock("2026-07-29T23:59:59.000Z").contains(">2026-07-29 23:59:59<"));
    }

    #[test]
    fn what_is_no_time_is_not_shown() {
        assert_eq!(ago("<script>"), "at an unknown time");
    }
}
