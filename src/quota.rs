//! How often the log speaks of one thing, so that what changes at each poll, by a fault or by
//! malice, does not flood it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// So many lines of one thing are told within [`WINDOW`]; then one that says so.
pub const LINES: u32 = 30;

/// Begins with the first line that is told.
pub const WINDOW: Duration = Duration::from_secs(60);

/// What [`Word::Last`] is for; `what` as in "node-1 changes".
#[must_use]
pub fn last_word(what: &str) -> String {
    let wait = humantime::format_duration(WINDOW);
    format!("{what} too often: no more is told of it within {wait}")
}

/// What was told of late, by thing.
#[derive(Debug)]
pub struct Quota<Thing> {
    windows: BTreeMap<Thing, Window>,
}

#[derive(Debug)]
struct Window {
    begins: Instant,
    lines: u32,
}

/// Whether to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Tell it.
    Tell,
    /// Say that no more will be told within [`WINDOW`].
    Last,
    /// Say nothing.
    Silent,
}

impl<Thing> Default for Quota<Thing> {
    fn default() -> Self {
        Self {
            windows: BTreeMap::new(),
        }
    }
}

impl<Thing: Ord> Quota<Thing> {
    /// Whether to speak of `thing` at `now`.
    pub fn ask(&mut self, thing: Thing, now: Instant) -> Word {
        let new = || Window {
            begins: now,
            lines: 0,
        };
        let window = self.windows.entry(thing).or_insert_with(new);
        if now.duration_since(window.begins) >= WINDOW {
            *window = new();
        }
        window.lines = window.lines.saturating_add(1);
        match window.lines {
            0..=LINES => Word::Tell,
            lines if lines == LINES + 1 => Word::Last,
            _ => Word::Silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_told_of_so_often_and_then_again_after_the_window() {
        let mut quota = Quota::default();
        let start = Instant::now();
        let words: Vec<_> = (0..LINES + 3).map(|_| quota.ask("one", start)).collect();
        assert!(words[..30].iter().all(|word| *word == Word::Tell));
        assert_eq!(words[30..], [Word::Last, Word::Silent, Word::Silent]);
        assert_eq!(
            quota.ask("other", start),
            Word::Tell,
            "each thing has a window of its own"
        );
        assert_eq!(quota.ask("one", start + WINDOW), Word::Tell);
    }
}
