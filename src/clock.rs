//! Reads both clocks: the only place from which the decisions' [`Clock`] comes.

use std::time::{Instant, SystemTime};

use crate::model::time::Clock;

impl Clock {
    /// The present time.
    #[must_use]
    pub fn now() -> Self {
        Self {
            now: Instant::now(),
            today: SystemTime::now().into(),
        }
    }
}
