//! Wakes a poller.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tokio::sync::Notify;

/// Wakes a poller, for a poll outside the schedule or for a new plan.
#[derive(Default)]
pub(super) struct Trigger {
    notify: Notify,
    /// The poll that is requested: one of the constants.
    requested: AtomicU8,
    /// There is a new plan.
    replan: AtomicBool,
}

/// Why a poller polls outside the schedule.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Early {
    /// After a retry delay.
    Retry,
    /// At once.
    Nudge,
}

impl Trigger {
    const NOTHING: u8 = 0;
    const RETRY: u8 = 1;
    const NUDGE: u8 = 2;

    /// Requests a poll. A nudge includes a retry.
    pub(super) fn request(&self, early: Early) {
        let requested = match early {
            Early::Retry => Self::RETRY,
            Early::Nudge => Self::NUDGE,
        };
        self.requested.fetch_max(requested, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// Wakes the poller for a new plan.
    pub(super) fn replan(&self) {
        self.replan.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// Whether there is a new plan; only once.
    pub(super) fn take_replan(&self) -> bool {
        self.replan.swap(false, Ordering::Relaxed)
    }

    /// Waits until the poller is woken; for a poll, if one was requested.
    pub(super) async fn woken(&self) -> Option<Early> {
        self.notify.notified().await;
        self.take()
    }

    /// The request, which ends by that.
    fn take(&self) -> Option<Early> {
        match self.requested.swap(Self::NOTHING, Ordering::Relaxed) {
            Self::NOTHING => None,
            Self::RETRY => Some(Early::Retry),
            _ => Some(Early::Nudge),
        }
    }

    /// Waits for a nudge. Used during a poll, which fulfils any other request.
    pub(super) async fn nudged(&self) {
        while self.woken().await != Some(Early::Nudge) {}
    }
}
