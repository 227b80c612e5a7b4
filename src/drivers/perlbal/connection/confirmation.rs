//! Readings that confirm what was told.
//!
//! That Perlbal acknowledged a removal does not prove that the node gets no more requests: it may be
//! in another pool, which is not pollbal's, and a service may use that. So everything is read once
//! more behind the acknowledgement, and a node is gone only by what that shows.
//!
//! A reading of everything costs Perlbal 0.5 ms for 100 members or so, during which it serves nobody.
//! Therefore the time from one to the next follows what the last one took.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::drain;
use super::super::remarks::remarks;
use super::{Connection, READ_BACK_DELAY};

/// A reading that takes no longer than this spends most of it on the way, not in Perlbal.
const ON_THE_WAY: Duration = Duration::from_millis(10);

/// How far readings of everything have come.
#[derive(Default)]
pub(super) struct Confirmation {
    /// The last snapshot that Perlbal had been told when the present one began, and when that was.
    present: Option<(u64, Instant)>,
    /// The same of the last one that ended, until it is taken note of.
    shown: Option<u64>,
    /// When the next one is due.
    at: Option<Instant>,
    /// Not before this.
    spared_until: Option<Instant>,
    /// The last snapshot by which someone was removed: that is to be confirmed at once.
    urgent: u64,
    /// There may be other pools or services than when remarks were last made.
    remarks_due: bool,
}

/// How long Perlbal is spared after a reading of everything that took so long.
fn backoff_after(took: Duration) -> Duration {
    took + drain::backoff_after(took.saturating_sub(ON_THE_WAY))
}

impl Connection<'_> {
    /// A reading of everything begins.
    pub(super) fn begin_confirmation(&mut self) {
        let expected = self.driver.state.acked_serial;
        self.confirmation.at = None;
        self.confirmation.present = Some((expected, Instant::now()));
    }

    /// It has ended.
    pub(super) fn end_confirmation(&mut self) {
        let Some((expected, began)) = self.confirmation.present.take() else {
            return;
        };
        let now = Instant::now();
        self.confirmation.shown = Some(expected);
        self.confirmation.spared_until = Some(now + backoff_after(now - began));
        self.confirmation.remarks_due = true;
    }

    /// When to read everything to confirm what was told.
    pub(super) fn confirm_at(&self) -> Option<Instant> {
        self.confirmation.at.filter(|_| self.reading.is_none())
    }

    /// A snapshot was planned: someone is removed, or what is remarked may be otherwise.
    pub(super) fn expect(&mut self, serial: u64, removes: bool, remarks: bool) {
        if removes {
            self.confirmation.urgent = serial;
        }
        self.confirmation.remarks_due |= remarks;
    }

    /// Sees to it that everything is read once more, if a snapshot was told that no reading shows.
    pub(super) fn schedule_confirmation(&mut self) {
        let Confirmation {
            present,
            shown,
            at,
            spared_until,
            urgent,
            ..
        } = &mut self.confirmation;
        let expected = self.driver.state.acked_serial;
        let present = present.map(|(expected, _)| expected);
        let shown = shown.unwrap_or(self.driver.state.observed_serial);
        let shown = shown.max(present.unwrap_or(0));
        if shown >= expected {
            return;
        }
        let now = Instant::now();
        let due = if (shown + 1..=expected).contains(urgent) {
            now
        } else {
            now + READ_BACK_DELAY
        };
        let due = spared_until.map_or(due, |until| due.max(until));
        *at = Some(at.map_or(due, |at| at.min(due)));
    }

    /// Takes note of what was read, once it was planned what is to be done about it.
    pub(super) fn record_confirmed(&mut self) {
        let now = Instant::now();
        let state = &mut self.driver.state;
        let strays = state.find_strays();
        if *state.strays != strays {
            let before = mem::replace(&mut state.strays, Arc::new(strays));
            self.track_strays_gone(&before, now);
        }
        let state = &mut self.driver.state;
        if let Some(shown) = self.confirmation.shown.take() {
            state.observed_serial = shown;
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
            self.driver.report_remarks(remarks);
        }
    }
}
