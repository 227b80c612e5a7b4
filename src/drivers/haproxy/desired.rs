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
    /// Those that are members of some pool, or left one without having failed: requests in progress are served.
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
        let healthy = healthy(pools);
        let disabled = pools.disabled.iter().map(|node| node.addr);
        Self {
            backends,
            known: healthy.iter().copied().chain(disabled).collect(),
            healthy,
            servers: settings.servers,
            slot_prefix: settings.slot_prefix.clone(),
            leave: settings.leave,
            keeps_state: settings.state_file.is_some(),
        }
    }

    /// The members of each backend of pollbal's.
    pub(super) fn members(&self) -> Members {
        let backends = self.backends.iter();
        let managed = backends.filter(|(_, backend)| backend.is_managed());
        let members = managed.map(|(name, backend)| {
            let nodes = backend.members.keys().copied().collect();
            (name.shared(), nodes)
        });
        members.collect()
    }
}

impl DesiredBackend {
    fn of_pool(name: &PoolName, pool: &Pool) -> Self {
        let members = pool.members.iter().map(DesiredMember::of);
        let sorry = pool.sorry.iter().map(|sorry| {
            let desired = DesiredMember::new(&sorry.name, Weight::default());
            (sorry.addr, desired)
        });
        let members: BTreeMap<_, _> = members.chain(sorry).collect();
        let is_needed = pool.declared || !members.is_empty();
        Self {
            needed_by: is_needed.then(|| name.clone()),
            members,
            is_unserved: pool.unserved.contains(&None),
        }
    }

    fn of_version(pool: &Pool, version: &Version) -> Self {
        let members = pool.members.iter();
        let members = members.filter(|member| member.version.as_ref() == Some(version));
        Self {
            needed_by: None,
            members: members.map(DesiredMember::of).collect(),
            is_unserved: pool.unserved.contains(&Some(version.clone())),
        }
    }

    /// Whether who is there was put there by pollbal, or is about to be.
    pub(super) fn is_managed(&self) -> bool {
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

fn healthy(pools: &Pools) -> BTreeSet<NodeAddr> {
    let each = pools.pools.values().flat_map(|pool| {
        let members = pool.members.iter().map(|member| &member.node);
        let draining = pool.draining.iter().map(|member| &member.node);
        members.chain(draining).chain(&pool.sorry)
    });
    each.map(|node| node.addr).collect()
}
