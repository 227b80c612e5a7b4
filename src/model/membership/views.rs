//! Read-only views of [`Membership`].

use std::sync::Arc;
use std::time::Duration;

use super::Membership;
use super::nodes::{self, State};
use super::pool_state::PoolState;
use super::weights::full_weight;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::node_counts::NodeCounts;
use crate::model::node_view::{NodeState, NodeStatus, NodeView, Retention};
use crate::model::problems::PoolHealth;
use crate::model::rules::Rules;
use crate::model::site_counts::SiteCounts;

impl Membership {
    /// The active rules.
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Whether every node has been polled once.
    #[must_use]
    pub fn first_round_done(&self) -> bool {
        self.first_round_done
    }

    /// How many nodes are listed.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.listed().len()
    }

    /// Whether the services file lists the node.
    #[must_use]
    pub fn is_listed(&self, addr: NodeAddr) -> bool {
        self.nodes.get_listed(addr).is_some()
    }

    /// One node, if the services file lists it.
    #[must_use]
    pub fn view(&self, addr: NodeAddr) -> Option<NodeView> {
        Some(self.view_of(self.nodes.get_listed(addr)?))
    }

    /// All nodes, in the order of the services file.
    #[must_use]
    pub fn views(&self) -> impl ExactSizeIterator<Item = NodeView> {
        self.nodes.listed().iter().map(|node| self.view_of(node))
    }

    /// Counts that list all pools, with no node counted yet.
    #[must_use]
    pub fn empty_counts(&self) -> SiteCounts {
        SiteCounts::new(self.rules.declared.keys().chain(self.pools.keys()))
    }

    /// Whether [`Self::pool_health`] may have changed since this was last called.
    pub fn take_pool_health_changed(&mut self) -> bool {
        std::mem::take(&mut self.pool_health_changed)
    }

    /// Whether a member has begun to fail, is kept in for another reason, or serves again, since this was last called.
    /// Not all of that is a [`Change`](crate::model::change::Change).
    pub fn take_kept_changed(&mut self) -> bool {
        std::mem::take(&mut self.kept_changed)
    }

    /// The state of each pool that is declared or was ever announced, without sorry servers; nothing before the first
    /// round is done.
    #[must_use]
    pub fn pool_health(&self) -> Vec<PoolHealth> {
        if !self.first_round_done {
            return Vec::new();
        }
        let declared = self.rules.declared.keys();
        let announced = self.pools.keys();
        let undeclared = announced.filter(|pool| !self.rules.declared.contains_key(*pool));
        let level = |pool: &PoolName| {
            let (state, rules) = (self.pools.get(pool), self.rules.of(pool));
            PoolHealth {
                pool: pool.clone(),
                declared: self.rules.declared.contains_key(pool),
                served: state.is_some_and(|state| state.served),
                members: state.map_or(0, PoolState::members),
                serving: state.map_or(0, |state| state.serving(rules.fall)),
                min_members: rules.min_members,
                sorry: Vec::new(),
            }
        };
        declared.chain(undeclared).map(level).collect()
    }

    /// Counts the nodes of the services file by status and pool, without copying any.
    #[must_use]
    pub fn node_counts(&self) -> NodeCounts {
        let mut counts = NodeCounts::default();
        for node in self.nodes.listed() {
            let counts = counts.of(node.belongs_to());
            match &node.state {
                State::Out(None) => {
                    counts.count(NodeStatus::Awaited);
                    counts.awaited += 1;
                }
                State::Out(Some(why)) => counts.count(NodeStatus::of(why)),
                State::Member { place, held_since } => {
                    counts.count(NodeStatus::Member);
                    let failed = || node.failures >= self.rules.of(&place.pool).fall;
                    let kept = held_since.is_some() || (node.failures > 0 && failed());
                    counts.kept += usize::from(kept);
                }
            }
        }
        counts
    }

    fn view_of(&self, node: &nodes::TrackedNode) -> NodeView {
        let addr = node.node.addr;
        let lease = self.overrides.leases.get(&addr);
        let left = node.leaves().map(|(pool, _)| pool);
        let weight = full_weight(node, &self.rules, &self.overrides);
        let ramp = self.ramps.of(addr);
        NodeView {
            node: node.node.clone(),
            state: self.state_of(node),
            since: match &node.state {
                State::Member { .. } if node.failures > 0 => node.failing_since,
                _ => node.since,
            },
            unversioned: match &node.state {
                State::Member { .. } => node.unversioned.as_deref().cloned(),
                State::Out(_) => None,
            },
            last: node.last.clone(),
            last_assignment: node.last_assignment.clone(),
            failures: node.failures,
            answers: node.answers,
            reasons: self.overrides.reasons(addr).cloned().unwrap_or_default(),
            left: lease
                .and_then(|lease| lease.left.as_ref())
                .or(left)
                .cloned(),
            lease: lease.cloned(),
            weight,
            next_ramp: self
                .overrides
                .ramps_ms
                .get(&addr)
                .copied()
                .map(Duration::from_millis),
            ramp: ramp.map(|ramp| (ramp, self.ramps.weight(addr, weight.0))),
            weight_override: self.overrides.weights.get(&addr).cloned(),
            was_in: node.member_of().cloned(),
        }
    }

    fn state_of(&self, node: &nodes::TrackedNode) -> NodeState {
        match &node.state {
            State::Out(None) => NodeState::Awaited,
            State::Out(Some(why)) => NodeState::Out(why.clone()),
            State::Member { place, held_since } => {
                let fall = self.rules.of(&place.pool).fall;
                let kept = match (held_since, node.failures) {
                    (Some(_), _) => Retention::Held,
                    (None, 0) => Retention::Serving,
                    (None, failures) if failures >= fall => Retention::Frozen,
                    (None, _) => Retention::Failing,
                };
                NodeState::Member(place.clone(), kept)
            }
        }
    }
}
