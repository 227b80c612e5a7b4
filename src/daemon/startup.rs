//! The start: what the previous run left is read before anything is decided.

use tracing::{error, info, warn};

use super::Daemon;
use super::core::Input;
use crate::disk::{no_answer, on_disk};
use crate::drivers::pool_files::earlier::{Earlier, earlier};
use crate::load::LoadedServices;
use crate::logging::count;
use crate::model::services::List;
use crate::sources::serf::Members;

impl Daemon {
    /// Begins to poll the nodes of the first list, and starts the drivers.
    pub(super) async fn start(
        &mut self,
        list: List,
        read: (Option<LoadedServices>, Option<Members>),
    ) {
        let earlier = self.read_earlier().await;
        let owned = self.owned.borrow().clone();
        self.step(Input::Start {
            list,
            accept_removals: self.options.accept_removals,
            earlier,
            owned,
        });
        self.start_drivers().await;
        self.watch_sources(read);
        let nodes = self.core.membership().node_count();
        info!(
            "polling {} every {}",
            count(nodes, "node"),
            humantime::format_duration(self.config.poll.interval)
        );
        if nodes == 0 {
            warn!(
                "{} lists no nodes: nothing is done until it does",
                self.config.sources()
            );
        }
    }

    /// Reads what the previous run left in the pool directory.
    async fn read_earlier(&self) -> Earlier {
        let directory = self.config.pool_directory.clone();
        let rules = self.config.rules.clone();
        let name = format!("the pool directory {}", directory.display());
        let late = || error!("{}; pollbal starts as soon as it does", no_answer(&name));
        let read = on_disk("earlier files", move || earlier(&directory, &rules), late);
        read.await.unwrap_or_default()
    }
}
