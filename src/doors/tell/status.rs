//! How all stands.

use std::collections::{BTreeSet, HashSet};

use super::perlbal::{self, Asked};
use super::{node, reason, time};
use crate::api::{self, State};
use crate::asks::{Overview, Seen, View};
use crate::logging::count;
use crate::model::alerts::StandingCondition;
use crate::model::census::{Census, PoolCensus};
use crate::model::conditions::Kind;
use crate::model::names::{PoolName, Version};
use crate::model::node::NodeAddr;
use crate::model::rules::Rules;
use crate::model::view::{NodeView, Whereabouts};

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

/// Tells what `filter` asks for.
pub(crate) fn status(view: &View, perlbals: &[Asked], filter: &Filter) -> api::Status {
    let whole = &view.overview;
    let nodes = nodes(view, filter).map(|seen| node::node(&whole.moment, &whole.perlbals, seen));
    api::Status {
        nodes: nodes.collect(),
        ..without_nodes(whole, perlbals, filter)
    }
}

/// The nodes that `filter` asks for.
pub(crate) fn nodes<'a>(view: &'a View, filter: &Filter) -> impl Iterator<Item = &'a Seen> {
    let nodes = view.nodes.iter();
    nodes.filter(|seen| filter.wants_node(&seen.view))
}

/// The same as [`status`], but for the nodes.
pub(crate) fn without_nodes(whole: &Overview, perlbals: &[Asked], filter: &Filter) -> api::Status {
    let pools: Vec<_> = pools(whole).collect();
    let perlbals: Vec<_> = perlbals
        .iter()
        .map(|asked| perlbal::perlbal(&whole.moment, asked, &whole.translation, filter))
        .collect();
    let troubles = troubles(whole, &pools, &perlbals);
    api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: time(whole.moment.today),
        started: time(whole.started.today),
        all_right: troubles.is_empty(),
        troubles,
        conditions: conditions(whole),
        first_round_done: whole.first_round_done,
        frozen: whole.orders.frozen.iter().map(reason).collect(),
        counts: counts(&whole.census),
        pools: pools
            .into_iter()
            .filter(|(name, _)| wants(filter, name))
            .map(|(_, pool)| pool)
            .collect(),
        nodes: Vec::new(),
        files: api::Files {
            in_sync: whole.perlbals.files.in_sync,
        },
        perlbals,
        last_event: whole.last_event,
    }
}

fn wants(filter: &Filter, pool: &PoolName) -> bool {
    filter.is_empty() || filter.pools.contains(pool)
}

/// All pools, so that none is left out of the verdict.
fn pools(whole: &Overview) -> impl Iterator<Item = (&PoolName, api::Pool)> {
    let pools = whole.census.pools.iter();
    pools.map(|(name, counted)| (name, pool(whole, name, counted)))
}

fn pool(whole: &Overview, name: &PoolName, counted: &PoolCensus) -> api::Pool {
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

fn counts(census: &Census) -> api::Counts {
    api::Counts {
        nodes: census.nodes(),
        members: census.at(Whereabouts::Member),
        failing: census.failing(),
        leaving: census.at(Whereabouts::Leaving),
        idle: census.at(Whereabouts::Idle),
        failed: census.at(Whereabouts::Failed),
        refused: census.at(Whereabouts::Refused),
        disabled: census.at(Whereabouts::Disabled),
        awaited: census.at(Whereabouts::Awaited),
    }
}

/// What a person must know besides the troubles, the worst first.
fn conditions(whole: &Overview) -> Vec<api::Condition> {
    let told = |stands: &StandingCondition| api::Condition {
        kind: stands.condition.kind.word().to_owned(),
        subject: stands.condition.subject.clone(),
        text: stands.condition.text.clone(),
        since: time(stands.since),
    };
    let conditions = whole.conditions.iter();
    let conditions = conditions.filter(|stands| stands.holds && !is_trouble(whole, stands));
    conditions.map(told).collect()
}

/// Whether the troubles say it, as long as it holds.
fn is_trouble(whole: &Overview, stands: &StandingCondition) -> bool {
    match stands.condition.kind {
        Kind::SorryServer | Kind::PoolShort | Kind::PerlbalLost | Kind::PerlbalNotInSync => true,
        // Before the first round it is no trouble that they do not hold what is wanted.
        Kind::FilesNotWritten => whole.first_round_done,
        Kind::ReloadRefused
        | Kind::ServicesRefused
        | Kind::StateNotWritten
        | Kind::StateRefused => false,
    }
}

/// What is not in sync, or too few, a line each.
fn troubles(
    whole: &Overview,
    pools: &[(&PoolName, api::Pool)],
    perlbals: &[api::Perlbal],
) -> Vec<String> {
    let mut troubles = Vec::new();
    if !whole.first_round_done {
        troubles.push(format!(
            "not every node was heard yet, {} to go: nothing changes before",
            count(whole.census.unheard, "node")
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
    if whole.first_round_done && !whole.perlbals.files.in_sync {
        let why = whole.perlbals.files.because();
        troubles.push(format!("the pool files do not hold what is wanted{why}"));
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
