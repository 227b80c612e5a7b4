//! Handles the requests of the HTTP listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Daemon;
use super::reloading::ReloadWaiter;
use crate::control::{
    Applied, DaemonRequest, FullState, NodeAtSerial, OverrideError, OverrideRequest, SelectedNodes,
    Summary,
};
use crate::drivers::DriverHandle;
use crate::model::membership::Membership;
use crate::model::membership::overrides::Effect;
use crate::model::membership::shortage::Shortage;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::node_view::NodeView;
use crate::model::overrides::{Note, ReasonName, given_by_other, words};
use crate::model::rollout_status::{DriverStatuses, LoadBalancer};
use crate::model::site_counts::SiteCounts;
use crate::model::time::Clock;

/// An end of orders is not waited for longer than this at a time: the clock may be set.
const LONGEST_EXPIRY: Duration = Duration::from_secs(60);

impl Daemon {
    /// Handles one request. It is no problem if nobody waits for the reply any more.
    pub(super) fn answer(&mut self, request: DaemonRequest) {
        match request {
            DaemonRequest::Ping(to) => _ = to.send(()),
            DaemonRequest::FullState(to) => _ = to.send(self.full_state()),
            DaemonRequest::Summary(to) => _ = to.send(self.summary()),
            DaemonRequest::Nodes(addrs, to) => _ = to.send(self.nodes(&addrs)),
            DaemonRequest::History(addr, to) => _ = to.send(self.event_log.of_node(addr)),
            DaemonRequest::Events(after, part, to) => {
                _ = to.send(self.event_log.after(after, part));
            }
            DaemonRequest::Override(order, to) => _ = to.send(self.obey(order)),
            DaemonRequest::Reload(accept_removals, to) => self.reload_for(ReloadWaiter {
                to,
                accept_removals,
            }),
        }
    }

    /// Ends the orders whose time is over, and looks when the next one's is.
    pub(super) fn expire_overrides(&mut self) {
        let moment = self.present();
        let effect = self.membership.expire((moment.now, moment.today));
        self.take_effect(effect, moment);
        let end = self.membership.overrides().next_end();
        self.next_expiry = end.map(|end| moment.now + end.since(moment.today).min(LONGEST_EXPIRY));
    }

    /// Hands the orders to the state file when they changed.
    pub(super) fn persist_overrides(&mut self) {
        let revision = self.membership.overrides_revision();
        if self.overrides.borrow().0 != revision {
            let overrides = Arc::new(self.membership.overrides().clone());
            self.overrides.send_replace((revision, overrides));
            self.expire_overrides();
        }
    }

    fn obey(&mut self, order: OverrideRequest) -> Result<Applied, OverrideError> {
        let moment = self.present();
        let shortages = self.forced_shortages(&order);
        let effect = self.decide(order, moment)?;
        self.take_effect(effect, moment);
        self.publish();
        Ok(Applied {
            serial: self.serial,
            revision: self.membership.overrides_revision(),
            shortages,
        })
    }

    /// The pools that an order leaves with too few members because it is forced.
    fn forced_shortages(&self, order: &OverrideRequest) -> Vec<Shortage> {
        match order {
            OverrideRequest::Disable { nodes, force, .. } if *force => {
                self.membership.shortages(nodes)
            }
            _ => Vec::new(),
        }
    }

    fn decide(
        &mut self,
        order: OverrideRequest,
        Clock { now, today }: Clock,
    ) -> Result<Effect, OverrideError> {
        let membership = &mut self.membership;
        match order {
            OverrideRequest::Disable {
                nodes,
                word,
                reason,
                force,
            } => {
                listed(&nodes, |addr| membership.view(addr))?;
                given_by_nobody_else(membership, &nodes, &word, &reason.by)?;
                if !force {
                    can_do_without(membership, &nodes)?;
                }
                Ok(membership.disable(&nodes, &word, &reason, now))
            }
            OverrideRequest::Enable { nodes, word, by } => {
                for addr in &nodes {
                    self.may_enable(*addr, &word)?;
                }
                Ok(self.membership.enable(&nodes, &word, &by, now))
            }
            OverrideRequest::Freeze(word, reason) => {
                let frozen = &membership.overrides().frozen;
                match given_by_other(frozen, &word, &reason.by) {
                    Some(given) => Err(OverrideError::FrozenByOther(word, given.clone())),
                    None => Ok(membership.freeze(&word, &reason)),
                }
            }
            OverrideRequest::Thaw(word, by) => {
                let thawed = membership.thaw(&word, &by, now);
                thawed.ok_or(OverrideError::NotFrozen(word))
            }
            OverrideRequest::Nudge(nodes) => {
                listed(&nodes, |addr| membership.view(addr))?;
                Ok(Effect {
                    poll_now: nodes,
                    ..Effect::default()
                })
            }
            OverrideRequest::Leave(addr) => {
                listed(&[addr], |addr| membership.view(addr))?;
                let timeout = self.config.leave_timeout;
                membership
                    .leave(addr, timeout, (now, today))
                    .map_err(OverrideError::LeaveDenied)
            }
            OverrideRequest::CancelLeave(nodes, by) => {
                // A leave outlives its node's line in the services file.
                let granted = &membership.overrides().leases;
                let others = nodes.iter().filter(|addr| !granted.contains_key(addr));
                let others: Vec<_> = others.copied().collect();
                listed(&others, |addr| membership.view(addr))?;
                Ok(membership.cancel_leaves(&nodes, &by, now))
            }
        }
    }

