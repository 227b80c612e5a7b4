//! What pollbal itself does and knows: polls, nodes, pools, overrides, files.

use std::collections::BTreeMap;
use std::fmt;

use super::families::{Families, HistogramData};
use crate::control::Summary;
use crate::drivers::pool_files::FileCounts;
use crate::model::names::{PoolName, Version};
use crate::model::node::NodeAddr;
use crate::model::node_view::{NodeStatus, Retention};
use crate::model::poll_stats::{BUCKETS, PollStats, RESULTS};
use crate::model::site_counts::{PoolCounts, SiteCounts};

/// Maximum number of versions of a pool, and of reasons for which nodes are disabled, that have a series
/// of their own, since nodes and scripts may invent any number. That is at a time: one that disappears
/// makes room for another, and Prometheus keeps a series for each that there ever was.
const MAX_LABEL_VALUES: usize = 50;

/// The label value for all others; no version or reason contains parentheses.
const OTHERS: &str = "(others)";

/// What keeps a failing member in its pool, and its label value.
const RETAINED_BY: [(Retention, &str); 3] = [
    (Retention::Failing, "fall"),
    (Retention::Held, "min_members"),
    (Retention::Frozen, "freeze"),
];

/// The numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CoreStats {
    pub(super) poll_stats: PollStats,
    /// Events, as shown by `pollbal events`.
    pub(super) events: u64,
    pub(super) first_round_done: bool,
    /// Nodes, as [`NodeStatus::ALL`].
    pub(super) states: [u64; NodeStatus::ALL.len()],
    /// Failing members, as [`RETAINED_BY`].
    pub(super) failing: [u64; RETAINED_BY.len()],
    /// Disabled nodes, by reason.
    pub(super) disabled: Vec<(String, u64)>,
    /// Granted leaves that have not ended.
    pub(super) grants: u64,
    /// Overrides for addresses that are not listed.
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
    /// Members that serve, as far as known.
    pub(super) serving: u64,
    pub(super) min_members: u64,
    /// Whether its sorry servers serve.
    pub(super) sorry: bool,
}

impl CoreStats {
    /// From the state of the daemon.
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
            failing: RETAINED_BY.map(|(kept, _)| counts.kept(kept) as u64),
            disabled: disabled(counts),
            grants: counts.grants as u64,
            gone_orders: gone_orders(whole),
            frozen: !whole.overrides.frozen.is_empty(),
            pools: counts.pools.iter().map(pool).collect(),
            files_in_sync: whole.drivers.files.in_sync,
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
            "Polls of nodes, by result.",
            results.map(|(result, polls)| ([("result", *result)], polls)),
        )?;
        let times = HistogramData {
            bounds: &BUCKETS,
            counts: &self.poll_stats.durations,
            sum: self.poll_stats.total_duration,
        };
        families.histograms(
            "pollbal_poll_duration_seconds",
            "Duration of polls, from the request to the complete response or to giving up.",
            [([], times)],
        )?;
        families.counter(
            "pollbal_events_total",
            "Changes of nodes, pools and overrides, as shown by `pollbal events`.",
            self.events,
        )
    }

    fn write_nodes(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "pollbal_first_round_done",
            "1 once each node has been polled; nothing changes before that.",
            u64::from(self.first_round_done),
        )?;
        let states = NodeStatus::ALL.iter().zip(self.states);
        families.gauges(
            "pollbal_nodes",
            "Listed nodes, by state.",
            states.map(|(state, nodes)| ([("state", state.word())], nodes)),
        )?;
        let failing = RETAINED_BY.iter().zip(self.failing);
        families.gauges(
            "pollbal_failing_members",
            "Failing members, by what keeps them in: `fall` not reached yet, `min_members`, or a freeze.",
            failing.map(|((_, keeper), members)| ([("kept_by", *keeper)], members)),
        )?;
        let disabled = self.disabled.iter();
        families.gauges(
            "pollbal_disabled_nodes",
            "Disabled nodes, by reason, for the 50 reasons with the most nodes; a node may have several.",
            disabled.map(|(reason, nodes)| ([("reason", reason.as_str())], *nodes)),
        )?;
        families.gauge(
            "pollbal_granted_leaves",
            "Nodes that were granted leave and have not returned.",
            self.grants,
        )?;
        families.gauge(
            "pollbal_gone_orders",
            "Reasons and leaves for addresses that are not listed.",
            self.gone_orders,
        )?;
        families.gauge(
            "pollbal_frozen",
            "1 if failed nodes are kept in by an operator's freeze.",
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
            "Members of pools, by version, for the 50 versions with the most members; without sorry servers.",
            versions,
        )?;
        let mut pools = |name, help, value: fn(&Pool) -> u64| {
            let pools = self.pools.iter();
            let samples = pools.map(|(name, pool)| ([("pool", name.as_str())], value(pool)));
            families.gauges(name, help, samples)
        };
        pools(
            "pollbal_pool_serving_members",
            "Members that count for `min_members`: those that have not failed `fall` times in a row.",
            |pool| pool.serving,
        )?;
        pools(
            "pollbal_pool_min_members",
            "The pool's `min_members`: failures do not take it below this number.",
            |pool| pool.min_members,
        )?;
        pools(
            "pollbal_pool_sorry",
            "1 if the pool has no member and its sorry servers serve.",
            |pool| u64::from(pool.sorry),
        )
    }

    fn write_files(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "pollbal_pool_files_in_sync",
            "1 if the pool files have the desired content.",
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
            "Changes of pool files, by result.",
            results.map(|(result, files)| ([("result", result)], files)),
        )
    }
}

