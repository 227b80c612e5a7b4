//! Members that may have connections which no seal has reached, by what a read shows: the next plan seals and tracks
//! them.

use std::collections::BTreeSet;
use std::mem;

use super::super::plan::Actual;
use super::super::protocol::Endpoint;
use super::super::read_state::StateRead;
use super::Connection;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

impl Connection<'_> {
    /// Whether a read that has everything else must query connections too: a service uses a pool that it did not use by
    /// what was known, or may have used one for a while, and a member has left that pool. Such a member was neither
    /// sealed nor tracked.
    pub(super) fn needs_connections(&self, read: &StateRead) -> bool {
        self.is_read
            && read.is_whole()
            && (!self.state.left_unused.is_empty()
                || !self.newly_used.is_empty()
                || !newly_used(&self.state.expected, &read.fresh).is_empty())
    }

    /// Marks nodes that have connections as unsealed in pools that services newly use, where they are no members.
    pub(super) fn mark_newly_used(&mut self, expected: &Actual, read: &mut StateRead) {
        if !read.has_connections() {
            return;
        }
        self.untracked.left_unused.clear();
        let mut pools = newly_used(expected, &read.fresh);
        pools.append(&mut read.newly_used);
        let open = mem::take(&mut read.backends);
        self.untracked.strays.extend(strays(&read.fresh, &open));
        for name in pools {
            if let Some(pool) = read.fresh.pools.get_mut(&name) {
                let open = open.iter().copied().map(Endpoint::Node);
                let unsealed = open.filter(|node| !pool.members.contains(node));
                pool.unsealed.extend(unsealed);
            }
        }
    }

    /// At the first read over a connection, marks nodes that have connections as unsealed: those that were members when
    /// the last connection ended and are none now, those that left their pool while no service used it, and those that
    /// are in no pool that a service uses.
    pub(super) fn mark_unsealed(&mut self, read: &mut StateRead) {
        let before = mem::take(&mut self.state.expected);
        let open = mem::take(&mut read.backends);
        let is_open = |member: &Endpoint| member.reached().is_some_and(|addr| open.contains(&addr));
        self.untracked.strays = strays(&read.fresh, &open);
        let used: BTreeSet<_> = read.fresh.used_pools().cloned().collect();
        for (name, pool) in &mut read.fresh.pools {
            if !used.contains(name) {
                continue;
            }
            let members = before.pools.get(name).map(|pool| pool.members.clone());
            let previous_run = self.state.earlier.iter();
            let previous_run = previous_run.filter_map(|earlier| earlier.pools.get(name));
            let previous_run = previous_run.flatten().map(|addr| Endpoint::Node(*addr));
            let left = self
                .state
                .left_unused
                .iter()
                .filter(|(pool, _)| pool == name);
            let left = left.map(|(_, addr)| Endpoint::Node(*addr));
            let earlier = members.into_iter().flatten().chain(previous_run);
            let earlier = earlier.chain(left);
            pool.unsealed = earlier
                .filter(|member| !pool.members.contains(member) && is_open(member))
                .collect();
            self.untracked.add(name, &pool.unsealed);
            let strays = self.untracked.strays.iter().copied();
            pool.unsealed.extend(strays.map(Endpoint::Node));
        }
    }
}

/// The pools that services use now, but did not use before.
fn newly_used(before: &Actual, now: &Actual) -> BTreeSet<PerlbalName> {
    let pool_before = |service| before.services.get(service)?.pool.as_ref();
    let services = now.services.iter();
    let new = services.filter_map(|(service, known)| {
        let pool = known.pool.as_ref()?;
        (pool_before(service) != Some(pool)).then(|| pool.clone())
    });
    new.collect()
}

/// Of the nodes to which connections are open, those that are in no pool that a service uses.
fn strays(actual: &Actual, open: &BTreeSet<NodeAddr>) -> BTreeSet<NodeAddr> {
    let used: BTreeSet<_> = actual.used_pools().collect();
    let pools = used.into_iter().filter_map(|name| actual.pools.get(name));
    let members = pools.flat_map(|pool| pool.members.iter());
    let members: BTreeSet<_> = members.filter_map(Endpoint::reached).collect();
    open.difference(&members).copied().collect()
}
