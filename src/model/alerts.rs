//! When a person is told what holds, and when that it is over.
//!
//! [`Alerts`] compares what holds now with what it told. It reads no clock; time is an argument.
//!
//! ```text
//!   conditions ─► settled ─► standing ─► due ─► told, if hours and limits allow it
//!                   for Kind::settles      begin, over, still
//! ```
//!
//! - What holds for a while *stands*, and ends when it is away as long: a [`Word`] for each.
//! - Each that stands is told once, and once that it is over. One that comes and goes is told no
//!   more than once in `interval`; if it stands when that is over, it is told then.
//! - What stands on is told again after `interval`, then after twice as long, and so on up to a day.
//! - Only time counts in which pollbal ran: what it did not see neither held nor was away.
//! - Nothing is told to hold while it does not: in the time that it must be away for its end, it waits.
//! - Outside of `hours` nothing is told, and no more than `limit` notices within `interval`: one of
//!   each kind first, so that many of one kind do not hide another. What
//!   stands is then told later, if it still does; that something is over is told for what was told,
//!   and only for that.

mod entry;
mod memory;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use self::entry::Entry;
pub use self::memory::Memory;
use super::conditions::{Alert, Circumstances, Condition, Instead, Kind};
use super::time::Timestamp;
use super::time_window::TimeWindow;

/// When the hours may have begun is looked at so often.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

/// How often, and when, a person is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertSettings {
    /// Whether there is anyone to tell.
    pub on: bool,
    /// When, by the local clock.
    pub hours: TimeWindow,
    /// A condition is told once in this time.
    pub interval: Duration,
    /// So many notices within `interval`, of all conditions together.
    pub limit: usize,
}

/// What is told, and what was.
#[derive(Debug, Default)]
pub struct Alerts {
    entries: BTreeMap<Key, Entry>,
    /// When the last notices were told, of `interval`.
    told: VecDeque<Instant>,
    /// How many of each kind that were due were not told because of `limit`, since the last that was.
    left_out: LeftOut,
}

/// A condition that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingCondition {
    /// Which.
    pub condition: Condition,
    /// Since when it holds.
    pub since: Timestamp,
    /// Whether it holds at this moment: what is away for a moment still stands.
    pub holds: bool,
}

/// How many of each kind; none is no entry.
pub type LeftOut = BTreeMap<Kind, usize>;

/// What a condition is told apart by: kind and subject.
type Key = (Kind, String);

/// That a condition stands from now on, or no longer: for the log and the event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It stands.
    Begins(Condition),
    /// It is over; it stood for so long, and this is so instead.
    Ends(Condition, Duration, Instead),
}

/// What a person is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether it begins, still stands, or is over.
    pub state: State,
    /// What.
    pub condition: Condition,
    /// Since when it holds or held; the same each time that it is told.
    pub since: Timestamp,
    /// How long it has held, or did.
    pub lasted: Duration,
    /// What is so instead, when it is over.
    pub instead: Option<Instead>,
    /// The others that were left out since the notice before.
    pub left_out: LeftOut,
}

/// Whether what is told begins, still stands, or is over. In the order in which they are told when
/// there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It was not told yet.
    Begin,
    /// It does not stand any more.
    Over,
    /// It was told before.
    Still,
}

/// What follows from a look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What began and ended.
    pub words: Vec<Word>,
    /// What to tell.
    pub notices: Vec<Notice>,
    /// When to look again although nothing changed; `None`: never.
    pub next: Option<Instant>,
}

impl Alerts {
    /// Takes how things stand at `now`, which is `today`; whether someone can be told now, by the hours too.
    pub fn look(
        &mut self,
        circumstances: &Circumstances,
        settings: &AlertSettings,
        (now, today): (Instant, Timestamp),
        open: bool,
    ) -> Outcome {
        self.take(circumstances, (now, today));
        let entries = self.entries.values_mut();
        let words = entries
            .filter_map(|entry| entry.settle(circumstances, now))
            .collect();
        let notices = if settings.on && open {
            self.tell(circumstances, settings, now)
        } else {
            Vec::new()
        };
        self.entries
            .retain(|_, entry| !entry.is_forgotten(settings.interval, now));
        Outcome {
            words,
            notices,
            next: self.next(settings, open, now),
        }
    }

