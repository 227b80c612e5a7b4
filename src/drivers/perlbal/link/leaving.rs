//! Removed members on their way to rest, over a connection.

use std::collections::BTreeMap;
use std::time::Instant;

use tracing::info;

use super::super::plan::PoolChange;
use super::super::rest::Membered;
use super::super::wire::{Command, Endpoint, parse_busy, parse_requests};
use super::Link;
use crate::model::names::PerlbalName;

impl Link<'_> {
    /// Watches who left a pool that a service uses until they are at rest.
    pub(super) fn note_leavers(
        &mut self,
        changes: &BTreeMap<PerlbalName, PoolChange>,
        now: Instant,
    ) {
        let Some(told) = &self.told else { return };
        let used = |name: &PerlbalName| told.used_pools().any(|pool| pool == name);
        for (name, change) in changes {
            for addr in &change.added {
                self.manager.memory.leavers.forget(&(name.clone(), *addr));
            }
            for gone in change.removed.iter().filter(|_| used(name)) {
                let Endpoint::Node(addr) = gone else { continue };
                if self
                    .manager
                    .memory
                    .leavers
                    .removed((name.clone(), *addr), now)
                {
                    self.session.ask([Command::Nodes(*addr)]);
                }
            }
        }
    }

    pub(super) fn begin_look(&mut self, now: Instant) {
        let Some(counted) = self.manager.memory.leavers.begin_look(now) else {
            return;
        };
        // Requests before connections: what is answered in between is then still seen to grow.
        self.session.ask(counted.into_iter().map(Command::Nodes));
        self.session.ask([Command::Socks]);
    }

    /// Takes an answer to `NODES` or `SOCKS`.
    pub(super) fn take_look(&mut self, command: &Command, lines: &[String]) {
        if let Command::Nodes(addr) = command {
            return self
                .manager
                .memory
                .leavers
                .count(*addr, parse_requests(lines));
        }
        let Some(told) = &mut self.told else { return };
        let served: Vec<_> = told.used_pools().collect();
        // A node that is still in another pool is rightly busy there; nothing can be told of it.
        let elsewhere = |(_, addr): &&Membered| {
            let member = Endpoint::Node(*addr);
            let pools = served.iter().filter_map(|pool| told.pools.get(pool));
            pools.into_iter().any(|pool| pool.members.contains(&member))
        };
        let untold: Vec<_> = self
            .manager
            .memory
            .leavers
            .all()
            .filter(elsewhere)
            .cloned()
            .collect();
        let seen = self
            .manager
            .memory
            .leavers
            .end_look(&parse_busy(lines), Instant::now());
        let now = Instant::now();
        let perlbal = self.manager.settings.address.clone();
        for ((pool, addr), after) in seen.at_rest.iter().filter(|(who, _)| !untold.contains(who)) {
            if !self
                .manager
                .memory
                .may_tell(pool, "has members that come to rest", now)
            {
                continue;
            }
            let after = after.as_millis();
            info!(%perlbal, %pool, node = %addr, "{addr} is at rest, {after} ms after it left pool {pool}");
        }
        for (pool, addr) in &seen.busy {
            if let Some(pool) = told.pools.get_mut(pool) {
                pool.unsealed.insert(Endpoint::Node(*addr));
            }
        }
        for who in &untold {
            self.manager.memory.leavers.forget(who);
        }
        self.make_it_so();
    }
}
