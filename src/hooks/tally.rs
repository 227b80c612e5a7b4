//! Runs of hooks, counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How the runs of one hook went since the start of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookCounts {
    /// Ended well.
    pub well: u64,
    /// Did not start, ended badly, or were ended.
    pub failed: u64,
    /// Were never run.
    pub left_out: u64,
}

/// The runs of all hooks, by the hook's key; clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<Mutex<BTreeMap<&'static str, HookCounts>>>);

impl Tally {
    pub(super) fn count(&self, hook: &'static str, count: impl FnOnce(&mut HookCounts)) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count(counts.entry(hook).or_default());
    }

    pub(super) fn ended(&self, hook: &'static str, well: bool) {
        self.count(hook, |counts| {
            if well {
                counts.well += 1;
            } else {
                counts.failed += 1;
            }
        });
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, HookCounts> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
