//! Limits the number of open connections, over all nodes, to the number of available descriptors.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One in this many of the permits for one poll is reserved for hung nodes.
const HUNG_SHARE: usize = 4;

/// The permits for all connections to nodes.
pub(super) struct Permits {
    kept: Arc<Semaphore>,
    one_poll: Arc<Semaphore>,
    /// Like `one_poll`, for hung nodes: they keep each permit for long, and must not keep others waiting.
    hung: Arc<Semaphore>,
}

/// Permission to have one connection open.
pub(super) enum Permit {
    /// Kept open from poll to poll.
    Kept(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    /// For one poll.
    OnePoll(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

impl Permits {
    /// Permits for `kept` connections that are kept open, and for `one_poll` that are open for one poll only.
    pub(super) fn new(kept: usize, one_poll: usize) -> Self {
        let permits = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let hung = one_poll.div_ceil(HUNG_SHARE);
        Self {
            kept: permits(kept),
            one_poll: permits(one_poll - hung),
            hung: permits(hung),
        }
    }

    /// Waits only if no more connections can be kept and too many are open for one poll.
    pub(super) async fn acquire(&self, is_hung: bool) -> Option<Permit> {
        if let Ok(permit) = self.kept.clone().try_acquire_owned() {
            return Some(Permit::Kept(permit));
        }
        let permits = if is_hung { &self.hung } else { &self.one_poll };
        let permit = permits.clone().acquire_owned().await;
        permit.ok().map(Permit::OnePoll)
    }

    /// A permit for a second connection to the same node, if one is available.
    pub(super) fn try_acquire_second(&self) -> Option<Permit> {
        let permit = self.one_poll.clone().try_acquire_owned();
        permit.ok().map(Permit::OnePoll)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn hung_nodes_do_not_keep_the_others_from_being_polled() {
        let permits = Permits::new(0, 8);
        let wait = Duration::from_millis(1);
        let mut hung = Vec::new();
        while let Ok(permit) = timeout(wait, permits.acquire(true)).await {
            hung.push(permit);
        }
        assert_eq!(hung.len(), 2);
        let mut others = Vec::new();
        while let Ok(permit) = timeout(wait, permits.acquire(false)).await {
            others.push(permit);
        }
        assert_eq!(others.len(), 6);
    }
}
