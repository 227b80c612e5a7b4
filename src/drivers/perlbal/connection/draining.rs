//! Removed members on their way to rest, over a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Instant;

use tracing::info;

use super::super::drain::{DrainCheck, PoolMember};
use super::super::plan::{Actual, PoolChange};
use super::super::protocol::{Command, Endpoint, parse_busy, parse_open, parse_requests};
use super::super::standing::Strays;
use super::{Connection, QueryKind, Untracked};
use crate::drivers::Snapshot;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

impl Untracked {
    /// Takes members that went from a pool without us.
    pub(super) fn went(&mut self, pool: &PerlbalName, members: &BTreeSet<Endpoint>) {
        let nodes = members.iter().filter_map(Endpoint::reached);
        self.gone.extend(nodes.map(|addr| (pool.clone(), addr)));
    }
}

impl Connection<'_> {
    /// Watches who may have connections that no seal has reached, unless it is wanted: before it is
    /// planned, and sealed, and so before a snapshot counts as told in which it is out.
    pub(super) fn track_unsealed(&mut self, now: Instant) {
        let state = &mut self.driver.state;
        let Some((_, desired)) = &state.desired else {
            return;
        };
        let gone = mem::take(&mut self.untracked.gone);
        let mut strays = mem::take(&mut self.untracked.strays);
        let used: BTreeSet<_> = state.expected.used_pools().collect();
        // A pool that was ours has been sealed, and is watched to the end, whoever has it now.
        let run_before = state.earlier.iter();
        let run_before = run_before.flat_map(|earlier| earlier.pools.keys());
        let former: BTreeSet<_> = run_before.chain(&state.former).collect();
        let out = |(pool, addr): &PoolMember| {
            let is_out = match desired.pools.get(pool) {
                Some(pool) => !pool.members.contains(addr),
                None => former.contains(pool) && !has(&state.expected, pool, *addr),
            };
            used.contains(pool) && is_out
        };
        for who in gone.into_iter().filter(out) {
            state.draining.adopt(who, now);
        }
        if strays.is_empty() {
            return;
        }
        // Perlbal also has connections to addresses that are no nodes, as with X-REPROXY-URL.
        let disabled = disabled(self.driver.snapshots.borrow().as_ref());
        strays.retain(|addr| disabled.contains(addr));
        // Which pool it left is not known.
        for pool in used {
            for addr in &strays {
                let who = (pool.clone(), *addr);
                if desired.pools.contains_key(pool) {
                    state.draining.adopt(who, now);
                } else {
                    // No seal of ours reaches its services.
                    state.draining.left_elsewhere(who, now);
                }
            }
        }
    }

    /// Watches who left a pool that is not ours, and is in no such pool any more, until no connection
    /// is left.
    pub(super) fn track_strays_gone(&mut self, before: &Strays, now: Instant) {
        let state = &mut self.driver.state;
        let mut gone = before.iter().filter(|(addr, stray)| {
            let ours = state.desired.iter();
            let is_ours_now = ours.filter_map(|(_, desired)| desired.pools.get(&stray.pool));
            !stray.is_managed() && !state.strays.contains_key(*addr) && is_ours_now.count() == 0
        });
        let Some(first) = gone.next() else { return };
        let gone: Vec<_> = [first].into_iter().chain(gone).collect();
        let disabled = disabled(self.driver.snapshots.borrow().as_ref());
        for (addr, stray) in gone.into_iter().filter(|(addr, _)| disabled.contains(addr)) {
            state
                .draining
                .left_elsewhere((stray.pool.clone(), *addr), now);
        }
    }

    /// Watches who left a pool that a service uses until they are at rest.
    pub(super) fn track_removed(
        &mut self,
        changes: &BTreeMap<PerlbalName, PoolChange>,
        now: Instant,
    ) {
        let state = &mut self.driver.state;
        let used: BTreeSet<_> = state.expected.used_pools().collect();
        let mut left = changes
            .iter()
            .filter(|(_, change)| !change.removed.is_empty());
        self.untracked.left_unused |= left.any(|(name, _)| !used.contains(name));
        let mut counted = Vec::new();
        for (name, change) in changes {
            for addr in &change.added {
                state.draining.forget(&(name.clone(), *addr));
            }
            for gone in change.removed.iter().filter(|_| used.contains(name)) {
                let Some(addr) = gone.reached() else { continue };
                if state.draining.removed((name.clone(), addr), now) {
                    counted.push(Command::Nodes(addr));
                }
            }
        }
        if changes.values().any(|change| !change.removed.is_empty()) {
            self.vanished.removed(now);
        }
        self.ask(QueryKind::DrainCheck, counted);
    }

    pub(super) fn begin_check(&mut self, now: Instant) {
        let Some(counted) = self.driver.state.draining.begin_check(now) else {
            return;
        };
        self.worked_before_check = self.session.throttle().worked();
        // Requests before connections: what is answered in between is then still seen to grow.
        self.ask(
            QueryKind::DrainCheck,
            counted.into_iter().map(Command::Nodes),
        );
        self.ask(QueryKind::DrainCheck, [Command::Socks]);
    }

    /// Takes an answer to `NODES` or `SOCKS`.
    pub(super) fn on_drain_check(&mut self, command: &Command, lines: &[String]) {
        let state = &mut self.driver.state;
        if let Command::Nodes(addr) = command {
            return state.draining.count(*addr, parse_requests(lines));
        }
        let draining = state.draining.all().map(|(who, _)| who);
        let untold: Vec<_> = draining
            .filter(|(_, addr)| is_served(&state.expected, *addr))
            .cloned()
            .collect();
        let worked = self.session.throttle().worked();
        let worked = worked.saturating_sub(self.worked_before_check);
        let mut busy = parse_busy(lines);
        let open = parse_open(lines);
        busy.extend(
            state
                .draining
                .until_closed()
                .filter(|addr| open.contains(addr)),
        );
        let observed = state.draining.end_check(&busy, Instant::now(), worked);
        for (pool, addr) in &observed.busy {
            if let Some(pool) = state.expected.pools.get_mut(pool) {
                pool.unsealed.insert(Endpoint::Node(*addr));
            }
        }
        for who in &untold {
            state.draining.forget(who);
        }
        self.log_rest(&observed, &untold);
        self.plan_due |= !observed.busy.is_empty();
        self.driver.tell_standing();
    }

    fn log_rest(&mut self, observed: &DrainCheck, untold: &[PoolMember]) {
        let now = Instant::now();
        let perlbal = &self.driver.settings.address;
        let state = &mut self.driver.state;
        for (who, after) in observed
            .drained
            .iter()
            .filter(|(who, _)| !untold.contains(who))
        {
            let (pool, addr) = who;
            // Of one that was found nobody knows when it left, nor whether it was at work.
            let Some(after) = after.map(|after| after.as_millis()) else {
                continue;
            };
            if state.may_tell(pool, "has members that come to rest", now) {
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
fn is_served(expected: &Actual, addr: NodeAddr) -> bool {
    expected.used_pools().any(|pool| has(expected, pool, addr))
}

/// Whether the node is in the pool.
fn has(expected: &Actual, pool: &PerlbalName, addr: NodeAddr) -> bool {
    let pool = expected.pools.get(pool);
    pool.is_some_and(|pool| pool.members.contains(&Endpoint::Node(addr)))
}