/// The number of overrides for addresses that are not nodes.
fn gone_orders(whole: &Summary) -> u64 {
    let orders = |addr: &NodeAddr| {
        let reasons = whole.overrides.reasons(*addr).map_or(0, BTreeMap::len);
        reasons + usize::from(whole.overrides.leases.contains_key(addr))
    };
    whole.gone.iter().map(orders).sum::<usize>() as u64
}

/// The number of disabled nodes for each reason.
fn disabled(counts: &SiteCounts) -> Vec<(String, u64)> {
    let reasons = counts.reasons.iter();
    most(reasons.map(|(reason, nodes)| (reason.to_string(), *nodes as u64)))
}

/// The number of members of each version; members without a version have an empty one.
fn versions(pool: &PoolCounts) -> Vec<(String, u64)> {
    let text = |version: &Option<Version>| version.as_ref().map_or("", Version::as_str).to_owned();
    let versions = pool.versions.iter();
    most(versions.map(|(version, members)| (text(version), *members as u64)))
}

/// The [`MAX_LABEL_VALUES`] with the greatest numbers, by name, followed by the sum of the others.
fn most(counts: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_unstable_by(|(one, a), (other, b)| b.cmp(a).then_with(|| one.cmp(other)));
    let others = counts.split_off(counts.len().min(MAX_LABEL_VALUES));
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
        let reported = versions(&pool);
        assert_eq!(reported.len(), MAX_LABEL_VALUES + 1);
        assert!(
            reported.contains(&("v150".to_owned(), 2)),
            "the most members come first"
        );
        assert_eq!(reported.last(), Some(&(OTHERS.to_owned(), 150)));
        let all: u64 = reported.iter().map(|(_, members)| members).sum();
        assert_eq!(all, 201);
    }

    #[test]
    fn members_without_a_version_are_reported_under_an_empty_one() {
        let pool = PoolCounts {
            versions: [(None, 1), (Some("v1".parse().unwrap()), 2)].into(),
            ..PoolCounts::default()
        };
        let reported = [(String::new(), 1), ("v1".to_owned(), 2)];
        assert_eq!(versions(&pool), reported);
    }
}
