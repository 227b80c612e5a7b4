//! The core: everything that decides, without I/O and without a clock.
//!
//! [`Core::step`] processes one [`Input`] at the given time, and returns the [`Effects`] for the supervisor to carry
//! out. A unit test runs a whole site in it.

mod messages;
mod node_list;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use self::messages::{Effects, Input, Recorded, Settings};
pub(super) use self::node_list::ListOutcome;
use self::node_list::NodeList;
use crate::alerts::over;
use crate::control::{Applied, NodeAtSerial, OverrideRequest, Serials};
use crate::drivers::Snapshot;
use crate::model::alerts::Transition;
use crate::model::change::{Change, sorry_changes};
use crate::model::event::{EventText, Severity};
use crate::model::event_log::EventLog;
use crate::model::membership::Membership;
use crate::model::membership::shortage::indispensable;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::node_times::NodeTimes;
use crate::model::node_view::NodeView;
use crate::model::overrides::Overrides;
use crate::model::poll_stats::PollStats;
use crate::model::pools::Pools;
use crate::model::problems::{Kind, PoolHealth};
use crate::model::report::Report;
use crate::model::rules::Rules;
use crate::model::time::Clock;
use crate::poller::Observed;

/// Maximum time to the next check for expired overrides: the time of day may be set meanwhile.
const MAX_EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// Decides who is in which pool, which requests are granted, and which removals are carried out.
#[derive(Debug)]
pub(super) struct Core {
    membership: Membership,
    settings: Settings,
    event_log: EventLog,
    poll_stats: PollStats,
    node_list: NodeList,
    /// The desired state that was published last, and its serial; 0 before there is one.
    published: Option<Arc<Pools>>,
    serial: u64,
    /// Nodes that have changed since then.
    changed: Vec<NodeAddr>,
    serials: Serials,
    /// When to check for expired overrides, and for which revision of them this was determined.
    expiry: Option<Instant>,
    expiry_revision: Option<u64>,
}

impl Core {
    /// A core that resumes with the overrides and node times of the previous run.
    pub(super) fn new(
        (rules, settings): (Rules, Settings),
        overrides: Overrides,
        node_times: &NodeTimes,
        clock: Clock,
    ) -> Self {
        let mut membership = Membership::new(rules, overrides);
        membership.remember(node_times, (clock.now, clock.today));
        Self {
            membership,
            settings,
            event_log: EventLog::default(),
            poll_stats: PollStats::default(),
            node_list: NodeList::default(),
            published: None,
            serial: 0,
            changed: Vec::new(),
            serials: Serials::default(),
            expiry: None,
            expiry_revision: None,
        }
    }

    /// Decides what follows from an input.
    pub(super) fn step(&mut self, input: Input, clock: Clock) -> Effects {
        let mut effects = Effects::default();
        let mut cause = None;
        match input {
            Input::Polls(polls) => cause = self.observe(polls, clock, &mut effects),
            Input::Reports(reports) => cause = self.take_reports(reports, clock, &mut effects),
            Input::Override(request) => self.apply(request, clock, &mut effects),
            Input::Start {
                list,
                accept_removals,
                earlier,
                owned,
            } => {
                self.adopt_previous(&list, earlier, &owned, clock);
                self.set_list(list, accept_removals, clock, &mut effects);
            }
            Input::List(list) => self.set_list(list, false, clock, &mut effects),
            Input::Reload {
                rules,
                settings,
                list,
                accept_removals,
            } => {
                self.settings = settings;
                let changes = self.membership.set_rules(rules, clock.now);
                self.record(changes, clock, &mut effects);
                self.set_list(list, accept_removals, clock, &mut effects);
            }
            Input::Problem(transition) => self.record_problem(&transition, clock, &mut effects),
            Input::Pause(pause) => {
                effects.extended_leaves = self.membership.add_pause(pause, clock.today);
            }
            Input::Timer => {
                self.expire_overrides(clock, &mut effects);
                self.review_removals(clock, &mut effects);
                let changes = self.membership.advance_ramps(clock.now);
                self.record(changes, clock, &mut effects);
            }
        }
        self.publish(cause, clock, &mut effects);
        self.report_pools(&mut effects);
        self.schedule_expiry(clock);
        effects
    }

