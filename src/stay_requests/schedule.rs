//! Which node is sent which message, and when. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::node::NodeAddr;

/// Interval at which a request to stay is repeated while it lasts: the node may have been restarted meanwhile.
pub const REPEAT: Duration = Duration::from_secs(30);

/// Delay before a cancellation that failed is sent again.
pub const RETRY_DELAY: Duration = Duration::from_secs(5);

/// Maximum attempts to cancel a request. A node that cannot be reached for that long has probably exited, and the
/// request is forgotten with it.
pub const MAX_ATTEMPTS: u32 = 5;

/// A message to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StayMessage {
    /// Asks it to stay in its pools.
    Ask,
    /// Cancels that request.
    Cancel,
}

/// The nodes that are asked to stay, and those whose request is still to be cancelled.
#[derive(Debug, Default)]
pub struct Schedule(BTreeMap<NodeAddr, Entry>);

#[derive(Debug)]
struct Entry {
    /// The node should stay.
    desired: bool,
    /// The node may have received a request to stay: one was sent, whatever the outcome.
    asked: bool,
    /// When the next message is due.
    due: Instant,
    /// A message is being sent.
    busy: bool,
    /// Remaining attempts to cancel the request.
    attempts_left: u32,
    /// Failures in a row.
    failures: u32,
}

impl Schedule {
    /// A schedule that cancels the requests to `asked`, which the previous run of pollbal sent.
    #[must_use]
    pub fn new(asked: &BTreeSet<NodeAddr>, now: Instant) -> Self {
        let entry = |addr: &NodeAddr| {
            let entry = Entry {
                desired: false,
                asked: true,
                ..Entry::new(now)
            };
            (*addr, entry)
        };
        Self(asked.iter().map(entry).collect())
    }

    /// Sets the nodes that should stay. For all others that were asked to, the request is cancelled if they are still
    /// `listed`: an address that is no longer a node gets no messages.
    pub fn set_desired(
        &mut self,
        desired: &BTreeSet<NodeAddr>,
        listed: impl Fn(NodeAddr) -> bool,
        now: Instant,
    ) {
        self.0.retain(|addr, _| listed(*addr));
        for (addr, entry) in &mut self.0 {
            let desired = desired.contains(addr);
            if entry.desired != desired {
                (entry.desired, entry.due, entry.attempts_left) = (desired, now, MAX_ATTEMPTS);
            }
        }
        self.0.retain(|_, entry| entry.is_needed());
        for addr in desired.iter().filter(|addr| listed(**addr)) {
            self.0.entry(*addr).or_insert_with(|| Entry::new(now));
        }
    }

    /// The next message: to which node, what, and when it is due.
    #[must_use]
    pub fn next(&self) -> Option<(NodeAddr, StayMessage, Instant)> {
        let idle = self.0.iter().filter(|(_, entry)| !entry.busy);
        let (addr, entry) = idle.min_by_key(|(_, entry)| entry.due)?;
        Some((*addr, entry.message(), entry.due))
    }

    /// Records that a message is being sent to the node.
    pub fn begin(&mut self, addr: NodeAddr) {
        if let Some(entry) = self.0.get_mut(&addr) {
            (entry.busy, entry.asked) = (true, true);
        }
    }

