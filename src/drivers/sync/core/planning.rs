//! Plans and their execution: which batch is next, what was acknowledged, what was rejected.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::time::Instant;

use super::super::notices::{Notice, Subject};
use super::super::{Backend, Members, Plan, Problems, StepResult};
use super::{Core, Next, difference, passed};
use crate::drivers::Mode;
use crate::model::names::PoolName;

/// Number of consecutive reads that showed something else than expected, from which on the load balancer is reported as
/// not in sync.
const MANY_MISMATCHES: u32 = 3;

/// The plan that is being executed.
pub(super) struct PlanInProgress<Step> {
    /// The actual or the desired state may have changed since the last plan.
    pub(super) due: bool,
    /// The batches that were not sent yet.
    batches: VecDeque<Vec<Step>>,
    /// What it began from; `None` once it is done or superseded.
    begun: Option<Begun>,
    /// When changes began that are not logged yet, and the members before.
    unlogged: Option<(Instant, Members)>,
    /// The pools that are not carried, by the last plan.
    pub(super) absent: BTreeSet<PoolName>,
    /// Number of other problems than these.
    other_problems: usize,
    /// The steps that were rejected and are still needed, with the load balancer's answer.
    pub(super) rejected: BTreeMap<String, String>,
    /// Everything was read for a resync since: these steps are tried again.
    pub(super) retry_rejected: bool,
    /// What was read differs from what was expected, until that is planned.
    pub(super) is_correction: bool,
}

/// What a plan began from.
struct Begun {
    serial: u64,
    /// When its snapshot came, and that snapshot's cause, if the plan changes something because of it.
    taken: Option<Taken>,
    changes: bool,
    removes: bool,
}

/// When a snapshot came, and its cause.
type Taken = (Instant, Option<Instant>);

impl<Step> Default for PlanInProgress<Step> {
    fn default() -> Self {
        Self {
            due: false,
            batches: VecDeque::new(),
            begun: None,
            unlogged: None,
            absent: BTreeSet::new(),
            other_problems: 0,
            rejected: BTreeMap::new(),
            retry_rejected: false,
            is_correction: false,
        }
    }
}

impl<Step> PlanInProgress<Step> {
    /// A new plan is made instead of what is not sent yet. Returns when the snapshot came that this was to bring about.
    pub(super) fn supersede(&mut self) -> Option<Taken> {
        self.due = true;
        self.batches.clear();
        self.begun.take().and_then(|begun| begun.taken)
    }
}

impl<B: Backend> Core<B> {
    /// Plans what leads from the expected to the desired state.
    pub(super) fn make_plan(&mut self, now: Instant) {
        self.plan.due = false;
        let Some(desired) = &self.desired else {
            return self.set_connected(now);
        };
        let serial = desired.serial;
        let draining = self.draining.all();
        let mut plan = B::plan(&desired.state, &self.expected, &draining);
        plan.problems.extend(desired.problems.iter().cloned());
        let Plan {
            batches,
            mut problems,
            absent,
        } = plan;
        self.plan.other_problems = problems.len();
        problems.extend(absent.values().cloned());
        self.plan.absent = absent.into_keys().collect();
        let is_correction = mem::take(&mut self.plan.is_correction);
        let (batches, retried) = self.without_rejected(batches);
        self.set_problems(problems, now);
        let is_removing = self.track_removed(&batches, now);
        if is_correction {
            self.on_correction(&batches, &retried, serial, now);
        }
        let changes = !batches.is_empty();
        let members = &self.expected_members;
        self.plan
            .unlogged
            .get_or_insert_with(|| (now, members.clone()));
        self.plan.batches = batches.into();
        self.plan.begun = Some(Begun {
            serial,
            taken: self.unplanned.take().filter(|_| changes),
            changes,
            removes: is_removing,
        });
        if self.mode == Mode::Live {
            self.record_read();
            self.end_plan_if_done(now);
        }
    }

    /// Tracks members that these batches remove, before a snapshot without them is acknowledged; whether there are any.
    fn track_removed(&mut self, batches: &[Vec<B::Step>], now: Instant) -> bool {
        let mut after = self.expected.clone();
        let steps = batches.iter().flatten();
        steps.for_each(|step| B::apply(&mut after, step));
        let after = B::actual_members(&after);
        let gone = difference(&self.expected_members, &after);
        let is_removing = !gone.is_empty();
        if self.mode == Mode::Live {
            self.draining.track(gone, now);
            self.draining.forget_members(&after);
        }
        is_removing
    }

    /// The batches without those that have a step which was rejected; if these are to be tried again, all batches and
    /// these steps.
    fn without_rejected(&mut self, mut batches: Batches<B>) -> (Batches<B>, BTreeSet<String>) {
        let plan = &mut self.plan;
        let retries = mem::take(&mut plan.retry_rejected);
        if plan.rejected.is_empty() {
            return (batches, BTreeSet::new());
        }
        if retries {
            return (batches, mem::take(&mut plan.rejected).into_keys().collect());
        }
        let needed: BTreeSet<_> = batches.iter().flatten().map(ToString::to_string).collect();
        plan.rejected.retain(|step, _| needed.contains(step));
        let is_rejected = |step: &B::Step| plan.rejected.contains_key(&step.to_string());
        batches.retain(|batch| !batch.iter().any(is_rejected));
        (batches, BTreeSet::new())
    }

