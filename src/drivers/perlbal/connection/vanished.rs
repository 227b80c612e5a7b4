//! Nodes that vanished without closing their connections: the connections that Perlbal still tries to make to them, and
//! the spare entries that pools need meanwhile.

use std::time::{Duration, Instant};

use super::super::notices::Notice;
use super::super::plan::Group;
use super::super::protocol::{Command, parse_connecting};
use super::super::spare::{Needed, needed};
use super::{Connection, QueryKind};

/// Delay from a removal to the first check: what responds at all has done so by then.
const FIRST_CHECK_DELAY: Duration = Duration::from_millis(100);
/// Delay from one check, and one poke, to the next while something is found. A request may wait this long.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Minimum delay from one read of pools with spare entries to the next.
const READ_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum time for which Perlbal tries to make a connection (15 s, and a turn of its loop).
const MAX_CONNECTING: Duration = Duration::from_secs(20);

/// When to check for connections that Perlbal still tries to make.
#[derive(Debug, Default)]
pub(super) struct Vanished {
    pub(super) check_at: Option<Instant>,
    until: Option<Instant>,
    read_at: Option<Instant>,
}

impl Vanished {
    /// A member was removed, or may have been before the connection was opened.
    pub(super) fn on_removal(&mut self, now: Instant) {
        self.check_at.get_or_insert(now + FIRST_CHECK_DELAY);
        self.until = Some(now + MAX_CONNECTING);
    }
}

impl Connection<'_> {
    pub(super) fn check_vanished(&mut self) {
        self.vanished.check_at = None;
        self.query(QueryKind::Vanished, [Command::Pending]);
    }

    /// Records a response to `PENDING`.
    pub(super) fn on_pending(&mut self, lines: &[String], now: Instant) {
        let state = &mut *self.state;
        let Some((_, desired)) = &state.desired else {
            return;
        };
        let mut found = needed(&parse_connecting(lines), &state.expected, desired);
        if self.vanished.until.is_none_or(|until| until <= now) {
            found = Needed::default();
        }
        let Needed { spares, vain } = found;
        if !vain.is_empty() {
            self.vanished.check_at = Some(now + CHECK_INTERVAL);
        }
        // Where a pool follows its file, Perlbal may have read that and dropped the entries.
        if !spares.is_empty() && self.vanished.read_at.is_none_or(|at| at <= now) {
            self.vanished.read_at = Some(now + READ_INTERVAL);
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
        let state = &mut *self.state;
        if spares == state.spares {
            return;
        }
        for (pool, spares) in &spares {
            if !state.spares.contains_key(pool) {
                let (pool, count) = (pool.clone(), spares.len());
                state.log(Notice::SparesNeeded { pool, count });
            }
        }
        if let Some((_, desired)) = &mut state.desired {
            desired.set_spares(&spares);
        }
        state.spares = spares;
        self.plan_due = true;
    }

    /// Makes Perlbal serve the waiting requests of these services.
    fn poke(&mut self, pokes: Vec<Group>) {
        let counters = &mut self.state.counters;
        for command in pokes.iter().flatten() {
            counters.count_command(command.kind());
        }
        self.pending.extend(pokes.iter().flatten().count());
        self.queue_with_checks(pokes);
    }
}
