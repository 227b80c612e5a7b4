//! Text from outside, made safe to show.

/// The text without control characters: for a log line, or the comment of a pool file.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
