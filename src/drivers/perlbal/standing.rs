//! What a manager tells those who wait: how far its Perlbal has been told, and who is not at rest
//! there. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::rest::Unrest;

/// How one Perlbal stands, by a `watch` channel.
///
/// A node that is in no pool of snapshot `n` is at rest in this Perlbal when it is
/// [`connected`](Self::connected), has been [`told`](Self::told) `n` or a later one, and the node is
/// not in [`unrest`](Self::unrest): whoever a snapshot removes is in unrest before the snapshot
/// counts as told.
///
/// This is as true as what pollbal has read of Perlbal's services and pools. A node that stands in
/// another pool which a service uses, one that pollbal does not keep, gets requests by that one and
/// is not in unrest; nor is it known what the process before a restart of Perlbal still does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// There is a connection; what is there was read, and made as the latest snapshot wants it.
    pub connected: bool,
    /// The serial of the last snapshot whose every change Perlbal has answered with `OK`, whether
    /// that was read back or not. 0 before there is one.
    pub told: u64,
    /// The latest snapshot that was read back is in force whole, and there is a connection.
    pub in_sync: bool,
    /// Removed members that are not at rest, as far as is known. While there is no connection,
    /// what was known when it ended.
    pub unrest: Arc<Unrest>,
}

/// Snapshots whose changes are on their way to Perlbal.
#[derive(Debug, Default)]
pub struct OnTheWay {
    /// How many changes were sent, and how many of them answered.
    sent: u64,
    answered: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Told once so many changes are answered.
    until: u64,
    snapshot: Told,
}

/// A snapshot that Perlbal has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its serial.
    pub serial: u64,
    /// Since when the manager had it, or one before it that was planned together with it; if that
    /// plan changed something here.
    pub taken: Option<Instant>,
    /// When the answer came that caused it, if that is known and `taken` is, too.
    pub cause: Option<Instant>,
}

/// So many snapshots may be on their way one by one; more become one.
const WAITING: usize = 64;

impl OnTheWay {
    /// Takes a snapshot all of whose changes, `changes` more of them, are sent now.
    pub fn tell(&mut self, snapshot: Told, changes: usize) {
        self.sent += changes as u64;
        let full = self.waiting.len() >= WAITING;
        if let Some(last) = self.waiting.back_mut()
            && (last.until == self.sent || full)
        {
            // The times are the earlier one's: who waits for the later one waited no longer.
            (last.until, last.snapshot.serial) = (self.sent, snapshot.serial);
            return;
        }
        self.waiting.push_back(Waiting {
            until: self.sent,
            snapshot,
        });
    }

    /// Takes an answer to a change.
    pub fn answer(&mut self) {
        self.answered += 1;
    }

    /// Takes word that a change was refused: no snapshot on its way is told by what was sent.
    pub fn refuse(&mut self) {
        self.waiting.clear();
    }

    /// The next snapshot that has been told, the earlier ones first.
    pub fn next_told(&mut self) -> Option<Told> {
        let first = self.waiting.front()?;
        if first.until > self.answered {
            return None;
        }
        self.waiting.pop_front().map(|waiting| waiting.snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(serial: u64) -> Told {
        Told {
            serial,
            taken: None,
            cause: None,
        }
    }

    fn told(on_the_way: &mut OnTheWay) -> Vec<u64> {
        let told = std::iter::from_fn(|| on_the_way.next_told());
        told.map(|told| told.serial).collect()
    }

    #[test]
    fn a_snapshot_is_told_when_its_last_change_is_answered_and_no_sooner() {
        let mut on_the_way = OnTheWay::default();
        on_the_way.tell(snapshot(1), 2);
        on_the_way.tell(snapshot(2), 1);
        on_the_way.answer();
        assert_eq!(told(&mut on_the_way), [0; 0]);
        on_the_way.answer();
        assert_eq!(told(&mut on_the_way), [1]);
        on_the_way.answer();
        assert_eq!(told(&mut on_the_way), [2]);
    }

    #[test]
    fn a_snapshot_that_changes_nothing_is_told_at_once_but_not_before_an_earlier_one() {
        let mut on_the_way = OnTheWay::default();
        on_the_way.tell(snapshot(1), 0);
        assert_eq!(told(&mut on_the_way), [1]);
        on_the_way.tell(snapshot(2), 1);
        on_the_way.tell(snapshot(3), 0);
        assert_eq!(told(&mut on_the_way), [0; 0]);
        on_the_way.answer();
        assert_eq!(told(&mut on_the_way), [3]);
    }

    #[test]
    fn after_a_refusal_only_what_is_said_again_tells_a_snapshot() {
        let mut on_the_way = OnTheWay::default();
        on_the_way.tell(snapshot(1), 2);
        on_the_way.answer();
        on_the_way.refuse();
        on_the_way.answer();
        assert_eq!(told(&mut on_the_way), [0; 0]);
        on_the_way.tell(snapshot(1), 1);
        on_the_way.answer();
        assert_eq!(told(&mut on_the_way), [1]);
    }

    #[test]
    fn very_many_snapshots_on_their_way_become_one() {
        let mut on_the_way = OnTheWay::default();
        let many = WAITING as u64 + 10;
        for serial in 1..=many {
            on_the_way.tell(snapshot(serial), 1);
        }
        assert_eq!(on_the_way.waiting.len(), WAITING);
        (1..many).for_each(|_| on_the_way.answer());
        assert_eq!(told(&mut on_the_way).last(), Some(&(WAITING as u64 - 1)));
        on_the_way.answer();
        assert_eq!(told(&mut on_the_way), [many]);
    }
}
