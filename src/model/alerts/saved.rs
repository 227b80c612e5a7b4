//! What has been reported, saved from run to run, so that a restart reports no problem again, and the end of a problem
//! is reported although pollbal was stopped meanwhile.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Alerts;
use super::entry::{Entry, LastNotice};
use crate::model::names::PoolName;
use crate::model::problems::{AlertPolicy, Kind, Problem};
use crate::model::time::Timestamp;

/// Maximum delay before a repetition that is read: beyond a year, `Instant` arithmetic could overflow.
const MAX_REPEAT_AFTER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What has been reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAlerts {
    problems: Vec<SavedEntry>,
    /// When notices were sent recently, for `limit`.
    sent: Vec<Timestamp>,
}

/// A problem that was reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedEntry {
    /// Its kind's identifier. An unknown one is from another version of pollbal, and is dropped.
    kind: String,
    subject: String,
    pool: Option<PoolName>,
    text: String,
    since: Timestamp,
    /// When its beginning was last reported.
    begin_reported: Option<Timestamp>,
    /// When it was last reported to be present, unless it was reported to be over since.
    reported: Option<Timestamp>,
    /// Delay before that is reported again, in milliseconds.
    repeat_after_ms: u64,
}

impl SavedAlerts {
    /// Whether there is nothing to save.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Alerts {
    /// Resumes from what the previous run saved, at this moment of the present run.
    #[must_use]
    pub fn resume(saved: &SavedAlerts, clock: (Instant, Timestamp)) -> Self {
        let problems = saved.problems.iter();
        let entries = problems.filter_map(|saved| {
            let entry = saved.entry(clock)?;
            let key = (entry.problem.kind, entry.problem.subject.clone());
            Some((key, entry))
        });
        let sent = saved.sent.iter().map(|sent| instant_of(*sent, clock));
        Self {
            entries: entries.collect(),
            sent: sent.collect(),
            ..Self::default()
        }
    }

    /// What is to be saved.
    #[must_use]
    pub fn save(&self, clock: (Instant, Timestamp)) -> SavedAlerts {
        let entries = self.entries.values();
        let reported =
            entries.filter(|entry| entry.last_notice.is_some() || entry.begin_reported.is_some());
        SavedAlerts {
            problems: reported.map(|entry| SavedEntry::of(entry, clock)).collect(),
            sent: self.sent.iter().map(|sent| date_of(*sent, clock)).collect(),
        }
    }
}

impl SavedEntry {
    fn of(entry: &Entry, clock: (Instant, Timestamp)) -> Self {
        let Problem {
            kind,
            subject,
            pool,
            text,
            ..
        } = entry.problem.clone();
        let repeat_after = entry.last_notice.map(|notice| notice.repeat_after);
        let repeat_after_ms = repeat_after.unwrap_or_default().as_millis();
        Self {
            kind: kind.word().to_owned(),
            subject,
            pool,
            text,
            since: entry.since_date,
            begin_reported: entry.begin_reported.map(|at| date_of(at, clock)),
            reported: entry.last_notice.map(|notice| date_of(notice.at, clock)),
            repeat_after_ms: u64::try_from(repeat_after_ms).unwrap_or(u64::MAX),
        }
    }

    fn entry(&self, clock: (Instant, Timestamp)) -> Option<Entry> {
        let kind = Kind::of_word(&self.kind)?;
        let problem = Problem {
            kind,
            subject: self.subject.clone(),
            pool: self.pool.clone(),
            text: self.text.clone(),
            brief: self.text.clone(),
            alert: kind
                .hold_time()
                .map_or(AlertPolicy::Never, AlertPolicy::After),
            blocks_ready: false,
        };
        let repeat_after = Duration::from_millis(self.repeat_after_ms).min(MAX_REPEAT_AFTER);
        let last_notice = self.reported.map(|reported| LastNotice {
            at: instant_of(reported, clock),
            repeat_after,
        });
        let begin_reported = self.begin_reported.map(|at| instant_of(at, clock));
        let since = (instant_of(self.since, clock), self.since);
        let reported = (last_notice, begin_reported);
        Some(Entry::remembered(problem, since, reported, clock.0))
    }
}

fn date_of(at: Instant, (now, today): (Instant, Timestamp)) -> Timestamp {
    today.before(now.duration_since(at))
}

/// The instant of a date; the present for one before the machine was booted, which no `Instant` can express.
fn instant_of(date: Timestamp, (now, today): (Instant, Timestamp)) -> Instant {
    now.checked_sub(today.since(date)).unwrap_or(now)
}
