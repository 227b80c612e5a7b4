//! A site whose nodes serve `website` behind a Perlbal, which needs two of them, and its pollbal.

use std::net::SocketAddrV4;

use serde_json::{Value, json};

use super::nodes::{Node, addrs};
use super::overlay;
use super::perlbal::Perlbal;
use super::pollbal::Pollbal;
use super::stage::Stage;

pub(crate) struct Website {
    pub(crate) pollbal: Pollbal,
    pub(crate) perlbal: Perlbal,
    pub(crate) nodes: Vec<Node>,
    /// Where the nodes speak.
    pub(crate) node_listener: SocketAddrV4,
    pub(crate) config: Value,
    pub(crate) stage: Stage,
}

impl Website {
    /// `count` nodes, the service `web`, and pollbal with these keys over those that it has here.
    pub(crate) fn start(stage: Stage, count: usize, keys: &Value) -> Self {
        let nodes = stage.nodes(&vec!["website serving v1"; count]);
        let perlbal = Perlbal::with_service(&stage, "web", "website");
        let node_listener = stage.free_addr();
        let mut config = json!({
            "perlbal": perlbal.management(),
            "pools": { "website": { "min_members": 2 } },
            "node_listen": node_listener,
            // A node that a busy machine keeps from answering must not count as failed.
            "service_timeout": "5s",
        });
        overlay(&mut config, keys);
        let pollbal = Pollbal::start(&stage, &config);
        perlbal.wait_members("website", &addrs(&nodes));
        Self {
            pollbal,
            perlbal,
            nodes,
            node_listener,
            config,
            stage,
        }
    }

    #[track_caller]
    pub(crate) fn wait_members<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) {
        self.perlbal.wait_members("website", &addrs(nodes));
    }
}
