//! What pollbal owns in load balancers, gathered for the state file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::drivers::{PerlbalHandle, Snapshot};
use crate::model::naming::Naming;
use crate::model::ownership::{Known, Owned};

/// From one look to the next: each may rewrite the state file. What changes within a second before
/// a crash is mostly in the pool files as well.
const PACE: Duration = Duration::from_secs(1);

/// Maximum time for an answer of a manager, which answers between two things that it does.
const ANSWER: Duration = Duration::from_millis(200);

/// Who knows what is owned.
pub(super) struct Ownership {
    /// What pools are called in load balancers.
    pub(super) naming: Naming,
    pub(super) perlbals: Vec<PerlbalHandle>,
    pub(super) snapshots: watch::Receiver<Option<Snapshot>>,
    /// What was known last.
    pub(super) owned: watch::Sender<Arc<Owned>>,
}

impl Ownership {
    /// Looks whenever something may have changed, until that is told no more.
    pub(super) async fn keep(self, mut pulse: watch::Receiver<u64>) {
        while pulse.changed().await.is_ok() {
            if self.look().await {
                sleep(PACE).await;
            }
        }
    }

    /// Looks now, if there is a snapshot: before the first one all is as the run before has left it.
    pub(super) async fn look(&self) -> bool {
        let Some(snapshot) = self.snapshots.borrow().clone() else {
            return false;
        };
        let mut known = BTreeMap::new();
        for perlbal in &self.perlbals {
            let answer = timeout(ANSWER, perlbal.owned()).await.ok().flatten();
            let there = answer.unwrap_or_else(|| self.as_before(&perlbal.address));
            known.insert(perlbal.address.clone(), there);
        }
        let owned = Owned::of(&snapshot.pools, &self.naming, known);
        self.owned.send_if_modified(|before| {
            let differs = **before != owned;
            if differs {
                *before = Arc::new(owned);
            }
            differs
        });
        true
    }

    fn as_before(&self, address: &str) -> Known {
        let owned = self.owned.borrow();
        Known {
            is_read: false,
            there: owned.perlbals.get(address).cloned().unwrap_or_default(),
        }
    }
}
