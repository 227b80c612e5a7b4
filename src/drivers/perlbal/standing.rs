//! What a manager tells those who wait: how far its Perlbal has been told, and who is not at rest
//! there. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::away::Away;
use super::drain::Draining;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

/// How one Perlbal stands, by a `watch` channel.
///
/// Whoever a snapshot removes is in [`unrest`](Self::unrest) before the snapshot counts as told, and
/// so before it can be shown. It is not known what the process before a restart of Perlbal still
/// does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// There is a connection; what is there was read, and made as the latest snapshot wants it.
    pub connected: bool,
    /// The serial of the last snapshot whose every change Perlbal has answered with `OK`, whether
    /// that was read back or not. 0 before there is one.
    pub told: u64,
    /// The serial of the last snapshot that had been told when a reading of everything began which
    /// has ended since, over this connection. 0 before there is one.
    pub shown: u64,
    /// Who is in a pool that a service uses, by what was last read there and told since, although
    /// pollbal does not want it there.
    pub strays: Arc<Strays>,
    /// The latest snapshot that was read back is in force whole, and there is a connection.
    pub in_sync: bool,
    /// Removed members that are not at rest, as far as is known. While there is no connection,
    /// what was known when it ended.
    pub unrest: Arc<Draining>,
    /// Why it cannot be driven, since when, and what waits to be applied; `None` while it is
    /// connected, and before the manager has begun.
    pub away: Option<Arc<Away>>,
}

impl Standing {
    /// Whether a node that is in no pool of snapshot `since`, and of no later one, is at rest here:
    /// by a reading that Perlbal answered after it had been told that snapshot, no service has the
    /// node in its pool, and no connection to it is busy.
    #[must_use]
    pub fn is_at_rest(&self, addr: NodeAddr, since: u64) -> bool {
        self.connected
            && self.told >= since
            && self.shown >= since
            && !self.strays.contains_key(&addr)
            && !self.unrest.contains_key(&addr)
    }
}

/// Nodes in pools that services use, although pollbal does not want them there.
pub type Strays = BTreeMap<NodeAddr, Stray>;

/// Where such a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The pool, by its name there; of several one that pollbal does not manage, if there is one.
    pub pool: PerlbalName,
    /// Whose that is.
    pub whose: Whose,
}

/// Whose a pool is in which a node is that pollbal does not want there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Pollbal's; the node's removal is not read back yet.
    Ours,
    /// Pollbal's as soon as a node serves in it; until then who was there stays.
    Unserved,
    /// Another's.
    Another,
}

impl Stray {
    /// Whether pollbal removes the node there.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        self.whose == Whose::Ours
    }

    /// `still a member of pool mine at 127.0.0.1:16000, which pollbal does not manage`.
    #[must_use]
    pub fn text(&self, perlbal: &str) -> String {
        let Self { pool, whose } = self;
        let and = match whose {
            Whose::Ours => "; its removal is not read back yet",
            Whose::Unserved => ", in which no node serves yet: members that were there stay",
            Whose::Another => ", which pollbal does not manage",
        };
        format!("still a member of pool {pool} at {perlbal}{and}")
    }
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

    /// Takes changes that belong to no snapshot and are sent now; those before them count as told when
    /// these are answered.
    pub fn more(&mut self, changes: usize) {
        self.sent += changes as u64;
        if let Some(last) = self.waiting.back_mut() {
            last.until = self.sent;
        }
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
    fn changes_of_no_snapshot_tell_none_too_early() {
        let mut on_the_way = OnTheWay::default();
        on_the_way.more(1);
        on_the_way.tell(snapshot(1), 1);
        on_the_way.more(1);
        for _ in 0..2 {
            on_the_way.answer();
            assert_eq!(told(&mut on_the_way), [0; 0]);
        }
        on_the_way.answer();
        assert_eq!(told(&mut on_the_way), [1]);
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