    /// A node that is out for other reasons only would stay out: the word was probably mistyped.
    fn may_enable(&self, addr: NodeAddr, word: &ReasonName) -> Result<(), OverrideError> {
        let Some(reasons) = self.membership.overrides().reasons(addr) else {
            return listed(&[addr], |addr| self.membership.view(addr));
        };
        if reasons.contains_key(word) {
            return Ok(());
        }
        Err(OverrideError::OtherReasons(
            name_of(&self.membership, addr),
            word.clone(),
            words(reasons.keys()),
        ))
    }

    fn take_effect(&mut self, effect: Effect, moment: Clock) {
        self.tell(&effect.changes, moment);
        for addr in effect.poll_now {
            self.pollers.nudge(addr);
        }
    }

    fn nodes(&self, addrs: &[NodeAddr]) -> SelectedNodes {
        let seen = |addr: &NodeAddr| self.membership.view(*addr).map(|view| self.seen(view));
        SelectedNodes {
            clock: Clock::now(),
            nodes: addrs.iter().map(seen).collect(),
            drivers: self.driver_statuses(),
            first_round_done: self.membership.first_round_done(),
            rules: self.membership.rules().clone(),
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
            sorry: self.sorry(),
        }
    }

    fn sorry(&self) -> BTreeMap<NodeAddr, PoolName> {
        let snapshot = self.snapshots.borrow();
        let pools = snapshot.iter().flat_map(|snapshot| &snapshot.pools.pools);
        let sorry = pools.flat_map(|(name, pool)| {
            let servers = pool.sorry.iter();
            servers.map(|server| (server.addr, name.clone()))
        });
        sorry.collect()
    }

    fn seen(&self, view: NodeView) -> NodeAtSerial {
        NodeAtSerial {
            serial: self.serials.of(view.node.addr),
            view,
        }
    }

    fn full_state(&self) -> FullState {
        let mut counts = self.membership.empty_counts();
        let nodes = self.membership.views().map(|node| {
            counts.add(&node);
            self.seen(node)
        });
        let nodes = nodes.collect();
        FullState {
            summary: self.summary_with_counts(counts),
            nodes,
        }
    }

    fn summary(&self) -> Summary {
        let mut counts = self.membership.empty_counts();
        for node in self.membership.views() {
            counts.add(&node);
        }
        self.summary_with_counts(counts)
    }

    /// Addresses that orders are about and that the services file does not list.
    fn gone(&self) -> BTreeSet<NodeAddr> {
        let overrides = self.membership.overrides();
        let ordered = overrides.disabled.keys().chain(overrides.leases.keys());
        let gone = ordered.filter(|addr| self.membership.view(**addr).is_none());
        gone.copied().collect()
    }

    fn summary_with_counts(&self, counts: SiteCounts) -> Summary {
        Summary {
            clock: Clock::now(),
            started: self.started,
            counts,
            first_round_done: self.membership.first_round_done(),
            snapshot: self.snapshots.borrow().clone(),
            rules: self.membership.rules().clone(),
            overrides: self.membership.overrides().clone(),
            gone: self.gone(),
            drivers: self.driver_statuses(),
            handles: self.drivers.handles().to_vec(),
            file_counts: self.file_counters.counts(),
            poll_stats: self.poll_stats,
            last_event: self.event_log.last_id(),
            problems: self.watchfulness.problems(),
            system_status: self.system_status(),
            hooks: self.hooks.counts(),
            metrics_per_node: self.config.metrics_per_node,
        }
    }
}

/// Whether nobody else has one of these out by this word: a second order would be in the place of his,
/// and end it.
fn given_by_nobody_else(
    membership: &Membership,
    addrs: &[NodeAddr],
    word: &ReasonName,
    by: &Note,
) -> Result<(), OverrideError> {
    let overrides = membership.overrides();
    let given = addrs.iter().find_map(|addr| {
        let given = given_by_other(overrides.reasons(*addr)?, word, by)?;
        Some((*addr, given))
    });
    let Some((addr, given)) = given else {
        return Ok(());
    };
    let name = name_of(membership, addr);
    Err(OverrideError::DisabledByOther(
        name,
        word.clone(),
        given.clone(),
    ))
}

fn name_of(membership: &Membership, addr: NodeAddr) -> String {
    let view = membership.view(addr);
    view.map_or_else(|| addr.to_string(), |view| view.node.name.clone())
}

/// Whether pools have members enough without these.
fn can_do_without(membership: &Membership, addrs: &[NodeAddr]) -> Result<(), OverrideError> {
    if !membership.first_round_done() {
        return Err(OverrideError::FirstRound);
    }
    match membership.shortages(addrs) {
        none if none.is_empty() => Ok(()),
        shortages => Err(OverrideError::TooFewMembers(shortages)),
    }
}

/// Whether the services file lists all of these.
fn listed(
    addrs: &[NodeAddr],
    view: impl Fn(NodeAddr) -> Option<NodeView>,
) -> Result<(), OverrideError> {
    match addrs.iter().find(|addr| view(**addr).is_none()) {
        Some(unknown) => Err(OverrideError::UnknownNode(*unknown)),
        None => Ok(()),
    }
}

/// Waits until then, or for ever.
pub(super) async fn when(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
