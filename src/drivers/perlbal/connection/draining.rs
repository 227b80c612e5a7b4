//! Draining removed members over a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Instant;

use super::super::drain::{DrainCheck, PoolMember};
use super::super::notices::Notice;
use super::super::plan::{Actual, PoolChange};
use super::super::protocol::{Command, Endpoint, parse_busy, parse_open, parse_requests};
use super::{Connection, QueryKind};
use crate::drivers::Snapshot;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::driver_status::Strays;
use crate::model::node::NodeAddr;

/// Members that may have connections which no seal has reached, until it is known which are desired.
#[derive(Default)]
pub(super) struct Untracked {
    /// Members of a pool by the read before, but not by the last one.
    gone: Vec<PoolMember>,
    /// Nodes that are in no pool but have connections.
    pub(super) strays: BTreeSet<NodeAddr>,
    /// Members of [`State::left_unused`](super::super::state::State::left_unused) that left before the connections were
    /// queried that a read waits for.
    pub(super) left_unused: BTreeSet<PoolMember>,
}

impl Untracked {
    /// Adds members that pollbal did not remove from a pool.
    pub(super) fn add(&mut self, pool: &PerlbalName, members: &BTreeSet<Endpoint>) {
        let nodes = members.iter().filter_map(Endpoint::reached);
        self.gone.extend(nodes.map(|addr| (pool.clone(), addr)));
    }
}

impl Connection<'_> {
    /// When to check which members are drained. Not before everything was read, since a check is judged
    /// by the seals that were sent before it.
    pub(super) fn drain_check_at(&self) -> Option<Instant> {
        let check_at = self.state.draining.check_at();
        check_at.filter(|_| self.is_read)
    }

    /// Tracks members that may have connections which no seal has reached, unless they are desired: before the plan
    /// seals them, and so before a snapshot without them is acknowledged.
    pub(super) fn track_unsealed(&mut self, now: Instant) {
        let state = &mut *self.state;
        let Some((_, desired)) = &state.desired else {
            return;
        };
        let gone = mem::take(&mut self.untracked.gone);
        let mut strays = mem::take(&mut self.untracked.strays);
        let used: BTreeSet<_> = state.expected.used_pools().collect();
        // A pool that pollbal owned was sealed, and is tracked until it is drained, even if pollbal does not own it any more.
        let earlier = state.earlier.iter();
        let earlier = earlier.flat_map(|earlier| earlier.pools.keys());
        let former: BTreeSet<_> = earlier.chain(&state.former).collect();
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
        let disabled = disabled(self.snapshot.as_ref());
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

    /// Tracks nodes that left a pool which is not pollbal's, and are in no such pool any more, until no connection to
    /// them is open.
    pub(super) fn track_strays_gone(&mut self, before: &Strays, now: Instant) {
        let state = &mut *self.state;
        let ours = state.desired.iter();
        let ours: Vec<_> = ours.flat_map(|(_, desired)| desired.pools.keys()).collect();
        let gone = before.iter().filter_map(|(addr, stray)| {
            let is_gone = !stray.is_managed() && !state.strays.contains_key(addr);
            let pool: PerlbalName = stray.pool.parse().ok()?;
            (is_gone && ours.binary_search(&&pool).is_err()).then_some((pool, *addr))
        });
        let gone: Vec<_> = gone.collect();
        if gone.is_empty() {
            return;
        }
        let disabled = disabled(self.snapshot.as_ref());
        for who in gone.into_iter().filter(|(_, addr)| disabled.contains(addr)) {
            state.draining.left_elsewhere(who, now);
        }
    }

    /// Tracks members that a plan removes from pools that services use, until they are drained.
    pub(super) fn track_removed(
        &mut self,
        changes: &BTreeMap<PerlbalName, PoolChange>,
        now: Instant,
    ) {
        let state = &mut *self.state;
        let used: BTreeSet<_> = state.expected.used_pools().collect();
        let mut counted = Vec::new();
        for (name, change) in changes {
            for addr in &change.added {
                state.draining.forget(&(name.clone(), *addr));
            }
            if change.removed.is_empty() {
                continue;
            }
            self.vanished.on_removal(now);
            if !used.contains(name) {
                let left = change.removed.iter().filter_map(Endpoint::reached);
                let left = left.map(|addr| (name.clone(), addr));
                state.left_unused.extend(left);
                continue;
            }
            for addr in change.removed.iter().filter_map(Endpoint::reached) {
                if state.draining.removed((name.clone(), addr), now) {
                    counted.push(Command::Nodes(addr));
                }
            }
        }
        self.query(QueryKind::DrainCheck, counted);
    }

    pub(super) fn begin_drain_check(&mut self, now: Instant) {
        let Some(counted) = self.state.draining.begin_check(now) else {
            return;
        };
        self.worked_before_check = self.pipeline.throttle().worked();
        // Requests before connections: what is answered in between then still shows as growth.
        self.query(
            QueryKind::DrainCheck,
            counted.into_iter().map(Command::Nodes),
        );
        self.query(QueryKind::DrainCheck, [Command::Socks]);
    }

    /// Records a response to `NODES` or `SOCKS`.
    pub(super) fn on_drain_check(&mut self, command: &Command, lines: &[String], now: Instant) {
        let state = &mut *self.state;
        if let Command::Nodes(addr) = command {
            return state.draining.count(*addr, parse_requests(lines));
        }
        let members = state.draining.all().map(|(who, _)| who);
        let served: Vec<_> = members
            .filter(|(_, addr)| is_served(&state.expected, *addr))
            .cloned()
            .collect();
        let worked = self.pipeline.throttle().worked();
        let worked = worked.saturating_sub(self.worked_before_check);
        let mut busy = parse_busy(lines);
        let open = parse_open(lines);
        let until_closed = state.draining.until_closed();
        busy.extend(until_closed.filter(|addr| open.contains(addr)));
        let check = state.draining.end_check(&busy, now, worked);
        for (pool, addr) in &check.busy {
            if let Some(pool) = state.expected.pools.get_mut(pool) {
                pool.unsealed.insert(Endpoint::Node(*addr));
            }
        }
        for who in &served {
            state.draining.forget(who);
        }
        self.plan_due |= !check.busy.is_empty();
        self.log_drained(check, &served, now);
    }

    fn log_drained(&mut self, check: DrainCheck, served: &[PoolMember], now: Instant) {
        for (who, after) in check.drained {
            // When a member left that was found gone, and whether it was busy, is not known.
            let Some(after) = after.filter(|_| !served.contains(&who)) else {
                continue;
            };
            let (pool, node) = who;
            self.state
                .log_about_pool(&pool.clone(), "has members drained", now, || {
                    Notice::Drained { pool, node, after }
                });
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
/// connection came from is not shown; so nothing can be said of another pool that it left.
fn is_served(expected: &Actual, addr: NodeAddr) -> bool {
    expected.used_pools().any(|pool| has(expected, pool, addr))
}

/// Whether the node is in the pool.
fn has(expected: &Actual, pool: &PerlbalName, addr: NodeAddr) -> bool {
    let pool = expected.pools.get(pool);
    pool.is_some_and(|pool| pool.members.contains(&Endpoint::Node(addr)))
}
