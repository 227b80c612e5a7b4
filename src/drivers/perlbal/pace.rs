//! Leaves Perlbal time for its clients between our commands. Pure.
//!
//! Perlbal serves nobody while it works on commands, and a request takes several turns of its loop;
//! commands in each of these turns hold a request up as many times. So after a *stretch* of
//! commands Perlbal is left alone for as long as that took, and at least every other moment is its
//! clients'. What changes meanwhile is planned together afterwards, which costs Perlbal less than
//! one after the other. A stretch also lasts as long where Perlbal has much else to do; it is then
//! left alone all the more.

use std::time::{Duration, Instant};

/// After a stretch shorter than this Perlbal is not left alone: no client feels it. A single change
/// in a pool of 1,000 takes less.
const SHORT: Duration = Duration::from_millis(2);

/// Perlbal is left alone no longer than this: what is to be said is not to grow old.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// When something may be sent.
#[derive(Debug, Default)]
pub struct Pace {
    /// Since when something is unanswered.
    began: Option<Instant>,
    /// Until when Perlbal is left alone.
    until: Option<Instant>,
}

impl Pace {
    /// Something was sent.
    pub fn sent(&mut self, now: Instant) {
        self.began.get_or_insert(now);
    }

    /// All that was sent is answered.
    pub fn all_answered(&mut self, now: Instant) {
        let Some(began) = self.began.take() else {
            return;
        };
        let took = now - began;
        self.until = (took >= SHORT).then(|| now + took.min(LONGEST_PAUSE));
    }

    /// Whether something may be sent: behind what is unanswered only as long as it is a short
    /// stretch.
    #[must_use]
    pub fn may_send(&self, now: Instant) -> bool {
        match self.began {
            Some(began) => now - began < SHORT,
            None => self.until.is_none_or(|until| until <= now),
        }
    }

    /// When something may be sent, where that is a matter of time alone.
    #[must_use]
    pub fn pause_ends(&self) -> Option<Instant> {
        self.until.filter(|_| self.began.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A pace after a stretch that took so long, and when that ended.
    fn after(took: Duration) -> (Pace, Instant) {
        let (mut pace, began) = (Pace::default(), Instant::now());
        pace.sent(began);
        pace.all_answered(began + took);
        (pace, began + took)
    }

    #[test]
    fn a_short_stretch_is_followed_at_once() {
        let (pace, ended) = after(SHORT / 2);
        assert!(pace.may_send(ended));
        assert_eq!(pace.pause_ends(), None);
    }

    #[test]
    fn after_a_long_stretch_perlbal_is_left_alone_as_long_but_not_for_ever() {
        for (took, pause) in [(7 * MS, 7 * MS), (500 * MS, LONGEST_PAUSE)] {
            let (pace, ended) = after(took);
            assert!(!pace.may_send(ended + pause * 9 / 10));
            assert!(pace.may_send(ended + pause));
            assert_eq!(pace.pause_ends(), Some(ended + pause));
        }
    }

    #[test]
    fn nothing_is_sent_behind_a_stretch_that_is_no_longer_short() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        pace.sent(began);
        assert!(pace.may_send(began + MS));
        pace.sent(began + MS);
        assert!(
            !pace.may_send(began + SHORT),
            "a stretch begins with its first command"
        );
        assert_eq!(pace.pause_ends(), None, "only answers can end it");
    }
}
