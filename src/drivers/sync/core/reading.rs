//! Reads of everything: when they are due, and what follows from what they show.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::notices::{Notice, Subject};
use super::super::{Backend, Members};
use super::{ConnectionState, Core, Next, difference, passed};
use crate::drivers::drain_schedule::backoff_after;
use crate::model::driver_status::{PoolOwner, Stray, Strays};
use crate::model::node::NodeAddr;

/// Delay before changes are read back that removed nobody, so that one read serves several in quick succession. Also
/// the delay of the first read after a mismatch; each further one is twice as long.
const READ_BACK_DELAY: Duration = Duration::from_millis(200);

/// Part of a read that counts as round trips: a read that takes no longer costs the load balancer little.
const ROUND_TRIPS: Duration = Duration::from_millis(10);

/// When everything is read, and what was read last.
pub(super) struct Reads {
    resync_interval: Duration,
    resync_at: Instant,
    /// When to read back what was changed.
    confirm_at: Option<Instant>,
    /// Not before this, unless it is a resync.
    not_before: Instant,
    /// The read that is in progress, and whether it is a resync.
    begun: Option<Read>,
    /// Something was changed since the last read began.
    is_unconfirmed: bool,
    /// Number of consecutive resyncs that showed something else than expected or after which a step was rejected.
    mismatches: u32,
    mismatched: bool,
    /// The last snapshot that was acknowledged when the last read began, until that is recorded.
    confirmed: Option<u64>,
    /// The members that the last read showed, and when.
    pub(super) observed: Option<(Instant, Members)>,
}

#[derive(Clone, Copy)]
struct Read {
    began: Instant,
    /// The last snapshot that had been acknowledged before.
    acked: u64,
    is_resync: bool,
}

impl Reads {
    /// The first read is due.
    pub(super) fn new(resync_interval: Duration, now: Instant) -> Self {
        Self {
            resync_interval,
            resync_at: now,
            confirm_at: None,
            not_before: now,
            begun: None,
            is_unconfirmed: false,
            mismatches: 0,
            mismatched: false,
            confirmed: None,
            observed: None,
        }
    }

    /// When the next read is due.
    pub(super) fn due_at(&self) -> Instant {
        let confirm_at = self.confirm_at.map(|at| at.max(self.not_before));
        confirm_at.map_or(self.resync_at, |at| at.min(self.resync_at))
    }

    /// A batch was executed: a read that began earlier proves nothing.
    pub(super) fn on_changed(&mut self, now: Instant) {
        self.is_unconfirmed = true;
        self.confirm(false, now);
    }

    /// Reads back soon what was acknowledged, at once if members were removed.
    pub(super) fn confirm(&mut self, at_once: bool, now: Instant) {
        let at = if at_once { now } else { now + READ_BACK_DELAY };
        self.confirm_at = Some(self.confirm_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Whether something was changed that no read has shown.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.is_unconfirmed
    }

    /// Something is not as expected: the next resync comes soon, the later the more often that happens.
    pub(super) fn on_mismatch(&mut self, now: Instant) {
        self.mismatched = true;
        let delay = READ_BACK_DELAY * 2u32.saturating_pow((self.mismatches + 1).min(16));
        self.resync_at = self.resync_at.min(now + delay.min(self.resync_interval));
    }

    /// Number of consecutive resyncs that showed something else than expected.
    pub(super) fn mismatches(&self) -> u32 {
        self.mismatches
    }
}

impl<B: Backend> Core<B> {
    pub(super) fn begin_read(&mut self, now: Instant) -> Next<B::Step> {
        let reads = &mut self.reads;
        let is_resync = reads.resync_at <= now
            || !matches!(self.connection.state, ConnectionState::Read { .. });
        if is_resync {
            reads.mismatches = if std::mem::take(&mut reads.mismatched) {
                reads.mismatches + 1
            } else {
                0
            };
            reads.resync_at = now + reads.resync_interval;
        }
        reads.confirm_at = None;
        reads.is_unconfirmed = false;
        reads.begun = Some(Read {
            began: now,
            acked: self.acked,
            is_resync,
        });
        Next::Read
    }

