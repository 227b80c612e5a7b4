//! One load balancer: its status, and what its driver knows of it.

use std::sync::Arc;

use super::earlier;
use crate::api;
use crate::drivers::details::{DriverDetails, PoolDetails};
use crate::model::driver_status::{DriverId, DriverStatus};
use crate::model::node::Node;
use crate::model::time::Clock;

/// What a driver reported; no details if it did not answer in time.
pub(crate) struct DriverReport {
    pub(crate) id: DriverId,
    pub(crate) status: DriverStatus,
    pub(crate) details: Option<DriverDetails>,
}

/// A load balancer; `out` are the nodes that are in no pool.
pub(super) fn load_balancer(
    clock: &Clock,
    report: &DriverReport,
    out: &[Arc<Node>],
) -> api::LoadBalancer {
    let DriverReport {
        id,
        status,
        details,
    } = report;
    let details = details.as_ref();
    let no_answer = || "no answer".to_owned();
    let problems = details.map(|details| details.problems.clone());
    let problems = problems.unwrap_or_default().into_iter();
    let pools = details.into_iter().flat_map(|details| &details.pools);
    let draining = status.draining.iter();
    api::LoadBalancer {
        driver: id.kind.key.to_owned(),
        address: id.address.to_string(),
        connected: status.connected,
        connection: details.map_or_else(no_answer, |details| details.connection.clone()),
        away: away(clock, status),
        in_sync: status.connected && status.in_sync,
        since: details.map(|details| earlier(clock, details.in_sync_since)),
        problems: problems.chain(strays(id, status, out)).collect(),
        pools: pools.map(|details| pool(clock, details)).collect(),
        draining: draining
            .map(|(node, pools)| api::Draining {
                node: node.to_string(),
                pools: pools.keys().map(ToString::to_string).collect(),
                since: earlier(clock, pools.values().min().copied().unwrap_or(clock.now)),
            })
            .collect(),
    }
}

/// The nodes that are in none of pollbal's pools, but get requests there by another one.
fn strays(id: &DriverId, status: &DriverStatus, out: &[Arc<Node>]) -> impl Iterator<Item = String> {
    let strays = out.iter().filter(|_| status.connected);
    strays.filter_map(move |node| {
        let stray = status.strays.get(&node.addr)?;
        let text = stray.text(&id.address);
        (!stray.is_managed()).then(|| format!("{} is out, but {text}", node.name))
    })
}

/// Why a load balancer is not connected, since when, and which changes are pending.
pub(super) fn away(clock: &Clock, status: &DriverStatus) -> Option<api::Away> {
    let outage = status.outage.as_ref()?;
    let cause = outage.cause.as_ref();
    Some(api::Away {
        since: earlier(clock, outage.since),
        state: cause.map_or("", |cause| cause.state).to_owned(),
        cause: cause.map_or_else(String::new, |cause| cause.detail.clone()),
        not_applied: outage.pending.named.clone(),
        not_applied_count: outage.pending.count,
    })
}

fn pool(clock: &Clock, details: &PoolDetails) -> api::LoadBalancerPool {
    api::LoadBalancerPool {
        name: details.name.clone(),
        desired: details.desired,
        sent: details.sent,
        observed: details.observed,
        observed_at: details.observed_at.map(|at| earlier(clock, at)),
        sent_since: details.sent_since,
        services: details.services.clone(),
        same: details.same,
    }
}
