//! What was told, kept from run to run: so that a restart begins no alert anew, and that something
//! is over is told although pollbal ended in between.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Alerts;
use super::entry::{Entry, Told};
use crate::model::conditions::{Alert, Condition, Kind};
use crate::model::names::PoolName;
use crate::model::time::Timestamp;

/// What was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    conditions: Vec<Remembered>,
    /// When notices were told of late, for `limit`.
    told: Vec<Timestamp>,
}

/// A condition of which a person was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// Its word. One that is not known is from another pollbal, and forgotten.
    kind: String,
    subject: String,
    pool: Option<PoolName>,
    text: String,
    since: Timestamp,
    /// When it was last told to begin.
    begun: Option<Timestamp>,
    /// When a person was last told that it stands, if that is what he believes.
    told: Option<Timestamp>,
    /// After so many milliseconds it is told again.
    wait: u64,
}

impl Memory {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Alerts {
    /// Goes on from there, at a moment of this run.
    #[must_use]
    pub fn resume(memory: &Memory, moment: (Instant, Timestamp)) -> Self {
        let conditions = memory.conditions.iter();
        let entries = conditions.filter_map(|remembered| {
            let entry = remembered.entry(moment)?;
            let key = (entry.condition.kind, entry.condition.subject.clone());
            Some((key, entry))
        });
        let told = memory.told.iter().map(|told| at(*told, moment));
        Self {
            entries: entries.collect(),
            told: told.collect(),
            ..Self::default()
        }
    }

    /// What is to be kept.
    #[must_use]
    pub fn memory(&self, moment: (Instant, Timestamp)) -> Memory {
        let entries = self.entries.values();
        let told = entries.filter(|entry| entry.told.is_some() || entry.begun.is_some());
        Memory {
            conditions: told.map(|entry| Remembered::of(entry, moment)).collect(),
            told: self.told.iter().map(|told| date(*told, moment)).collect(),
        }
    }
}

impl Remembered {
    fn of(entry: &Entry, moment: (Instant, Timestamp)) -> Self {
        let Condition {
            kind,
            subject,
            pool,
            text,
            ..
        } = entry.condition.clone();
        let wait = entry.told.map_or(Duration::ZERO, |told| told.wait);
        Self {
            kind: kind.word().to_owned(),
            subject,
            pool,
            text,
            since: entry.date,
            begun: entry.begun.map(|begun| date(begun, moment)),
            told: entry.told.map(|told| date(told.at, moment)),
            wait: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn entry(&self, moment: (Instant, Timestamp)) -> Option<Entry> {
        let kind = Kind::of_word(&self.kind)?;
        let condition = Condition {
            kind,
            subject: self.subject.clone(),
            pool: self.pool.clone(),
            text: self.text.clone(),
            brief: self.text.clone(),
            alert: kind.settles().map_or(Alert::Never, Alert::After),
        };
        // No longer than a year: beyond, `Instant` arithmetic could overflow.
        let wait = Duration::from_millis(self.wait).min(Duration::from_secs(365 * 24 * 3600));
        let told = self.told.map(|told| Told {
            at: at(told, moment),
            wait,
        });
        let begun = self.begun.map(|begun| at(begun, moment));
        let since = (at(self.since, moment), self.since);
        Some(Entry::remembered(condition, since, (told, begun), moment.0))
    }
}

fn date(at: Instant, (now, today): (Instant, Timestamp)) -> Timestamp {
    today.before(now.duration_since(at))
}

/// Not before the machine's own beginning, if it has to be told apart.
fn at(date: Timestamp, (now, today): (Instant, Timestamp)) -> Instant {
    now.checked_sub(today.since(date)).unwrap_or(now)
}
