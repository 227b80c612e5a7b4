//! Number of nodes of the whole site, by status, pool and reason.
//!
//! Status and metrics show these. Alerts and the health verdict use [`node_counts`](super::node_counts) instead, which
//! are counted without a copy of each node.

use std::collections::BTreeMap;

use super::names::{PoolName, Version};
use super::node_counts::Counts;
use super::node_view::{NodeState, NodeStatus, NodeView, Retention};
use super::overrides::ReasonName;

/// Number of nodes by status, and what keeps them in or out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteCounts {
    /// All nodes of the services file, by status.
    pub by_status: Counts,
    /// Members, by what keeps them in, in the order of [`Retention::ALL`].
    kept: [usize; Retention::ALL.len()],
    /// Disabled nodes, by reason; a node counts once for each of its reasons.
    pub reasons: BTreeMap<ReasonName, usize>,
    /// Granted leaves that have not ended.
    pub grants: usize,
    /// Counts of each pool that was declared or announced, or that a leaving node left.
    pub pools: BTreeMap<PoolName, PoolCounts>,
}

/// Number of nodes of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Members, without sorry servers.
    pub members: usize,
    /// Members that count towards `min_members`; see [`Retention::serves`].
    pub serving: usize,
    /// Nodes that left it, by announcing that they leave or by a granted leave, and are not back.
    pub leaving: usize,
    /// Members by version, without versions that have no member.
    pub versions: BTreeMap<Option<Version>, usize>,
}

impl SiteCounts {
    /// Counts that list these pools, with no node counted yet.
    pub fn new<'a>(pools: impl Iterator<Item = &'a PoolName>) -> Self {
        let pools = pools.map(|name| (name.clone(), PoolCounts::default()));
        Self {
            pools: pools.collect(),
            ..Self::default()
        }
    }

    /// Adds a node to the counts.
    pub fn add(&mut self, node: &NodeView) {
        let status = node.state.status();
        self.by_status.count(status);
        self.by_status.awaited += usize::from(node.state == NodeState::Awaited);
        self.grants += usize::from(node.lease.is_some());
        for reason in node.reasons.keys() {
            *self.reasons.entry(reason.clone()).or_default() += 1;
        }
        if let NodeState::Member(place, kept) = &node.state {
            self.kept[*kept as usize] += 1;
            self.by_status.kept += usize::from(!kept.serves());
            let pool = self.pools.entry(place.pool.clone()).or_default();
            pool.members += 1;
            pool.serving += usize::from(kept.serves());
            *pool.versions.entry(place.version.clone()).or_default() += 1;
        } else if status == NodeStatus::Leaving
            && let Some(pool) = &node.left
        {
            self.pools.entry(pool.clone()).or_default().leaving += 1;
        }
    }

    /// Number of failing members.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.by_status.at(NodeStatus::Member) - self.kept(Retention::Serving)
    }

    /// Number of members that this keeps in.
    #[must_use]
    pub fn kept(&self, kept: Retention) -> usize {
        self.kept[kept as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::change::{Assignment, OutReason};
    use crate::model::node::Node;
    use crate::model::overrides::{LeaveLease, Note, Reason};
    use crate::model::time::Timestamp;
    use crate::model::weight::{Weight, WeightSource};

    fn node(state: NodeState) -> NodeView {
        let node = Node::new("10.0.0.1:80".parse().unwrap(), "node");
        NodeView {
            node: Arc::new(node),
            state,
            since: None,
            last_assignment: None,
            left: None,
            was_in: None,
            unversioned: None,
            last: None,
            failures: 0,
            answers: 0,
            reasons: BTreeMap::new(),
            lease: None,
            weight: (Weight::default(), WeightSource::Pool),
            ramp: None,
            next_ramp: None,
            weight_override: None,
        }
    }

    fn place(version: Option<&str>) -> Assignment {
        Assignment {
            pool: "api".parse().unwrap(),
            version: version.map(|version| version.parse().unwrap()),
        }
    }

    fn member(version: Option<&str>, kept: Retention) -> NodeView {
        node(NodeState::Member(place(version), kept))
    }

    fn counts_of(nodes: &[NodeView]) -> SiteCounts {
        let web = "web".parse().unwrap();
        let mut counts = SiteCounts::new([&web].into_iter());
        for node in nodes {
            counts.add(node);
        }
        counts
    }

    #[test]
    fn each_status_is_at_its_index() {
        for (index, status) in NodeStatus::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, index);
        }
        for (index, kept) in Retention::ALL.into_iter().enumerate() {
            assert_eq!(kept as usize, index);
        }
    }

    #[test]
    fn members_are_counted_by_version_whether_they_fail_or_not() {
        let counts = counts_of(&[
            member(Some("v1"), Retention::Serving),
            member(Some("v1"), Retention::Held),
            member(None, Retention::Failing),
            member(Some("v2"), Retention::Frozen),
            node(NodeState::Awaited),
        ]);
        let version = |version: &str| Some(version.parse().unwrap());
        let api = PoolCounts {
            members: 4,
            serving: 2,
            leaving: 0,
            versions: [(None, 1), (version("v1"), 2), (version("v2"), 1)].into(),
        };
        assert_eq!(counts.pools["api"], api);
        assert_eq!(counts.pools["web"], PoolCounts::default());
        assert_eq!((counts.by_status.nodes(), counts.by_status.awaited), (5, 1));
        assert_eq!(counts.by_status.kept, 2);
        assert_eq!(counts.failing(), 3);
        assert_eq!(Retention::ALL.map(|kept| counts.kept(kept)), [1, 1, 1, 1]);
        let by_status = NodeStatus::ALL.map(|status| counts.by_status.at(status));
        assert_eq!(by_status, [4, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_leaving_node_is_counted_for_the_pool_that_it_leaves() {
        let out = |out| NodeView {
            left: Some(place(None).pool),
            ..node(NodeState::Out(out))
        };
        let counts = counts_of(&[
            out(OutReason::Leaving),
            out(OutReason::Granted),
            out(OutReason::Idle),
        ]);
        assert_eq!(counts.pools["api"].leaving, 2);
        assert_eq!(counts.pools["api"].members, 0);
        assert_eq!(counts.by_status.at(NodeStatus::Leaving), 2);
    }

    #[test]
    fn a_node_is_counted_once_for_each_of_its_reasons() {
        let reason = Reason {
            note: Note::default(),
            by: Note::default(),
            since: Timestamp::from_millis(0),
            until: None,
        };
        let mut disabled = node(NodeState::Out(OutReason::Idle));
        for word in ["deploy", "disk"] {
            disabled
                .reasons
                .insert(word.parse().unwrap(), reason.clone());
        }
        let mut granted = node(NodeState::Out(OutReason::Granted));
        granted.lease = Some(LeaveLease {
            pool: None,
            version: None,
            left: None,
            since: Timestamp::from_millis(0),
            until: Timestamp::from_millis(1),
            was_away: false,
        });
        let counts = counts_of(&[disabled.clone(), disabled, granted]);
        let reasons = ["deploy", "disk"].map(|word| (word.parse().unwrap(), 2));
        assert_eq!(counts.reasons, reasons.into());
        assert_eq!(counts.grants, 1);
    }
}
