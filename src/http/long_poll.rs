//! How a held answer waits for what may change it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::control::ControlHandle;

/// Between two looks at least, however fast things change.
const BETWEEN: Duration = Duration::from_millis(2);

/// The looks of one whose answer is held. The first is taken at once.
pub(super) struct Looks {
    pulse: watch::Receiver<u64>,
    deadline: Instant,
}

impl Looks {
    /// Looks at what the control tells, for so long.
    pub(super) fn new(control: &ControlHandle, time: Duration) -> Self {
        let mut pulse = control.changed();
        pulse.borrow_and_update();
        let deadline = Instant::now() + time;
        Self { pulse, deadline }
    }

    /// Waits until something may be otherwise than at the last look; `false` when the time is over.
    pub(super) async fn again(&mut self) -> bool {
        if timeout_at(self.deadline, self.pulse.changed())
            .await
            .is_err()
        {
            return false;
        }
        sleep(BETWEEN).await;
        // What changes from here on is for the look after this one.
        self.pulse.borrow_and_update();
        true
    }
}
