//! Who may have connections that no seal has reached, by what a reading shows: to be sealed and watched by the next plan.

use std::collections::BTreeSet;
use std::mem;

use super::super::plan::Actual;
use super::super::protocol::Endpoint;
use super::super::read_state::StateRead;
use super::Connection;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

impl Connection<'_> {
    /// Whether a reading that has all else is to ask for connections too: a service uses a pool that it did not use by
    /// what was known, or may have used one for a while, and someone has left that. Who did was not sealed, nor watched.
    pub(super) fn needs_connections(&self, reading: &StateRead) -> bool {
        let expected = &self.driver.state.expected;
        self.is_read
            && reading.is_whole()
            && (self.untracked.left_unused
                || !self.newly_used.is_empty()
                || !newly_used(expected, &reading.fresh).is_empty())
    }

    /// Marks what no seal may have reached in pools that services newly use: who is no member there, but has
    /// connections.
    pub(super) fn mark_newly_used(&mut self, expected: &Actual, reading: &mut StateRead) {
        if !reading.has_connections() {
            return;
        }
        let mut pools = newly_used(expected, &reading.fresh);
        pools.append(&mut reading.newly_used);
        let open = mem::take(&mut reading.backends);
        self.untracked.strays.extend(strays(&reading.fresh, &open));
        for name in pools {
            if let Some(pool) = reading.fresh.pools.get_mut(&name) {
                let open = open.iter().copied().map(Endpoint::Node);
                let unsealed = open.filter(|node| !pool.members.contains(node));
                pool.unsealed.extend(unsealed);
            }
        }
    }

    /// Marks what no seal may have reached: who was a member when the last connection ended and is
    /// none now, and who is in no pool that is used; each only if Perlbal has connections to it.
    pub(super) fn mark_unsealed(&mut self, reading: &mut StateRead) {
        let state = &mut self.driver.state;
        let before = mem::take(&mut state.expected);
        let open = mem::take(&mut reading.backends);
        let is_open = |member: &Endpoint| member.reached().is_some_and(|addr| open.contains(&addr));
        self.untracked.strays = strays(&reading.fresh, &open);
        let used: BTreeSet<_> = reading.fresh.used_pools().cloned().collect();
        for (name, pool) in reading
            .fresh
            .pools
            .iter_mut()
            .filter(|(name, _)| used.contains(name))
        {
            let members = before.pools.get(name).map(|pool| pool.members.clone());
            let run_before = state.earlier.iter();
            let run_before = run_before.filter_map(|earlier| earlier.pools.get(name));
            let run_before = run_before.flatten().map(|addr| Endpoint::Node(*addr));
            let earlier = members.into_iter().flatten().chain(run_before);
            pool.unsealed = earlier
                .filter(|member| !pool.members.contains(member) && is_open(member))
                .collect();
            self.untracked.went(name, &pool.unsealed);
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

/// Of those to whom there are connections, who is in no pool that a service uses.
fn strays(actual: &Actual, open: &BTreeSet<NodeAddr>) -> BTreeSet<NodeAddr> {
    let used: BTreeSet<_> = actual.used_pools().collect();
    let pools = used.into_iter().filter_map(|name| actual.pools.get(name));
    let members = pools.flat_map(|pool| pool.members.iter());
    let members: BTreeSet<_> = members.filter_map(Endpoint::reached).collect();
    open.difference(&members).copied().collect()
}