    /// A read showed something else than expected, which these batches correct, besides steps that are tried again.
    fn on_correction(
        &mut self,
        batches: &[Vec<B::Step>],
        retried: &BTreeSet<String>,
        serial: u64,
        now: Instant,
    ) {
        let steps = batches.iter().flatten().map(ToString::to_string);
        let steps: Vec<_> = steps.filter(|step| !retried.contains(step)).collect();
        if steps.is_empty() {
            return;
        }
        self.log(Subject::Corrections, now, || {
            Notice::ChangedElsewhere(steps)
        });
        self.reads.on_mismatch(now);
        if self.reads.mismatches() >= MANY_MISMATCHES {
            self.record_progress(serial, false, now);
        }
    }

    /// The next batch, if the plan has one.
    pub(super) fn next_batch(&mut self) -> Option<Vec<B::Step>> {
        let batch = self.plan.batches.pop_front()?;
        for step in &batch {
            self.counters.count_command(B::kind(step));
        }
        Some(batch)
    }

    /// A batch was executed: the answer to each of its steps.
    pub(in super::super) fn on_executed(
        &mut self,
        batch: &[B::Step],
        results: &[StepResult],
        now: Instant,
    ) {
        self.reads.on_changed(now);
        for (step, result) in batch.iter().zip(results) {
            match result {
                Ok(()) => B::apply(&mut self.expected, step),
                Err(error) => self.on_rejected(step.to_string(), error.clone(), now),
            }
        }
        self.expected_members = B::actual_members(&self.expected);
        self.update_strays();
        self.end_plan_if_done(now);
    }

    fn on_rejected(&mut self, step: String, error: String, now: Instant) {
        self.counters.errors += 1;
        self.log(Subject::Rejections, now, || Notice::Rejected {
            step: step.clone(),
            error: error.clone(),
        });
        self.plan.rejected.insert(step, error);
        self.reads.on_mismatch(now);
    }

    /// Once every batch was executed: the snapshot is acknowledged, unless a step was rejected.
    fn end_plan_if_done(&mut self, now: Instant) {
        if !self.plan.batches.is_empty() {
            return;
        }
        let Some(begun) = self.plan.begun.take() else {
            return;
        };
        self.log_changes(now);
        if self.plan.rejected.is_empty() {
            self.acked = begun.serial;
            if let Some((taken, cause)) = begun.taken {
                self.counters.apply.observe(passed(taken, now));
                if let Some(cause) = cause {
                    self.counters.propagation.observe(passed(cause, now));
                }
            }
        }
        self.set_connected(now);
        if begun.changes || self.acked > self.observed {
            self.reads.confirm(begun.removes, now);
        }
        if !self.reads.is_unconfirmed() {
            let in_sync = self.problems.is_empty() && self.plan.rejected.is_empty();
            self.record_progress(begun.serial, in_sync, now);
            self.carried_in_sync = self.plan.other_problems == 0 && self.plan.rejected.is_empty();
        }
    }

    /// Logs how the members of each pool were changed.
    fn log_changes(&mut self, now: Instant) {
        let Some((since, before)) = self.plan.unlogged.take() else {
            return;
        };
        let took = passed(since, now);
        let mut changes: BTreeMap<_, (Vec<_>, Vec<_>)> = BTreeMap::new();
        for (pool, node) in difference(&self.expected_members, &before) {
            changes.entry(pool).or_default().0.push(node);
        }
        for (pool, node) in difference(&before, &self.expected_members) {
            changes.entry(pool).or_default().1.push(node);
        }
        for (pool, (added, removed)) in changes {
            let pool = pool.to_string();
            self.log(Subject::Pool(pool.clone()), now, || Notice::PoolChanged {
                pool,
                added,
                removed,
                took,
            });
        }
    }

    /// In a dry run: the plan, if it has steps; otherwise nothing is due before another snapshot.
    pub(super) fn print_plan(&mut self, now: Instant) -> Next<B::Step> {
        if self.plan.batches.is_empty() {
            if self.plan.begun.is_some() {
                self.on_printed(now);
            }
            return Next::Wait(None);
        }
        let id = &self.settings.id;
        let comment = format!("# {} {}", id.kind.key, id.address);
        let heading = B::PREAMBLE.map(str::to_owned).into_iter();
        let heading = heading.chain([comment]).collect();
        let batches = self.plan.batches.iter();
        let batches = batches.map(|batch| batch.iter().map(ToString::to_string).collect());
        Next::Print([heading].into_iter().chain(batches).collect())
    }

    /// A plan was printed: from now on what it would have changed is expected.
    pub(in super::super) fn on_printed(&mut self, now: Instant) {
        let batches = mem::take(&mut self.plan.batches);
        let steps = batches.iter().flatten();
        steps.for_each(|step| B::apply(&mut self.expected, step));
        self.expected_members = B::actual_members(&self.expected);
        if let Some(begun) = self.plan.begun.take() {
            self.set_connected(now);
            self.record_progress(begun.serial, self.problems.is_empty(), now);
        }
    }

    /// Replaces the problems; logs which are new and which are over.
    fn set_problems(&mut self, problems: Problems, now: Instant) {
        let before = mem::take(&mut self.problems);
        for problem in problems.difference(&before) {
            self.log(Subject::Problems, now, || Notice::Problem(problem.clone()));
        }
        for problem in before.difference(&problems) {
            self.log(Subject::Problems, now, || {
                Notice::ProblemOver(problem.clone())
            });
        }
        self.problems = problems;
    }
}

/// The batches of a plan.
type Batches<B> = Vec<Vec<<B as Backend>::Step>>;
