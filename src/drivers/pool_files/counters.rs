//! What became of the changes of pool files, counted. The worker counts, on whichever thread it is;
//! anyone may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start of the program; they outlive reloads.
#[derive(Debug, Default)]
pub struct FileCounters {
    written: AtomicU64,
    deleted: AtomicU64,
    failed: AtomicU64,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Files that were written, new ones and old ones.
    pub written: u64,
    /// Files that were deleted.
    pub deleted: u64,
    /// Attempts to write or delete a file, or to look into the directory, that failed.
    pub failed: u64,
}

impl FileCounters {
    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> FileCounts {
        FileCounts {
            written: self.written.load(Ordering::Relaxed),
            deleted: self.deleted.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    pub(super) fn count_written(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_deleted(&self) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}
