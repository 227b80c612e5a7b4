//! Decides when a person is alerted of a problem, and when of its end.
//!
//! [`Alerts`] compares the present problems with what it has reported. It reads no clock; time is an argument.
//!
//! ```text
//!   problems ─► present for Kind::hold_time ─► active ─► due ─► notices, if hours and limits allow it
//! ```
//!
//! - A problem that lasts becomes *active*, and stops being active once it is absent for as long: a [`Transition`] for
//!   each.
//! - Each active problem is reported once when it begins, and once when it is over. One that comes and goes is reported
//!   at most once per `interval`; if it is active when that has passed, it is reported then.
//! - A problem that remains is reported again after `interval`, then after twice as long, and so on, at least daily.
//! - Only time in which pollbal ran counts: what pollbal did not observe was neither present nor absent.
//! - A problem that is absent is not reported as present: until it has been absent long enough to be over, reports of it
//!   wait.
//! - Outside of `hours` nothing is reported, and at most `limit` notices within `interval`: one of each kind first, so
//!   that many of one kind do not hide another. Problems that are still active later are reported then; the end of a
//!   problem is reported only if its beginning was.

mod entry;
mod saved;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use self::entry::Entry;
pub use self::saved::SavedAlerts;
use super::problems::{AlertPolicy, Kind, Problem, Resolution, SystemStatus};
use super::time::Timestamp;
use super::time_window::TimeWindow;

/// Interval at which the time of day is checked while notices wait for `hours` to begin.
const HOURS_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// How often, and when, a person is alerted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertSettings {
    /// Whether alerts are sent at all.
    pub on: bool,
    /// When they are sent, by local time.
    pub hours: TimeWindow,
    /// Minimum time between two reports of the same problem.
    pub interval: Duration,
    /// Maximum notices within `interval`, of all problems together.
    pub limit: usize,
}

/// The problems that are followed, and what has been reported of them.
#[derive(Debug, Default)]
pub struct Alerts {
    entries: BTreeMap<Key, Entry>,
    /// When notices were sent within the last `interval`.
    sent: VecDeque<Instant>,
    /// Number of due notices that `limit` suppressed since the last one that was sent, by kind.
    left_out: LeftOut,
}

/// A problem that has lasted long enough to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveProblem {
    /// The problem.
    pub problem: Problem,
    /// When it began.
    pub since: Timestamp,
    /// Whether it is present now: one that is absent for a moment remains active.
    pub is_present: bool,
}

/// Numbers of notices by kind; a kind without any has no entry.
pub type LeftOut = BTreeMap<Kind, usize>;

/// What identifies a problem: kind and subject.
type Key = (Kind, String);

/// A problem became active or stopped being active: for the log and the event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is active from now on.
    Raised(Problem),
    /// It is over: how long it lasted, and what is the case instead.
    Cleared(Problem, Duration, Resolution),
}

/// What is reported to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether it reports the beginning, the continuation or the end.
    pub kind: NoticeKind,
    /// The problem.
    pub problem: Problem,
    /// When it began; the same in all reports of it.
    pub since: Timestamp,
    /// How long it has lasted, or did.
    pub lasted: Duration,
    /// What is the case instead, once it is over.
    pub resolution: Option<Resolution>,
    /// The other notices that `limit` suppressed since the notice before.
    pub left_out: LeftOut,
}

/// What a notice reports. The variants are in order of priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeKind {
    /// The problem has begun: it was not reported yet.
    Begin,
    /// It is over.
    Over,
    /// It remains: it was reported before.
    Still,
}

/// The result of an evaluation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The problems that became active or are over.
    pub transitions: Vec<Transition>,
    /// What to report.
    pub notices: Vec<Notice>,
    /// When to evaluate again although nothing changed; `None`: never.
    pub next: Option<Instant>,
}

impl Alerts {
    /// Evaluates the system status at `now`, which is `today`. `is_open`: whether `hours` and the queue allow notices
    /// now.
    pub fn evaluate(
        &mut self,
        status: &SystemStatus,
        settings: &AlertSettings,
        (now, today): (Instant, Timestamp),
        is_open: bool,
    ) -> Outcome {
        self.update_presence(status, (now, today));
        let entries = self.entries.values_mut();
        let transitions = entries
            .filter_map(|entry| entry.update_active(status, now))
            .collect();
        let notices = if settings.on && is_open {
            self.due_notices(status, settings, now)
        } else {
            Vec::new()
        };
        self.entries
            .retain(|_, entry| !entry.is_obsolete(settings.interval, now));
        Outcome {
            transitions,
            notices,
            next: self.next_evaluation(settings, is_open, now),
        }
    }

    /// Takes a pause of pollbal into account.
    pub fn add_pause(&mut self, pause: Duration) {
        for entry in self.entries.values_mut() {
            entry.add_pause(pause);
        }
    }

