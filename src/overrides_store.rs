//! Where overrides live from run to run, with what else pollbal remembers: what alerts reported, what is owned in load
//! balancers, and when nodes got to where they are.
//!
//! A store keeps the contents as a whole. The task around it, [`persist_loop`], gives it the latest contents whenever
//! they change, tries again until they are kept, and publishes which revision of the overrides is.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use crate::alerts::StatusReporter;
use crate::model::alerts::SavedAlerts;
use crate::model::node_times::NodeTimes;
use crate::model::overrides::Overrides;
use crate::model::ownership::Owned;
use crate::model::problems::FileFault;
use crate::retry::Retry;
use crate::state_file::QuarantinedFile;

/// Maximum time for a revision to be kept; after that the reply to who changed it carries a warning.
const PERSIST_TIMEOUT: Duration = Duration::from_secs(2);

/// Where overrides live.
pub trait OverridesStore: Send {
    /// Its name in the log and in status, such as the path of a file; empty if nothing is kept.
    fn name(&self) -> String;

    /// What the previous run kept; nothing if there was none.
    fn load(&self) -> SavedState;

    /// Waits until the contents must be kept once more although they did not change: the store was moved.
    fn moved(&mut self) -> impl Future<Output = ()> + Send;

    /// Keeps these contents instead of what it has; returns once they would survive a restart. Reports through
    /// `on_hang` that this takes long.
    fn persist(
        &mut self,
        contents: Contents,
        on_hang: impl FnMut(&str) + Send,
    ) -> impl Future<Output = Result<(), PersistError>> + Send;
}

/// Why contents were not kept.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PersistError {
    /// It failed, and is tried again; the whole chain of causes.
    #[error("{0}")]
    Failed(String),
    /// The process ends.
    #[error("pollbal is ending")]
    Ending,
}

/// Overrides with their revision.
pub type RevisedOverrides = (u64, Arc<Overrides>);

/// Receivers of what is kept, always the latest.
pub struct Sources {
    /// The active overrides. When their sender is dropped, the last ones are kept.
    pub overrides: watch::Receiver<RevisedOverrides>,
    /// What alerts have reported.
    pub alerts: watch::Receiver<Arc<SavedAlerts>>,
    /// What is owned in load balancers.
    pub owned: watch::Receiver<Arc<Owned>>,
    /// When nodes got to where they are.
    pub nodes: watch::Receiver<Arc<NodeTimes>>,
}

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The active overrides.
    pub overrides: Arc<Overrides>,
    /// What alerts have reported.
    pub alerts: Arc<SavedAlerts>,
    /// What is owned in load balancers.
    pub owned: Arc<Owned>,
    /// When nodes got to where they are.
    pub nodes: Arc<NodeTimes>,
}

/// What the previous run kept.
#[derive(Debug, Default)]
pub struct SavedState {
    /// Its overrides.
    pub overrides: Overrides,
    /// What it had reported.
    pub alerts: SavedAlerts,
    /// What it owned in load balancers.
    pub owned: Owned,
    /// When nodes got to where they were.
    pub nodes: NodeTimes,
    /// A file that was rejected, in this run or before.
    pub rejected: Option<QuarantinedFile>,
}

/// The revision of the overrides that the store keeps; clones are for the same store.
#[derive(Clone, Debug)]
pub struct PersistedRevision(watch::Receiver<u64>);

impl PersistedRevision {
    /// The revision that this channel has.
    #[must_use]
    pub fn new(revision: watch::Receiver<u64>) -> Self {
        Self(revision)
    }

    /// Waits until the store keeps this revision; returns at once if none is configured. `false` when it takes longer
    /// than two seconds.
    pub async fn is_persisted(&self, revision: u64) -> bool {
        let mut persisted = self.0.clone();
        let reached = persisted.wait_for(|persisted| *persisted >= revision);
        matches!(timeout(PERSIST_TIMEOUT, reached).await, Ok(Ok(_)))
    }
}

impl Sources {
    /// The latest contents, and the revision of their overrides.
    fn latest(&mut self) -> (u64, Contents) {
        let (revision, overrides) = self.overrides.borrow_and_update().clone();
        let contents = Contents {
            overrides,
            alerts: self.alerts.borrow_and_update().clone(),
            owned: self.owned.borrow_and_update().clone(),
            nodes: self.nodes.borrow_and_update().clone(),
        };
        (revision, contents)
    }
}

/// Logs and reports that contents are not kept.
struct Faults {
    status_reporter: StatusReporter,
    failed: bool,
}

