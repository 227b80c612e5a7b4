//! The daemon's side of the HTTP listeners: opened before anything else, informed about the nodes, moved
//! by a reload. A dry run and a single round have none.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::Options;
use crate::config::Config;
use crate::control::ControlHandle;
use crate::drivers::Mode;
use crate::fd_limits::open_files;
use crate::http::{BindError, Bound, Changes, HttpServers, KnownHosts, ServerContext};
use crate::model::node::Node;
use crate::model::node_index::NodeIndex;
use crate::supervision::Watcher;

/// The listeners, if there are any.
pub(super) struct HttpListeners {
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

impl HttpListeners {
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

    /// Checks whether their thread hangs.
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
