//! Removed members on their way to rest, over a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Instant;

use tracing::info;

use super::super::plan::{Actual, PoolChange};
use super::super::rest::{Look, Membered};
use super::super::wire::{Command, Endpoint, parse_busy, parse_requests};
use super::{Link, Purpose, Unnoted};
use crate::model::names::PerlbalName;
use crate::model::node::NodeAddr;

impl Unnoted {
    /// Takes members that went from a pool without us.
    pub(super) fn went(&mut self, pool: &PerlbalName, members: &BTreeSet<Endpoint>) {
        let nodes = members.iter().filter_map(|member| match member {
            Endpoint::Node(addr) => Some((pool.clone(), *addr)),
            Endpoint::Odd(_) => None,
        });
        self.gone.extend(nodes);
    }
}

impl Link<'_> {
    /// Watches who may have connections that no seal has reached, unless it is wanted: before it is
    /// planned, and sealed, and so before a snapshot counts as told in which it is out.
    pub(super) fn note_unnoted(&mut self, now: Instant) {
        let memory = &mut self.manager.memory;
        let Some((_, wanted)) = &memory.wanted else {
            return;
        };
        let Unnoted { gone, mut strays } = mem::take(&mut self.unnoted);
        let used: BTreeSet<_> = memory.told.used_pools().collect();
        let out = |(pool, addr): &Membered| {
            let ours = wanted.pools.get(pool);
            used.contains(pool) && ours.is_some_and(|pool| !pool.members.contains(addr))
        };
        for who in gone.into_iter().filter(out) {
            memory.leavers.found(who, now);
        }
        if strays.is_empty() {
            return;
        }
        // Perlbal also has connections to addresses that are no nodes, as with X-REPROXY-URL.
        let snapshot = self.manager.snapshots.borrow();
        let disabled = snapshot
            .iter()
            .flat_map(|snapshot| &*snapshot.pools.disabled);
        let disabled: BTreeSet<NodeAddr> = disabled.map(|node| node.addr).collect();
        strays.retain(|addr| disabled.contains(addr));
        // Which pool it left is not known.
        for pool in used.iter().filter(|pool| wanted.pools.contains_key(**pool)) {
            for addr in &strays {
                memory.leavers.found(((*pool).clone(), *addr), now);
            }
        }
    }

    /// Watches who left a pool that a service uses until they are at rest.
    pub(super) fn note_leavers(
        &mut self,
        changes: &BTreeMap<PerlbalName, PoolChange>,
        now: Instant,
    ) {
        let memory = &mut self.manager.memory;
        let used: BTreeSet<_> = memory.told.used_pools().collect();
        let mut counted = Vec::new();
        for (name, change) in changes {
            for addr in &change.added {
                memory.leavers.forget(&(name.clone(), *addr));
            }
            for gone in change.removed.iter().filter(|_| used.contains(name)) {
                let Endpoint::Node(addr) = gone else { continue };
                if memory.leavers.removed((name.clone(), *addr), now) {
                    counted.push(Command::Nodes(*addr));
                }
            }
        }
        self.ask(Purpose::Look, counted);
    }

    pub(super) fn begin_look(&mut self, now: Instant) {
        let Some(counted) = self.manager.memory.leavers.begin_look(now) else {
            return;
        };
        // Requests before connections: what is answered in between is then still seen to grow.
        self.ask(Purpose::Look, counted.into_iter().map(Command::Nodes));
        self.ask(Purpose::Look, [Command::Socks]);
    }

    /// Takes an answer to `NODES` or `SOCKS`.
    pub(super) fn take_look(&mut self, command: &Command, lines: &[String]) {
        let memory = &mut self.manager.memory;
        if let Command::Nodes(addr) = command {
            return memory.leavers.count(*addr, parse_requests(lines));
        }
        let leavers = memory.leavers.all().map(|(who, _)| who);
        let untold: Vec<_> = leavers
            .filter(|(_, addr)| is_served(&memory.told, *addr))
            .cloned()
            .collect();
        let seen = memory.leavers.end_look(&parse_busy(lines), Instant::now());
        for (pool, addr) in &seen.busy {
            if let Some(pool) = memory.told.pools.get_mut(pool) {
                pool.unsealed.insert(Endpoint::Node(*addr));
            }
        }
        for who in &untold {
            memory.leavers.forget(who);
        }
        self.log_rest(&seen, &untold);
        self.plan_due |= !seen.busy.is_empty();
        self.manager.tell_standing();
    }

    fn log_rest(&mut self, seen: &Look, untold: &[Membered]) {
        let now = Instant::now();
        let perlbal = &self.manager.settings.address;
        let memory = &mut self.manager.memory;
        for (who, after) in seen.at_rest.iter().filter(|(who, _)| !untold.contains(who)) {
            let (pool, addr) = who;
            // Of one that was found nobody knows when it left, nor whether it was at work.
            let Some(after) = after.map(|after| after.as_millis()) else {
                continue;
            };
            if memory.may_tell(pool, "has members that come to rest", now) {
                info!(%perlbal, %pool, node = %addr, "{addr} is at rest, {after} ms after it left pool {pool}");
            }
        }
    }
}

/// Whether a node is in a pool that a service uses. It is rightly busy there, and which pool a
/// connection came from is not told; so nothing can be said of another pool that it left.
fn is_served(told: &Actual, addr: NodeAddr) -> bool {
    let member = Endpoint::Node(addr);
    let pools = told.used_pools();
    let mut pools = pools.filter_map(|pool| told.pools.get(pool));
    pools.any(|pool| pool.members.contains(&member))
}
