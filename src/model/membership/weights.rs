//! The weights of nodes: which of those that are given for a node it has, and what changes them.
//!
//! A weight that changes while the node is out counts when it returns.

use super::Membership;
use super::nodes::{State, TrackedNode};
use super::overrides::Effect;
use super::ramps::Ramps;
use crate::model::change::{Change, Ending};
use crate::model::node::NodeAddr;
use crate::model::overrides::{Note, Overrides, WeightOverride};
use crate::model::rules::Rules;
use crate::model::weight::{Weight, WeightSource};

/// What the weights of members depend on.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    pub(super) rules: &'a Rules,
    pub(super) overrides: &'a Overrides,
    pub(super) ramps: &'a Ramps,
}

impl Weights<'_> {
    /// A member's weight at present: its full weight, unless it ramps up to that.
    pub(super) fn of(self, node: &TrackedNode) -> Weight {
        let (full, _) = full_weight(node, self.rules, self.overrides);
        self.ramps.weight(node.node.addr, full)
    }
}

/// The full weight that a node has in its pool, or would have in the one that it counts for, and who gives it.
pub(super) fn full_weight(
    node: &TrackedNode,
    rules: &Rules,
    overrides: &Overrides,
) -> (Weight, WeightSource) {
    if let Some(given) = overrides.weights.get(&node.node.addr) {
        return (given.weight, WeightSource::Override);
    }
    if let Some(weight) = node.announced_weight {
        return (weight, WeightSource::Node);
    }
    if let Some(weight) = node.node.weight {
        return (weight, WeightSource::ServicesFile);
    }
    let rules = match node.belongs_to() {
        Some(pool) => rules.of(pool),
        None => &rules.undeclared,
    };
    (rules.weight, WeightSource::Pool)
}

impl Membership {
    /// Gives nodes a weight, instead of one that they were given before.
    pub(super) fn set_weight(&mut self, addrs: &[NodeAddr], given: &WeightOverride) -> Effect {
        let mut effect = Effect::default();
        for addr in addrs {
            let set = |membership: &mut Self| {
                let weights = &mut membership.overrides.weights;
                weights.insert(*addr, given.clone());
            };
            self.reweigh(*addr, set);
            let node = self.node_or_gone(*addr);
            effect.changes.push(Change::WeightSet(node, given.clone()));
        }
        self.overrides_revision += 1;
        effect
    }

    /// Ends the weights that operators gave nodes, where there is one.
    pub(super) fn reset_weights(&mut self, addrs: &[NodeAddr], by: &Note) -> Effect {
        let mut effect = Effect::default();
        for addr in addrs {
            let how = Ending::Removed(by.clone());
            effect.changes.extend(self.reset_weight(*addr, how));
        }
        effect
    }

    /// Ends the weight that an operator gave a node, if there is one.
    pub(super) fn reset_weight(&mut self, addr: NodeAddr, how: Ending) -> Option<Change> {
        let given = self.overrides.weights.get(&addr)?.clone();
        self.reweigh(addr, |membership| {
            membership.overrides.weights.remove(&addr);
        });
        self.overrides_revision += 1;
        let weight = self.weight(addr).unwrap_or_default();
        let node = self.node_or_gone(addr);
        Some(Change::WeightReset(node, given, how, weight))
    }

    /// A node that may serve announces this weight, or none.
    pub(super) fn set_announced_weight(
        &mut self,
        addr: NodeAddr,
        weight: Option<Weight>,
        changes: &mut Vec<Change>,
    ) {
        let node = self.nodes.get(addr);
        if node.is_none_or(|node| node.announced_weight == weight) {
            return;
        }
        let now = self.reweigh(addr, |membership| {
            if let Some(node) = membership.nodes.get_mut(addr) {
                node.announced_weight = weight;
            }
        });
        if let Some(weight) = now
            && let Some(TrackedNode { node, state, .. }) = self.nodes.get(addr)
            && let State::Member { place, .. } = state
        {
            let (node, place) = (node.clone(), place.clone());
            changes.push(Change::Reweighted(node, place, weight));
        }
    }

    /// Changes what a node's weight depends on. Returns its weight if that is another one now.
    fn reweigh(&mut self, addr: NodeAddr, change: impl FnOnce(&mut Self)) -> Option<Weight> {
        let before = self.weight(addr);
        change(self);
        let after = self.weight(addr);
        let pool = self.nodes.get(addr).and_then(TrackedNode::pool);
        if let Some(pool) = pool.filter(|_| before != after) {
            self.snapshots.changed(pool);
        }
        after.filter(|_| before != after)
    }

    /// The full weight of a node that is known.
    fn weight(&self, addr: NodeAddr) -> Option<Weight> {
        let node = self.nodes.get(addr)?;
        Some(full_weight(node, &self.rules, &self.overrides).0)
    }
}
