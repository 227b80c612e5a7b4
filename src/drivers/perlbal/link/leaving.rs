//! Removed members on their way to rest, over a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Instant;

use tracing::info;

use super::super::plan::{Actual, PoolChange};
use super::super::rest::{Look, Membered};
use super::super::standing::Strays;
use super::super::wire::{Command, Endpoint, parse_busy, parse_open, parse_requests};
use super::{Link, Purpose, Unnoted};
use crate::drivers::Snapshot;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

impl Unnoted {
    /// Takes members that went from a pool without us.
    pub(super) fn went(&mut self, pool: &PerlbalName, members: &BTreeSet<Endpoint>) {
        let nodes = members.iter().filter_map(Endpoint::reached);
        self.gone.extend(nodes.map(|addr| (pool.clone(), addr)));
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
        let gone = mem::take(&mut self.unnoted.gone);
        let mut strays = mem::take(&mut self.unnoted.strays);
        let used: BTreeSet<_> = memory.told.used_pools().collect();
        // A pool that was ours has been sealed, and is watched to the end, whoever has it now.
        let run_before = memory.earlier.iter();
        let run_before = run_before.flat_map(|earlier| earlier.pools.keys());
        let former: BTreeSet<_> = run_before.chain(&memory.former).collect();
        let out = |(pool, addr): &Membered| {
            let is_out = match wanted.pools.get(pool) {
                Some(pool) => !pool.members.contains(addr),
                None => former.contains(pool) && !has(&memory.told, pool, *addr),
            };
            used.contains(pool) && is_out
        };
        for who in gone.into_iter().filter(out) {
            memory.leavers.found(who, now);
        }
        if strays.is_empty() {
            return;
        }
        // Perlbal also has connections to addresses that are no nodes, as with X-REPROXY-URL.
        let disabled = disabled(self.manager.snapshots.borrow().as_ref());
        strays.retain(|addr| disabled.contains(addr));
        // Which pool it left is not known.
        for pool in used {
            for addr in &strays {
                let who = (pool.clone(), *addr);
                if wanted.pools.contains_key(pool) {
                    memory.leavers.found(who, now);
                } else {
                    // No seal of ours reaches its services.
                    memory.leavers.left_elsewhere(who, now);
                }
            }
        }
    }

    /// Watches who left a pool that is not ours, and is in no such pool any more, until no connection
    /// is left.
    pub(super) fn note_strays_gone(&mut self, before: &Strays, now: Instant) {
        let memory = &mut self.manager.memory;
        let mut gone = before.iter().filter(|(addr, stray)| {
            let ours = memory.wanted.iter();
            let is_ours_now = ours.filter_map(|(_, wanted)| wanted.pools.get(&stray.pool));
            !stray.is_managed() && !memory.strays.contains_key(*addr) && is_ours_now.count() == 0
        });
        let Some(first) = gone.next() else { return };
        let gone: Vec<_> = [first].into_iter().chain(gone).collect();
        let disabled = disabled(self.manager.snapshots.borrow().as_ref());
        for (addr, stray) in gone.into_iter().filter(|(addr, _)| disabled.contains(addr)) {
            memory
                .leavers
                .left_elsewhere((stray.pool.clone(), *addr), now);
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
        let mut left = changes
            .iter()
            .filter(|(_, change)| !change.removed.is_empty());
        self.unnoted.left_unused |= left.any(|(name, _)| !used.contains(name));
        let mut counted = Vec::new();
        for (name, change) in changes {
            for addr in &change.added {
                memory.leavers.forget(&(name.clone(), *addr));
            }
            for gone in change.removed.iter().filter(|_| used.contains(name)) {
                let Some(addr) = gone.reached() else { continue };
                if memory.leavers.removed((name.clone(), addr), now) {
                    counted.push(Command::Nodes(addr));
                }
            }
        }
        if changes.values().any(|change| !change.removed.is_empty()) {
            self.vanished.removed(now);
        }
        self.ask(Purpose::Look, counted);
    }

    pub(super) fn begin_look(&mut self, now: Instant) {
        let Some(counted) = self.manager.memory.leavers.begin_look(now) else {
            return;
        };
        self.worked_before_look = self.session.pace().worked();
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
        let worked = self.session.pace().worked();
        let worked = worked.saturating_sub(self.worked_before_look);
        let mut busy = parse_busy(lines);
        let open = parse_open(lines);
        busy.extend(
            memory
                .leavers
                .until_closed()
                .filter(|addr| open.contains(addr)),
        );
        let seen = memory.leavers.end_look(&busy, Instant::now(), worked);
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

/// The nodes of the services file that are in no pool.
fn disabled(snapshot: Option<&Snapshot>) -> BTreeSet<NodeAddr> {
    let disabled = snapshot
        .into_iter()
        .flat_map(|snapshot| &*snapshot.pools.disabled);
    disabled.map(|node| node.addr).collect()
}

/// Whether a node is in a pool that a service uses. It is rightly busy there, and which pool a
/// connection came from is not told; so nothing can be said of another pool that it left.
fn is_served(told: &Actual, addr: NodeAddr) -> bool {
    told.used_pools().any(|pool| has(told, pool, addr))
}

/// Whether the node is in the pool.
fn has(told: &Actual, pool: &PerlbalName, addr: NodeAddr) -> bool {
    let pool = told.pools.get(pool);
    pool.is_some_and(|pool| pool.members.contains(&Endpoint::Node(addr)))
}
