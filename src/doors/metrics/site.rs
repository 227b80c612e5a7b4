//! What pollbal itself does and knows: polls, nodes, pools, orders, files.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::families::{Families, Times};
use crate::api::State;
use crate::asks::View;
use crate::doors::tell::node::state;
use crate::drivers::pool_files::FileCounts;
use crate::model::names::{PoolName, Version};
use crate::model::orders::ReasonWord;
use crate::model::tally::{BUCKETS, RESULTS, Tally};
use crate::model::view::{Kept, NodeState, NodeView};

/// So many versions of a pool, and reasons for which nodes are disabled, are told by themselves: nodes
/// and scripts may invent words on and on. So many at a time, that is: one that is gone makes room for
/// another, and Prometheus keeps a series for each that there ever was.
const MOST: usize = 50;

/// The label for all further ones; no version and no reason has parentheses.
const OTHERS: &str = "(others)";

const STATES: [State; 7] = [
    State::Member,
    State::Leaving,
    State::Idle,
    State::Failed,
    State::Refused,
    State::Disabled,
    State::Awaited,
];

/// What keeps a failing member in its pool.
const KEEPERS: [&str; 3] = ["fall", "min_members", "freeze"];

/// What pollbal does and knows, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Site {
    pub(super) tally: Tally,
    /// Things that happened, as `pollbal events` tells them.
    pub(super) events: u64,
    pub(super) first_round_done: bool,
    /// Nodes, as [`STATES`].
    pub(super) states: [u64; STATES.len()],
    /// Members that fail, as [`KEEPERS`].
    pub(super) failing: [u64; KEEPERS.len()],
    /// Nodes that are disabled, by reason.
    pub(super) disabled: Vec<(String, u64)>,
    /// Leaves that were granted and are not over.
    pub(super) grants: u64,
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
    /// Counts what is known.
    pub(super) fn of(view: &View) -> Self {
        let mut site = Self {
            tally: view.tally,
            events: view.last_event,
            first_round_done: view.first_round_done,
            frozen: !view.orders.frozen.is_empty(),
            files_in_sync: view.perlbals.files.in_sync,
            files: view.file_counts,
            ..Self::default()
        };
        let pools = || {
            view.snapshot
                .iter()
                .flat_map(|snapshot| &snapshot.pools.pools)
        };
        for name in view
            .rules
            .declared
            .keys()
            .chain(pools().map(|(name, _)| name))
        {
            site.pools.entry(name.clone()).or_default();
        }
        site.count(view.nodes.iter().map(|seen| &seen.view));
        for (name, pool) in &mut site.pools {
            pool.min_members = view.rules.of(name).min_members as u64;
        }
        for (name, pool) in pools() {
            site.pools.entry(name.clone()).or_default().sorry = !pool.sorry.is_empty();
        }
        site
    }

    fn count<'a>(&mut self, nodes: impl Iterator<Item = &'a NodeView>) {
        type Versions<'a> = HashMap<Option<&'a Version>, u64>;
        let mut members: HashMap<&PoolName, (Versions<'_>, u64)> = HashMap::new();
        let mut disabled: HashMap<&ReasonWord, u64> = HashMap::new();
        for node in nodes {
            self.states[state(node) as usize] += 1;
            self.grants += u64::from(node.grant.is_some());
            for reason in node.reasons.keys() {
                *disabled.entry(reason).or_default() += 1;
            }
            let NodeState::Member(place, kept) = &node.state else {
                continue;
            };
            let (versions, serving) = members.entry(&place.pool).or_default();
            *versions.entry(place.version.as_ref()).or_default() += 1;
            *serving += u64::from(kept.serves());
            match kept {
                Kept::Serving => {}
                Kept::Failing => self.failing[0] += 1,
                Kept::Held => self.failing[1] += 1,
                Kept::Frozen => self.failing[2] += 1,
            }
        }
        let disabled = disabled.into_iter();
        self.disabled = most(disabled.map(|(reason, nodes)| (reason.to_string(), nodes)));
        for (name, (versions, serving)) in members {
            let pool = self.pools.entry(name.clone()).or_default();
            let text = |version: Option<&Version>| version.map_or("", Version::as_str).to_owned();
            let versions = versions.into_iter();
            pool.versions = most(versions.map(|(version, members)| (text(version), members)));
            pool.serving = serving;
        }
    }

    pub(super) fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        self.write_polls(families)?;
        self.write_nodes(families)?;
        self.write_pools(families)?;
        self.write_files(families)
    }

    fn write_polls(&self, families: &mut Families<'_>) -> fmt::Result {
        let results = RESULTS.iter().zip(self.tally.results);
        families.counters(
            "pollbal_polls_total",
            "Polls of nodes, by what they gave.",
            results.map(|(result, polls)| ([("result", *result)], polls)),
        )?;
        let times = Times {
            bounds: &BUCKETS,
            counts: &self.tally.times,
            sum: self.tally.time,
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
        let states = STATES.iter().zip(self.states);
        families.gauges(
            "pollbal_nodes",
            "Nodes of the services file, by where they are.",
            states.map(|(state, nodes)| ([("state", state.word())], nodes)),
        )?;
        let failing = KEEPERS.iter().zip(self.failing);
        families.gauges(
            "pollbal_failing_members",
            "Members that fail, by what keeps them in: `fall` not reached yet, `min_members`, or a freeze.",
            failing.map(|(keeper, members)| ([("kept_by", *keeper)], members)),
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
    use std::sync::Arc;

    use super::*;
    use crate::model::change::{Out, Place};
    use crate::model::node::Node;
    use crate::model::orders::{Grant, Note, Reason};
    use crate::model::time::Timestamp;

    fn node(state: NodeState) -> NodeView {
        let node = Node {
            addr: "10.0.0.1:80".parse().unwrap(),
            name: "node".to_owned(),
        };
        NodeView {
            node: Arc::new(node),
            state,
            since: None,
            spoke_of: None,
            last: None,
            failures: 0,
            answers: 0,
            reasons: BTreeMap::new(),
            grant: None,
        }
    }

    fn member(version: Option<&str>, kept: Kept) -> NodeView {
        let place = Place {
            pool: "api".parse().unwrap(),
            version: version.map(|version| version.parse().unwrap()),
        };
        node(NodeState::Member(place, kept))
    }

    fn counted(nodes: &[NodeView]) -> Site {
        let mut site = Site::default();
        site.count(nodes.iter());
        site
    }

    #[test]
    fn members_count_by_version_whether_they_fail_or_not() {
        let site = counted(&[
            member(Some("v1"), Kept::Serving),
            member(Some("v1"), Kept::Held),
            member(None, Kept::Failing),
            member(Some("v2"), Kept::Frozen),
            node(NodeState::Unheard),
        ]);
        let api = &site.pools["api"];
        let versions = [("", 1), ("v1", 2), ("v2", 1)];
        assert_eq!(
            api.versions,
            versions.map(|(version, count)| (version.to_owned(), count))
        );
        assert_eq!((api.serving, site.failing), (2, [1, 1, 1]));
        assert_eq!(site.states, [4, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn every_state_is_told_under_its_own_word() {
        for (index, state) in STATES.into_iter().enumerate() {
            assert_eq!(state as usize, index);
            assert_eq!(serde_json::json!(state), state.word());
        }
    }

    #[test]
    fn a_node_counts_for_each_of_its_reasons() {
        let reason = Reason {
            note: Note::default(),
            by: Note::default(),
            since: Timestamp::from_millis(0),
            until: None,
        };
        let mut disabled = node(NodeState::Out(Out::Idle));
        for word in ["deploy", "disk"] {
            disabled
                .reasons
                .insert(word.parse().unwrap(), reason.clone());
        }
        let mut granted = node(NodeState::Out(Out::Granted));
        granted.grant = Some(Grant {
            pool: None,
            since: Timestamp::from_millis(0),
            until: Timestamp::from_millis(1),
            was_away: false,
        });
        let site = counted(&[disabled.clone(), disabled, granted]);
        let reasons = [("deploy", 2), ("disk", 2)];
        assert_eq!(
            site.disabled,
            reasons.map(|(reason, count)| (reason.to_owned(), count))
        );
        assert_eq!(site.grants, 1);
    }

    #[test]
    fn versions_that_nodes_invent_become_one_series() {
        let mut nodes: Vec<_> = (0..200)
            .map(|number| member(Some(&format!("v{number:03}")), Kept::Serving))
            .collect();
        nodes.push(member(Some("v150"), Kept::Serving));
        let api = &counted(&nodes).pools["api"];
        assert_eq!(api.versions.len(), MOST + 1);
        assert!(
            api.versions.contains(&("v150".to_owned(), 2)),
            "the most members come first"
        );
        assert_eq!(api.versions.last(), Some(&(OTHERS.to_owned(), 150)));
        let all: u64 = api.versions.iter().map(|(_, members)| members).sum();
        assert_eq!(all, 201);
    }
}
