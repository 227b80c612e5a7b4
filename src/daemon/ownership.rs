//! Collects what pollbal owns in load balancers, for the state file.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::drivers::{DriverHandle, Snapshot};
use crate::model::driver_status::DriverId;
use crate::model::ownership::{Known, Owned};

/// Minimum delay between two updates: each may rewrite the state file. What changes within a second before a crash is
/// mostly in the pool files as well.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time for the answer of a driver, which answers between two steps.
const ANSWER: Duration = Duration::from_millis(200);

/// Who knows what is owned.
pub(super) struct Ownership {
    pub(super) drivers: Vec<DriverHandle>,
    pub(super) snapshots: watch::Receiver<Option<Snapshot>>,
    /// What was known last.
    pub(super) owned: watch::Sender<Arc<Owned>>,
}

impl Ownership {
    /// Checks after each possible change, until the sender of changes is dropped.
    pub(super) async fn keep(self, mut pulse: watch::Receiver<u64>) {
        while pulse.changed().await.is_ok() {
            if self.look().await {
                sleep(UPDATE_INTERVAL).await;
            }
        }
    }

    /// Updates it now, if there is a snapshot: before the first one all is as the previous run left it.
    pub(super) async fn look(&self) -> bool {
        let Some(snapshot) = self.snapshots.borrow().clone() else {
            return false;
        };
        let mut known = Vec::new();
        for driver in &self.drivers {
            let answer = timeout(ANSWER, driver.owned()).await.ok().flatten();
            let there = answer.unwrap_or_else(|| self.as_before(&driver.id));
            known.push((driver.id.clone(), driver.naming.clone(), there));
        }
        let owned = Owned::of(&snapshot.pools, &known);
        self.owned.send_if_modified(|before| {
            let differs = **before != owned;
            if differs {
                *before = Arc::new(owned);
            }
            differs
        });
        true
    }

    fn as_before(&self, id: &DriverId) -> Known {
        let owned = self.owned.borrow();
        Known {
            is_read: false,
            there: owned
                .load_balancers
                .get(&id.key())
                .cloned()
                .unwrap_or_default(),
        }
    }
}
