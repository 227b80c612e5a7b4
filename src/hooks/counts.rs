//! Counts of the runs of hooks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Outcomes of the runs of one hook since pollbal was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookCounts {
    /// Exited with success.
    pub succeeded: u64,
    /// Failed to start, exited with failure, or were killed at the timeout.
    pub failed: u64,
    /// Were never started because the queue was full or closed.
    pub dropped: u64,
}

/// The counts of all hooks, by the hook's key; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedCounts(Arc<Mutex<BTreeMap<&'static str, HookCounts>>>);

impl SharedCounts {
    pub(super) fn record_dropped(&self, hook: &'static str) {
        self.update(hook, |counts| counts.dropped += 1);
    }

    pub(super) fn record_ended(&self, hook: &'static str, succeeded: bool) {
        self.update(hook, |counts| {
            if succeeded {
                counts.succeeded += 1;
            } else {
                counts.failed += 1;
            }
        });
    }

    pub(super) fn get(&self) -> BTreeMap<&'static str, HookCounts> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn update(&self, hook: &'static str, update: impl FnOnce(&mut HookCounts)) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        update(counts.entry(hook).or_default());
    }
}
