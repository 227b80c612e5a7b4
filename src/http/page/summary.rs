//! A summary of why nodes are out, where there are too many to read.

use std::collections::HashMap;

use super::format;
use crate::api;

/// Maximum number of groups that are shown, the largest ones.
const GROUPS: usize = 8;

/// Nodes that are in the same state for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) state: &'static str,
    pub(super) class: &'static str,
    /// Their common text; the names of the reasons where people gave some.
    pub(super) why: String,
    pub(super) nodes: usize,
}

/// The groups, while nodes are counted.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<(&'static str, String), Group>);

impl Groups {
    pub(super) fn count(&mut self, node: &api::Node) {
        let (state, why) = (node.word(), why(node));
        let fresh = || Group {
            state,
            class: format::class(node),
            why: why.clone(),
            nodes: 0,
        };
        let group = self.0.entry((state, why.clone())).or_insert_with(fresh);
        group.nodes += 1;
    }

    /// The largest, the largest first.
    pub(super) fn largest(self) -> Vec<Group> {
        let mut groups: Vec<_> = self.0.into_values().collect();
        groups.sort_by(|one, other| {
            let size = other.nodes.cmp(&one.nodes);
            size.then_with(|| (one.state, &one.why).cmp(&(other.state, &other.why)))
        });
        groups.truncate(GROUPS);
        groups
    }
}

fn why(node: &api::Node) -> String {
    if node.reasons.is_empty() {
        return format::why(node).unwrap_or_default().to_owned();
    }
    let names: Vec<_> = node
        .reasons
        .iter()
        .map(|reason| reason.reason.as_str())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::State;
    use crate::http::page::fixtures::{self, node};

    #[test]
    fn nodes_are_counted_by_what_keeps_them_out() {
        let mut nodes = fixtures::all_out(3).nodes;
        nodes.push(node(3, State::Failed, "connection refused"));
        let mut groups = Groups::default();
        for node in &nodes {
            groups.count(node);
        }
        let largest = groups.largest();
        let shown: Vec<_> = largest
            .iter()
            .map(|one| (one.nodes, one.state, &*one.why))
            .collect();
        assert_eq!(
            shown,
            [
                (3, "disabled", "maintenance"),
                (1, "failed", "connection refused")
            ]
        );
    }
}
