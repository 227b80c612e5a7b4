//! Lists of members that were or must be added and removed, for people. Pure.

use std::fmt::Display;

/// Maximum number of members that are named with one sign; the others are counted.
const MAX_NAMED: usize = 8;

/// The first items, each with a space and its sign before it, and how many more there are.
pub(crate) fn signed(sign: &str, items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.map(|item| format!(" {sign}{item}")).collect();
    let more = items.len().saturating_sub(MAX_NAMED);
    let shown = items[..items.len() - more].concat();
    if more > 0 {
        format!("{shown} and {sign}{more} more")
    } else {
        shown
    }
}

/// `pool api still needs +10.0.0.1:80 -10.0.0.9:80`; `None` if it needs nothing.
pub(crate) fn still_needs(
    pool: impl Display,
    lacks: impl Iterator<Item = impl Display>,
    extra: impl Iterator<Item = impl Display>,
) -> Option<String> {
    let change: Vec<_> = members(lacks, '+')
        .into_iter()
        .chain(members(extra, '-'))
        .collect();
    (!change.is_empty()).then(|| format!("pool {pool} still needs {}", change.join(" ")))
}

/// `+10.0.0.1:80 +10.0.0.2:80`; `None` if there are none.
fn members(members: impl Iterator<Item = impl Display>, sign: char) -> Option<String> {
    let mut texts: Vec<_> = members.map(|member| format!("{sign}{member}")).collect();
    if texts.len() > MAX_NAMED {
        let more = texts.len() - MAX_NAMED;
        texts.truncate(MAX_NAMED);
        texts.push(format!("{sign}{more} more"));
    }
    (!texts.is_empty()).then(|| texts.join(" "))
}
