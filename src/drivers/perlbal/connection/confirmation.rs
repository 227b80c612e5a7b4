//! Reading everything to confirm what was acknowledged.
//!
//! That Perlbal acknowledged a removal does not prove that the node gets no more requests: it may be
//! in another pool, which is not pollbal's, and a service may use that. So everything is read once
//! more after the acknowledgement, and only that proves that a node is gone.
//!
//! Reading everything costs Perlbal about 0.5 ms for 100 members, during which it serves nobody.
//! Therefore the delay before the next read follows what the last one took.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::remarks::remarks;
use super::{Connection, READ_BACK_DELAY};
use crate::drivers::drain_schedule;

/// Part of a read that counts as round trips: a read that takes no longer costs Perlbal little.
const ROUND_TRIPS: Duration = Duration::from_millis(10);

/// Delay before a removal is confirmed. Each further change begins it again, since Perlbal executes nothing else while it
/// prints its state.
const QUIET: Duration = Duration::from_millis(3);

/// Maximum delay before a removal is confirmed, however many changes follow it: its node may be waiting to stop.
const MAX_DELAY: Duration = Duration::from_millis(20);

/// How far reads of everything have come.
#[derive(Default)]
pub(super) struct Confirmation {
    /// The last snapshot that was acknowledged when the present read began, and when that was.
    present: Option<(u64, Instant)>,
    /// The same of the last read that ended, until it is recorded.
    confirmed: Option<u64>,
    /// When the next one is due.
    at: Option<Instant>,
    /// The last snapshot that was acknowledged when that was determined.
    scheduled: u64,
    /// Not before this.
    not_before: Option<Instant>,
    /// The last snapshot by which members were removed: it is to be confirmed soon.
    urgent: u64,
    /// When the first removal that no read confirms is to be confirmed at the latest.
    latest: Option<Instant>,
    /// There may be other pools or services than when remarks were last made.
    remarks_due: bool,
}

/// Delay before the next read of everything after one that took this long.
fn backoff_after(took: Duration) -> Duration {
    took + drain_schedule::backoff_after(took.saturating_sub(ROUND_TRIPS))
}

impl Connection<'_> {
    /// A read of everything begins.
    pub(super) fn begin_confirmation(&mut self, now: Instant) {
        self.confirmation.at = None;
        self.confirmation.latest = None;
        self.confirmation.present = Some((self.state.acked_serial, now));
    }

    /// A read of everything has ended.
    pub(super) fn end_confirmation(&mut self, now: Instant) {
        let Some((acked, began)) = self.confirmation.present.take() else {
            return;
        };
        self.confirmation.confirmed = Some(acked);
        self.confirmation.not_before = Some(now + backoff_after(now - began));
        self.confirmation.remarks_due = true;
    }

    /// When to read everything to confirm what was acknowledged.
    pub(super) fn confirm_at(&self) -> Option<Instant> {
        self.confirmation.at.filter(|_| self.read.is_none())
    }

    /// A snapshot was planned: it removes members, or remarks may change.
    pub(super) fn expect_confirmation(&mut self, serial: u64, removes: bool, remarks: bool) {
        if removes {
            self.confirmation.urgent = serial;
        }
        self.confirmation.remarks_due |= remarks;
    }

    /// Schedules a read of everything, if a snapshot is acknowledged that none confirms.
    pub(super) fn schedule_confirmation(&mut self, now: Instant) {
        let confirmation = &mut self.confirmation;
        let acked = self.state.acked_serial;
        let present = confirmation.present.map_or(0, |(acked, _)| acked);
        let confirmed = confirmation.confirmed;
        let confirmed = confirmed.unwrap_or(self.state.confirmed_serial);
        let confirmed = confirmed.max(present);
        if confirmed >= acked || confirmation.scheduled >= acked {
            return;
        }
        confirmation.scheduled = acked;
        let is_urgent = (confirmed + 1..=acked).contains(&confirmation.urgent);
        let due = if is_urgent {
            let latest = *confirmation.latest.get_or_insert(now + MAX_DELAY);
            (now + QUIET).min(latest)
        } else {
            let due = now + READ_BACK_DELAY;
            confirmation.at.map_or(due, |at| at.min(due))
        };
        let not_before = confirmation.not_before;
        confirmation.at = Some(not_before.map_or(due, |until| due.max(until)));
    }

    /// Records what was read, once its consequences are planned.
    pub(super) fn record_confirmed(&mut self, now: Instant) {
        let strays = self.state.find_strays();
        if *self.state.strays != strays {
            let before = mem::replace(&mut self.state.strays, Arc::new(strays));
            self.track_strays_gone(&before, now);
        }
        let state = &mut *self.state;
        if let Some(confirmed) = self.confirmation.confirmed.take() {
            state.confirmed_serial = confirmed;
        }
        let Some((_, desired)) = &state.desired else {
            return;
        };
        if let Some(earlier) = state.earlier.take() {
            let names = earlier.pools.into_keys();
            state.former = names
                .filter(|name| !desired.pools.contains_key(name))
                .collect();
        }
        if mem::take(&mut self.confirmation.remarks_due) {
            let remarks = remarks(desired, &state.expected, &state.former);
            state.set_remarks(remarks);
        }
    }
}
