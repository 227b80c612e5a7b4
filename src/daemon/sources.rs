//! The daemon's side of the sources of nodes: starts them, and makes one list of what they list.

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Daemon;
use super::core::Input;
use crate::config::Config;
use crate::load::LoadedServices;
use crate::logging::count;
use crate::model::services::List;
use crate::sources::file::ServicesFile;
use crate::sources::serf::{FirstList, Members, Serf, SerfSettings, SharedRoster, Update};
use crate::sources::{self, FaultField, NodeLists, NodeSource, Shared, SourceUpdate};
use crate::supervision::supervised;

/// What the sources list.
#[derive(Default)]
pub(super) struct NodeSources {
    lists: NodeLists,
    /// The settings of Serf, and the members that count by them.
    serf: Option<(SerfSettings, SharedRoster)>,
    /// What several sources list, as it was logged.
    shared: Vec<Shared>,
}

impl NodeSources {
    /// Takes what was read with a new configuration: Serf's members as its agent lists them, or, if they are not
    /// `accepted` as they are, those that counted before. Returns its nodes.
    pub(super) fn read(
        &mut self,
        config: &Config,
        file: List,
        first: Option<FirstList>,
        accepted: bool,
    ) -> Option<Members> {
        let before = self.serf.take();
        let mut members = None;
        if let (Some(settings), Some(first)) = (&config.serf, first) {
            let same = before.filter(|(before, _)| before.address == settings.address);
            let is_answered = first.error().is_none();
            let roster = same.map(|(_, roster)| roster);
            let roster = roster
                .filter(|_| !(accepted && is_answered))
                .unwrap_or_default();
            members = Some(first.members(settings.clone(), &roster));
            self.serf = Some((settings.clone(), roster));
        }
        self.lists = NodeLists {
            file,
            serf: members.as_ref().map(Members::nodes),
        };
        self.log_shared();
        members
    }

    /// What all sources list.
    pub(super) fn list(&self) -> List {
        self.lists.list()
    }

    fn log_shared(&mut self) {
        let shared = self.lists.shared();
        for new in shared.iter().filter(|new| !self.shared.contains(new)) {
            warn!("{new}");
        }
        self.shared = shared;
    }
}

impl Daemon {
    /// Reads the sources of the present configuration from now on, and no longer those of the previous one.
    pub(super) fn watch_sources(
        &mut self,
        (services, members): (Option<LoadedServices>, Option<Members>),
    ) {
        self.watching.cancel();
        self.watching = self.stop.child_token();
        // One update at a time: a source waits while the daemon applies it. A new channel, so that no list from before a
        // reload arrives after it.
        let (sender, updates) = mpsc::channel(1);
        self.source_updates = updates;
        let reporter = self.alerting.status_reporter.clone();
        if let (Some(path), Some(read)) = (self.config.services_file.clone(), services) {
            let resolver = self.resolver.clone();
            let file = ServicesFile::new(path, read, resolver, reporter.clone());
            self.watch(file, sender.clone(), |status| &mut status.services);
        }
        reporter.set(|status| &mut status.serf, None);
        reporter.set(|status| &mut status.members_rejected, None);
        if let (Some((settings, roster)), Some(members)) = (self.node_sources.serf.clone(), members)
        {
            let agent = Serf::new(settings, members, roster, reporter);
            self.watch(agent, sender, |status| &mut status.serf);
        }
    }

    fn watch(
        &self,
        source: impl NodeSource + 'static,
        updates: mpsc::Sender<SourceUpdate>,
        field: FaultField,
    ) {
        let watching = self.watching.clone();
        let reporter = self.alerting.status_reporter.clone();
        let watch = sources::run(source, updates, (reporter, field));
        let cancelled = watching.clone();
        let watch = async move { watching.run_until_cancelled(watch).await };
        self.tasks
            .spawn(supervised("source of nodes", cancelled, watch));
    }

    /// Applies what a source has.
    pub(super) fn apply_source(&mut self, update: SourceUpdate) {
        match update {
            SourceUpdate::File(list) => {
                let nodes = count(list.nodes.len(), "node");
                info!("the services file changed: {nodes}");
                self.node_sources.lists.file = list;
                self.apply_list();
            }
            SourceUpdate::Serf(update) => self.apply_serf(update),
        }
    }

    fn apply_serf(&mut self, update: Update) {
        let Update {
            nodes,
            reports,
            poll_now,
        } = update;
        if nodes.is_some() {
            self.node_sources.lists.serf = nodes;
            self.apply_list();
        }
        if !reports.is_empty() {
            self.step(Input::Reports(reports));
        }
        for addr in poll_now {
            self.pollers.nudge(addr);
        }
    }

    fn apply_list(&mut self) {
        self.node_sources.log_shared();
        let list = self.node_sources.list();
        self.step(Input::List(list));
    }
}
