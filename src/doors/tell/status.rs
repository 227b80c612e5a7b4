//! How all stands.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::perlbal::{self, Asked};
use super::{earlier, node, reason, time};
use crate::api::{self, State};
use crate::asks::{Seen, View};
use crate::logging::count;
use crate::model::names::{PoolName, Version};
use crate::model::node::NodeAddr;
use crate::model::rules::Rules;
use crate::model::view::{NodeState, NodeView};

/// What of all is asked for; everything that matters, where nothing is named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) pools: BTreeSet<PoolName>,
    pub(crate) nodes: HashSet<NodeAddr>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.nodes.is_empty()
    }

    fn wants_node(&self, view: &NodeView) -> bool {
        if self.is_empty() {
            return node::state(view) != State::Member || node::is_failing(view);
        }
        let place = || node::place(view).is_some_and(|place| self.pools.contains(&place.pool));
        self.nodes.contains(&view.node.addr) || place()
    }
}

/// What nodes make of a pool.
#[derive(Default)]
struct Members {
    all: usize,
    serving: usize,
    leaving: usize,
    versions: BTreeMap<Option<Version>, usize>,
}

/// Tells what `filter` asks for.
pub(crate) fn status(view: &View, perlbals: &[Asked], filter: &Filter) -> api::Status {
    let nodes = nodes(view, filter).map(|seen| node::node(&view.moment, &view.perlbals, seen));
    api::Status {
        nodes: nodes.collect(),
        ..without_nodes(view, perlbals, filter)
    }
}

/// The nodes that `filter` asks for.
pub(crate) fn nodes<'a>(view: &'a View, filter: &Filter) -> impl Iterator<Item = &'a Seen> {
    let nodes = view.nodes.iter();
    nodes.filter(|seen| filter.wants_node(&seen.view))
}

/// The same as [`status`], but for the nodes.
pub(crate) fn without_nodes(view: &View, perlbals: &[Asked], filter: &Filter) -> api::Status {
    let pools = pools(view);
    let perlbals: Vec<_> = perlbals
        .iter()
        .map(|asked| perlbal::perlbal(&view.moment, asked, &view.translation, filter))
        .collect();
    let troubles = troubles(view, &pools, &perlbals);
    api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: time(view.moment.today),
        started: earlier(&view.moment, view.started),
        all_right: troubles.is_empty(),
        troubles,
        first_round_done: view.first_round_done,
        frozen: view.orders.frozen.iter().map(reason).collect(),
        counts: counts(view),
        pools: pools
            .into_iter()
            .filter(|(name, _)| wants(filter, name))
            .map(|(_, pool)| pool)
            .collect(),
        nodes: Vec::new(),
        files: api::Files {
            in_sync: view.perlbals.files.in_sync,
        },
        perlbals,
        last_event: view.last_event,
    }
}

fn wants(filter: &Filter, pool: &PoolName) -> bool {
    filter.is_empty() || filter.pools.contains(pool)
}

/// All pools, so that none is left out of the verdict.
fn pools(view: &View) -> Vec<(PoolName, api::Pool)> {
    let mut members: BTreeMap<PoolName, Members> = BTreeMap::new();
    for name in view.rules.declared.keys() {
        members.entry(name.clone()).or_default();
    }
    let known = view
        .snapshot
        .iter()
        .flat_map(|snapshot| snapshot.pools.pools.keys());
    for name in known {
        members.entry(name.clone()).or_default();
    }
    for seen in &view.nodes {
        count_in(&seen.view, &mut members);
    }
    let pool = |(name, members): (PoolName, Members)| {
        let told = pool(view, &name, members);
        (name, told)
    };
    members.into_iter().map(pool).collect()
}

fn count_in(view: &NodeView, pools: &mut BTreeMap<PoolName, Members>) {
    let Some(place) = node::place(view) else {
        return;
    };
    let state = node::state(view);
    if !matches!(state, State::Member | State::Leaving) {
        return;
    }
    let pool = pools.entry(place.pool).or_default();
    if state == State::Leaving {
        pool.leaving += 1;
        return;
    }
    pool.all += 1;
    pool.serving += usize::from(node::serves(view));
    *pool.versions.entry(place.version).or_default() += 1;
}

fn pool(view: &View, name: &PoolName, members: Members) -> api::Pool {
    let rules: &Rules = &view.rules;
    let min_members = rules.of(name).min_members;
    let wanted = view
        .snapshot
        .as_ref()
        .and_then(|snapshot| snapshot.pools.pools.get(name));
    let version = |(version, members): (Option<Version>, usize)| api::VersionCount {
        version: version.map(|version| version.to_string()),
        members,
    };
    api::Pool {
        name: name.to_string(),
        declared: rules.declared.contains_key(name),
        members: members.all,
        serving: members.serving,
        min_members,
        short: members.serving < min_members,
        versions: members.versions.into_iter().map(version).collect(),
        leaving: members.leaving,
        sorry: wanted.map_or(Vec::new(), |pool| {
            pool.sorry
                .iter()
                .map(|sorry| sorry.addr.to_string())
                .collect()
        }),
    }
}

fn counts(view: &View) -> api::Counts {
    let mut counts = api::Counts::default();
    for seen in &view.nodes {
        counts.nodes += 1;
        counts.failing += usize::from(node::is_failing(&seen.view));
        *match node::state(&seen.view) {
            State::Member => &mut counts.members,
            State::Leaving => &mut counts.leaving,
            State::Idle => &mut counts.idle,
            State::Failed => &mut counts.failed,
            State::Refused => &mut counts.refused,
            State::Disabled => &mut counts.disabled,
            State::Awaited => &mut counts.awaited,
        } += 1;
    }
    counts
}

/// What needs a person, a line each.
fn troubles(
    view: &View,
    pools: &[(PoolName, api::Pool)],
    perlbals: &[api::Perlbal],
) -> Vec<String> {
    let mut troubles = Vec::new();
    if !view.first_round_done {
        let unheard = |seen: &&Seen| seen.view.state == NodeState::Unheard;
        let unheard = view.nodes.iter().filter(unheard).count();
        troubles.push(format!(
            "not every node was heard yet, {} to go: nothing changes before",
            count(unheard, "node")
        ));
    }
    for (name, pool) in pools.iter().filter(|(_, pool)| pool.short) {
        troubles.push(format!(
            "pool {name} has {} serving, and its min_members is {}",
            count(pool.serving, "member"),
            pool.min_members
        ));
    }
    for (name, pool) in pools.iter().filter(|(_, pool)| !pool.sorry.is_empty()) {
        troubles.push(format!(
            "pool {name} has no member: its sorry server {} stands in",
            pool.sorry.join(", ")
        ));
    }
    if view.first_round_done && !view.perlbals.files.in_sync {
        troubles.push("the pool files do not hold what is wanted".to_owned());
    }
    for perlbal in perlbals.iter().filter(|perlbal| !perlbal.in_sync) {
        let why = if perlbal.connected {
            "is not as it is wanted".to_owned()
        } else {
            format!("is not connected: {}", perlbal.connection)
        };
        troubles.push(format!("Perlbal {} {why}", perlbal.address));
    }
    troubles
}
