//! Tasks beside the daemon that read and write its own files: the services file and the state file.

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Daemon, TASKS_AT_END, is_service};
use crate::services_file::Look;
use crate::services_watch;
use crate::state_file::{self, Refused, Sources};
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
        let reports = self.watchfulness.reports.clone();
        let watch = services_watch::watch(path, look, sender, reports);
        let asked = watching.clone();
        let watch = async move { watching.run_until_cancelled(watch).await };
        self.tasks.spawn(supervised("services file", asked, watch));
    }

    /// Keeps orders in the state file, and has it said that it was refused.
    pub(super) fn keep_state(&self, refused: Option<Refused>, written: watch::Sender<u64>) {
        if let Some(refused) = refused {
            let report = refused.report(self.watchfulness.reports.clone(), written.subscribe());
            let stop = self.stop.clone();
            self.tasks
                .spawn(async move { stop.run_until_cancelled(report).await });
        }
        let sources = Sources {
            orders: self.orders.subscribe(),
            alerts: self.watchfulness.memory.subscribe(),
            owned: self.owned.subscribe(),
            nodes: self.times.subscribe(),
        };
        let (path, reports) = (
            self.state_file.subscribe(),
            self.watchfulness.reports.clone(),
        );
        let keep = state_file::keep(path, sources, written, reports);
        self.tasks
            .spawn(supervised("state file", self.stop.clone(), keep));
    }

    /// Looks at once what is owned in load balancers, if a state file is kept.
    pub(super) async fn keep_owned(&self) {
        let snapshots = self.snapshots.subscribe();
        let ownership = self.drivers.ownership(&self.config, snapshots, &self.owned);
        if is_service(&self.options) {
            _ = timeout(TASKS_AT_END, ownership.look()).await;
        }
    }
}
