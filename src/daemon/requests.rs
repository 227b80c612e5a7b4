//! Handles the requests of the HTTP listeners.

use std::time::Instant;

use super::Daemon;
use super::core::Input;
use super::reload::ReloadWaiter;
use crate::control::{DaemonRequest, FullState, SelectedNodes, Summary};
use crate::drivers::DriverHandle;
use crate::model::node::NodeAddr;
use crate::model::rollout_status::{DriverStatuses, LoadBalancer};
use crate::model::site_counts::SiteCounts;
use crate::model::time::Clock;

impl Daemon {
    /// Handles one request. It is no problem if nobody waits for the reply any more.
    pub(super) fn reply(&mut self, request: DaemonRequest) {
        match request {
            DaemonRequest::Ping(reply) => _ = reply.send(()),
            DaemonRequest::FullState(reply) => _ = reply.send(self.full_state()),
            DaemonRequest::Summary(reply) => _ = reply.send(self.summary()),
            DaemonRequest::Problems(reply) => _ = reply.send(self.system_status().problems()),
            DaemonRequest::Nodes(addrs, reply) => _ = reply.send(self.selected_nodes(&addrs)),
            DaemonRequest::History(addr, reply) => {
                _ = reply.send(self.core.event_log().of_node(addr));
            }
            DaemonRequest::Events(after, part, reply) => {
                _ = reply.send(self.core.event_log().after(after, part));
            }
            DaemonRequest::Override(request, reply) => {
                let effects = self.step(Input::Override(request));
                if let Some(applied) = effects.applied {
                    _ = reply.send(applied);
                }
            }
            DaemonRequest::Reload(accept_removals, reply) => self.reload_for(ReloadWaiter {
                reply,
                accept_removals,
            }),
        }
    }

    fn selected_nodes(&self, addrs: &[NodeAddr]) -> SelectedNodes {
        let membership = self.core.membership();
        let at_serial = |addr: &NodeAddr| Some(self.core.at_serial(membership.view(*addr)?));
        SelectedNodes {
            clock: Clock::now(),
            nodes: addrs.iter().map(at_serial).collect(),
            drivers: self.driver_statuses(),
            first_round_done: membership.first_round_done(),
            rules: membership.rules().clone(),
            poll_interval: self.config.poll.interval,
        }
    }

    fn driver_statuses(&self) -> DriverStatuses {
        let load_balancer = |driver: &DriverHandle| LoadBalancer {
            id: driver.id.clone(),
            required: driver.required,
            status: driver.status(),
        };
        DriverStatuses {
            load_balancers: self.drivers.handles().iter().map(load_balancer).collect(),
            files: self.drivers.files_status.borrow().clone(),
            sorry: self.core.sorry_servers(),
        }
    }

    fn full_state(&self) -> FullState {
        let mut counts = self.core.membership().empty_counts();
        let nodes = self.core.membership().views().map(|node| {
            counts.add(&node);
            self.core.at_serial(node)
        });
        let nodes = nodes.collect();
        FullState {
            summary: self.summary_with_counts(counts),
            nodes,
        }
    }

    fn summary(&self) -> Summary {
        let mut counts = self.core.membership().empty_counts();
        for node in self.core.membership().views() {
            counts.add(&node);
        }
        self.summary_with_counts(counts)
    }

    fn summary_with_counts(&self, counts: SiteCounts) -> Summary {
        let membership = self.core.membership();
        Summary {
            clock: Clock::now(),
            started: self.started,
            counts,
            first_round_done: membership.first_round_done(),
            snapshot: self.snapshots.borrow().clone(),
            rules: membership.rules().clone(),
            overrides: membership.overrides().clone(),
            gone: self.core.unlisted_overrides(),
            drivers: self.driver_statuses(),
            handles: self.drivers.handles().to_vec(),
            file_counts: self.file_counters.counts(),
            poll_stats: self.core.poll_stats(),
            last_event: self.core.event_log().last_id(),
            problems: self.alerting.active_problems(),
            system_status: self.system_status(),
            hooks: self.hooks.counts(),
            metrics_per_node: self.config.metrics_per_node,
        }
    }
}

/// Waits until then; forever if there is no time.
pub(super) async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
