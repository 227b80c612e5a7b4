//! What its nodes together make of a pool.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::model::names::Version;
use crate::model::node::NodeAddr;
use crate::model::observation::Failure;
use crate::model::pools::Pool;

/// A pool, counted, so that a decision on one node looks at no other.
#[derive(Debug, Default)]
pub(super) struct PoolState {
    /// What [`Pool::versions`] tells.
    versions: VecDeque<Version>,
    /// How many members are at each version that has any, held ones too.
    at_version: BTreeMap<Version, usize>,
    /// Members that are not held.
    serving: usize,
    /// Members that are held, the longest failing first.
    pub(super) held: BTreeMap<(Instant, NodeAddr), Failure>,
    /// Members that did not answer when they were last asked, and how often in a row: held ones,
    /// those that a freeze keeps in, and those that have not failed often enough yet.
    failing: BTreeMap<NodeAddr, u32>,
    /// Whether the log was told that members are held.
    pub(super) told_held: bool,
}

impl PoolState {
    /// What [`Pool::versions`] tells.
    pub(super) fn versions(&self) -> Vec<Version> {
        self.versions.iter().cloned().collect()
    }

    /// How many members there are.
    pub(super) fn members(&self) -> usize {
        self.serving + self.held.len()
    }

    /// How many members answered when they were last asked.
    pub(super) fn answering(&self) -> usize {
        self.members() - self.failing.len()
    }

    /// How many members serve, as far as is known: those that failed `fall` times in a row do not
    /// count, whether they are held or a freeze keeps them in.
    pub(super) fn serving(&self, fall: u32) -> usize {
        let failed = self.failing.values().filter(|failures| **failures >= fall);
        // Of held ones `fall` may have been another.
        self.serving.min(self.members() - failed.count())
    }

    /// A member failed so many times in a row.
    pub(super) fn fails(&mut self, addr: NodeAddr, failures: u32) {
        self.failing.insert(addr, failures);
    }

    /// A member that failed answers again.
    pub(super) fn answers(&mut self, addr: NodeAddr) {
        self.failing.remove(&addr);
    }

    /// Counts a member that comes in, and remembers its version. Gives the version, its text
    /// shared with the other members'.
    pub(super) fn enter(&mut self, version: Option<Version>) -> Option<Version> {
        self.serving += 1;
        let version = version?;
        if let Some((shared, _)) = self.at_version.get_key_value(&version) {
            let shared = shared.clone();
            self.at_version
                .entry(shared.clone())
                .and_modify(|count| *count += 1);
            return Some(shared);
        }
        self.at_version.insert(version.clone(), 1);
        self.remember(&version);
        Some(version)
    }

    /// Counts a member that goes out.
    pub(super) fn exit(
        &mut self,
        addr: NodeAddr,
        version: Option<&Version>,
        held_since: Option<Instant>,
    ) {
        match held_since {
            Some(since) => _ = self.held.remove(&(since, addr)),
            None => self.serving -= 1,
        }
        self.failing.remove(&addr);
        if let Some(version) = version
            && let Some(count) = self.at_version.get_mut(version)
        {
            *count -= 1;
            if *count == 0 {
                self.at_version.remove(version);
            }
        }
    }

    /// Counts a member as held.
    pub(super) fn hold(
        &mut self,
        addr: NodeAddr,
        held_since: &mut Option<Instant>,
        failure: Failure,
        now: Instant,
    ) {
        if held_since.is_none() {
            self.serving -= 1;
        }
        self.held
            .insert((*held_since.get_or_insert(now), addr), failure);
    }

    /// Remembers a version; of too many, forgets the oldest that no member serves.
    fn remember(&mut self, version: &Version) {
        if self.versions.contains(version) {
            return;
        }
        self.versions.push_back(version.clone());
        if self.versions.len() > Pool::MAX_VERSIONS {
            let served = |version| self.at_version.contains_key(version);
            let idle = self.versions.iter().position(|version| !served(version));
            idle.and_then(|index| self.versions.remove(index));
        }
    }
}
