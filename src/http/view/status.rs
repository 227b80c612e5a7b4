//! The status of everything or of a selection: the response to `GET /v1/status`.

use std::collections::{BTreeSet, HashSet};

use super::health::Judgement;
use super::load_balancer::{DriverReport, load_balancer};
use super::{node, reason, time};
use crate::api::{self, State};
use crate::control::{FullState, NodeAtSerial, Summary};
use crate::drivers::PoolFilter;
use crate::model::health::Health;
use crate::model::names::{PoolName, Version};
use crate::model::node::NodeAddr;
use crate::model::node_view::{NodeStatus, NodeView};
use crate::model::rules::Rules;
use crate::model::site_counts::{PoolCounts, SiteCounts};

/// The selected pools and nodes; everything that matters, where nothing is named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) pools: BTreeSet<PoolName>,
    pub(crate) nodes: HashSet<NodeAddr>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.nodes.is_empty()
    }

    /// The pools at load balancers that are shown.
    pub(crate) fn pools_there(&self) -> PoolFilter {
        if self.pools.is_empty() {
            PoolFilter::Differing
        } else {
            PoolFilter::Only(self.pools.clone())
        }
    }

    fn selects_node(&self, view: &NodeView) -> bool {
        if self.is_empty() {
            return node::state(view) != State::Member
                || node::is_failing(view)
                || view.unversioned.is_some()
                || view.weight_override.is_some()
                || view.ramp.is_some();
        }
        let place = || node::place(view).is_some_and(|place| self.pools.contains(&place.pool));
        self.nodes.contains(&view.node.addr) || place()
    }
}

/// The status of what `filter` selects.
pub(crate) fn status(view: &FullState, drivers: &[DriverReport], filter: &Filter) -> api::Status {
    let whole = &view.summary;
    let views = view.nodes.iter().map(|entry| &entry.view);
    let named = views.filter(|view| filter.nodes.contains(&view.node.addr));
    let nodes = nodes(view, filter).map(|entry| node::node(&whole.clock, &whole.drivers, entry));
    api::Status {
        nodes: nodes.collect(),
        ..without_nodes(whole, drivers, filter, named)
    }
}

/// The nodes that `filter` selects.
pub(crate) fn nodes<'a>(
    view: &'a FullState,
    filter: &Filter,
) -> impl Iterator<Item = &'a NodeAtSerial> {
    let nodes = view.nodes.iter();
    nodes.filter(|entry| filter.selects_node(&entry.view))
}

/// The same as [`status`], but for the nodes. Those that were named are judged.
pub(crate) fn without_nodes<'a>(
    whole: &Summary,
    drivers: &[DriverReport],
    filter: &Filter,
    named: impl Iterator<Item = &'a NodeView>,
) -> api::Status {
    let out = whole.snapshot.as_ref();
    let out = out.map_or(&[][..], |snapshot| &*snapshot.pools.disabled);
    let drivers = drivers.iter();
    let load_balancers = drivers.map(|report| load_balancer(&whole.clock, report, out));
    let site = Judgement::of_site(whole);
    let selection = (!filter.is_empty()).then(|| Judgement::of_selection(whole, filter, named));
    let judged = selection.as_ref().unwrap_or(&site);
    api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: time(whole.clock.today),
        started: time(whole.started.today),
        health: judged.verdict.health,
        verdict: judged.verdict.line.clone(),
        problems: judged.problems(whole),
        site_health: site.verdict.health,
        site_verdict: site.verdict.line.clone(),
        healthy: site.verdict.health == Health::Ok,
        site_problems: site.problems(whole),
        first_round_done: whole.first_round_done,
        frozen: whole.overrides.frozen.iter().map(reason).collect(),
        counts: counts(&whole.counts),
        pools: pools(whole)
            .filter(|(name, _)| selects_pool(filter, name))
            .map(|(_, pool)| pool)
            .collect(),
        nodes: Vec::new(),
        gone: gone(whole, filter),
        files: api::Files {
            in_sync: whole.drivers.files.in_sync,
        },
        load_balancers: load_balancers.collect(),
        last_event: whole.last_event,
    }
}

/// Orders for addresses that are no nodes.
fn gone(whole: &Summary, filter: &Filter) -> Vec<api::GoneOrders> {
    if !filter.is_empty() {
        return Vec::new();
    }
    let orders = |addr: &NodeAddr| api::GoneOrders {
        node: addr.to_string(),
        reasons: whole
            .overrides
            .reasons(*addr)
            .into_iter()
            .flat_map(|reasons| reasons.iter().map(reason))
            .collect(),
        grant: whole.overrides.leases.get(addr).map(node::grant),
        weight: whole.overrides.weights.get(addr).map(node::given_weight),
    };
    whole.gone.iter().map(orders).collect()
}

fn selects_pool(filter: &Filter, pool: &PoolName) -> bool {
    filter.is_empty() || filter.pools.contains(pool)
}

fn pools(whole: &Summary) -> impl Iterator<Item = (&PoolName, api::Pool)> {
    let pools = whole.counts.pools.iter();
    pools.map(|(name, counted)| (name, pool(whole, name, counted)))
}

fn pool(whole: &Summary, name: &PoolName, counted: &PoolCounts) -> api::Pool {
    let rules: &Rules = &whole.rules;
    let min_members = rules.of(name).min_members;
    let version = |(version, members): (&Option<Version>, &usize)| api::VersionCount {
        version: version.as_ref().map(ToString::to_string),
        members: *members,
    };
    let sorry = whole.pool(name).into_iter().flat_map(|pool| &pool.sorry);
    api::Pool {
        name: name.to_string(),
        declared: rules.declared.contains_key(name),
        members: counted.members,
        serving: counted.serving,
        min_members,
        short: counted.serving < min_members,
        versions: counted.versions.iter().map(version).collect(),
        leaving: counted.leaving,
        sorry: sorry.map(|sorry| sorry.addr.to_string()).collect(),
    }
}

fn counts(counts: &SiteCounts) -> api::Counts {
    api::Counts {
        nodes: counts.by_status.nodes(),
        members: counts.by_status.at(NodeStatus::Member),
        failing: counts.failing(),
        leaving: counts.by_status.at(NodeStatus::Leaving),
        idle: counts.by_status.at(NodeStatus::Idle),
        failed: counts.by_status.at(NodeStatus::Failed),
        refused: counts.by_status.at(NodeStatus::Refused),
        disabled: counts.by_status.at(NodeStatus::Disabled),
        awaited: counts.by_status.at(NodeStatus::Awaited),
    }
}
