//! Why so many nodes are out, in sum.

use std::collections::HashMap;

use super::words;
use crate::api;

/// So many groups are told, the largest.
const GROUPS: usize = 8;

/// Nodes that are in the same state for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group<'a> {
    pub(super) state: &'static str,
    pub(super) class: &'static str,
    pub(super) why: Why<'a>,
    pub(super) nodes: usize,
}

/// A text that nodes share; the names of the reasons where people gave some.
type Why<'a> = std::borrow::Cow<'a, str>;

/// The largest groups, the largest first.
pub(super) fn groups(nodes: &[api::Node]) -> Vec<Group<'_>> {
    let mut groups: HashMap<(&str, Why), Group> = HashMap::new();
    for node in nodes {
        let (state, why) = (words::state(node), why(node));
        let fresh = || Group {
            state,
            class: words::class(node),
            why: why.clone(),
            nodes: 0,
        };
        groups
            .entry((state, why.clone()))
            .or_insert_with(fresh)
            .nodes += 1;
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|one, other| {
        let size = other.nodes.cmp(&one.nodes);
        size.then_with(|| (one.state, &one.why).cmp(&(other.state, &other.why)))
    });
    groups.truncate(GROUPS);
    groups
}

fn why(node: &api::Node) -> Why<'_> {
    if node.reasons.is_empty() {
        return words::why(node).unwrap_or_default().into();
    }
    let names: Vec<_> = node
        .reasons
        .iter()
        .map(|reason| reason.reason.as_str())
        .collect();
    names.join(", ").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::State;
    use crate::doors::page::sample::{self, node};

    #[test]
    fn nodes_are_counted_by_what_keeps_them_out() {
        let mut nodes = sample::all_out(3).nodes;
        nodes.push(node(3, State::Failed, "failed: connection refused"));
        let groups = groups(&nodes);
        let told: Vec<_> = groups
            .iter()
            .map(|one| (one.nodes, one.state, &*one.why))
            .collect();
        assert_eq!(
            told,
            [
                (3, "disabled", "maintenance"),
                (1, "failed", "connection refused")
            ]
        );
    }
}