    /// Everything was read.
    pub(in super::super) fn on_read(&mut self, actual: B::Actual, now: Instant) {
        let Some(read) = self.reads.begun.take() else {
            return;
        };
        self.counters.reads += 1;
        let took = passed(read.began, now);
        self.reads.not_before = now + took + backoff_after(took.saturating_sub(ROUND_TRIPS));
        self.reads.confirmed = Some(read.acked);
        let members = B::actual_members(&actual);
        self.adopt_vanished(&members, now);
        self.adopt_retired(&actual, now);
        let differs = B::differs(&self.expected, &actual);
        self.expected = actual;
        self.reads.observed = Some((now, members.clone()));
        self.expected_members = members;
        match self.connection.state {
            ConnectionState::Unread { since } => self.on_first_read(since, now),
            _ => self.plan.is_correction = differs && !self.plan.due,
        }
        self.plan.due = true;
        self.plan.retry_rejected |= read.is_resync;
        self.forget_emptied();
        self.update_desired();
        self.update_strays();
    }

    fn on_first_read(&mut self, since: Instant, now: Instant) {
        self.connection.state = ConnectionState::Read { since };
        self.counters.connections += 1;
        let description = self.connection.description.clone();
        self.log(Subject::Connection, now, || Notice::Connected(description));
    }

    /// Tracks members that are gone although pollbal did not remove them: their connections may still be in use.
    fn adopt_vanished(&mut self, members: &Members, now: Instant) {
        let earlier = self.earlier.take().unwrap_or_default();
        let earlier: Members = earlier
            .pools
            .into_iter()
            .map(|(name, nodes)| (name.into(), nodes))
            .collect();
        self.draining.adopt(difference(&earlier, members), now);
        let ours = |(pool, _): &(Arc<str>, NodeAddr)| self.owned.contains(pool);
        let gone = difference(&self.expected_members, members);
        self.draining
            .adopt(gone.into_iter().filter(ours).collect(), now);
    }

    /// Tracks members that are newly seen to get no requests while they are still listed.
    fn adopt_retired(&mut self, actual: &B::Actual, now: Instant) {
        let before: BTreeSet<_> = B::retired(&self.expected).into_iter().collect();
        let mut new = B::retired(actual);
        new.retain(|member| !before.contains(member));
        self.draining.adopt(new, now);
    }

    /// A pool that has no members need not be emptied any more.
    fn forget_emptied(&mut self) {
        let has_members = |pool: &Arc<str>| {
            let members = self.expected_members.get(pool);
            members.is_some_and(|members| !members.is_empty())
        };
        self.owned.retain(has_members);
    }

    /// The consequences of the last read are planned: what it proves counts.
    pub(super) fn record_read(&mut self) {
        if let Some(confirmed) = self.reads.confirmed.take() {
            self.observed = confirmed;
        }
    }

    /// Finds the nodes in pools although they are not desired there, by what was last read and sent since.
    pub(super) fn update_strays(&mut self) {
        let Some(desired) = &self.desired else {
            return;
        };
        let observed = self.reads.observed.iter().map(|(_, members)| members);
        let shown = [&self.expected_members].into_iter().chain(observed);
        let mut strays = Strays::new();
        let unwanted = shown.flat_map(|members| difference(members, &desired.members));
        for (pool, node) in unwanted {
            let owner = if desired.members.contains_key(&pool) {
                PoolOwner::Ours
            } else {
                PoolOwner::Other
            };
            // One of a pool that pollbal does not manage takes precedence.
            let stray = strays.entry(node);
            let stray = stray.or_insert_with(|| Stray {
                pool: pool.clone(),
                owner,
            });
            if owner == PoolOwner::Other {
                *stray = Stray { pool, owner };
            }
        }
        if *self.strays != strays {
            self.strays = Arc::new(strays);
        }
    }
}
