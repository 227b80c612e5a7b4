//! What pollbal itself does and knows: polls, nodes, pools, orders, files.

use std::collections::BTreeMap;
use std::fmt;

use super::families::{Families, Times};
use crate::control::Summary;
use crate::drivers::pool_files::FileCounts;
use crate::model::names::{PoolName, Version};
use crate::model::node::NodeAddr;
use crate::model::node_view::{NodeStatus, Retention};
use crate::model::poll_stats::{BUCKETS, PollStats, RESULTS};
use crate::model::site_counts::{PoolCounts, SiteCounts};

/// So many versions of a pool, and reasons for which nodes are disabled, are told by themselves: nodes
/// and scripts may invent words on and on. So many at a time, that is: one that is gone makes room for
/// another, and Prometheus keeps a series for each that there ever was.
const MOST: usize = 50;

/// The label for all further ones; no version and no reason has parentheses.
const OTHERS: &str = "(others)";

/// What keeps a failing member in its pool, and its word.
const KEEPERS: [(Retention, &str); 3] = [
    (Retention::Failing, "fall"),
    (Retention::Held, "min_members"),
    (Retention::Frozen, "freeze"),
];

/// What pollbal does and knows, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Site {
    pub(super) poll_stats: PollStats,
    /// Things that happened, as `pollbal events` tells them.
    pub(super) events: u64,
    pub(super) first_round_done: bool,
    /// Nodes, as [`NodeStatus::ALL`].
    pub(super) states: [u64; NodeStatus::ALL.len()],
    /// Members that fail, as [`KEEPERS`].
    pub(super) failing: [u64; KEEPERS.len()],
    /// Nodes that are disabled, by reason.
    pub(super) disabled: Vec<(String, u64)>,
    /// Leaves that were granted and are not over.
    pub(super) grants: u64,
    /// Orders for addresses that the services file does not list.
    pub(super) gone_orders: u64,
    pub(super) frozen: bool,
    pub(super) pools: BTreeMap<PoolName, Pool>,
    pub(super) files_in_sync: bool,
    pub(super) files: FileCounts,
}

/// One pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pool {
    /// Members, by version; none is empty.
    pub(super) versions: Vec<(String, u64)>,
    /// Members that serve, as far as is known.
    pub(super) serving: u64,
    pub(super) min_members: u64,
    /// Whether sorry servers stand in.
    pub(super) sorry: bool,
}

impl Site {
    /// From what is known.
    pub(super) fn of(whole: &Summary) -> Self {
        let pool = |(name, counted): (&PoolName, &PoolCounts)| {
            let pool = Pool {
                versions: versions(counted),
                serving: counted.serving as u64,
                min_members: whole.rules.of(name).min_members as u64,
                sorry: whole.pool(name).is_some_and(|pool| !pool.sorry.is_empty()),
            };
            (name.clone(), pool)
        };
        let counts = &whole.counts;
        Self {
            poll_stats: whole.poll_stats,
            events: whole.last_event,
            first_round_done: whole.first_round_done,
            states: NodeStatus::ALL.map(|status| counts.by_status.at(status) as u64),
            failing: KEEPERS.map(|(kept, _)| counts.kept(kept) as u64),
            disabled: disabled(counts),
            grants: counts.grants as u64,
            gone_orders: gone_orders(whole),
            frozen: !whole.overrides.frozen.is_empty(),
            pools: counts.pools.iter().map(pool).collect(),
            files_in_sync: whole.perlbals.files.in_sync,
            files: whole.file_counts,
        }
    }