    /// Records that `message` was sent, or that the node was not reached. Returns whether that failure should be
    /// logged: only the first in a row is.
    pub fn end(
        &mut self,
        addr: NodeAddr,
        message: StayMessage,
        reached: bool,
        now: Instant,
    ) -> bool {
        let Some(entry) = self.0.get_mut(&addr) else {
            return false;
        };
        entry.busy = false;
        match (message, entry.desired) {
            (StayMessage::Ask, true) => entry.due = now + REPEAT,
            (StayMessage::Cancel, false) if reached => entry.asked = false,
            (StayMessage::Cancel, false) => {
                entry.attempts_left = entry.attempts_left.saturating_sub(1);
                entry.due = now + RETRY_DELAY;
            }
            // The other message is due by now.
            _ => entry.due = now,
        }
        entry.failures = if reached {
            0
        } else {
            entry.failures.saturating_add(1)
        };
        let first = entry.failures == 1;
        self.0.retain(|_, entry| entry.is_needed());
        first
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            desired: true,
            asked: false,
            due: now,
            busy: false,
            attempts_left: MAX_ATTEMPTS,
            failures: 0,
        }
    }

    fn message(&self) -> StayMessage {
        if self.desired {
            StayMessage::Ask
        } else {
            StayMessage::Cancel
        }
    }

    fn is_needed(&self) -> bool {
        self.desired || self.busy || (self.asked && self.attempts_left > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::StayMessage::{Ask, Cancel};
    use super::*;

    fn addr(number: u8) -> NodeAddr {
        format!("10.0.0.{number}:80").parse().unwrap()
    }

    fn set(numbers: &[u8]) -> BTreeSet<NodeAddr> {
        numbers.iter().map(|number| addr(*number)).collect()
    }

    fn set_desired(schedule: &mut Schedule, numbers: &[u8], now: Instant) {
        schedule.set_desired(&set(numbers), |_| true, now);
    }

    /// Sends every message that is due.
    fn send_due(
        schedule: &mut Schedule,
        reached: bool,
        now: Instant,
    ) -> Vec<(NodeAddr, StayMessage)> {
        let mut sent = Vec::new();
        while let Some((addr, message, _)) = schedule.next().filter(|(_, _, due)| *due <= now) {
            schedule.begin(addr);
            schedule.end(addr, message, reached, now);
            sent.push((addr, message));
        }
        sent
    }

    #[test]
    fn requests_are_repeated_while_they_last_and_cancelled_once() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        set_desired(&mut schedule, &[1, 2], start);
        let asks = [(addr(1), Ask), (addr(2), Ask)];
        assert_eq!(send_due(&mut schedule, true, start), asks);
        assert_eq!(schedule.next().unwrap().2, start + REPEAT);
        assert_eq!(send_due(&mut schedule, true, start + REPEAT), asks);
        set_desired(&mut schedule, &[2], start + REPEAT);
        let cancels = [(addr(1), Cancel)];
        assert_eq!(send_due(&mut schedule, true, start + REPEAT), cancels);
        set_desired(&mut schedule, &[], start + REPEAT);
        assert_eq!(
            send_due(&mut schedule, true, start + REPEAT),
            [(addr(2), Cancel)]
        );
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn requests_of_the_previous_run_are_cancelled_unless_they_still_apply() {
        let start = Instant::now();
        let mut schedule = Schedule::new(&set(&[1, 2, 3]), start);
        schedule.set_desired(&set(&[2]), |node| node != addr(3), start);
        let expected = [(addr(1), Cancel), (addr(2), Ask)];
        assert_eq!(send_due(&mut schedule, true, start), expected);
    }

    #[test]
    fn a_request_that_was_never_sent_is_not_cancelled() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        set_desired(&mut schedule, &[1], start);
        set_desired(&mut schedule, &[], start);
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn a_cancellation_is_retried_a_limited_number_of_times() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        set_desired(&mut schedule, &[1], start);
        // The request may have arrived all the same.
        assert_eq!(send_due(&mut schedule, false, start).len(), 1);
        set_desired(&mut schedule, &[], start);
        let mut attempts = 0;
        while let Some((_, message, due)) = schedule.next() {
            assert_eq!(message, Cancel);
            attempts += send_due(&mut schedule, false, due).len();
        }
        assert_eq!(attempts, 5);
    }

    #[test]
    fn a_change_during_a_request_is_sent_right_after_it() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        set_desired(&mut schedule, &[1], start);
        schedule.begin(addr(1));
        assert_eq!(schedule.next(), None, "one request to a node at a time");
        set_desired(&mut schedule, &[], start);
        assert_eq!(schedule.next(), None);
        schedule.end(addr(1), Ask, true, start);
        assert_eq!(schedule.next(), Some((addr(1), Cancel, start)));
        schedule.begin(addr(1));
        set_desired(&mut schedule, &[1], start);
        schedule.end(addr(1), Cancel, true, start);
        assert_eq!(schedule.next(), Some((addr(1), Ask, start)));
    }

    #[test]
    fn an_address_that_is_no_longer_a_node_gets_no_messages() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        set_desired(&mut schedule, &[1, 2], start);
        send_due(&mut schedule, true, start);
        let listed = set(&[2, 3]);
        schedule.set_desired(&set(&[4]), |addr| listed.contains(&addr), start);
        assert_eq!(send_due(&mut schedule, true, start), [(addr(2), Cancel)]);
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn only_the_first_failure_in_a_row_is_logged() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        set_desired(&mut schedule, &[1], start);
        let mut end = |reached| {
            schedule.begin(addr(1));
            schedule.end(addr(1), Ask, reached, start)
        };
        assert_eq!(
            [end(false), end(false), end(true), end(false)],
            [true, false, false, true]
        );
    }
}
