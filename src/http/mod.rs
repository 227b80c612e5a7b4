//! The three HTTP listeners, their routes, and what they show.
//!
//! | listener | address | for | serves |
//! | --- | --- | --- | --- |
//! | admin socket | Unix socket | operators on this host | everything |
//! | status listener | TCP | browsers, Prometheus, probes | read-only |
//! | node listener | TCP | the nodes | each node for itself alone |
//!
//! [`server`] accepts connections and limits them, [`routes`] handles requests, [`view`] turns the
//! daemon's state into the types of the [API](crate::api), and [`page`] and [`metrics`] into text.
//!
//! The listeners run on their own thread and query the daemon over a bounded channel, so that whatever
//! they receive, polling and load balancers do not wait for it. The daemon sends the thread new sockets
//! over another bounded channel, and gives handlers what they need in a [`ServerContext`].

mod cache;
mod limits;
mod listeners;
mod long_poll;
mod metrics;
mod origin;
mod page;
mod params;
mod policy;
mod routes;
mod server;
mod servers;
mod view;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use tokio::sync::watch;

use self::cache::Views;
use self::limits::limits;
pub use self::listeners::{BindError, Bound, Changes, Hint, Listener, SocketError};
pub use self::origin::KnownHosts;
use self::params::HttpError;
use self::policy::ListenerPolicy;
use self::server::connection_limit::ConnectionLimit;
pub use self::server::counters::{CLASSES, ListenerCounters, RejectReason};
use self::server::response_budget::{ReservedText, ResponseBudget};
use self::server::service::{ListenerService, ServiceParts};
pub use self::servers::HttpServers;
use crate::control::ControlHandle;
use crate::model::node_index::NodeIndex;

/// The latest node index. The node listener accepts only the addresses in it.
pub type NodeIndexReceiver = watch::Receiver<Arc<NodeIndex>>;

/// The counters of all listeners.
#[derive(Debug, Default)]
pub struct Counters([Arc<ListenerCounters>; Listener::ALL.len()]);

impl Counters {
    /// Those of one listener.
    #[must_use]
    pub fn of(&self, listener: Listener) -> &Arc<ListenerCounters> {
        &self.0[listener as usize]
    }
}

/// What the handlers of a listener have. It outlives reloads.
#[derive(Clone)]
pub struct AppState {
    /// The listener whose handlers these are.
    listener: Listener,
    /// Of all listeners.
    counters: Arc<Counters>,
    /// Finds nodes by name or address.
    node_index: NodeIndexReceiver,
    /// Queries the daemon.
    control: ControlHandle,
    /// Recent answers of the daemon, for all listeners.
    views: Arc<Views>,
    /// The listener's own, for large responses.
    budget: Arc<ResponseBudget>,
    /// The listener's own limit on delayed responses (long polls).
    long_polls: Arc<ConnectionLimit>,
}

impl AppState {
    /// Counts a text against the budget of large responses.
    fn reserve(&self, text: Bytes, address: Option<IpAddr>) -> Result<ReservedText, HttpError> {
        self.budget.reserve(text, address).map_err(|rejection| {
            let counters = self.counters.of(self.listener);
            counters.count_rejected(rejection.reason);
            HttpError::new(rejection.status, rejection.text)
        })
    }
}

/// What the listeners need beside their sockets.
pub struct ServerContext {
    counters: Arc<Counters>,
    views: Arc<Views>,
    node_index: NodeIndexReceiver,
    control: ControlHandle,
    /// The host names by which the status listener may be addressed.
    hosts: watch::Receiver<KnownHosts>,
    /// The limit of open files, from which the limits of the listeners follow.
    open_files: usize,
}

impl ServerContext {
    /// With what the listeners know of the rest of the program.
    #[must_use]
    pub fn new(
        node_index: NodeIndexReceiver,
        control: ControlHandle,
        hosts: watch::Receiver<KnownHosts>,
        open_files: usize,
    ) -> Self {
        Self {
            counters: Arc::default(),
            views: Arc::default(),
            node_index,
            control,
            hosts,
            open_files,
        }
    }

    fn service(&self, listener: Listener) -> Arc<ListenerService> {
        let limits = limits(listener, self.open_files);
        let budget: Arc<ResponseBudget> = Arc::default();
        let state = AppState {
            listener,
            counters: self.counters.clone(),
            node_index: self.node_index.clone(),
            control: self.control.clone(),
            views: self.views.clone(),
            budget: budget.clone(),
            long_polls: limits.long_polls(),
        };
        let router: Router = match listener {
            Listener::Admin => routes::admin::router(state),
            Listener::Status => routes::probes::router(state),
            Listener::Node => routes::node::router(state),
        };
        let (nodes, hosts) = (self.node_index.clone(), self.hosts.clone());
        Arc::new(ListenerService::new(ServiceParts {
            name: listener.name(),
            limits,
            policy: Box::new(ListenerPolicy::new(listener, nodes, hosts)),
            router,
            counters: self.counters.of(listener).clone(),
            budget,
        }))
    }
}
