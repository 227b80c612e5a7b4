//! What people may see of a membership.

use std::sync::Arc;

use super::Membership;
use super::nodes::{self, State};
use crate::model::census::Census;
use crate::model::conditions::PoolLevel;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::rules::{PoolRules, Rules};
use crate::model::view::{Kept, NodeState, NodeView};

impl Membership {
    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Whether each node was heard once.
    #[must_use]
    pub fn first_round_done(&self) -> bool {
        self.first_round_done
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

    /// A census of all pools in which no node is counted yet.
    #[must_use]
    pub fn no_census(&self) -> Census {
        Census::new(self.rules.declared.keys().chain(self.pools.keys()))
    }

    /// Whether the answer of [`Self::levels`] may be another than when this was last asked.
    pub fn take_levels_changed(&mut self) -> bool {
        std::mem::take(&mut self.levels_changed)
    }

    /// Whether a member began to fail, another thing keeps it in, or it serves again, since this was
    /// last asked. Not all of that is a [`Change`](crate::model::change::Change).
    pub fn take_kept_changed(&mut self) -> bool {
        std::mem::take(&mut self.kept_changed)
    }

    /// How each declared pool stands, without sorry servers; nothing before the first round is done.
    #[must_use]
    pub fn levels(&self) -> Vec<PoolLevel> {
        if !self.first_round_done {
            return Vec::new();
        }
        let level = |(pool, rules): (&PoolName, &PoolRules)| PoolLevel {
            pool: pool.clone(),
            serving: self
                .pools
                .get(pool)
                .map_or(0, |state| state.serving(rules.fall)),
            min_members: rules.min_members,
            sorry: Vec::new(),
        };
        self.rules.declared.iter().map(level).collect()
    }

    fn view_of(&self, node: &nodes::NodeState) -> NodeView {
        let addr = node.node.addr;
        NodeView {
            node: node.node.clone(),
            state: self.state_of(node),
            since: match &node.state {
                State::Member { .. } if node.failures > 0 => node.failing_since,
                _ => node.since,
            },
            last: node.last.clone(),
            spoke_of: node.spoke_of.clone(),
            failures: node.failures,
            answers: node.answers,
            reasons: self.orders.reasons(addr).cloned().unwrap_or_default(),
            grant: self.orders.granted.get(&addr).cloned(),
        }
    }

    fn state_of(&self, node: &nodes::NodeState) -> NodeState {
        match &node.state {
            State::Out(None) => NodeState::Unheard,
            State::Out(Some(why)) => NodeState::Out(why.clone()),
            State::Member { place, held_since } => {
                let fall = self.rules.of(&place.pool).fall;
                let kept = match (held_since, node.failures) {
                    (Some(_), _) => Kept::Held,
                    (None, 0) => Kept::Serving,
                    (None, failures) if failures >= fall => Kept::Frozen,
                    (None, _) => Kept::Failing,
                };
                NodeState::Member(place.clone(), kept)
            }
        }
    }
}
