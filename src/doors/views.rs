//! The daemon's view, for those who only look: however many ask, the daemon makes one at a time, and
//! no more than a few a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{Door, Shared};
use crate::asks::{Gone, View};

/// For so long the same view is given at the status door.
pub(super) const KEPT: Duration = Duration::from_millis(200);

/// The last view that was made, and when.
#[derive(Debug, Default)]
pub(super) struct Views(Mutex<Option<(Instant, Arc<View>)>>);

impl Shared {
    /// What is so; at the status door, or was a moment ago. Who comes there while a view is made
    /// waits for the same.
    pub(super) async fn view(&self) -> Result<Arc<View>, Gone> {
        if self.door == Door::Admin {
            return self.desk.view().await.map(Arc::new);
        }
        let mut last = self.views.0.lock().await;
        if let Some((made, view)) = &*last
            && made.elapsed() < KEPT
        {
            return Ok(view.clone());
        }
        let view = Arc::new(self.desk.view().await?);
        *last = Some((Instant::now(), view.clone()));
        Ok(view)
    }
}
