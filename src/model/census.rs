//! All nodes, counted.

use std::collections::BTreeMap;

use super::names::{PoolName, Version};
use super::orders::ReasonWord;
use super::view::{Kept, NodeState, NodeView, Whereabouts};

/// How many nodes are where, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All nodes of the services file, by where they are; see [`Whereabouts::ALL`].
    whereabouts: [usize; Whereabouts::ALL.len()],
    /// Of those that are awaited, the ones that were never heard.
    pub unheard: usize,
    /// Members, by what keeps them in; see [`Kept::ALL`].
    kept: [usize; Kept::ALL.len()],
    /// Nodes that are disabled, by reason; one counts for each that it has.
    pub reasons: BTreeMap<ReasonWord, usize>,
    /// Leaves that were granted and are not over.
    pub grants: usize,
    /// Each pool that was declared, announced, or asked for by a node that leaves.
    pub pools: BTreeMap<PoolName, PoolCensus>,
}

/// How many nodes a pool has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolCensus {
    /// Its members; sorry servers apart.
    pub members: usize,
    /// Members that count for `min_members`; see [`Kept::serves`].
    pub serving: usize,
    /// Nodes that leave it, or left it.
    pub leaving: usize,
    /// Its members, by version; none is at 0.
    pub versions: BTreeMap<Option<Version>, usize>,
}

impl Census {
    /// None counted yet, in these pools.
    pub fn new<'a>(pools: impl Iterator<Item = &'a PoolName>) -> Self {
        let pools = pools.map(|name| (name.clone(), PoolCensus::default()));
        Self {
            pools: pools.collect(),
            ..Self::default()
        }
    }

    /// Counts a node.
    pub fn count(&mut self, node: &NodeView) {
        let whereabouts = node.state.whereabouts();
        self.whereabouts[whereabouts as usize] += 1;
        self.unheard += usize::from(node.state == NodeState::Unheard);
        self.grants += usize::from(node.grant.is_some());
        for reason in node.reasons.keys() {
            *self.reasons.entry(reason.clone()).or_default() += 1;
        }
        if let NodeState::Member(place, kept) = &node.state {
            self.kept[*kept as usize] += 1;
            let pool = self.pools.entry(place.pool.clone()).or_default();
            pool.members += 1;
            pool.serving += usize::from(kept.serves());
            *pool.versions.entry(place.version.clone()).or_default() += 1;
        } else if whereabouts == Whereabouts::Leaving
            && let Some(place) = &node.spoke_of
        {
            self.pools.entry(place.pool.clone()).or_default().leaving += 1;
        }
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.whereabouts.iter().sum()
    }

    /// Nodes that are there.
    #[must_use]
    pub fn at(&self, whereabouts: Whereabouts) -> usize {
        self.whereabouts[whereabouts as usize]
    }

    /// Members that fail.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.at(Whereabouts::Member) - self.kept(Kept::Serving)
    }

    /// Members that this keeps in.
    #[must_use]
    pub fn kept(&self, kept: Kept) -> usize {
        self.kept[kept as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::change::{Out, Place};
    use crate::model::node::Node;
    use crate::model::orders::{Grant, Note, Reason};
    use crate::model::time::Timestamp;

    fn node(state: NodeState) -> NodeView {
        let node = Node {
            addr: "10.0.0.1:80".parse().unwrap(),
            name: "node".to_owned(),
        };
        NodeView {
            node: Arc::new(node),
            state,
            since: None,
            spoke_of: None,
            last: None,
            failures: 0,
            answers: 0,
            reasons: BTreeMap::new(),
            grant: None,
        }
    }

    fn place(version: Option<&str>) -> Place {
        Place {
            pool: "api".parse().unwrap(),
            version: version.map(|version| version.parse().unwrap()),
        }
    }

    fn member(version: Option<&str>, kept: Kept) -> NodeView {
        node(NodeState::Member(place(version), kept))
    }

    fn counted(nodes: &[NodeView]) -> Census {
        let web = "web".parse().unwrap();
        let mut census = Census::new([&web].into_iter());
        for node in nodes {
            census.count(node);
        }
        census
    }

    #[test]
    fn each_whereabouts_stands_at_its_place() {
        for (index, whereabouts) in Whereabouts::ALL.into_iter().enumerate() {
            assert_eq!(whereabouts as usize, index);
        }
        for (index, kept) in Kept::ALL.into_iter().enumerate() {
            assert_eq!(kept as usize, index);
        }
    }

    #[test]
    fn members_count_by_version_whether_they_fail_or_not() {
        let census = counted(&[
            member(Some("v1"), Kept::Serving),
            member(Some("v1"), Kept::Held),
            member(None, Kept::Failing),
            member(Some("v2"), Kept::Frozen),
            node(NodeState::Unheard),
        ]);
        let version = |version: &str| Some(version.parse().unwrap());
        let api = PoolCensus {
            members: 4,
            serving: 2,
            leaving: 0,
            versions: [(None, 1), (version("v1"), 2), (version("v2"), 1)].into(),
        };
        assert_eq!(census.pools["api"], api);
        assert_eq!(census.pools["web"], PoolCensus::default());
        assert_eq!((census.nodes(), census.unheard), (5, 1));
        assert_eq!(census.failing(), 3);
        assert_eq!(Kept::ALL.map(|kept| census.kept(kept)), [1, 1, 1, 1]);
        let whereabouts = Whereabouts::ALL.map(|whereabouts| census.at(whereabouts));
        assert_eq!(whereabouts, [4, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_node_that_leaves_counts_for_the_pool_that_it_leaves() {
        let out = |out| NodeView {
            spoke_of: Some(place(None)),
            ..node(NodeState::Out(out))
        };
        let census = counted(&[out(Out::Leaving), out(Out::Granted), out(Out::Idle)]);
        assert_eq!(census.pools["api"].leaving, 2);
        assert_eq!(census.pools["api"].members, 0);
        assert_eq!(census.at(Whereabouts::Leaving), 2);
    }

    #[test]
    fn a_node_counts_for_each_of_its_reasons() {
        let reason = Reason {
            note: Note::default(),
            by: Note::default(),
            since: Timestamp::from_millis(0),
            until: None,
        };
        let mut disabled = node(NodeState::Out(Out::Idle));
        for word in ["deploy", "disk"] {
            disabled
                .reasons
                .insert(word.parse().unwrap(), reason.clone());
        }
        let mut granted = node(NodeState::Out(Out::Granted));
        granted.grant = Some(Grant {
            pool: None,
            version: None,
            since: Timestamp::from_millis(0),
            until: Timestamp::from_millis(1),
            was_away: false,
        });
        let census = counted(&[disabled.clone(), disabled, granted]);
        let reasons = ["deploy", "disk"].map(|word| (word.parse().unwrap(), 2));
        assert_eq!(census.reasons, reasons.into());
        assert_eq!(census.grants, 1);
    }
}