    /// When to step with [`Input::Timer`].
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let review = self.node_list.next_review();
        let step = self.membership.next_ramp_step();
        self.expiry.into_iter().chain(review).chain(step).min()
    }

    /// Returns when the first response came that changed something.
    fn observe(
        &mut self,
        polls: Vec<Observed>,
        clock: Clock,
        effects: &mut Effects,
    ) -> Option<Instant> {
        let mut cause: Option<Instant> = None;
        for (addr, poll) in polls {
            self.poll_stats.record(&poll);
            let responded = poll.asked_at + poll.took;
            let changes = self.membership.observe(addr, poll, clock.now);
            if !changes.is_empty() {
                cause = Some(cause.map_or(responded, |first| first.min(responded)));
            }
            self.record(changes, clock, effects);
            if self.membership.is_undecided(addr) {
                effects.poll_soon.push(addr);
            }
        }
        self.notify_of_kept(effects);
        cause
    }

    /// Returns when the first report came that changed something.
    fn take_reports(
        &mut self,
        reports: Vec<Report>,
        clock: Clock,
        effects: &mut Effects,
    ) -> Option<Instant> {
        let mut cause: Option<Instant> = None;
        for report in reports {
            let came = report.asked_at + report.took;
            let changes = self.membership.report(report, clock.now);
            if !changes.is_empty() {
                cause = Some(cause.map_or(came, |first| first.min(came)));
            }
            self.record(changes, clock, effects);
        }
        self.notify_of_kept(effects);
        cause
    }

    /// Watchers see that a member fails before it is removed.
    fn notify_of_kept(&mut self, effects: &mut Effects) {
        if self.membership.take_kept_changed() {
            effects.save_node_times = true;
            effects.notify_watchers = true;
        }
    }

    fn apply(&mut self, request: OverrideRequest, clock: Clock, effects: &mut Effects) {
        let timeout = self.settings.leave_timeout;
        let granted = self.membership.apply(request, timeout, clock);
        effects.applied = Some(granted.map(|granted| {
            self.record(granted.effect.changes, clock, effects);
            effects.poll_now.extend(granted.effect.poll_now);
            Applied {
                // Set once the snapshot is published.
                serial: 0,
                revision: self.membership.overrides_revision(),
                shortages: granted.shortages,
            }
        }));
    }

    fn expire_overrides(&mut self, clock: Clock, effects: &mut Effects) {
        let expired = self.membership.expire((clock.now, clock.today));
        self.record(expired.changes, clock, effects);
        effects.poll_now.extend(expired.poll_now);
        self.expiry_revision = None;
    }

    fn schedule_expiry(&mut self, clock: Clock) {
        let revision = Some(self.membership.overrides_revision());
        if self.expiry_revision != revision {
            self.expiry_revision = revision;
            let end = self.membership.overrides().next_end();
            self.expiry =
                end.map(|end| clock.now + end.since(clock.today).min(MAX_EXPIRY_INTERVAL));
        }
    }

    /// Records changes in the event log, and has them logged and reported to hooks and watchers.
    fn record(&mut self, changes: Vec<Change>, clock: Clock, effects: &mut Effects) {
        if changes.is_empty() {
            return;
        }
        effects.save_node_times = true;
        effects.notify_watchers = true;
        for change in changes {
            effects.save_node_times_soon |= matches!(change, Change::RampStarted(..));
            let text = EventText::from_change(&change);
            let event = self.event_log.record(&text, clock.today);
            self.changed.extend(text.node.map(|node| node.addr));
            effects.events.push(Recorded {
                event,
                change: (self.serial > 0).then_some(change),
            });
        }
    }

    /// Records that a problem was raised or cleared; has logged what no other event logs.
    fn record_problem(&mut self, transition: &Transition, clock: Clock, effects: &mut Effects) {
        effects.notify_watchers = true;
        let (kind, severity, problem, text) = match transition {
            Transition::Raised(problem) => {
                ("alert", Severity::Error, problem, problem.text.clone())
            }
            Transition::Cleared(problem, lasted, resolution) => {
                let text = over(*lasted, resolution);
                ("alert-over", Severity::Info, problem, text)
            }
        };
        let is_logged = match problem.kind {
            // Recorded with the change of its pool.
            Kind::SorryServer => return,
            Kind::PoolShort | Kind::PoolEmpty | Kind::NodesDown => true,
            _ => false,
        };
        let text = EventText {
            quiet: !is_logged,
            severity,
            kind,
            node: None,
            pool: problem.pool.as_ref(),
            requested: false,
            text,
        };
        let event = self.event_log.record(&text, clock.today);
        effects.events.push(Recorded {
            event,
            change: None,
        });
    }

    /// Publishes the desired state if it has changed.
    fn publish(&mut self, cause: Option<Instant>, clock: Clock, effects: &mut Effects) {
        if let Some(pools) = self.membership.take_changed() {
            let changes = sorry_changes(self.published.as_deref(), &pools);
            self.record(changes, clock, effects);
            self.serial += 1;
            self.serials.set(self.changed.drain(..), self.serial);
            let pools = Arc::new(pools);
            self.published = Some(pools.clone());
            effects.notify_watchers = true;
            effects.snapshot = Some(Snapshot {
                serial: self.serial,
                pools,
                current_files: Arc::default(),
                cause,
            });
        }
        self.changed.clear();
        if let Some(Ok(applied)) = &mut effects.applied {
            applied.serial = self.serial;
        }
    }

    /// Reports the state of the pools if it may have changed, and which nodes are to be asked to stay.
    fn report_pools(&mut self, effects: &mut Effects) {
        let is_new = effects.snapshot.is_some();
        if !self.membership.take_pool_health_changed() && !is_new {
            return;
        }
        let pools = self.pool_health();
        if let Some(published) = &self.published {
            let nodes = if self.settings.request_stay {
                indispensable(&pools, published)
            } else {
                BTreeSet::new()
            };
            self.membership.set_asked_to_stay(&nodes);
            effects.stay_requests = Some(nodes);
        }
        effects.pool_health = Some(pools);
    }

    /// The state of each pool, as far as problems depend on it.
    pub(super) fn pool_health(&self) -> Vec<PoolHealth> {
        let mut pools = self.membership.pool_health();
        if let Some(published) = &self.published {
            for health in &mut pools {
                let pool = published.pools.get(&health.pool);
                let sorry = pool.map_or(&[][..], |pool| &pool.sorry);
                health.sorry = sorry.iter().map(|sorry| sorry.addr).collect();
            }
        }
        pools
    }

    /// The sorry servers that serve at present, with their pools.
    pub(super) fn sorry_servers(&self) -> BTreeMap<NodeAddr, PoolName> {
        let pools = self.published.iter().flat_map(|published| &published.pools);
        let sorry = pools.flat_map(|(name, pool)| {
            let servers = pool.sorry.iter();
            servers.map(|server| (server.addr, name.clone()))
        });
        sorry.collect()
    }

    /// The addresses with overrides that are not listed.
    pub(super) fn unlisted_overrides(&self) -> BTreeSet<NodeAddr> {
        let addrs = self.membership.overrides().nodes();
        addrs
            .filter(|addr| !self.membership.is_listed(*addr))
            .collect()
    }

    /// A node with the serial of the snapshot that shows its last change.
    pub(super) fn at_serial(&self, view: NodeView) -> NodeAtSerial {
        NodeAtSerial {
            serial: self.serials.of(view.node.addr),
            view,
        }
    }

    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(super) fn event_log(&self) -> &EventLog {
        &self.event_log
    }

    pub(super) fn poll_stats(&self) -> PollStats {
        self.poll_stats
    }

    /// The serial of the desired state that was published last; 0 before there is one.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }
}