    pub(super) fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        self.write_polls(families)?;
        self.write_nodes(families)?;
        self.write_pools(families)?;
        self.write_files(families)
    }

    fn write_polls(&self, families: &mut Families<'_>) -> fmt::Result {
        let results = RESULTS.iter().zip(self.poll_stats.results);
        families.counters(
            "pollbal_polls_total",
            "Polls of nodes, by what they gave.",
            results.map(|(result, polls)| ([("result", *result)], polls)),
        )?;
        let times = Times {
            bounds: &BUCKETS,
            counts: &self.poll_stats.durations,
            sum: self.poll_stats.total_duration,
        };
        families.histograms(
            "pollbal_poll_duration_seconds",
            "How long polls took, from the question to the whole answer or to giving up.",
            [([], times)],
        )?;
        families.counter(
            "pollbal_events_total",
            "Changes of nodes, pools and orders, as `pollbal events` tells them.",
            self.events,
        )
    }

    fn write_nodes(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "pollbal_first_round_done",
            "Whether each node was heard once; nothing changes before.",
            u64::from(self.first_round_done),
        )?;
        let states = NodeStatus::ALL.iter().zip(self.states);
        families.gauges(
            "pollbal_nodes",
            "Nodes of the services file, by where they are.",
            states.map(|(state, nodes)| ([("state", state.word())], nodes)),
        )?;
        let failing = KEEPERS.iter().zip(self.failing);
        families.gauges(
            "pollbal_failing_members",
            "Members that fail, by what keeps them in: `fall` not reached yet, `min_members`, or a freeze.",
            failing.map(|((_, keeper), members)| ([("kept_by", *keeper)], members)),
        )?;
        let disabled = self.disabled.iter();
        families.gauges(
            "pollbal_disabled_nodes",
            "Nodes that are to be out, by reason, of the 50 with the most nodes at a time; a node may have several.",
            disabled.map(|(reason, nodes)| ([("reason", reason.as_str())], *nodes)),
        )?;
        families.gauge(
            "pollbal_granted_leaves",
            "Nodes that were allowed to leave and are not back.",
            self.grants,
        )?;
        families.gauge(
            "pollbal_gone_orders",
            "Reasons and leaves of addresses that the services file does not list.",
            self.gone_orders,
        )?;
        families.gauge(
            "pollbal_frozen",
            "Whether failures put nobody out, since someone said so.",
            u64::from(self.frozen),
        )
    }

    fn write_pools(&self, families: &mut Families<'_>) -> fmt::Result {
        let versions = self.pools.iter().flat_map(|(name, pool)| {
            let none = pool.versions.is_empty().then_some(("", 0));
            let versions = pool.versions.iter();
            let versions = versions.map(|(version, members)| (version.as_str(), *members));
            let labels = |version| [("pool", name.as_str()), ("version", version)];
            none.into_iter()
                .chain(versions)
                .map(move |(version, members)| (labels(version), members))
        });
        families.gauges(
            "pollbal_pool_members",
            "Members of pools, by version, of the 50 with the most members at a time; sorry servers apart.",
            versions,
        )?;
        let mut pools = |name, help, value: fn(&Pool) -> u64| {
            let pools = self.pools.iter();
            let samples = pools.map(|(name, pool)| ([("pool", name.as_str())], value(pool)));
            families.gauges(name, help, samples)
        };
        pools(
            "pollbal_pool_serving_members",
            "Members that count for min_members: those that have not failed fall times in a row.",
            |pool| pool.serving,
        )?;
        pools(
            "pollbal_pool_min_members",
            "The pool's `min_members`: failures do not take it below this.",
            |pool| pool.min_members,
        )?;
        pools(
            "pollbal_pool_sorry",
            "Whether the pool has no member and its sorry servers stand in.",
            |pool| u64::from(pool.sorry),
        )
    }

    fn write_files(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "pollbal_pool_files_in_sync",
            "Whether the pool files hold what is wanted.",
            u64::from(self.files_in_sync),
        )?;
        let FileCounts {
            written,
            deleted,
            failed,
        } = self.files;
        let results = [
            ("written", written),
            ("deleted", deleted),
            ("failed", failed),
        ];
        families.counters(
            "pollbal_pool_file_writes_total",
            "Changes of pool files, by what became of them.",
            results.map(|(result, files)| ([("result", result)], files)),
        )
    }
}

/// How many orders are about addresses that are no nodes.
fn gone_orders(whole: &Summary) -> u64 {
    let orders = |addr: &NodeAddr| {
        let reasons = whole.overrides.reasons(*addr).map_or(0, BTreeMap::len);
        reasons + usize::from(whole.overrides.leases.contains_key(addr))
    };
    whole.gone.iter().map(orders).sum::<usize>() as u64
}

/// How many nodes are disabled for which reason.
fn disabled(counts: &SiteCounts) -> Vec<(String, u64)> {
    let reasons = counts.reasons.iter();
    most(reasons.map(|(reason, nodes)| (reason.to_string(), *nodes as u64)))
}

/// How many members are at which version, of which those that told none have an empty one.
fn versions(pool: &PoolCounts) -> Vec<(String, u64)> {
    let text = |version: &Option<Version>| version.as_ref().map_or("", Version::as_str).to_owned();
    let versions = pool.versions.iter();
    most(versions.map(|(version, members)| (text(version), *members as u64)))
}

/// The [`MOST`] with the greatest numbers, by name, and behind them the sum of the others.
fn most(counts: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_unstable_by(|(one, a), (other, b)| b.cmp(a).then_with(|| one.cmp(other)));
    let others = counts.split_off(counts.len().min(MOST));
    counts.sort_unstable();
    if !others.is_empty() {
        let sum = others.iter().map(|(_, count)| count).sum();
        counts.push((OTHERS.to_owned(), sum));
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_nodes_invent_become_one_series() {
        let version = |number| format!("v{number:03}").parse::<Version>().unwrap();
        let mut pool = PoolCounts::default();
        for number in 0..200 {
            let members = if number == 150 { 2 } else { 1 };
            pool.versions.insert(Some(version(number)), members);
        }
        let told = versions(&pool);
        assert_eq!(told.len(), MOST + 1);
        assert!(
            told.contains(&("v150".to_owned(), 2)),
            "the most members come first"
        );
        assert_eq!(told.last(), Some(&(OTHERS.to_owned(), 150)));
        let all: u64 = told.iter().map(|(_, members)| members).sum();
        assert_eq!(all, 201);
    }

    #[test]
    fn members_that_told_no_version_are_told_under_an_empty_one() {
        let pool = PoolCounts {
            versions: [(None, 1), (Some("v1".parse().unwrap()), 2)].into(),
            ..PoolCounts::default()
        };
        let told = [(String::new(), 1), ("v1".to_owned(), 2)];
        assert_eq!(versions(&pool), told);
    }
}
