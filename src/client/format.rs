//! Formats times, reasons and names for people.

use std::error::Error;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use humantime::format_duration;

use crate::api::{Away, Reason};
use crate::model::overrides::given;
use crate::model::time::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A duration in its largest unit only.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    // The larger unit starts at two of it, so that rounding is never off by more than a half.
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / MINUTE),
        7_200..172_800 => format!("{} h", seconds / HOUR),
        _ => format!("{} days", seconds / DAY),
    }
}

/// The same, rounded up, for a time in the future: what was ordered for two hours ends in 2 h, not in 1 h.
fn span_ahead(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let unit = match seconds {
        0..120 => 1,
        120..7_200 => MINUTE,
        7_200..172_800 => HOUR,
        _ => DAY,
    };
    span(Duration::from_secs(seconds.next_multiple_of(unit)))
}

/// How long something took, with tenths for short times.
pub(super) fn took(time: Duration) -> String {
    const SHORT: Duration = Duration::from_secs(10);
    if time < SHORT {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        span(time)
    }
}

/// A duration as in the configuration: `1m 30s`.
pub(super) fn exact(time: Duration) -> String {
    format_duration(time).to_string()
}

/// The current time, in the format of the API.
pub(super) fn now() -> String {
    Timestamp::from(SystemTime::now()).rfc3339_millis()
}

/// How long ago a timestamp was: `3 min ago`.
pub(super) fn ago(then: &str, now: &str) -> String {
    match between(then, now) {
        Some(time) => format!("{} ago", span(time)),
        None => then.to_owned(),
    }
}

/// How long ago a timestamp was: `3 min`.
pub(super) fn age(then: &str, now: &str) -> String {
    between(then, now).map_or_else(|| then.to_owned(), span)
}

/// Why a load balancer is not connected: `not answering for 18 s (accepts connections, no reply within
/// 2s); not applied since: -api-r1-1`.
pub(super) fn away(away: &Away, now: &str) -> String {
    let Away {
        since,
        state,
        cause,
        not_applied,
        not_applied_count,
    } = away;
    let mut text = match between(since, now) {
        _ if state.is_empty() => return "not connected yet".to_owned(),
        Some(time) => format!("{state} for {} ({cause})", span(time)),
        None => format!("{state} ({cause})"),
    };
    if !not_applied.is_empty() {
        _ = write!(text, "; not applied since: {}", not_applied.join(", "));
        match not_applied_count.saturating_sub(not_applied.len()) {
            0 => {}
            more => _ = write!(text, " and {more} more"),
        }
    }
    text
}

/// The time until a timestamp: `in 2 h`.
pub(super) fn ahead(then: &str, now: &str) -> String {
    match between(now, then) {
        Some(time) => format!("in {}", span_ahead(time)),
        None => then.to_owned(),
    }
}

/// The time between two timestamps; `None` if one of them is invalid.
pub(super) fn between(earlier: &str, later: &str) -> Option<Duration> {
    let earlier: Timestamp = earlier.parse().ok()?;
    let later: Timestamp = later.parse().ok()?;
    Some(later.since(earlier))
}

/// The root cause of an error, without the number of an OS error.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// A reason with its details: `kernel by ann: "new kernel", 3 min ago, ends in 2 h`.
pub(super) fn reason(reason: &Reason, now: &str) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (by, note) = (text(&reason.by), text(&reason.note));
    let mut text = reason.reason.clone() + &given(&by, &note);
    _ = write!(text, ", {}", ago(&reason.since, now));
    if let Some(until) = &reason.until {
        _ = write!(text, ", ends {}", ahead(until, now));
    }
    text
}

/// A node's name, and its address in parentheses if that differs.
pub(super) fn named(name: &str, node: &str) -> String {
    if name == node {
        node.to_owned()
    } else {
        format!("{name} ({node})")
    }
}

/// A word of a command line, quoted for a shell if necessary.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/+,:=@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T09:30:00.000Z";

    #[test]
    fn a_span_has_one_unit() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_time_until_a_timestamp_is_rounded_up() {
        for (millis, text) in [
            (0, "0 s"),
            (1, "1 s"),
            (119_001, "2 min"),
            (121_000, "3 min"),
            (7_199_999, "2 h"),
            (7_200_001, "3 h"),
            (172_799_000, "2 days"),
            (172_801_000, "3 days"),
        ] {
            assert_eq!(span_ahead(Duration::from_millis(millis)), text, "{millis}");
        }
    }

    #[test]
    fn short_times_have_tenths() {
        assert_eq!(took(Duration::from_millis(840)), "0.8 s");
        assert_eq!(took(Duration::from_secs(90)), "90 s");
    }

    #[test]
    fn timestamps_are_shown_relative_to_now() {
        assert_eq!(ago("2026-11-21T09:26:59.500Z", NOW), "3 min ago");
        assert_eq!(ahead("2026-11-21T11:30:00.000Z", NOW), "in 2 h");
        // A clock that was set back, and an invalid timestamp.
        assert_eq!(ago("2026-11-21T09:31:00.000Z", NOW), "0 s ago");
        assert_eq!(ago("once", NOW), "once");
    }

    #[test]
    fn a_word_is_quoted_if_a_shell_would_interpret_it() {
        for (word, expected) in [
            ("/run/pollbal/admin.sock", "/run/pollbal/admin.sock"),
            ("/my files/a.json", "'/my files/a.json'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn a_reason_has_its_details() {
        let mut given = Reason {
            reason: "kernel".to_owned(),
            note: None,
            by: None,
            since: "2026-11-21T09:29:30.000Z".to_owned(),
            until: None,
        };
        assert_eq!(reason(&given, NOW), "kernel, 30 s ago");
        given.by = Some("ann".to_owned());
        given.note = Some(String::new());
        assert_eq!(reason(&given, NOW), "kernel by ann, 30 s ago");
        given.note = Some("new kernel".to_owned());
        given.until = Some("2026-11-21T12:00:00.000Z".to_owned());
        assert_eq!(
            reason(&given, NOW),
            "kernel by ann: \"new kernel\", 30 s ago, ends in 3 h"
        );
    }
}
