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

    /// How many members serve, as far as is known: held ones do not count.
    pub(super) fn serving(&self) -> usize {
        self.serving
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
