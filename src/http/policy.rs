//! Who may connect to each listener, which requests it accepts, and how it writes errors.

use std::net::IpAddr;

use axum::http::StatusCode;
use axum::http::request::Parts;
use tokio::sync::watch;

use super::origin::{self, KnownHosts};
use super::server::counters::RejectReason;
use super::server::error::{ErrorFormat, Rejection};
use super::server::service::Policy;
use super::{Listener, NodeIndexReceiver};

/// The checks of one listener.
pub(super) struct ListenerPolicy {
    listener: Listener,
    nodes: NodeIndexReceiver,
    hosts: watch::Receiver<KnownHosts>,
}

impl ListenerPolicy {
    pub(super) fn new(
        listener: Listener,
        nodes: NodeIndexReceiver,
        hosts: watch::Receiver<KnownHosts>,
    ) -> Self {
        Self {
            listener,
            nodes,
            hosts,
        }
    }
}

impl Policy for ListenerPolicy {
    fn check_source(&self, address: Option<IpAddr>) -> Result<(), Rejection> {
        // On a socket for both families a client's IPv4 address is mapped to IPv6.
        let is_node = |address: IpAddr| self.nodes.borrow().contains_ip(address.to_canonical());
        if self.listener != Listener::Node || address.is_some_and(is_node) {
            return Ok(());
        }
        let who = address.map_or_else(|| "the client".to_owned(), |address| address.to_string());
        let text = format!("{who} is not a listed node");
        let status = StatusCode::FORBIDDEN;
        Err(Rejection::closing(
            RejectReason::UnknownSource,
            status,
            text,
        ))
    }

    fn check_request(&self, head: &Parts) -> Result<(), Rejection> {
        match self.listener {
            Listener::Admin => Ok(()),
            Listener::Status => origin::check_host(head, &self.hosts.borrow()),
            Listener::Node => origin::check_sender(&head.headers),
        }
    }

    fn error_format(&self, path: &str) -> ErrorFormat {
        match self.listener {
            Listener::Admin => ErrorFormat::Json,
            Listener::Status if path == "/v1" || path.starts_with("/v1/") => ErrorFormat::Json,
            Listener::Status | Listener::Node => ErrorFormat::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::Request;

    use super::*;
    use crate::model::node_index::NodeIndex;

    #[test]
    fn each_listener_has_checks_of_its_own() {
        let policy = |listener| {
            let (_, nodes) = watch::channel(Arc::new(NodeIndex::new(&[])));
            let (_, hosts) = watch::channel(KnownHosts::default());
            ListenerPolicy::new(listener, nodes, hosts)
        };
        let request = Request::get("http://rebound.example/").body(());
        let head = request.unwrap().into_parts().0;
        let checks = |listener| {
            let policy = policy(listener);
            let source = policy.check_source(Some([10, 0, 0, 1].into()));
            (source.is_ok(), policy.check_request(&head).is_ok())
        };
        assert_eq!(checks(Listener::Admin), (true, true));
        assert_eq!(checks(Listener::Status), (true, false));
        assert_eq!(checks(Listener::Node), (false, false));
    }
}
