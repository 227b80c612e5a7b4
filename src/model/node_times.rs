//! Since when nodes are where they are, as the state file keeps it from run to run, and their ramps.
//!
//! Only ramps are decided by it, the rest is for people. So it may be some seconds old when pollbal is killed, and what
//! does not fit what a node says first is dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::change::Assignment;
use super::names::{PoolName, Version};
use super::node::NodeAddr;
use super::node_view::NodeStatus;
use super::time::Timestamp;

/// Since when which nodes are where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeTimes {
    /// By where they are: of thousands of nodes most are at the same few places.
    places: Vec<AtPlace>,
    /// Members that fail, and since when.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    failing: BTreeMap<NodeAddr, Timestamp>,
    /// Their ramps, and what the next ones depend on.
    #[serde(skip_serializing_if = "SavedRamps::is_empty")]
    pub ramps: SavedRamps,
}

/// What a run knows of ramps, by times of day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SavedRamps {
    /// Members that have not reached their weight.
    pub rising: BTreeMap<NodeAddr, SavedRamp>,
    /// Nodes that are out; since when, or none if they had not reached their weight when they went.
    pub out: BTreeMap<NodeAddr, Option<Timestamp>>,
}

/// A ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedRamp {
    /// When it began.
    pub since: Timestamp,
    /// Its duration in milliseconds.
    pub length_ms: u64,
}

impl SavedRamps {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rising.is_empty() && self.out.is_empty()
    }
}

/// Since when nodes are at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AtPlace {
    state: NodeStatus,
    /// The members' pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool: Option<PoolName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    since: BTreeMap<NodeAddr, Timestamp>,
}

/// Where one node is, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeTime<'a> {
    /// Where, in one word.
    pub state: NodeStatus,
    /// Where it is a member.
    pub place: Option<&'a Assignment>,
    /// Since when.
    pub since: Timestamp,
    /// Since when it fails, if it is a member that does.
    pub failing: Option<Timestamp>,
}

impl NodeTimes {
    /// Those of these nodes.
    pub fn of<'a>(nodes: impl IntoIterator<Item = (NodeAddr, NodeTime<'a>)>) -> Self {
        let mut places: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        let mut failing = BTreeMap::new();
        for (addr, time) in nodes {
            let place = time.place.map(|place| (&place.pool, &place.version));
            let at = places.entry((time.state as usize, place));
            at.or_default().insert(addr, time.since);
            failing.extend(time.failing.map(|since| (addr, since)));
        }
        let at = places.into_iter().map(|((state, place), since)| AtPlace {
            state: NodeStatus::ALL[state],
            pool: place.map(|(pool, _)| pool.clone()),
            version: place.and_then(|(_, version)| version.clone()),
            since,
        });
        Self {
            places: at.collect(),
            failing,
            ramps: SavedRamps::default(),
        }
    }

    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.ramps.is_empty()
    }

    /// Each node: where it was, and since when.
    pub fn nodes(
        &self,
    ) -> impl Iterator<Item = (NodeAddr, NodeStatus, Option<Assignment>, Timestamp)> {
        self.places.iter().flat_map(|at| {
            let place = at.pool.as_ref().map(|pool| Assignment {
                pool: pool.clone(),
                version: at.version.clone(),
            });
            let nodes = at.since.iter();
            nodes.map(move |(addr, since)| (*addr, at.state, place.clone(), *since))
        })
    }

    /// Since when a member failed.
    #[must_use]
    pub fn failing(&self, addr: NodeAddr) -> Option<Timestamp> {
        self.failing.get(&addr).copied()
    }
}
