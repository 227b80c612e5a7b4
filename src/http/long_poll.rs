//! Long polling: a response is delayed until something changes.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::control::ControlHandle;

/// Minimum delay between two checks, however fast things change.
const MIN_INTERVAL: Duration = Duration::from_millis(2);

/// The checks of one delayed response. The first one is due at once.
pub(super) struct LongPoll {
    pulse: watch::Receiver<u64>,
    deadline: Instant,
}

impl LongPoll {
    /// Checks what the daemon knows, for up to this time.
    pub(super) fn new(control: &ControlHandle, time: Duration) -> Self {
        let mut pulse = control.changed();
        pulse.borrow_and_update();
        let deadline = Instant::now() + time;
        Self { pulse, deadline }
    }

    /// Waits until something may have changed since the last check; `false` when the time is over.
    pub(super) async fn changed(&mut self) -> bool {
        if timeout_at(self.deadline, self.pulse.changed())
            .await
            .is_err()
        {
            return false;
        }
        sleep(MIN_INTERVAL).await;
        // What changes from here on is for the check after the next one.
        self.pulse.borrow_and_update();
        true
    }
}