    /// The active problems.
    #[must_use]
    pub fn active(&self) -> Vec<ActiveProblem> {
        let entries = self.entries.values();
        let active = entries.filter(|entry| entry.is_active());
        let problem = |entry: &Entry| ActiveProblem {
            problem: entry.problem.clone(),
            since: entry.since_date,
            is_present: entry.is_present(),
        };
        active.map(problem).collect()
    }

    fn update_presence(&mut self, status: &SystemStatus, (now, today): (Instant, Timestamp)) {
        for entry in self.entries.values_mut() {
            entry.begin_evaluation();
        }
        for problem in status.problems() {
            let key = (problem.kind, problem.subject.clone());
            match (self.entries.get_mut(&key), problem.alert) {
                (_, AlertPolicy::Never) | (None, AlertPolicy::Covered) => {}
                (None, AlertPolicy::After(_)) => {
                    let entry = Entry::new(problem, (now, today));
                    self.entries.insert(key, entry);
                }
                (Some(entry), AlertPolicy::After(_)) => entry.mark_present(problem, (now, today)),
                (Some(entry), AlertPolicy::Covered) => {
                    if entry.is_active() {
                        entry.mark_present(problem, (now, today));
                    }
                }
            }
        }
        for entry in self.entries.values_mut() {
            entry.end_evaluation(status.first_round_done, now);
        }
    }

    fn due_notices(
        &mut self,
        status: &SystemStatus,
        settings: &AlertSettings,
        now: Instant,
    ) -> Vec<Notice> {
        self.forget_sent(settings.interval, now);
        let due = self
            .entries
            .iter()
            .filter_map(|(key, entry)| Some((entry.due(settings.interval, now)?, key.clone())))
            .collect();
        let mut notices = Vec::new();
        for (kind, key) in by_priority(due) {
            if self.sent.len() < settings.limit {
                let mut notice = self.notice(&key, kind, settings.interval, now);
                if let Some(notice) = &mut notice
                    && kind == NoticeKind::Over
                {
                    notice.resolution = Some(status.resolution(key.0, &key.1));
                }
                notices.extend(notice);
            } else if kind != NoticeKind::Still
                && let Some(entry) = self.entries.get_mut(&key)
                && !std::mem::replace(&mut entry.left_out, true)
            {
                *self.left_out.entry(key.0).or_default() += 1;
            }
        }
        notices
    }

    fn notice(
        &mut self,
        key: &Key,
        kind: NoticeKind,
        interval: Duration,
        now: Instant,
    ) -> Option<Notice> {
        let entry = self.entries.get_mut(key)?;
        let mut others = std::mem::take(&mut self.left_out);
        if entry.left_out {
            // This one is sent after all, so it is not one of the others; and there may be no others of its kind.
            others.entry(key.0).and_modify(|number| *number -= 1);
            others.retain(|_, number| *number > 0);
        }
        entry.record_notice(kind, interval, now);
        let notice = Notice {
            kind,
            problem: entry.problem.clone(),
            since: entry.since_date,
            lasted: entry.lasted(now),
            resolution: None,
            left_out: others,
        };
        self.sent.push_back(now);
        for entry in self.entries.values_mut() {
            entry.left_out = false;
        }
        Some(notice)
    }

    fn forget_sent(&mut self, interval: Duration, now: Instant) {
        let is_old = |sent: &Instant| now.duration_since(*sent) >= interval;
        while self.sent.front().is_some_and(is_old) {
            self.sent.pop_front();
        }
    }

    fn next_evaluation(
        &self,
        settings: &AlertSettings,
        is_open: bool,
        now: Instant,
    ) -> Option<Instant> {
        let below_limit = match self.sent.front() {
            Some(first) if self.sent.len() >= settings.limit => *first + settings.interval,
            _ => now,
        };
        let notices = self.entries.values().filter_map(|entry| {
            let at = entry.due_at(settings.interval).filter(|_| settings.on)?;
            let open = if is_open {
                now
            } else {
                now + HOURS_CHECK_INTERVAL
            };
            Some(at.max(below_limit).max(open))
        });
        let transitions = self.entries.values().filter_map(Entry::transition_at);
        notices.chain(transitions).min()
    }
}

/// Orders due notices: first one of each kind, except those that only repeat.
fn by_priority(mut due: Vec<(NoticeKind, Key)>) -> impl Iterator<Item = (NoticeKind, Key)> {
    due.sort();
    let mut kinds = BTreeSet::new();
    let is_first = |(notice, (kind, _)): &(NoticeKind, Key)| {
        *notice != NoticeKind::Still && kinds.insert(*kind)
    };
    let (first, rest): (Vec<_>, Vec<_>) = due.into_iter().partition(is_first);
    first.into_iter().chain(rest)
}

#[cfg(test)]
mod tests;
