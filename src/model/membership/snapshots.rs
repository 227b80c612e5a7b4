//! The wanted state, taken again and again: what did not change in between is shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::nodes::{NodeState, Nodes, State};
use super::pool_state::PoolState;
use crate::model::names::PoolName;
use crate::model::pools::{Member, Pool, Pools};
use crate::model::rules::Rules;

/// The last snapshot, and what of it is no longer true. A change makes only its own pool anew, though
/// all nodes are looked at for it.
#[derive(Debug)]
pub(super) struct Snapshots {
    taken: Pools,
    changed: BTreeSet<PoolName>,
    /// There may be other pools, and other nodes, than before.
    all_changed: bool,
}

impl Snapshots {
    /// None was taken yet.
    pub(super) fn new() -> Self {
        Self {
            taken: Pools::default(),
            changed: BTreeSet::new(),
            all_changed: true,
        }
    }

    /// Someone came into the pool or went out of it.
    pub(super) fn changed(&mut self, pool: &PoolName) {
        if !self.changed.contains(pool) {
            self.changed.insert(pool.clone());
        }
    }

    /// The rules or the list of nodes are others.
    pub(super) fn all_changed(&mut self) {
        self.all_changed = true;
    }

    /// The snapshot of now, unless nothing changed since the last.
    pub(super) fn take(
        &mut self,
        rules: &Rules,
        pools: &BTreeMap<PoolName, PoolState>,
        nodes: &Nodes,
    ) -> Option<Pools> {
        let mut names = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.all_changed) {
            self.taken = Pools::default();
            names.extend(rules.declared.keys().chain(pools.keys()).cloned());
        } else if names.is_empty() {
            return None;
        }
        let empty = |name: PoolName| {
            let state = pools.get(&name);
            let pool = Pool {
                declared: rules.declared.contains_key(&name),
                announced: state.is_some(),
                members: Vec::with_capacity(state.map_or(0, PoolState::members)),
                sorry: Vec::new(),
                versions: state.map_or(Vec::new(), PoolState::versions),
            };
            (name, pool)
        };
        let mut changed: BTreeMap<_, _> = names.into_iter().map(empty).collect();
        for NodeState { node, state, .. } in nodes.listed().iter().chain(nodes.gone()) {
            if let State::Member { place, .. } = state
                && let Some(pool) = changed.get_mut(&place.pool)
            {
                pool.members.push(Member {
                    node: node.clone(),
                    version: place.version.clone(),
                });
            }
        }
        for (name, pool) in &mut changed {
            if pool.members.is_empty() {
                pool.sorry.clone_from(&rules.of(name).sorry);
            }
        }
        let changed = changed.into_iter();
        let changed = changed.map(|(name, pool)| (name, Arc::new(pool)));
        self.taken.pools.extend(changed);
        let listed = nodes.listed().iter();
        let out = listed.filter(|node| matches!(node.state, State::Out(_)));
        self.taken.disabled = out.map(|node| node.node.clone()).collect();
        Some(self.taken.clone())
    }
}
