//! How the page writes numbers and states.

use std::fmt::Display;

use crate::api::{self, State};

/// A number with separators: "10,000".
pub(super) fn thousands(count: impl Display) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The number, or a dash if it is unknown.
pub(super) fn count_or_none(count: Option<usize>) -> String {
    count.map_or_else(|| "–".to_owned(), thousands)
}

/// The class of its state in the style sheet, by how much it needs attention.
pub(super) fn class(node: &api::Node) -> &'static str {
    match node.state {
        State::Member if node.failing => "warning",
        State::Member => "good",
        State::Leaving => "leaving",
        State::Idle | State::Awaited => "quiet",
        State::Failed | State::Refused => "bad",
        State::Disabled => "ordered",
    }
}

/// Why it is in this state; none if its reasons, which are shown too, say so.
pub(super) fn why(node: &api::Node) -> Option<&str> {
    let why = node.why.as_deref()?;
    if node.state == State::Disabled && !node.reasons.is_empty() {
        return None;
    }
    Some(why)
}

/// Splits the text of an event that begins with the name of its node: address, name, and the rest.
pub(super) fn named(event: &api::Event) -> Option<(&str, &str, &str)> {
    let (addr, name) = (event.node.as_deref()?, event.name.as_deref()?);
    let rest = event.text.strip_prefix(name)?;
    Some((addr, name, rest))
}

/// The duration of a response, from its milliseconds.
pub(super) fn took(millis: f64) -> String {
    if millis < 1_000.0 {
        format!("{millis:.1} ms")
    } else {
        format!("{:.1} s", millis / 1_000.0)
    }
}
