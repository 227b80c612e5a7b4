//! Nodes that vanished without a word: what Perlbal still tries to connect to, and the spare entries that
//! pools need meanwhile.

use std::time::{Duration, Instant};

use tracing::info;

use super::super::plan::Group;
use super::super::protocol::{Command, parse_connecting};
use super::super::spare::{Needed, needed};
use super::{Connection, QueryKind};

/// From a removal to the first look: what answers at all has done so.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// From one look, and one poke, to the next, as long as something is found: so long a request may wait.
const NEXT_LOOK: Duration = Duration::from_millis(100);
/// From one reading of pools with spare entries to the next.
const READ_EVERY: Duration = Duration::from_millis(500);
/// No connection is being made for longer (15 s, and a turn of Perlbal's loop).
const LONGEST: Duration = Duration::from_secs(20);

/// When to look what Perlbal still tries to connect to.
#[derive(Debug, Default)]
pub(super) struct Vanished {
    pub(super) check_at: Option<Instant>,
    until: Option<Instant>,
    read_at: Option<Instant>,
}

impl Vanished {
    /// Somebody was removed, or may have been before the connection came about.
    pub(super) fn removed(&mut self, now: Instant) {
        self.check_at.get_or_insert(now + FIRST_LOOK);
        self.until = Some(now + LONGEST);
    }
}

impl Connection<'_> {
    pub(super) fn check_vanished(&mut self) {
        self.vanished.check_at = None;
        self.ask(QueryKind::Vanished, [Command::Pending]);
    }

    pub(super) fn on_pending(&mut self, lines: &[String]) {
        let now = Instant::now();
        let state = &mut self.driver.state;
        let Some((_, desired)) = &state.desired else {
            return;
        };
        let mut found = needed(&parse_connecting(lines), &state.expected, desired);
        if self.vanished.until.is_none_or(|until| until <= now) {
            found = Needed::default();
        }
        let Needed { spares, vain } = found;
        if !vain.is_empty() {
            self.vanished.check_at = Some(now + NEXT_LOOK);
        }
        // Where a pool follows its file, Perlbal may have read that and dropped the entries.
        if !spares.is_empty() && self.vanished.read_at.is_none_or(|at| at <= now) {
            self.vanished.read_at = Some(now + READ_EVERY);
            self.dirty.extend(spares.keys().cloned());
            self.read_back_at.get_or_insert(now);
        }
        let pokes: Vec<_> = vain
            .iter()
            .filter_map(|(service, vain)| {
                let connect_ahead = state.expected.services.get(service)?.connect_ahead;
                let set = |connect_ahead| Command::Wake {
                    service: service.clone(),
                    connect_ahead,
                };
                Some(vec![
                    set(connect_ahead.saturating_add(*vain)),
                    set(connect_ahead),
                ])
            })
            .collect();
        self.poke(pokes);
        let state = &mut self.driver.state;
        if spares == state.spares {
            return;
        }
        let perlbal = &self.driver.settings.address;
        for (pool, spares) in &spares {
            if !state.spares.contains_key(pool) {
                let count = spares.len();
                info!(
                    %perlbal, %pool,
                    "Perlbal still tries to connect to nodes that pool {pool} no longer has, and counts that as \
                     connections to members; so that requests need not wait, {count} of its members stand there \
                     twice until it gives up"
                );
            }
        }
        if let Some((_, desired)) = &mut state.desired {
            desired.take_spares(&spares);
        }
        state.spares = spares;
        self.plan_due = true;
    }

    /// Sends what sets waiting requests of these services going.
    fn poke(&mut self, pokes: Vec<Group>) {
        let counters = &mut self.driver.state.counters;
        for command in pokes.iter().flatten() {
            counters.command(command);
        }
        self.on_the_way.more(pokes.iter().flatten().count());
        self.change(pokes);
    }
}
