//! The daemon's side of its own files: tasks read the services file and write the state file.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Daemon, TASKS_TIMEOUT, is_service};
use crate::load::LoadedServices;
use crate::overrides_store::{Sources, persist_loop};
use crate::sources;
use crate::sources::file::ServicesFile;
use crate::state_file::{QuarantinedFile, StateFileStore};
use crate::supervision::supervised;

impl Daemon {
    /// Watches the services file of the present configuration, and stops watching the previous one.
    pub(super) fn watch_services(&mut self, services: LoadedServices) {
        self.watching.cancel();
        self.watching = self.stop.child_token();
        let watching = self.watching.clone();
        let path = self.config.services_file.clone();
        // One list at a time: the watcher waits while the daemon applies it. A new channel, so that no list from before a
        // reload arrives after it.
        let (sender, lists) = mpsc::channel(1);
        self.lists = lists;
        let reporter = self.alerting.status_reporter.clone();
        let resolver = self.resolver.clone();
        let source = ServicesFile::new(path, services, resolver, reporter.clone());
        let watch = sources::run(source, sender, reporter);
        let cancelled = watching.clone();
        let watch = async move { watching.run_until_cancelled(watch).await };
        self.tasks
            .spawn(supervised("services file", cancelled, watch));
    }

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
