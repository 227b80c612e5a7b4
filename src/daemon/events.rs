//! Carries out what the core has decided: logs events and runs hooks for them, polls nodes, and gives the drivers the
//! desired state.

use std::time::Duration;

use humantime::format_duration;
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use super::Daemon;
use super::core::{Effects, Input, ListOutcome, Recorded};
use crate::drivers::{Mode, Snapshot};
use crate::hooks::NodeHookInput;
use crate::logging::count;
use crate::model::driver_status::DriverStatus;
use crate::model::problems::FileFault;
use crate::model::time::Clock;

impl Daemon {
    /// Has the core decide upon an input, and carries out the effects. Returns them, for what the caller replies.
    pub(super) fn step(&mut self, input: Input) -> Effects {
        let mut effects = self.decide(input);
        if let Some(snapshot) = effects.snapshot.take() {
            self.publish(snapshot);
        }
        effects
    }

    /// The same, but leaves publishing the snapshot to the caller.
    pub(super) fn decide(&mut self, input: Input) -> Effects {
        let clock = Clock::now();
        if let Some(pause) = self.pauses.since_last_call() {
            let effects = self.core.step(Input::Pause(pause), clock);
            let time = Duration::from_secs(pause.day.as_secs());
            if effects.extended_leaves > 0 && !time.is_zero() {
                let leaves = count(effects.extended_leaves, "leave");
                let time = format_duration(time);
                info!("pollbal was suspended for {time}: extended {leaves} by that");
            }
        }
        let mut effects = self.core.step(input, clock);
        self.carry_out(&mut effects, clock);
        effects
    }

    fn carry_out(&mut self, effects: &mut Effects, clock: Clock) {
        if let Some(nodes) = effects.nodes.take() {
            self.http.set_nodes(&nodes);
            let polled = nodes.iter().filter(|node| node.is_polled()).cloned();
            let polled: Vec<_> = polled.collect();
            self.pollers.set(&polled, &self.config.poll);
            self.alerting.set_nodes(&self.config, &nodes);
        }
        if let Some(outcome) = &effects.list {
            self.report_list(outcome);
        }
        for Recorded { event, change } in effects.events.drain(..) {
            self.change_log.write(&event, clock.now);
            if self.options.mode == Mode::Live
                && let Some(change) = &change
                && let Some(input) = NodeHookInput::of(change, &event)
            {
                self.hooks.node(&input);
            }
        }
        for addr in effects.poll_now.drain(..) {
            self.pollers.nudge(addr);
        }
        for addr in effects.poll_soon.drain(..) {
            self.pollers.retry_soon(addr);
        }
        if let Some(pools) = effects.pool_health.take() {
            self.alerting.report_pools(pools, self.core.serial() > 0);
        }
        if let Some(nodes) = effects.stay_requests.take() {
            self.alerting.request_stay(nodes, &self.config.poll);
        }
        if effects.save_node_times {
            self.node_times.mark_changed(effects.save_node_times_soon);
        }
        if effects.notify_watchers {
            self.notify_watchers();
        }
    }

    /// Wakes everyone who waits for a change.
    pub(super) fn notify_watchers(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Gives the drivers the desired state.
    pub(super) fn publish(&mut self, snapshot: Snapshot) {
        if let Some(first_sync) = self.first_sync.take() {
            let pools = &snapshot.pools;
            info!(
                "first round done: {} in {}, {} in none",
                count(pools.member_count(), "member"),
                count(pools.pools.len(), "pool"),
                count(pools.disabled.len(), "node")
            );
            let statuses = self.drivers.statuses();
            self.tasks
                .spawn(report_sync(statuses, snapshot.serial, first_sync));
        }
        self.snapshots.send_replace(Some(snapshot));
        self.notify_watchers();
    }

    /// Logs and reports whether a list of nodes is active as a whole.
    fn report_list(&self, outcome: &ListOutcome) {
        let fault = match outcome {
            ListOutcome::Applied { released } => {
                if *released > 0 {
                    let nodes = count(*released, "node");
                    info!("{nodes} are removed now: every pool can do without them");
                }
                None
            }
            ListOutcome::Withheld { withheld, is_new } => {
                let path = self.config.sources();
                let text = format!("{path}: {withheld}");
                if *is_new {
                    error!("{text}");
                }
                Some(FileFault { path, text })
            }
        };
        let reporter = &self.alerting.status_reporter;
        reporter.set(|status| &mut status.removals, fault);
    }
}

/// Reports once whether all drivers are in sync with the snapshot of this serial.
async fn report_sync(
    statuses: Vec<watch::Receiver<DriverStatus>>,
    serial: u64,
    report: oneshot::Sender<bool>,
) {
    let mut in_sync = true;
    for mut status in statuses {
        let settled = status.wait_for(|status| status.settled >= serial).await;
        in_sync &= settled.is_ok_and(|status| status.in_sync);
    }
    // The daemon is stopping if there is no receiver.
    _ = report.send(in_sync);
}
