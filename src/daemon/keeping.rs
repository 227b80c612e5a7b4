//! Tasks beside the daemon that read and write its own files: the services file and the state file.

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Daemon, TASKS_AT_END, is_service};
use crate::services_file::Look;
use crate::services_watch;
use crate::state_file::{self, QuarantinedFile, Sources};
use crate::supervision::supervised;

impl Daemon {
    /// Watches the services file of the present configuration, and no other any more.
    pub(super) fn watch_services(&mut self, look: Look) {
        self.watching.cancel();
        self.watching = self.stop.child_token();
        let watching = self.watching.clone();
        let path = self.config.services_file.clone();
        // One list at a time; the watcher waits while the daemon takes it. A channel of its own,
        // so that no list from before a reload comes after it.
        let (sender, lists) = mpsc::channel(1);
        self.lists = lists;
        let status_reporter = self.watchfulness.status_reporter.clone();
        let watch = services_watch::watch(path, look, sender, status_reporter);
        let asked = watching.clone();
        let watch = async move { watching.run_until_cancelled(watch).await };
        self.tasks.spawn(supervised("services file", asked, watch));
    }

    /// Saves to the state file, and reports one that was rejected.
    pub(super) fn keep_state(
        &self,
        rejected: Option<QuarantinedFile>,
        written: watch::Sender<u64>,
    ) {
        if let Some(rejected) = rejected {
            let report = rejected.report(
                self.watchfulness.status_reporter.clone(),
                written.subscribe(),
            );
            let stop = self.stop.clone();
            self.tasks
                .spawn(async move { stop.run_until_cancelled(report).await });
        }
        let sources = Sources {
            overrides: self.overrides.subscribe(),
            alerts: self.watchfulness.memory.subscribe(),
            owned: self.owned.subscribe(),
            nodes: self.times.subscribe(),
        };
        let (path, status_reporter) = (
            self.state_file.subscribe(),
            self.watchfulness.status_reporter.clone(),
        );
        let keep = state_file::persist_loop(path, sources, written, status_reporter);
        self.tasks
            .spawn(supervised("state file", self.stop.clone(), keep));
    }

    /// Looks at once what is owned in load balancers, if a state file is kept.
    pub(super) async fn keep_owned(&self) {
        if is_service(&self.options) {
            let ownership = self.drivers.ownership();
            _ = timeout(TASKS_AT_END, ownership.look()).await;
        }
    }
}
