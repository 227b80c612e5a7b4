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
        let key = (node.word(), why(node));
        // Thousands of nodes are in a few groups.
        if let Some(group) = self.0.get_mut(&key) {
            group.nodes += 1;
            return;
        }
        let (state, why) = key.clone();
        let group = Group {
            state,
            class: format::class(node),
            why,
            nodes: 1,
        };
        self.0.insert(key, group);
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
    let mut names = String::new();
    for reason in &node.reasons {
        if !names.is_empty() {
            names += ", ";
        }
        names += &reason.reason;
    }
    names
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
