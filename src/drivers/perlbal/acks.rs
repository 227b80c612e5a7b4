//! Which snapshots Perlbal has acknowledged: all of whose changes it has acked. Pure.

use std::collections::VecDeque;
use std::time::Instant;

/// Snapshots whose changes were sent and are not all acknowledged.
#[derive(Debug, Default)]
pub struct PendingSnapshots {
    /// Number of changes that were sent, and of those that were acknowledged.
    sent: u64,
    acked: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Acknowledged once this many changes are.
    until: u64,
    snapshot: AckedSnapshot,
}

/// A snapshot that Perlbal has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckedSnapshot {
    /// Its serial.
    pub serial: u64,
    /// When the driver received it, or an earlier one that was planned together with it; `None` if
    /// that plan changed nothing here.
    pub taken: Option<Instant>,
    /// When the poll ended that caused it, if both are known.
    pub cause: Option<Instant>,
}

/// Maximum number of pending snapshots; further ones are merged into the last.
const MAX_PENDING: usize = 64;

impl PendingSnapshots {
    /// Adds a snapshot whose changes, `changes` in addition to those before, are being sent.
    pub fn push(&mut self, snapshot: AckedSnapshot, changes: usize) {
        self.sent += changes as u64;
        let full = self.waiting.len() >= MAX_PENDING;
        if let Some(last) = self.waiting.back_mut()
            && (last.until == self.sent || full)
        {
            // The times stay the earlier one's, which are an upper bound for the later one.
            (last.until, last.snapshot.serial) = (self.sent, snapshot.serial);
            return;
        }
        self.waiting.push_back(Waiting {
            until: self.sent,
            snapshot,
        });
    }

    /// Adds changes that belong to no snapshot and are being sent; earlier snapshots count as
    /// acknowledged when these are.
    pub fn extend(&mut self, changes: usize) {
        self.sent += changes as u64;
        if let Some(last) = self.waiting.back_mut() {
            last.until = self.sent;
        }
    }

    /// Records the answer to a change.
    pub fn ack(&mut self) {
        self.acked += 1;
    }

    /// Forgets all pending snapshots, after a change was rejected: what was sent does not bring them
    /// about.
    pub fn reset(&mut self) {
        self.waiting.clear();
    }

    /// The next snapshot that is acknowledged, the oldest first.
    pub fn next_acked(&mut self) -> Option<AckedSnapshot> {
        let first = self.waiting.front()?;
        if first.until > self.acked {
            return None;
        }
        self.waiting.pop_front().map(|waiting| waiting.snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(serial: u64) -> AckedSnapshot {
        AckedSnapshot {
            serial,
            taken: None,
            cause: None,
        }
    }

    fn acked(pending: &mut PendingSnapshots) -> Vec<u64> {
        let acked = std::iter::from_fn(|| pending.next_acked());
        acked.map(|acked| acked.serial).collect()
    }

    #[test]
    fn a_snapshot_is_acknowledged_with_its_last_change_and_no_sooner() {
        let mut pending = PendingSnapshots::default();
        pending.push(snapshot(1), 2);
        pending.push(snapshot(2), 1);
        pending.ack();
        assert_eq!(acked(&mut pending), [0; 0]);
        pending.ack();
        assert_eq!(acked(&mut pending), [1]);
        pending.ack();
        assert_eq!(acked(&mut pending), [2]);
    }

    #[test]
    fn a_snapshot_without_changes_is_acknowledged_at_once_but_not_before_an_earlier_one() {
        let mut pending = PendingSnapshots::default();
        pending.push(snapshot(1), 0);
        assert_eq!(acked(&mut pending), [1]);
        pending.push(snapshot(2), 1);
        pending.push(snapshot(3), 0);
        assert_eq!(acked(&mut pending), [0; 0]);
        pending.ack();
        assert_eq!(acked(&mut pending), [3]);
    }

    #[test]
    fn changes_of_no_snapshot_acknowledge_none_too_early() {
        let mut pending = PendingSnapshots::default();
        pending.extend(1);
        pending.push(snapshot(1), 1);
        pending.extend(1);
        for _ in 0..2 {
            pending.ack();
            assert_eq!(acked(&mut pending), [0; 0]);
        }
        pending.ack();
        assert_eq!(acked(&mut pending), [1]);
    }

    #[test]
    fn after_a_reset_only_what_is_sent_again_acknowledges_a_snapshot() {
        let mut pending = PendingSnapshots::default();
        pending.push(snapshot(1), 2);
        pending.ack();
        pending.reset();
        pending.ack();
        assert_eq!(acked(&mut pending), [0; 0]);
        pending.push(snapshot(1), 1);
        pending.ack();
        assert_eq!(acked(&mut pending), [1]);
    }

    #[test]
    fn too_many_pending_snapshots_become_one() {
        let mut pending = PendingSnapshots::default();
        let many = MAX_PENDING as u64 + 10;
        for serial in 1..=many {
            pending.push(snapshot(serial), 1);
        }
        assert_eq!(pending.waiting.len(), MAX_PENDING);
        (1..many).for_each(|_| pending.ack());
        assert_eq!(acked(&mut pending).last(), Some(&(MAX_PENDING as u64 - 1)));
        pending.ack();
        assert_eq!(acked(&mut pending), [many]);
    }
}
