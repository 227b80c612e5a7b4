//! Snapshots of the desired state: what did not change between two of them is shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::nodes::{Nodes, State};
use super::pool_state::PoolState;
use super::weights::Weights;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::overrides::Overrides;
use crate::model::pools::{DrainingMember, LastIn, Member, Pool, Pools};
use crate::model::rules::Rules;
use crate::model::words::{Word, Words};

/// The last snapshot, and what of it is no longer true. A change makes only its own pool again, though
/// all nodes are looked at for it.
#[derive(Debug)]
pub(super) struct Snapshots {
    taken: Pools,
    changed: BTreeSet<PoolName>,
    /// There may be other pools, and other nodes, than before.
    all_changed: bool,
    /// A node let something else be known of where it serves.
    words_changed: bool,
    /// Sorry servers that ever stood in, by pool: of these we know that they are no members.
    stood_in: BTreeMap<PoolName, BTreeSet<NodeAddr>>,
}

impl Snapshots {
    /// None was taken yet.
    pub(super) fn new() -> Self {
        Self {
            taken: Pools::default(),
            changed: BTreeSet::new(),
            all_changed: true,
            words_changed: false,
            stood_in: BTreeMap::new(),
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

    /// A node let something else be known of where it serves.
    pub(super) fn words_changed(&mut self) {
        self.words_changed = true;
    }

    /// The snapshot of now, unless nothing changed since the last.
    pub(super) fn take(
        &mut self,
        weights: Weights<'_>,
        pools: &BTreeMap<PoolName, PoolState>,
        nodes: &Nodes,
    ) -> Option<Pools> {
        let rules = weights.rules;
        let mut names = std::mem::take(&mut self.changed);
        let unserved = pools.iter().filter(|(_, state)| state.has_unserved());
        let mut unserved = unserved.map(|(name, _)| name).peekable();
        let has_unserved = unserved.peek().is_some();
        if std::mem::take(&mut self.words_changed) {
            names.extend(unserved.cloned());
        }
        if std::mem::take(&mut self.all_changed) {
            self.taken = Pools::default();
            names.extend(rules.declared.keys().chain(pools.keys()).cloned());
        } else if names.is_empty() {
            return None;
        }
        // One that is ours no more may have changed before.
        names.retain(|name| pools.contains_key(name) || rules.declared.contains_key(name));
        let empty = |name: PoolName| {
            let state = pools.get(&name);
            let pool = Pool {
                declared: rules.declared.contains_key(&name),
                announced: state.is_some(),
                members: Vec::with_capacity(state.map_or(0, PoolState::members)),
                draining: Vec::new(),
                sorry: Vec::new(),
                standby: rules.of(&name).sorry.clone(),
                versions: state.map_or(Vec::new(), PoolState::versions),
                unserved: state.map_or(BTreeSet::new(), PoolState::unserved),
                barred: match state {
                    Some(state) if !state.served => barred(&name, rules, nodes),
                    _ => BTreeSet::new(),
                },
            };
            (name, pool)
        };
        let mut changed: BTreeMap<_, _> = names.into_iter().map(empty).collect();
        for node in nodes.listed().iter().chain(nodes.gone()) {
            if let State::Member { place, .. } = &node.state
                && let Some(pool) = changed.get_mut(&place.pool)
            {
                pool.members.push(Member {
                    node: node.node.clone(),
                    version: place.version.clone(),
                    weight: weights.of(node),
                });
            }
        }
        for node in nodes.listed() {
            if let Some((place, since)) = node.draining()
                && let Some(pool) = changed.get_mut(&place.pool)
            {
                pool.draining.push(DrainingMember {
                    node: node.node.clone(),
                    version: place.version.clone(),
                    since,
                });
            }
        }
        for (name, pool) in &mut changed {
            if pool.members.is_empty() {
                pool.sorry.clone_from(&pool.standby);
            }
            self.bar_former_sorry(name, pool);
        }
        let changed = changed.into_iter();
        let changed = changed.map(|(name, pool)| (name, Arc::new(pool)));
        self.taken.pools.extend(changed);
        let listed = nodes.listed().iter();
        let out = listed.filter(|node| matches!(node.state, State::Out(_)));
        self.taken.disabled = out.clone().map(|node| node.node.clone()).collect();
        let mut last_in = LastIn::new();
        for node in out {
            // Of a pool that the rules no longer give it, it is no member that is away.
            let may_return = |pool: &&PoolName| rules.refusal(pool, node.node.addr).is_none();
            if let Some(pool) = node.last_in().filter(may_return) {
                let there = last_in.entry(pool.clone()).or_default();
                there.insert(node.node.addr);
            }
        }
        self.taken.last_in = Arc::new(last_in);
        self.taken.words = if has_unserved {
            Arc::new(words(nodes, weights.overrides))
        } else {
            Arc::default()
        };
        Some(self.taken.clone())
    }

    /// A sorry server that is not active any more is known to be out, also of a pool that never served.
    fn bar_former_sorry(&mut self, name: &PoolName, pool: &mut Pool) {
        let present: BTreeSet<_> = pool.sorry.iter().map(|sorry| sorry.addr).collect();
        if let Some(former) = self.stood_in.get(name) {
            pool.barred.extend(former.difference(&present));
        }
        if !present.is_empty() {
            self.stood_in
                .entry(name.clone())
                .or_default()
                .extend(present);
        }
    }
}

/// What nodes let be known; an order is active also for an address that no services file lists.
fn words(nodes: &Nodes, overrides: &Overrides) -> Words {
    let given = nodes.listed().iter().chain(nodes.gone());
    let given = given.filter_map(|node| Some((node.node.addr, node.word.clone()?)));
    let barred = overrides.disabled.keys().chain(overrides.leases.keys());
    let barred = barred.map(|addr| (*addr, Word::Out));
    given.chain(barred).collect()
}

/// The nodes that may not serve in the pool and may in another, by the `nodes` of both.
fn barred(pool: &PoolName, rules: &Rules, nodes: &Nodes) -> BTreeSet<NodeAddr> {
    let lists = |pool: &PoolName, addr: NodeAddr| {
        let blocks = rules.of(pool).nodes.as_ref();
        blocks.map(|blocks| blocks.iter().any(|block| block.contains(addr.ip())))
    };
    if rules.of(pool).nodes.is_none() {
        return BTreeSet::new();
    }
    let others = || rules.declared.keys().filter(|other| *other != pool);
    let is_elsewhere = |addr| others().any(|other| lists(other, addr) == Some(true));
    let addrs = nodes.listed().iter().map(|node| node.node.addr);
    addrs
        .filter(|addr| lists(pool, *addr) == Some(false) && is_elsewhere(*addr))
        .collect()
}
