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

use super::super::remarks::remarks;
use super::super::rest;
use super::{Link, READ_BACK_AFTER};

/// A reading that takes no longer than this spends most of it on the way, not in Perlbal.
const ON_THE_WAY: Duration = Duration::from_millis(10);

/// How far readings of everything have come.
#[derive(Default)]
pub(super) struct Confirming {
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
fn spared(took: Duration) -> Duration {
    took + rest::spared(took.saturating_sub(ON_THE_WAY))
}

impl Link<'_> {
    /// A reading of everything begins.
    pub(super) fn confirming_begins(&mut self) {
        let told = self.manager.memory.told_serial;
        self.confirming.at = None;
        self.confirming.present = Some((told, Instant::now()));
    }

    /// It has ended.
    pub(super) fn confirming_ends(&mut self) {
        let Some((told, began)) = self.confirming.present.take() else {
            return;
        };
        let now = Instant::now();
        self.confirming.shown = Some(told);
        self.confirming.spared_until = Some(now + spared(now - began));
        self.confirming.remarks_due = true;
    }

    /// When to read everything to confirm what was told.
    pub(super) fn confirm_at(&self) -> Option<Instant> {
        self.confirming.at.filter(|_| self.reading.is_none())
    }

    /// A snapshot was planned: someone is removed, or what is remarked may be otherwise.
    pub(super) fn expect(&mut self, serial: u64, removes: bool, remarks: bool) {
        if removes {
            self.confirming.urgent = serial;
        }
        self.confirming.remarks_due |= remarks;
    }

    /// Sees to it that everything is read once more, if a snapshot was told that no reading shows.
    pub(super) fn plan_confirmation(&mut self) {
        let Confirming {
            present,
            shown,
            at,
            spared_until,
            urgent,
            ..
        } = &mut self.confirming;
        let told = self.manager.memory.told_serial;
        let present = present.map(|(told, _)| told);
        let shown = shown.unwrap_or(self.manager.memory.shown_serial);
        let shown = shown.max(present.unwrap_or(0));
        if shown >= told {
            return;
        }
        let now = Instant::now();
        let due = if (shown + 1..=told).contains(urgent) {
            now
        } else {
            now + READ_BACK_AFTER
        };
        let due = spared_until.map_or(due, |until| due.max(until));
        *at = Some(at.map_or(due, |at| at.min(due)));
    }

    /// Takes note of what was read, once it was planned what is to be done about it.
    pub(super) fn note_shown(&mut self) {
        let now = Instant::now();
        let memory = &mut self.manager.memory;
        let strays = memory.find_strays();
        if *memory.strays != strays {
            let before = mem::replace(&mut memory.strays, Arc::new(strays));
            self.note_strays_gone(&before, now);
        }
        let memory = &mut self.manager.memory;
        if let Some(shown) = self.confirming.shown.take() {
            memory.shown_serial = shown;
        }
        let Some((_, wanted)) = &memory.wanted else {
            return;
        };
        if let Some(earlier) = memory.earlier.take() {
            let names = earlier.pools.into_keys();
            memory.former = names
                .filter(|name| !wanted.pools.contains_key(name))
                .collect();
        }
        if mem::take(&mut self.confirming.remarks_due) {
            let remarks = remarks(wanted, &memory.told, &memory.former);
            self.manager.report_remarks(remarks);
        }
    }
}
