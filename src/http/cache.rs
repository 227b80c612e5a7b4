//! Values that are kept for a moment, so that any number of requests cause a bounded amount of work: the
//! daemon's views on the listeners that only read, pages, and metrics.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::{AppState, Listener};
use crate::control::{FullState, Stopped, Summary};

/// Maximum age of a view on the listeners that only read.
pub(super) const VIEW_TTL: Duration = Duration::from_millis(200);

/// A cache whose values expire. Requests for a value that is being made wait for the same one.
pub(super) struct Cache<K, V> {
    ttl: Duration,
    max_entries: usize,
    entries: Arc<Mutex<Entries<K, V>>>,
}

type Entries<K, V> = HashMap<K, Arc<Entry<V>>>;

/// A value and when it was made.
type Entry<V> = OnceCell<(Instant, V)>;

impl<K, V> Cache<K, V>
where
    K: Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// With more than `max_entries` keys at a time, further values are made, but not kept.
    pub(super) fn new(ttl: Duration, max_entries: usize) -> Self {
        Self {
            ttl,
            max_entries,
            entries: Arc::default(),
        }
    }

    /// The kept value, or the one that is made now. Errors are not kept.
    pub(super) async fn get<E>(
        &self,
        key: K,
        make: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        let entry = self.entry(key);
        let make = async {
            let value = make.await?;
            self.schedule_expiry();
            Ok((Instant::now(), value))
        };
        let (_, value) = entry.get_or_try_init(|| make).await?;
        Ok(value.clone())
    }

    fn entry(&self, key: K) -> Arc<Entry<V>> {
        let entries = self.entries.lock();
        let mut entries = entries.unwrap_or_else(PoisonError::into_inner);
        remove_expired(&mut entries, self.ttl);
        if entries.len() >= self.max_entries && !entries.contains_key(&key) {
            return Arc::default();
        }
        entries.entry(key).or_default().clone()
    }

    /// Values can have megabytes, and the next request may come tomorrow.
    fn schedule_expiry(&self) {
        let (entries, ttl) = (self.entries.clone(), self.ttl);
        tokio::spawn(async move {
            sleep(ttl).await;
            let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
            remove_expired(&mut entries, ttl);
        });
    }
}

/// Removes what is too old, and what nobody is making any more.
fn remove_expired<K: Eq + Hash, V>(entries: &mut Entries<K, V>, ttl: Duration) {
    entries.retain(|_, entry| match entry.get() {
        Some((made, _)) => made.elapsed() < ttl,
        None => Arc::strong_count(entry) > 1,
    });
}

/// The latest views of the daemon.
pub(super) struct Views {
    alive: Cache<(), ()>,
    full: Cache<(), Arc<FullState>>,
    summary: Cache<(), Arc<Summary>>,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            alive: Cache::new(VIEW_TTL, 1),
            full: Cache::new(VIEW_TTL, 1),
            summary: Cache::new(VIEW_TTL, 1),
        }
    }
}

impl AppState {
    /// Completes when the daemon responds; on the listeners that only read, also if it did a moment ago.
    pub(super) async fn alive(&self) -> Result<(), Stopped> {
        self.recent(&self.views.alive, self.control.ping()).await
    }

    /// The present state with all nodes; on the listeners that only read, it may be a moment old.
    pub(super) async fn full_state(&self) -> Result<Arc<FullState>, Stopped> {
        let state = async { self.control.full_state().await.map(Arc::new) };
        self.recent(&self.views.full, state).await
    }

    /// The same without the nodes.
    pub(super) async fn summary(&self) -> Result<Arc<Summary>, Stopped> {
        let summary = async { self.control.summary().await.map(Arc::new) };
        self.recent(&self.views.summary, summary).await
    }

    async fn recent<V: Clone + Send + Sync + 'static>(
        &self,
        cache: &Cache<(), V>,
        query: impl Future<Output = Result<V, Stopped>>,
    ) -> Result<V, Stopped> {
        match self.listener {
            Listener::Admin => query.await,
            Listener::Status | Listener::Node => cache.get((), query).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const TTL: Duration = Duration::from_secs(1);

    /// Makes the next number, in a tenth of the time to live.
    async fn next(made: &AtomicU32) -> Result<u32, ()> {
        sleep(TTL / 10).await;
        Ok(made.fetch_add(1, Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_the_same_time_share_a_value_until_it_expires() {
        let (cache, made) = (Cache::new(TTL, 2), AtomicU32::new(0));
        let get = |key| cache.get(key, next(&made));
        let both = tokio::join!(get("one"), get("one"));
        assert_eq!(both, (Ok(0), Ok(0)));
        assert_eq!(get("other").await, Ok(1));
        assert_eq!(get("one").await, Ok(0));
        sleep(TTL).await;
        assert_eq!(get("one").await, Ok(2));
        sleep(2 * TTL).await;
        assert!(cache.entries.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn errors_and_abandoned_values_are_not_kept() {
        let (cache, made) = (Cache::new(TTL, 1), AtomicU32::new(0));
        let failed = cache.get("one", async { Err(()) }).await;
        assert_eq!(failed, Err(()));
        assert_eq!(cache.get("other", next(&made)).await, Ok(0));
        sleep(TTL).await;
        drop(tokio::time::timeout(TTL / 20, cache.get("one", next(&made))).await);
        assert_eq!(cache.get("other", next(&made)).await, Ok(1));
        assert_eq!(cache.get("other", next(&made)).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn with_too_many_keys_values_are_made_but_not_kept() {
        let (cache, made) = (Cache::new(TTL, 1), AtomicU32::new(0));
        assert_eq!(cache.get("one", next(&made)).await, Ok(0));
        assert_eq!(cache.get("other", next(&made)).await, Ok(1));
        assert_eq!(cache.get("other", next(&made)).await, Ok(2));
        assert_eq!(cache.get("one", next(&made)).await, Ok(0));
    }
}
