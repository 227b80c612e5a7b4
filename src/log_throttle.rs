//! Rate limits for log lines, so that something that changes at every poll, through a fault or malice, does not flood
//! the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Maximum log lines per subject within [`WINDOW`]; one more then reports that the rest are suppressed.
pub const MAX_LINES: u32 = 30;

/// Length of a window. It begins with the first line that is logged.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The line for [`Decision::LogLast`]; `what` is a clause such as "node-1 changes".
#[must_use]
pub fn suppression_notice(what: &str) -> String {
    let window = humantime::format_duration(WINDOW);
    format!("{what} too often: suppressing further lines about it for up to {window}")
}

/// Limits log lines per subject to [`MAX_LINES`] within [`WINDOW`].
#[derive(Debug)]
pub struct LogThrottle<Subject> {
    windows: BTreeMap<Subject, Window>,
    /// When expired windows were last removed.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Window {
    begins: Instant,
    lines: u32,
}

/// What to do with a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Log the line.
    Log,
    /// Log the [`suppression_notice`] instead of it: it is the first beyond the limit.
    LogLast,
    /// Log nothing.
    Suppress,
}

impl<Subject> Default for LogThrottle<Subject> {
    fn default() -> Self {
        Self {
            windows: BTreeMap::new(),
            swept: None,
        }
    }
}

impl<Subject: Ord> LogThrottle<Subject> {
    /// Counts a line about `subject` at `now`, and decides whether it is logged.
    pub fn check(&mut self, subject: Subject, now: Instant) -> Decision {
        self.sweep(now);
        let new = || Window {
            begins: now,
            lines: 0,
        };
        let window = self.windows.entry(subject).or_insert_with(new);
        if now.duration_since(window.begins) >= WINDOW {
            *window = new();
        }
        window.lines = window.lines.saturating_add(1);
        match window.lines {
            0..=MAX_LINES => Decision::Log,
            lines if lines == MAX_LINES + 1 => Decision::LogLast,
            _ => Decision::Suppress,
        }
    }

    /// Removes expired windows, at most once per [`WINDOW`]: subjects come and go, and most never reach the limit.
    fn sweep(&mut self, now: Instant) {
        let swept = *self.swept.get_or_insert(now);
        if now.duration_since(swept) >= WINDOW {
            self.swept = Some(now);
            self.windows
                .retain(|_, window| now.duration_since(window.begins) < WINDOW);
        }
    }
}

/// Limits one kind of log line to one within [`WINDOW`].
#[derive(Debug, Default)]
pub struct OncePerWindow {
    logged: Option<Instant>,
}

impl OncePerWindow {
    /// Whether the line is logged at `now`.
    pub fn check(&mut self, now: Instant) -> bool {
        let due = self
            .logged
            .is_none_or(|logged| now.duration_since(logged) >= WINDOW);
        if due {
            self.logged = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_suppressed_until_the_window_ends() {
        let mut throttle = LogThrottle::default();
        let start = Instant::now();
        let decisions: Vec<_> = (0..MAX_LINES + 3)
            .map(|_| throttle.check("one", start))
            .collect();
        assert!(
            decisions[..30]
                .iter()
                .all(|decision| *decision == Decision::Log)
        );
        assert_eq!(
            decisions[30..],
            [Decision::LogLast, Decision::Suppress, Decision::Suppress]
        );
        assert_eq!(
            throttle.check("other", start),
            Decision::Log,
            "each subject has a window of its own"
        );
        assert_eq!(throttle.check("one", start + WINDOW), Decision::Log);
    }

    #[test]
    fn once_per_window_is_logged_once_within_the_window() {
        let mut once = OncePerWindow::default();
        let start = Instant::now();
        assert!(once.check(start));
        assert!(!once.check(start + WINDOW / 2));
        assert!(once.check(start + WINDOW));
    }

    #[test]
    fn expired_windows_are_removed() {
        let mut throttle = LogThrottle::default();
        let start = Instant::now();
        for subject in 0..100 {
            throttle.check(subject, start);
        }
        throttle.check(100, start + WINDOW);
        assert_eq!(throttle.windows.len(), 1);
    }
}
