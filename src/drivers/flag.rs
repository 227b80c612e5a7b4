//! A condition, and since when it is as it is.

use std::time::Instant;

/// A condition, and since when it is as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Whether it is met.
    pub(crate) is: bool,
    /// Since when that is so.
    pub(crate) since: Instant,
}

impl Flag {
    /// A condition that is not met.
    pub(crate) fn unset(since: Instant) -> Self {
        Self { is: false, since }
    }

    /// Sets it; nothing changes if it is so already.
    pub(crate) fn set(&mut self, is: bool, now: Instant) {
        if self.is != is {
            *self = Self { is, since: now };
        }
    }
}
