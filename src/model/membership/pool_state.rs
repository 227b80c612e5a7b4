//! What its nodes together make of a pool.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::model::names::Version;
use crate::model::node::NodeAddr;
use crate::model::observation::Failure;
use crate::model::pools::Pool;

/// A pool, counted, so that a decision on one node looks at no other.
#[derive(Debug, Default)]
pub(super) struct PoolState {
    /// Since when its name is its own.
    pub(super) tenure: Tenure,
    /// A node was a member, in this run or an earlier one.
    pub(super) served: bool,
    /// What [`Pool::versions`] tells.
    versions: BTreeMap<Version, VersionState>,
    /// Members that are not held.
    serving: usize,
    /// Members that are held, the longest failing first.
    pub(super) held: BTreeMap<(Instant, NodeAddr), Failure>,
    /// Members that did not answer when they were last asked, and how often in a row: held ones,
    /// those that a freeze keeps in, and those that have not failed often enough yet.
    failing: BTreeMap<NodeAddr, u32>,
    /// Whether it was logged that members are held.
    pub(super) logged_held: bool,
}

/// A version of a pool.
#[derive(Debug, Default)]
struct VersionState {
    tenure: Tenure,
    /// A node was a member at it, in this run or an earlier one.
    served: bool,
    /// How many members are at it, held ones too.
    members: usize,
}

/// Who has a name, of a pool or a version, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tenure {
    /// Counts up with each name that comes into use.
    pub(super) first: u64,
    /// The address of the node that announced it first; none where an earlier run, or the
    /// configuration, brought it.
    pub(super) by: Option<IpAddr>,
    /// When the last member went, or it came into use without one; `None` while there are members, and
    /// for what an earlier run left empty.
    pub(super) empty_since: Option<Instant>,
}

impl Tenure {
    /// Whether a name with this number of members is in use: it stays so for `grace` after the last went.
    fn is_in_use(&self, members: usize, grace: Duration, now: Instant) -> bool {
        let is_within = |since| now.saturating_duration_since(since) < grace;
        members > 0 || self.empty_since.is_some_and(is_within)
    }
}

impl PoolState {
    /// What [`Pool::versions`] tells.
    pub(super) fn versions(&self) -> Vec<Version> {
        let mut versions: Vec<_> = self.versions.iter().collect();
        versions.sort_by_key(|(_, state)| state.tenure.first);
        let versions = versions.into_iter();
        versions.map(|(version, _)| version.clone()).collect()
    }

    /// The versions that are known, since when, and whether they are in use.
    pub(super) fn tenures(
        &self,
        grace: Duration,
        now: Instant,
    ) -> impl Iterator<Item = (&Version, &Tenure, bool)> {
        self.versions.iter().map(move |(version, state)| {
            let is_in_use = state.tenure.is_in_use(state.members, grace, now);
            (version, &state.tenure, is_in_use)
        })
    }

    /// Whether it has members, or had some within the last `grace`.
    pub(super) fn is_in_use(&self, grace: Duration, now: Instant) -> bool {
        self.tenure.is_in_use(self.members(), grace, now)
    }

    /// The same of a version.
    pub(super) fn is_version_in_use(
        &self,
        version: &Version,
        grace: Duration,
        now: Instant,
    ) -> bool {
        let state = self.versions.get(version);
        state.is_some_and(|state| state.tenure.is_in_use(state.members, grace, now))
    }

    /// Moves the times when the last members went by a pause.
    pub(super) fn add_pause(&mut self, pause: Duration) {
        let versions = self.versions.values_mut();
        let tenures = versions.map(|version| &mut version.tenure);
        for tenure in tenures.chain([&mut self.tenure]) {
            tenure.empty_since = tenure.empty_since.map(|since| since + pause);
        }
    }

    /// How many versions are known.
    pub(super) fn version_count(&self) -> usize {
        self.versions.len()
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

    /// A member failed this number of times in a row.
    pub(super) fn fails(&mut self, addr: NodeAddr, failures: u32) {
        self.failing.insert(addr, failures);
    }

    /// A member that failed answers again.
    pub(super) fn answers(&mut self, addr: NodeAddr) {
        self.failing.remove(&addr);
    }

    /// Takes a version into use. Gives the version that is forgotten for it, the oldest that has not been
    /// in use for the grace, when there are too many. One that was left a moment ago is desired empty for
    /// as long, so that load balancers hear of it.
    pub(super) fn introduce(
        &mut self,
        version: &Version,
        tenure: Tenure,
        (grace, now): (Duration, Instant),
    ) -> Option<Version> {
        self.remember(version, tenure);
        if self.versions.len() <= Pool::MAX_VERSIONS {
            return None;
        }
        let others = self.tenures(grace, now);
        let idle = others.filter(|(other, _, is_in_use)| !is_in_use && *other != version);
        let oldest = idle.min_by_key(|(_, tenure, _)| tenure.first);
        let oldest = oldest.map(|(version, ..)| version.clone())?;
        self.versions.remove(&oldest);
        Some(oldest)
    }

    /// Takes a version into use for which there is room.
    pub(super) fn remember(&mut self, version: &Version, tenure: Tenure) {
        self.versions.entry(version.clone()).or_default().tenure = tenure;
    }

    /// Forgets a version; none of the members is at it any more.
    pub(super) fn forget(&mut self, version: &Version) {
        self.versions.remove(version);
    }

    /// Counts a member that comes in, at a version that was taken into use. Gives the version, its
    /// text shared with the other members'.
    pub(super) fn enter(&mut self, version: Option<Version>) -> Option<Version> {
        self.serving += 1;
        self.served = true;
        self.tenure.empty_since = None;
        let version = version?;
        let shared = self.versions.get_key_value(&version);
        let shared = shared.map_or(version, |(shared, _)| shared.clone());
        let state = self.versions.entry(shared.clone()).or_default();
        state.members += 1;
        state.served = true;
        state.tenure.empty_since = None;
        Some(shared)
    }

    /// Counts a member that goes out.
    pub(super) fn exit(
        &mut self,
        addr: NodeAddr,
        version: Option<&Version>,
        held_since: Option<Instant>,
        now: Instant,
    ) {
        match held_since {
            Some(since) => _ = self.held.remove(&(since, addr)),
            None => self.serving -= 1,
        }
        self.failing.remove(&addr);
        if self.members() == 0 {
            self.tenure.empty_since = Some(now);
        }
        if let Some(version) = version
            && let Some(state) = self.versions.get_mut(version)
        {
            state.members -= 1;
            if state.members == 0 {
                state.tenure.empty_since = Some(now);
            }
        }
    }

    /// Counts a member as held.
    pub(super) fn retain(
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

    /// What [`Pool::unserved`] tells.
    pub(super) fn unserved(&self) -> BTreeSet<Option<Version>> {
        let versions = self.versions.iter().filter(|(_, state)| !state.served);
        let versions = versions.map(|(version, _)| Some(version.clone()));
        let whole = (!self.served).then_some(None);
        whole.into_iter().chain(versions).collect()
    }

    /// Whether there are any.
    pub(super) fn has_unserved(&self) -> bool {
        !self.served || self.versions.values().any(|state| !state.served)
    }

    /// An earlier run had members there.
    pub(super) fn has_served(&mut self, version: Option<&Version>) {
        self.served = true;
        if let Some(state) = version.and_then(|version| self.versions.get_mut(version)) {
            state.served = true;
        }
    }

    /// Whether the version is one that is remembered.
    pub(super) fn remembers(&self, version: &Version) -> bool {
        self.versions.contains_key(version)
    }
}
