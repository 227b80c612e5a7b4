//! Times on the page.
//!
//! They arrive as RFC 3339 texts. The page shows how long ago that was, or the time of day in UTC, which
//! the script converts to local time from the attribute `datetime`.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;

use crate::model::time::Timestamp;

/// A time on the page, a `<time>` element.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    time: Option<Timestamp>,
    now: Option<Timestamp>,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// "3 min ago", "in 5 min".
    Ago,
    /// "for 3 min".
    Length,
    /// The time of day, with the date unless it is today's.
    Clock,
}

impl When {
    /// How long ago it was.
    pub(super) fn ago(time: &str, now: &str) -> Self {
        Self::new(time, now, Form::Ago)
    }

    /// How long it has lasted.
    pub(super) fn length(time: &str, now: &str) -> Self {
        Self::new(time, now, Form::Length)
    }

    /// The time of day.
    pub(super) fn clock(time: &str, now: &str) -> Self {
        Self::new(time, now, Form::Clock)
    }

    fn new(time: &str, now: &str, form: Form) -> Self {
        Self {
            time: time.parse().ok(),
            now: now.parse().ok(),
            form,
        }
    }
}

/// Only the parsed time is written, never the text that arrived.
impl HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(time), Some(now)) = (self.time, self.now) else {
            return f.write_str("at an unknown time");
        };
        let whole = time.to_string();
        match self.form {
            Form::Ago => write!(f, r#"<time datetime="{whole}">{}</time>"#, ago(time, now)),
            Form::Length => {
                let text = length(now.since(time));
                write!(
                    f,
                    r#"<time class="length" datetime="{whole}">for {text}</time>"#
                )
            }
            Form::Clock => {
                let today = now.to_string();
                let text = clock(&whole, &today);
                write!(f, r#"<time class="clock" datetime="{whole}">{text}</time>"#)
            }
        }
    }
}

/// The time of day, from a time without fractions; with its date, unless that is the date of `today`.
fn clock(whole: &str, today: &str) -> String {
    let day = whole.get(..10).unwrap_or_default();
    let time = whole.get(11..19).unwrap_or_default();
    if today.starts_with(day) {
        time.to_owned()
    } else {
        format!("{day} {time}")
    }
}

/// The script uses the same words.
fn ago(time: Timestamp, now: Timestamp) -> String {
    if time > now {
        format!("in {}", length(time.since(now)))
    } else {
        format!("{} ago", length(now.since(time)))
    }
}

/// A duration, in one or two units.
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
    fn a_time_is_shown_by_its_distance() {
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
    fn a_time_of_day_has_its_date_unless_it_is_today() {
        let clock = |time| When::clock(time, NOW).to_string();
        assert!(clock("2026-07-30T01:00:00.999Z").contains(">01:00:00<"));
        assert!(clock("2026-07-29T23:59:59.000Z").contains(">2026-07-29 23:59:59<"));
    }

    #[test]
    fn an_invalid_time_is_not_shown() {
        assert_eq!(ago("<script>"), "at an unknown time");
    }
}