impl Faults {
    fn report(&mut self, path: &str, why: &str) {
        let text = format!("{why}; overrides are active, but would not survive a restart");
        if !mem::replace(&mut self.failed, true) {
            error!("{text}");
        }
        let path = path.to_owned();
        let reporter = &self.status_reporter;
        reporter.set(|status| &mut status.state, Some(FileFault { path, text }));
    }

    fn end(&mut self) {
        self.status_reporter.set(|status| &mut status.state, None);
        if mem::take(&mut self.failed) {
            info!("overrides are saved again");
        }
    }
}

/// Keeps the latest contents whenever they change, until the sender of overrides is dropped; publishes which revision
/// of the overrides is kept.
pub async fn persist_loop(
    mut store: impl OverridesStore,
    mut sources: Sources,
    persisted: watch::Sender<u64>,
    status_reporter: StatusReporter,
) {
    let mut retry = Retry::new();
    let mut faults = Faults {
        status_reporter,
        failed: false,
    };
    loop {
        tokio::select! {
            // The rest is sent before the sender of overrides is dropped.
            biased;
            () = store.moved() => {}
            Ok(()) = sources.alerts.changed() => {}
            Ok(()) = sources.owned.changed() => {}
            Ok(()) = sources.nodes.changed() => {}
            changed = sources.overrides.changed() => if changed.is_err() { return },
        }
        loop {
            let (revision, contents) = sources.latest();
            let name = store.name();
            let kept = store.persist(contents, |why| faults.report(&name, why));
            match kept.await {
                Ok(()) => {
                    persisted.send_replace(revision);
                    retry.reset();
                    faults.end();
                    break;
                }
                Err(PersistError::Failed(why)) => {
                    faults.report(&name, &why);
                    sleep(retry.next_wait()).await;
                }
                Err(PersistError::Ending) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::model::overrides::{Note, Reason};
    use crate::model::time::Timestamp;

    /// Keeps contents in memory, after it has failed as often as it is to fail.
    struct Memory {
        failures: usize,
        kept: Arc<Mutex<Vec<usize>>>,
    }

    impl OverridesStore for Memory {
        fn name(&self) -> String {
            "memory".to_owned()
        }

        fn load(&self) -> SavedState {
            SavedState::default()
        }

        async fn moved(&mut self) {
            std::future::pending::<()>().await;
        }

        async fn persist(
            &mut self,
            contents: Contents,
            mut on_hang: impl FnMut(&str) + Send,
        ) -> Result<(), PersistError> {
            on_hang("memory is slow");
            if self.failures > 0 {
                self.failures -= 1;
                return Err(PersistError::Failed("memory is full".to_owned()));
            }
            self.kept
                .lock()
                .unwrap()
                .push(contents.overrides.frozen.len());
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_store_does_not_keep_is_reported_and_tried_again_until_it_does() {
        let kept = Arc::<Mutex<Vec<usize>>>::default();
        let store = Memory {
            failures: 3,
            kept: kept.clone(),
        };
        let (overrides, revised) = watch::channel(RevisedOverrides::default());
        let (_alerts, alerts) = watch::channel(Arc::default());
        let (_owned, owned) = watch::channel(Arc::default());
        let (_nodes, nodes) = watch::channel(Arc::default());
        let sources = Sources {
            overrides: revised,
            alerts,
            owned,
            nodes,
        };
        let (persisted, revision) = watch::channel(0);
        let revision = PersistedRevision::new(revision);
        let reporter = StatusReporter::new();
        let mut status = reporter.subscribe();
        let task = tokio::spawn(persist_loop(store, sources, persisted, reporter));
        let reason = Reason {
            note: Note::default(),
            by: Note::default(),
            since: Timestamp::from_millis(5),
            until: None,
        };
        let mut frozen = Overrides::default();
        frozen.frozen.insert("storm".parse().unwrap(), reason);
        overrides.send_replace((1, Arc::new(frozen)));
        let is_full = |text: &str| text.starts_with("memory is full; ");
        let fault = status.wait_for(|status| {
            let state = status.state.as_ref();
            state.is_some_and(|fault| fault.path == "memory" && is_full(&fault.text))
        });
        assert!(fault.await.is_ok());
        assert!(revision.is_persisted(1).await);
        assert!(!revision.is_persisted(2).await);
        assert!(
            status
                .wait_for(|status| status.state.is_none())
                .await
                .is_ok()
        );
        assert_eq!(*kept.lock().unwrap(), [1]);
        drop(overrides);
        task.await.unwrap();
    }
}
