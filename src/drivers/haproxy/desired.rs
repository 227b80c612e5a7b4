//! What `HAProxy` should have according to a snapshot: which backend has which nodes. Pure.

#![warn(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::name::HaproxyName;
use super::settings::{HaproxySettings, Leave, ServerMode};
use crate::drivers::sync::Members;
use crate::model::names::{PoolName, Version};
use crate::model::node::NodeAddr;
use crate::model::pools::{Member, Pool, Pools};
use crate::model::weight::Weight;

/// What `HAProxy` should look like.
#[derive(Clone, Debug)]
pub(super) struct Desired {
    pub(super) backends: BTreeMap<HaproxyName, DesiredBackend>,
    /// All nodes that pollbal knows.
    pub(super) known: BTreeSet<NodeAddr>,
    /// Those that are members of some pool, or left one without having failed, and the sorry servers that serve: requests
    /// in progress are served.
    pub(super) healthy: BTreeSet<NodeAddr>,
    pub(super) servers: ServerMode,
    pub(super) slot_prefix: HaproxyName,
    pub(super) leave: Leave,
    /// There is a state file.
    pub(super) keeps_state: bool,
}

/// What one backend should have.
#[derive(Clone, Debug, Default)]
pub(super) struct DesiredBackend {
    /// The pool whose problem it is if the backend is missing.
    pub(super) needed_by: Option<PoolName>,
    pub(super) members: BTreeMap<NodeAddr, DesiredMember>,
    /// Sorry servers, in the order in which they take over: `backup` servers where these can be added, otherwise
    /// recipients while there is no member.
    pub(super) sorry: Vec<(NodeAddr, DesiredMember)>,
    /// No node has served in it yet: who is there was not put there by pollbal.
    pub(super) is_unserved: bool,
}

/// A node that should get requests.
#[derive(Clone, Debug)]
pub(super) struct DesiredMember {
    pub(super) name: String,
    pub(super) weight: u16,
}

impl Desired {
    /// What a snapshot asks for. The backends `owned` had members by earlier snapshots.
    pub(super) fn of(
        settings: &HaproxySettings,
        pools: &Pools,
        owned: &BTreeSet<Arc<str>>,
    ) -> Self {
        let mut backends = BTreeMap::new();
        for name in owned {
            if let Ok(name) = name.parse() {
                backends.insert(name, DesiredBackend::default());
            }
        }
        for (name, pool) in pools.pools.iter().filter(|(_, pool)| pool.announced) {
            let backend = settings.backend_of(name);
            for version in &pool.versions {
                // A version may have a `+`, which no backend's name has.
                if let Ok(backend) = format!("{backend}.{version}").parse() {
                    backends.insert(backend, DesiredBackend::of_version(pool, version));
                }
            }
            backends.insert(backend, DesiredBackend::of_pool(name, pool));
        }
        let nodes = nodes_in_pools(pools);
        let disabled = pools.disabled.iter().map(|node| node.addr);
        let sorry = pools.pools.values().flat_map(|pool| &pool.sorry);
        let sorry = sorry.map(|sorry| sorry.addr);
        Self {
            backends,
            known: nodes.iter().copied().chain(disabled).collect(),
            healthy: nodes.iter().copied().chain(sorry).collect(),
            servers: settings.servers,
            slot_prefix: settings.slot_prefix.clone(),
            leave: settings.leave,
            keeps_state: settings.state_file.is_some(),
        }
    }

    /// Who should get the requests of each backend of pollbal's.
    pub(super) fn members(&self) -> Members {
        let backends = self.backends.iter();
        let managed = backends.filter(|(_, backend)| backend.is_managed());
        let members = managed.map(|(name, backend)| {
            let nodes = backend.recipients().map(|(node, _)| node).collect();
            (name.shared(), nodes)
        });
        members.collect()
    }
}

impl DesiredBackend {
    fn of_pool(name: &PoolName, pool: &Pool) -> Self {
        let members: BTreeMap<_, _> = pool.members.iter().map(DesiredMember::of).collect();
        let sorry = pool.standby.iter().map(|sorry| {
            let desired = DesiredMember::new(&sorry.name, Weight::default());
            (sorry.addr, desired)
        });
        let is_needed = pool.declared || !members.is_empty();
        Self {
            needed_by: is_needed.then(|| name.clone()),
            members,
            sorry: sorry.collect(),
            is_unserved: pool.unserved.contains(&None),
        }
    }

    fn of_version(pool: &Pool, version: &Version) -> Self {
        let members = pool.members.iter();
        let members = members.filter(|member| member.version.as_ref() == Some(version));
        Self {
            needed_by: None,
            members: members.map(DesiredMember::of).collect(),
            sorry: Vec::new(),
            is_unserved: pool.unserved.contains(&Some(version.clone())),
        }
    }

    /// Who gets requests: the members, or while there is none the sorry servers.
    pub(super) fn recipients(&self) -> impl Iterator<Item = (NodeAddr, &DesiredMember)> {
        let members = self.members.iter().map(|(node, member)| (*node, member));
        let sorry = self.sorry.iter().map(|(sorry, member)| (*sorry, member));
        members.chain(sorry.filter(|_| self.members.is_empty()))
    }

    /// Whether who is there was put there by pollbal, or is about to be.
    pub(super) fn is_managed(&self) -> bool {
        self.has_served() || !self.sorry.is_empty()
    }

    /// Whether a node serves in it, or has served.
    pub(super) fn has_served(&self) -> bool {
        !self.is_unserved || !self.members.is_empty()
    }
}

impl DesiredMember {
    fn of(member: &Member) -> (NodeAddr, Self) {
        let desired = Self::new(&member.node.name, member.weight);
        (member.node.addr, desired)
    }

    pub(super) fn new(name: &str, weight: Weight) -> Self {
        Self {
            name: name.to_owned(),
            weight: weight.get(),
        }
    }
}

/// The nodes that are in a pool, or left one without having failed.
fn nodes_in_pools(pools: &Pools) -> BTreeSet<NodeAddr> {
    let each = pools.pools.values().flat_map(|pool| {
        let members = pool.members.iter().map(|member| &member.node);
        let draining = pool.draining.iter().map(|member| &member.node);
        members.chain(draining)
    });
    each.map(|node| node.addr).collect()
}
