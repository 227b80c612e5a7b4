//! The daemon's side of its own file: a task writes the state file.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{Daemon, TASKS_TIMEOUT, is_service};
use crate::overrides_store::{Sources, persist_loop};
use crate::state_file::{QuarantinedFile, StateFileStore};
use crate::supervision::supervised;

impl Daemon {
    /// Starts to write the state file, and reports one that was rejected.
    pub(super) fn start_state_file(
        &self,
        store: StateFileStore,
        rejected: Option<QuarantinedFile>,
        written: watch::Sender<u64>,
    ) {
        let reporter = &self.alerting.status_reporter;
        if let Some(rejected) = rejected {
            let report = rejected.report(reporter.clone(), written.subscribe());
            let stop = self.stop.clone();
            self.tasks
                .spawn(async move { stop.run_until_cancelled(report).await });
        }
        let sources = Sources {
            overrides: self.overrides.subscribe(),
            alerts: self.alerting.saved.subscribe(),
            owned: self.owned.subscribe(),
            nodes: self.node_times.subscribe(),
        };
        let write = persist_loop(store, sources, written, reporter.clone());
        self.tasks
            .spawn(supervised("state file", self.stop.clone(), write));
    }

    /// Hands the overrides to the state file if they have changed.
    pub(super) fn save_overrides(&self) {
        let membership = self.core.membership();
        let revision = membership.overrides_revision();
        if self.overrides.borrow().0 != revision {
            let overrides = Arc::new(membership.overrides().clone());
            self.overrides.send_replace((revision, overrides));
        }
    }

    /// Determines now what is owned in load balancers, if there is a state file to save it.
    pub(super) async fn save_owned(&self) {
        if is_service(&self.options) {
            let ownership = self.drivers.ownership();
            _ = timeout(TASKS_TIMEOUT, ownership.look()).await;
        }
    }
}
