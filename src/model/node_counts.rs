//! Number of nodes by status, in total and per pool: the basis of alerts and of the health verdict.

use std::collections::{BTreeMap, BTreeSet};

use super::names::PoolName;
use super::node_view::NodeStatus;

/// Number of nodes by status, for each pool that they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Counts of each pool that nodes belong to: the pool that they are in, or announced last.
    pub pools: BTreeMap<PoolName, Counts>,
    /// Counts of nodes that never announced a pool.
    pub without_pool: Counts,
}

/// Number of nodes by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    by_status: [usize; NodeStatus::ALL.len()],
    /// Members that failed often enough to be removed, and are kept in by `min_members` or a freeze.
    pub kept: usize,
    /// The part of the awaited nodes whose first poll has no result yet.
    pub awaited: usize,
}

impl NodeCounts {
    /// The counts of a pool, or of the nodes that never announced one, for counting another node.
    pub fn of(&mut self, pool: Option<&PoolName>) -> &mut Counts {
        match pool {
            Some(pool) => self.pools.entry(pool.clone()).or_default(),
            None => &mut self.without_pool,
        }
    }

    /// The total over all pools.
    #[must_use]
    pub fn total(&self) -> Counts {
        let mut total = self.without_pool;
        for counts in self.pools.values() {
            total.add(counts);
        }
        total
    }

    /// The counts of these pools only.
    #[must_use]
    pub fn only(&self, pools: &BTreeSet<PoolName>) -> Self {
        let selected = self.pools.iter().filter(|(pool, _)| pools.contains(*pool));
        Self {
            pools: selected
                .map(|(pool, counts)| (pool.clone(), *counts))
                .collect(),
            without_pool: Counts::default(),
        }
    }

    /// Describes the nodes that `part` counts, as in `5 of 12 nodes down (api 3/5, web 2/4)` where `what` is `down`.
    #[must_use]
    pub fn share(&self, part: impl Fn(&Counts) -> usize, what: &str) -> String {
        let total = self.total();
        let mut pools: Vec<_> = self
            .pools
            .iter()
            .map(|(pool, counts)| (part(counts), counts.nodes(), pool))
            .filter(|(part, ..)| *part > 0)
            .collect();
        pools.sort_by_key(|(part, ..)| std::cmp::Reverse(*part));
        let shown = pools.iter().take(MAX_LISTED_POOLS);
        let mut parts: Vec<_> = shown
            .map(|(part, nodes, pool)| format!("{pool} {part}/{nodes}"))
            .collect();
        if pools.len() > MAX_LISTED_POOLS {
            let more: usize = pools[MAX_LISTED_POOLS..]
                .iter()
                .map(|(part, ..)| part)
                .sum();
            parts.push(format!(
                "{} more pools {more}",
                pools.len() - MAX_LISTED_POOLS
            ));
        }
        match part(&self.without_pool) {
            0 => {}
            some => parts.push(format!("{some} of no known pool")),
        }
        let all = total.nodes();
        let nodes = if all == 1 { "node" } else { "nodes" };
        let text = format!("{} of {all} {nodes} {what}", part(&total));
        if parts.is_empty() {
            text
        } else {
            format!("{text} ({})", parts.join(", "))
        }
    }
}

/// Maximum number of pools listed by name; the others are summed up.
const MAX_LISTED_POOLS: usize = 5;

impl Counts {
    /// Counts a node with this status.
    pub fn count(&mut self, status: NodeStatus) {
        self.by_status[status as usize] += 1;
    }

    /// Number of all nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.by_status.iter().sum()
    }

    /// Number of nodes with this status.
    #[must_use]
    pub fn at(&self, status: NodeStatus) -> usize {
        self.by_status[status as usize]
    }

    /// Number of nodes that are out because they fail. A node that was disabled, or that announced that it leaves, is
    /// not down: that is intended.
    #[must_use]
    pub fn down(&self) -> usize {
        self.at(NodeStatus::Failed)
    }

    /// Describes the nodes that are out, most severe first, as in `3 failed, 1 disabled`; empty if there are none.
    #[must_use]
    pub fn describe_out(&self) -> String {
        let parts = [
            (NodeStatus::Failed, "failed"),
            (NodeStatus::Refused, "refused"),
            (NodeStatus::Disabled, "disabled"),
            (NodeStatus::Leaving, "leaving"),
            (NodeStatus::Idle, "idle"),
            (NodeStatus::Awaited, "awaited"),
        ];
        let parts = parts.map(|(status, word)| (self.at(status), word));
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        let parts: Vec<_> = parts
            .map(|(number, word)| format!("{number} {word}"))
            .collect();
        parts.join(", ")
    }

    fn add(&mut self, other: &Self) {
        for (all, more) in self.by_status.iter_mut().zip(other.by_status) {
            *all += more;
        }
        self.kept += other.kept;
        self.awaited += other.awaited;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Counts with these numbers of members and failed nodes per pool; an empty name means no pool.
    pub(crate) fn counts(pools: &[(&str, usize, usize)]) -> NodeCounts {
        let mut counts = NodeCounts::default();
        for (pool, members, failed) in pools {
            let pool = (!pool.is_empty()).then(|| pool.parse().unwrap());
            let of = counts.of(pool.as_ref());
            (0..*members).for_each(|_| of.count(NodeStatus::Member));
            (0..*failed).for_each(|_| of.count(NodeStatus::Failed));
        }
        counts
    }

    #[test]
    fn down_nodes_are_listed_by_pool_in_descending_order() {
        let down = |counts: &NodeCounts| counts.share(Counts::down, "down");
        let site = counts(&[("web", 2, 2), ("api", 2, 3), ("ok", 3, 0)]);
        assert_eq!(down(&site), "5 of 12 nodes down (api 3/5, web 2/4)");
        let api = [("api".parse().unwrap())].into();
        assert_eq!(down(&site.only(&api)), "3 of 5 nodes down (api 3/5)");
        assert_eq!(
            down(&counts(&[("", 0, 1)])),
            "1 of 1 node down (1 of no known pool)"
        );
        assert_eq!(down(&counts(&[("api", 2, 0)])), "0 of 2 nodes down");
        let many: Vec<_> = (0..9).map(|number| format!("p{number}")).collect();
        let many: Vec<_> = many.iter().map(|pool| (pool.as_str(), 0, 2)).collect();
        let text = down(&counts(&many));
        assert!(text.ends_with("p4 2/2, 4 more pools 8)"), "{text}");
    }

    #[test]
    fn out_nodes_are_listed_by_cause() {
        let mut counts = Counts::default();
        assert_eq!(counts.describe_out(), "");
        for status in [NodeStatus::Disabled, NodeStatus::Failed, NodeStatus::Failed] {
            counts.count(status);
        }
        counts.count(NodeStatus::Member);
        assert_eq!(counts.describe_out(), "2 failed, 1 disabled");
        assert_eq!((counts.nodes(), counts.down()), (4, 2));
    }
}
