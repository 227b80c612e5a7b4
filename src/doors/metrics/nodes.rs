//! A few series for each node, with `metrics_per_node` only: at a big site they are most of all.

use std::fmt;

use super::families::Families;
use super::site::word;
use crate::api::State;
use crate::doors::tell::node::{place, state};
use crate::model::view::NodeView;

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) addr: String,
    pub(super) name: String,
    pub(super) state: State,
    /// Where it is, or wanted to be when it last spoke; else empty.
    pub(super) pool: String,
    pub(super) version: String,
    /// How long its last poll took, in seconds.
    pub(super) took: Option<f64>,
}

impl Node {
    pub(super) fn of(view: &NodeView) -> Self {
        let place = place(view);
        let version = place.as_ref().and_then(|place| place.version.as_ref());
        let text = |version: &_| ToString::to_string(version);
        Self {
            addr: view.node.addr.to_string(),
            name: view.node.name.clone(),
            state: state(view),
            version: version.map_or(String::new(), text),
            pool: place.map_or(String::new(), |place| place.pool.to_string()),
            took: view.last.as_ref().map(|poll| poll.took.as_secs_f64()),
        }
    }
}

pub(super) fn write(nodes: &[Node], families: &mut Families<'_>) -> fmt::Result {
    families.gauges(
        "pollbal_node_member",
        "Whether the node is in a pool.",
        nodes.iter().map(|node| {
            let labels = [("node", node.addr.as_str()), ("name", &node.name)];
            (labels, u64::from(node.state == State::Member))
        }),
    )?;
    families.gauges(
        "pollbal_node_state",
        "Always 1; the labels tell where the node is, and which pool and version it announced.",
        nodes.iter().map(|node| {
            let labels = [
                ("node", node.addr.as_str()),
                ("name", &node.name),
                ("state", word(node.state)),
                ("pool", &node.pool),
                ("version", &node.version),
            ];
            (labels, 1_u64)
        }),
    )?;
    families.gauges(
        "pollbal_node_poll_duration_seconds",
        "How long the last poll of the node took.",
        nodes.iter().filter_map(|node| {
            let labels = [("node", node.addr.as_str()), ("name", &node.name)];
            Some((labels, node.took?))
        }),
    )
}
