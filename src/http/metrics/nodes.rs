//! A few series for each node, only with `metrics_per_node`: on a big site they are most of the text.

use std::fmt;

use super::families::Families;
use crate::api::State;
use crate::http::view::node::state;
use crate::model::node_view::{NodeState, NodeView};

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) addr: String,
    pub(super) name: String,
    pub(super) state: State,
    /// Its pool; empty if it is in none.
    pub(super) pool: String,
    /// Duration of its last poll, in seconds.
    pub(super) took: Option<f64>,
}

impl Node {
    pub(super) fn of(view: &NodeView) -> Self {
        Self {
            addr: view.node.addr.to_string(),
            name: view.node.name.clone(),
            state: state(view),
            pool: match &view.state {
                NodeState::Member(place, _) => place.pool.to_string(),
                _ => String::new(),
            },
            took: view.last.as_ref().map(|poll| poll.took.as_secs_f64()),
        }
    }
}

pub(super) fn write(nodes: &[Node], families: &mut Families<'_>) -> fmt::Result {
    families.gauges(
        "pollbal_node_member",
        "1 if the node is in a pool.",
        nodes.iter().map(|node| {
            let labels = [("node", node.addr.as_str()), ("name", &node.name)];
            (labels, u64::from(node.state == State::Member))
        }),
    )?;
    // Without the version, which a node may make up at each poll, and without a pool that it only
    // announced: there are no more pools than those declared and twice `max_undeclared_pools`.
    families.gauges(
        "pollbal_node_info",
        "The state of the node, and its pool if it is in one; always 1.",
        nodes.iter().map(|node| {
            let labels = [
                ("node", node.addr.as_str()),
                ("name", &node.name),
                ("state", node.state.word()),
                ("pool", &node.pool),
            ];
            (labels, 1_u64)
        }),
    )?;
    families.gauges(
        "pollbal_node_poll_duration_seconds",
        "Duration of the last poll of the node.",
        nodes.iter().filter_map(|node| {
            let labels = [("node", node.addr.as_str()), ("name", &node.name)];
            Some((labels, node.took?))
        }),
    )
}
