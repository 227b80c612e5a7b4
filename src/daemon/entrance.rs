//! The daemon's side of the HTTP listeners: opened before anything else, informed about the nodes, moved
//! by a reload. A dry run and a single round have none.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::Options;
use crate::config::Config;
use crate::control::ControlHandle;
use crate::drivers::Mode;
use crate::drivers::pool_files::earlier::owned_files;
use crate::fd_limits::open_files;
use crate::files::is_same;
use crate::http::{BindError, Bound, Changes, HttpServers, KnownHosts, ServerContext};
use crate::load::{Loaded, PATIENCE, load};
use crate::logging::chain;
use crate::model::node::Node;
use crate::model::node_index::NodeIndex;
use crate::state_file::{StateFile, Taken};
use crate::supervision::Watcher;

/// The listeners, if there are any.
pub(super) struct Entrance {
    servers: Option<HttpServers>,
    /// The latest index of nodes.
    node_index: watch::Sender<Arc<NodeIndex>>,
    /// The host names by which the status listener may be addressed.
    hosts: watch::Sender<KnownHosts>,
}

/// Opens the listeners, if the daemon should have any.
pub(super) fn open(options: &Options, config: &Config) -> Result<Option<Changes>, BindError> {
    let has_listeners = options.mode == Mode::Live && !options.once;
    let open = || Bound::default().open_changed(&config.listeners);
    has_listeners.then(open).transpose()
}

/// What a reload read and opened.
pub(super) struct Fresh {
    pub(super) loaded: Loaded,
    pub(super) listeners: Changes,
    /// The state file.
    pub(super) state_file: Option<Arc<StateFile>>,
    /// The pool files that stay in the directory that is left, if it is another one now.
    pub(super) left: Option<Vec<String>>,
}

/// What there is before a reload.
pub(super) struct Present {
    pub(super) config: PathBuf,
    pub(super) bound: Option<Bound>,
    pub(super) state_file: Option<Arc<StateFile>>,
    pub(super) pool_directory: PathBuf,
    pub(super) is_service: bool,
}

impl Present {
    /// Reads everything again and opens the listeners whose addresses have changed; or says what is wrong.
    pub(super) fn read_again(self) -> Result<Fresh, String> {
        let loaded = load(&self.config, PATIENCE).map_err(|errors| errors.to_string())?;
        if !loaded.quiet {
            let file = loaded.config.services_file.display();
            return Err(format!(
                "{file} is changed all the time; try again when it is whole"
            ));
        }
        let state_file = self.take_state_file(loaded.config.state_file.as_deref());
        let state_file = state_file.map_err(|taken| taken.to_string())?;
        let open = |bound: Bound| bound.open_changed(&loaded.config.listeners);
        let listeners = self.bound.map(open);
        let listeners = listeners.transpose().map_err(|error| chain(&error))?;
        let is_left = !is_same(&loaded.config.pool_directory, &self.pool_directory);
        Ok(Fresh {
            left: is_left.then(|| owned_files(&self.pool_directory)),
            loaded,
            listeners: listeners.unwrap_or_default(),
            state_file,
        })
    }

    fn take_state_file(&self, path: Option<&Path>) -> Result<Option<Arc<StateFile>>, Taken> {
        let is_present = match (path, &self.state_file) {
            (Some(path), Some(present)) => present.is_at(path),
            (path, present) => path.is_none() && present.is_none(),
        };
        if !self.is_service || is_present {
            return Ok(self.state_file.clone());
        }
        let taken = path.map(StateFile::take).transpose()?;
        Ok(taken.map(Arc::new))
    }
}

impl Entrance {
    /// Serves on the opened sockets.
    pub(super) fn start(
        opened: Option<Changes>,
        control: ControlHandle,
        config: &Config,
        nodes: &[Node],
    ) -> io::Result<Self> {
        // Complete from the first request on, so that no node is unknown right after a restart.
        let node_index = watch::Sender::new(Arc::new(NodeIndex::new(nodes)));
        let hosts = watch::Sender::new(KnownHosts::new(&config.listeners.status_hosts));
        let context = ServerContext::new(
            node_index.subscribe(),
            control,
            hosts.subscribe(),
            open_files(),
        );
        let start = |opened| HttpServers::start(opened, context);
        Ok(Self {
            servers: opened.map(start).transpose()?,
            node_index,
            hosts,
        })
    }

    /// These are the nodes from now on.
    pub(super) fn set_nodes(&self, nodes: &[Node]) {
        self.node_index
            .send_replace(Arc::new(NodeIndex::new(nodes)));
    }

    /// Looks whether their thread hangs.
    pub(super) fn watcher(&self) -> Option<Watcher> {
        let servers = self.servers.as_ref();
        servers.map(|servers| Watcher::new(servers.pulse()))
    }

    pub(super) fn bound(&self) -> Option<Bound> {
        self.servers.as_ref().map(HttpServers::bound)
    }

    pub(super) fn change(&mut self, changes: Changes, config: &Config) {
        let hosts = KnownHosts::new(&config.listeners.status_hosts);
        self.hosts.send_replace(hosts);
        if let Some(servers) = &mut self.servers {
            servers.apply(changes);
        }
    }

    pub(super) async fn stop(&mut self) {
        if let Some(servers) = self.servers.take() {
            servers.stop().await;
        }
    }
}