    /// Takes a pause of pollbal into account.
    pub fn stood_still(&mut self, pause: Duration) {
        for entry in self.entries.values_mut() {
            entry.stood_still(pause);
        }
    }

    /// What stands.
    #[must_use]
    pub fn standing(&self) -> Vec<StandingCondition> {
        let entries = self.entries.values();
        let standing = entries.filter(|entry| entry.stands());
        let told = |entry: &Entry| StandingCondition {
            condition: entry.condition.clone(),
            since: entry.date,
            holds: entry.holds(),
        };
        standing.map(told).collect()
    }

    fn take(&mut self, circumstances: &Circumstances, (now, today): (Instant, Timestamp)) {
        for entry in self.entries.values_mut() {
            entry.unsee();
        }
        for condition in circumstances.conditions() {
            let key = (condition.kind, condition.subject.clone());
            match (self.entries.get_mut(&key), condition.alert) {
                (_, Alert::Never) | (None, Alert::Covered) => {}
                (None, Alert::After(_)) => {
                    let entry = Entry::new(condition, (now, today));
                    self.entries.insert(key, entry);
                }
                (Some(entry), Alert::After(_)) => entry.see(condition, (now, today)),
                (Some(entry), Alert::Covered) => {
                    if entry.stands() {
                        entry.see(condition, (now, today));
                    }
                }
            }
        }
        for entry in self.entries.values_mut() {
            entry.miss(circumstances.first_round_done, now);
        }
    }

    fn tell(
        &mut self,
        circumstances: &Circumstances,
        settings: &AlertSettings,
        now: Instant,
    ) -> Vec<Notice> {
        self.forget_told(settings.interval, now);
        let due = self
            .entries
            .iter()
            .filter_map(|(key, entry)| Some((entry.due(settings.interval, now)?, key.clone())))
            .collect();
        let mut notices = Vec::new();
        for (state, key) in in_turn(due) {
            if self.told.len() < settings.limit {
                let mut notice = self.notice(&key, state, settings.interval, now);
                if let Some(notice) = &mut notice
                    && state == State::Over
                {
                    notice.instead = Some(circumstances.instead(key.0, &key.1));
                }
                notices.extend(notice);
            } else if state != State::Still
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
        state: State,
        interval: Duration,
        now: Instant,
    ) -> Option<Notice> {
        let entry = self.entries.get_mut(key)?;
        let mut others = std::mem::take(&mut self.left_out);
        if entry.left_out {
            // It is no other; and none of its kind may be left.
            others.entry(key.0).and_modify(|number| *number -= 1);
            others.retain(|_, number| *number > 0);
        }
        entry.tell(state, interval, now);
        let notice = Notice {
            state,
            condition: entry.condition.clone(),
            since: entry.date,
            lasted: entry.lasted(now),
            instead: None,
            left_out: others,
        };
        self.told.push_back(now);
        for entry in self.entries.values_mut() {
            entry.left_out = false;
        }
        Some(notice)
    }

    fn forget_told(&mut self, interval: Duration, now: Instant) {
        let over = |told: &Instant| now.duration_since(*told) >= interval;
        while self.told.front().is_some_and(over) {
            self.told.pop_front();
        }
    }

    fn next(&self, settings: &AlertSettings, open: bool, now: Instant) -> Option<Instant> {
        let room = match self.told.front() {
            Some(first) if self.told.len() >= settings.limit => *first + settings.interval,
            _ => now,
        };
        let tells = self.entries.values().filter_map(|entry| {
            let at = entry.due_at(settings.interval).filter(|_| settings.on)?;
            let closed = if open { now } else { now + LOOK_AT_CLOCK };
            Some(at.max(room).max(closed))
        });
        let settles = self.entries.values().filter_map(Entry::settles_at);
        tells.chain(settles).min()
    }
}

/// The order in which they are told: one of each kind in front, of what is not merely said again.
fn in_turn(mut due: Vec<(State, Key)>) -> impl Iterator<Item = (State, Key)> {
    due.sort();
    let mut kinds = BTreeSet::new();
    let is_first =
        |(state, (kind, _)): &(State, Key)| *state != State::Still && kinds.insert(*kind);
    let (first, rest): (Vec<_>, Vec<_>) = due.into_iter().partition(is_first);
    first.into_iter().chain(rest)
}

#[cfg(test)]
mod tests;
