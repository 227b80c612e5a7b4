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
    /// When windows that are over were last forgotten.
    swept: Option<Instant>,
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
            swept: None,
        }
    }
}

impl<Thing: Ord> Quota<Thing> {
    /// Whether to speak of `thing` at `now`.
    pub fn ask(&mut self, thing: Thing, now: Instant) -> Word {
        self.sweep(now);
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

    /// Forgets, once in a while, what may be told again: things come and go, and most of them
    /// never change as often as that.
    fn sweep(&mut self, now: Instant) {
        let swept = *self.swept.get_or_insert(now);
        if now.duration_since(swept) >= WINDOW {
            self.swept = Some(now);
            self.windows
                .retain(|_, window| now.duration_since(window.begins) < WINDOW);
        }
    }
}

/// One thing that is told once within [`WINDOW`].
#[derive(Debug, Default)]
pub struct Rarely {
    told: Option<Instant>,
}

impl Rarely {
    /// Whether to speak of it at `now`.
    pub fn ask(&mut self, now: Instant) -> bool {
        let due = self
            .told
            .is_none_or(|told| now.duration_since(told) >= WINDOW);
        if due {
            self.told = Some(now);
        }
        due
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

    #[test]
    fn what_is_told_rarely_is_told_once_within_the_window() {
        let mut rarely = Rarely::default();
        let start = Instant::now();
        assert!(rarely.ask(start));
        assert!(!rarely.ask(start + WINDOW / 2));
        assert!(rarely.ask(start + WINDOW));
    }

    #[test]
    fn what_was_told_long_ago_fills_no_memory() {
        let mut quota = Quota::default();
        let start = Instant::now();
        for thing in 0..100 {
            quota.ask(thing, start);
        }
        quota.ask(100, start + WINDOW);
        assert_eq!(quota.windows.len(), 1);
    }
}
