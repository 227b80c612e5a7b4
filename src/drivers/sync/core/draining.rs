//! Removed members that are not drained yet.
//!
//! One exchange is in progress at a time, so that a check begins after the removals that were acknowledged before it; a
//! member that is still there by what is expected is not judged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::super::notices::{Notice, Subject};
use super::super::{Backend, Member, Members};
use super::{Core, contains, passed};
use crate::drivers::drain_schedule::DrainSchedule;
use crate::model::driver_status::Draining;

/// The removed members that are not drained yet.
#[derive(Debug, Default)]
pub(super) struct DrainTracker {
    members: BTreeMap<Member, DrainingMember>,
    /// The same by node, unless they changed since.
    by_node: Option<Arc<Draining>>,
    schedule: DrainSchedule,
    /// When the check began that is in progress.
    check_began: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct DrainingMember {
    since: Instant,
    /// Pollbal removed it; otherwise it was found gone, and it is not known when it left.
    is_removed: bool,
}

impl DrainTracker {
    /// Adds members that a plan removes.
    pub(super) fn track(&mut self, removed: Vec<Member>, now: Instant) {
        self.add(removed, true, now);
    }

    /// Adds members that are gone although pollbal did not remove them.
    pub(super) fn adopt(&mut self, gone: Vec<Member>, now: Instant) {
        self.add(gone, false, now);
    }

    fn add(&mut self, members: Vec<Member>, is_removed: bool, now: Instant) {
        for member in members {
            self.by_node = None;
            let since = now;
            self.members
                .entry(member)
                .or_insert(DrainingMember { since, is_removed });
            self.schedule.on_removed(now);
        }
    }

    /// Removes those that are members again, or still.
    pub(super) fn forget_members(&mut self, there: &Members) {
        let before = self.members.len();
        self.members.retain(|member, _| !contains(there, member));
        if self.members.len() < before {
            self.by_node = None;
        }
        if self.members.is_empty() {
            self.schedule.cancel();
        }
    }

    /// The members.
    pub(super) fn all(&self) -> BTreeSet<Member> {
        self.members.keys().cloned().collect()
    }

    /// When the next check is due.
    pub(super) fn check_at(&self) -> Option<Instant> {
        self.schedule.check_at()
    }

    /// The members by node.
    pub(super) fn by_node(&mut self) -> Arc<Draining> {
        let members = &self.members;
        let by_node = self.by_node.get_or_insert_with(|| {
            let mut by_node = Draining::new();
            for ((pool, node), member) in members {
                let pools = by_node.entry(*node).or_default();
                pools.insert(Arc::clone(pool), member.since);
            }
            Arc::new(by_node)
        });
        Arc::clone(by_node)
    }
}

impl<B: Backend> Core<B> {
    /// Begins a check, if one is due: the members to check.
    pub(super) fn begin_drain_check(&mut self, now: Instant) -> Option<BTreeSet<Member>> {
        let tracker = &mut self.draining;
        if tracker.schedule.check_at().is_none_or(|at| at > now) {
            return None;
        }
        tracker.schedule.on_due(now, false);
        tracker.check_began = Some(now);
        let removed = tracker.members.keys();
        let removed = removed.filter(|member| !contains(&self.expected_members, member));
        let removed: BTreeSet<_> = removed.cloned().collect();
        (!removed.is_empty()).then_some(removed)
    }

    /// Records which of these removed members are drained: a check of them has ended, and these are `busy`.
    pub(in super::super) fn on_busy(
        &mut self,
        removed: &BTreeSet<Member>,
        busy: &BTreeSet<Member>,
        now: Instant,
    ) {
        let tracker = &mut self.draining;
        let took = tracker.check_began.take().map(|began| passed(began, now));
        let mut drained = Vec::new();
        for member in removed.difference(busy) {
            if let Some(left) = tracker.members.remove(member) {
                tracker.by_node = None;
                drained.push((member.clone(), left));
            }
        }
        tracker
            .schedule
            .on_ended(now, took.unwrap_or_default(), false);
        if tracker.members.is_empty() {
            tracker.schedule.cancel();
        }
        // Its removal may be completed now.
        self.plan.due |= !drained.is_empty();
        for (member, left) in drained {
            // When a member left that was found gone is not known.
            if left.is_removed {
                let after = passed(left.since, now);
                let pool = member.0.to_string();
                self.log(Subject::Pool(pool), now, || Notice::Drained {
                    member,
                    after,
                });
            }
        }
    }
}
