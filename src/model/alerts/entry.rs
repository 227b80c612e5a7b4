//! One condition: whether it holds, whether it stands, and what was told of it.

use std::time::{Duration, Instant};

use super::{State, Word};
use crate::model::conditions::{Alert, Circumstances, Condition};
use crate::model::time::Timestamp;

/// The longest time after which what still stands is told again.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// One condition.
#[derive(Debug)]
pub(super) struct Entry {
    /// As it was when it last held.
    pub(super) condition: Condition,
    /// Whether it was seen at the present look.
    sight: Sight,
    /// Since when it holds; when it stood last, held.
    since: Instant,
    /// The time of day then: as it is told, each time the same.
    pub(super) date: Timestamp,
    /// Since when it does not hold any more.
    away: Option<Instant>,
    /// From when on it counts for how long it has held, or has been away: since that changed, but for the time that
    /// pollbal stood still since.
    counts_from: Instant,
    /// It has held long enough to count, and has not been away long enough for its end.
    stands: bool,
    /// What a person believes: that it stands.
    pub(super) told: Option<Told>,
    /// When it was last told to begin.
    pub(super) begun: Option<Instant>,
    /// It counts among those that were left out.
    pub(super) left_out: bool,
}

/// Whether a condition was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Seen,
    Missed,
    /// In the run before: whether it still holds need not be known yet.
    Remembered,
}

/// That it stands was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// For the last time.
    pub(super) at: Instant,
    /// After this it is told again.
    pub(super) wait: Duration,
}

impl Entry {
    pub(super) fn new(condition: Condition, (now, today): (Instant, Timestamp)) -> Self {
        Self {
            condition,
            sight: Sight::Seen,
            since: now,
            date: today,
            away: None,
            counts_from: now,
            stands: false,
            told: None,
            begun: None,
            left_out: false,
        }
    }

    /// One of the run before. What a person believes stands until it is known to be over.
    pub(super) fn remembered(
        condition: Condition,
        since: (Instant, Timestamp),
        (told, begun): (Option<Told>, Option<Instant>),
        now: Instant,
    ) -> Self {
        Self {
            away: told.is_none().then_some(now),
            stands: told.is_some(),
            told,
            begun,
            sight: Sight::Remembered,
            ..Self::new(condition, since)
        }
    }

    /// A look begins.
    pub(super) fn unsee(&mut self) {
        if self.sight == Sight::Seen {
            self.sight = Sight::Missed;
        }
    }

    /// It holds.
    pub(super) fn see(&mut self, condition: Condition, (now, today): (Instant, Timestamp)) {
        (self.condition, self.sight) = (condition, Sight::Seen);
        if self.away.take().is_some() && !self.stands {
            (self.since, self.date, self.counts_from) = (now, today, now);
        }
    }

    /// It does not hold, unless it was seen; of one of the run before only if all is `known`.
    pub(super) fn miss(&mut self, known: bool, now: Instant) {
        let missed = self.sight == Sight::Missed || (known && self.sight == Sight::Remembered);
        if missed && self.away.is_none() {
            (self.away, self.counts_from) = (Some(now), now);
        }
    }

    /// Takes a pause of pollbal into account: what it did not see counts neither for holding nor for being away, and what
    /// still stands is told again later by that.
    pub(super) fn stood_still(&mut self, pause: Duration) {
        self.counts_from += pause;
        if let Some(told) = &mut self.told {
            told.at += pause;
        }
    }

    pub(super) fn stands(&self) -> bool {
        self.stands
    }

    /// Whether it holds at this moment, as far as is known.
    pub(super) fn holds(&self) -> bool {
        self.away.is_none() && self.sight != Sight::Remembered
    }

    /// How long it has held, or did.
    pub(super) fn lasted(&self, now: Instant) -> Duration {
        let until = self.away.filter(|_| !self.stands).unwrap_or(now);
        until.duration_since(self.since)
    }

    /// Whether it stands from now on, or no longer.
    pub(super) fn settle(&mut self, circumstances: &Circumstances, now: Instant) -> Option<Word> {
        if self.settles_at()? > now {
            return None;
        }
        self.stands = !self.stands;
        let condition = self.condition.clone();
        Some(if self.stands {
            Word::Begins(condition)
        } else {
            let instead = circumstances.instead(condition.kind, &condition.subject);
            Word::Ends(condition, self.lasted(now), instead)
        })
    }

    /// When it will stand, or will no longer, if it stays as it is.
    pub(super) fn settles_at(&self) -> Option<Instant> {
        let ends = self.condition.kind.settles();
        let settles = match (self.stands, self.away, self.condition.alert) {
            (false, None, Alert::After(begins)) => Some(begins),
            (false, None, Alert::Covered | Alert::Never) | (true, Some(_), _) => ends,
            (true, None, _) | (false, Some(_), _) => return None,
        };
        Some(self.counts_from + settles.unwrap_or_default())
    }

    /// What is to be told of it now.
    pub(super) fn due(&self, interval: Duration, now: Instant) -> Option<State> {
        (self.due_at(interval)? <= now).then_some(match (self.stands, self.told) {
            (true, None) => State::Begin,
            (true, Some(_)) => State::Still,
            (false, _) => State::Over,
        })
    }

    /// When something is to be told of it, if it stays as it is.
    pub(super) fn due_at(&self, interval: Duration) -> Option<Instant> {
        if self.sight == Sight::Remembered && self.away.is_none() {
            // Nobody knows yet how that is now.
            return None;
        }
        if self.stands && self.away.is_some() {
            // It does not hold: if it is back before it is over, it is told then.
            return None;
        }
        match (self.stands, self.told) {
            (true, None) => Some(self.begun.map_or(self.since, |begun| begun + interval)),
            (true, Some(Told { at, wait })) => Some(at + wait),
            (false, Some(Told { at, .. })) => Some(at),
            (false, None) => None,
        }
    }

    /// It is told.
    pub(super) fn tell(&mut self, state: State, interval: Duration, now: Instant) {
        let wait = match (state, self.told) {
            (State::Still, Some(told)) => (2 * told.wait).min(LONGEST_WAIT.max(interval)),
            _ => interval,
        };
        self.told = (state != State::Over).then_some(Told { at: now, wait });
        if state == State::Begin {
            self.begun = Some(now);
        }
    }

    /// Whether nothing need be known of it any more.
    pub(super) fn is_forgotten(&self, interval: Duration, now: Instant) -> bool {
        let recent = |begun: Instant| now.duration_since(begun) < interval;
        self.away.is_some()
            && !self.stands
            && self.told.is_none()
            && !self.begun.is_some_and(recent)
    }
}
