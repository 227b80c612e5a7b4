//! The daemon's views, for those who only look: however many ask, the daemon makes one at a time, and
//! no more than a few a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::control::{FullState, Stopped, Summary};
use crate::http::{Door, Shared};

/// For so long the same view is given at the status door.
pub(super) const KEPT: Duration = Duration::from_millis(200);

/// The last views that were made.
#[derive(Debug, Default)]
pub(super) struct Views {
    alive: Last<()>,
    nodes: Last<FullState>,
    overviews: Last<Summary>,
}

impl Shared {
    /// Comes when the daemon has answered; at the status door, or when it did a moment ago.
    pub(super) async fn alive(&self) -> Result<(), Stopped> {
        self.see(&self.views.alive, self.control.ping()).await?;
        Ok(())
    }

    /// What is so; at the status door, or was a moment ago.
    pub(super) async fn view(&self) -> Result<Arc<FullState>, Stopped> {
        self.see(&self.views.nodes, self.control.full_state()).await
    }

    /// The same without each single node.
    pub(super) async fn overview(&self) -> Result<Arc<Summary>, Stopped> {
        self.see(&self.views.overviews, self.control.summary())
            .await
    }

    async fn see<T: Send + Sync + 'static>(
        &self,
        last: &Last<T>,
        present: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<Arc<T>, Stopped> {
        match self.door {
            Door::Admin => present.await.map(Arc::new),
            Door::Status | Door::Node => last.or(present).await,
        }
    }
}

/// The last one that was made, until it is too old.
#[derive(Debug)]
struct Last<T>(Arc<Mutex<Option<Made<T>>>>);

#[derive(Debug)]
struct Made<T> {
    at: Instant,
    what: Arc<T>,
}

impl<T: Send + Sync + 'static> Last<T> {
    /// That one, or the present one. Who comes while one is made waits for the same.
    async fn or(
        &self,
        present: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<Arc<T>, Stopped> {
        let mut last = self.0.lock().await;
        if let Some(made) = last.as_ref().filter(|made| !made.is_old()) {
            return Ok(made.what.clone());
        }
        let what = Arc::new(present.await?);
        let at = Instant::now();
        *last = Some(Made {
            at,
            what: what.clone(),
        });
        tokio::spawn(Self(self.0.clone()).forget());
        Ok(what)
    }

    /// A big site's view is some megabytes, and the next who looks may come tomorrow.
    async fn forget(self) {
        sleep(KEPT).await;
        self.0.lock().await.take_if(|made| made.is_old());
    }
}

impl<T> Made<T> {
    fn is_old(&self) -> bool {
        self.at.elapsed() >= KEPT
    }
}

impl<T> Default for Last<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
