//! Which pool and version pool has which name where it is brought in force ([`Naming`]).
//!
//! No two that are in use have the same. Where two would, the rank decides: a declared pool, then
//! version pools of declared ones, then who was first.
//!
//! A name is in use while it has members, and for `empty_pool_grace` after that, as its file is. Then
//! it counts for no limit, and makes way for any other; until that comes, the pool is still ours.
//!
//! [`Naming`]: crate::model::naming::Naming

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use super::Membership;
use super::admission::NewNames;
use super::nodes::{State, TrackedNode};
use super::pool_state::{PoolState, Tenure};
use crate::model::change::{Assignment, Change, OutReason};
use crate::model::names::{PoolName, Version};
use crate::model::naming::CanonicalName;
use crate::model::node::NodeAddr;
use crate::model::pools::{LastIn, Pool};
use crate::model::rules::{JoinDenied, NameTaken, Rules};
use crate::model::words::Word;

/// The names in use.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Whose each name is, also of those that are not in use any more.
    holders: BTreeMap<CanonicalName, Assignment>,
    /// How many came into use.
    introduced: u64,
    /// What came lately from the nodes of each address.
    pub(super) addresses: HashMap<IpAddr, NewNames>,
}

/// Whose name it rather is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A node chooses it.
    Announced,
    /// A node of a declared pool chooses it.
    VersionOfDeclared,
    /// The configuration has it.
    Declared,
}

impl Names {
    /// Only declared pools have a name.
    pub(super) fn new(rules: &Rules) -> Self {
        let declared = rules.declared.keys().map(|pool| Assignment {
            pool: pool.clone(),
            version: None,
        });
        let named = declared.map(|place| (rules.naming.of(&place), place));
        Self {
            holders: named.collect(),
            ..Self::default()
        }
    }

    /// Whose each name is.
    #[cfg(test)]
    pub(super) fn holders(&self) -> &BTreeMap<CanonicalName, Assignment> {
        &self.holders
    }

    /// How many came into use.
    #[cfg(test)]
    pub(super) fn introduced(&self) -> u64 {
        self.introduced
    }
}

impl Membership {
    /// Whether the place has members, or had some a short time ago, or is declared.
    pub(super) fn is_in_use(&self, place: &Assignment, now: Instant) -> bool {
        let grace = self.rules.grace;
        let state = self.pools.get(&place.pool);
        match &place.version {
            Some(version) => {
                state.is_some_and(|state| state.is_version_in_use(version, grace, now))
            }
            None => state.is_some_and(|state| state.is_in_use(grace, now)),
        }
    }

    /// Who has the place's name, in use or not.
    pub(super) fn holder(&self, place: &Assignment) -> Option<&Assignment> {
        let name = self.rules.naming.of(place);
        self.names.holders.get(&name)
    }

    /// Who has the place's name and keeps it.
    pub(super) fn taken(&self, place: &Assignment, now: Instant) -> Option<NameTaken> {
        let name = self.rules.naming.of(place);
        let by = self.names.holders.get(&name)?;
        let goes_before = self.rank(by) >= self.rank(place)
            && (self.rank(by) == Rank::Declared || self.is_in_use(by, now));
        (by != place && goes_before).then(|| self.name_taken(place, by, name))
    }

    fn name_taken(&self, place: &Assignment, by: &Assignment, name: CanonicalName) -> NameTaken {
        NameTaken {
            place: place.clone(),
            by: by.clone(),
            name,
            at: self.rules.naming.place(),
        }
    }

    pub(super) fn rank(&self, Assignment { pool, version }: &Assignment) -> Rank {
        match (self.rules.declared.contains_key(pool), version) {
            (false, _) => Rank::Announced,
            (true, Some(_)) => Rank::VersionOfDeclared,
            (true, None) => Rank::Declared,
        }
    }

    /// Brings a place's name into use.
    pub(super) fn bring(
        &mut self,
        place: &Assignment,
        by: Option<IpAddr>,
        now: Instant,
        changes: &mut Vec<Change>,
    ) {
        let name = self.rules.naming.of(place);
        let before = self.names.holders.insert(name.clone(), place.clone());
        if let Some(before) = before.filter(|before| before != place) {
            let taken = self.name_taken(&before, place, name);
            self.evict(taken, now, changes);
        }
        self.names.introduced += 1;
        let tenure = Tenure {
            first: self.names.introduced,
            by,
            empty_since: Some(now),
        };
        self.pool_health_changed = true;
        let state = self.pools.entry(place.pool.clone()).or_default();
        let Some(version) = &place.version else {
            state.tenure = tenure;
            return;
        };
        if let Some(forgotten) = state.introduce(version, tenure, (self.rules.grace, now)) {
            let pool = place.pool.clone();
            let version = Some(forgotten);
            self.drop_name(&Assignment { pool, version });
        }
    }

    /// Puts the members of a pool out that has no name any more, or takes a version from them, and
    /// forgets it.
    fn evict(&mut self, taken: NameTaken, now: Instant, changes: &mut Vec<Change>) {
        let Assignment { pool, version } = taken.place.clone();
        let refusal = JoinDenied::NameTaken(Box::new(taken));
        let of_it = |node: &&TrackedNode| match &node.state {
            State::Member { place, .. } => {
                place.pool == pool && (version.is_none() || place.version == version)
            }
            State::Out(_) => false,
        };
        let members = self.nodes.listed().iter().chain(self.nodes.gone());
        let members: Vec<_> = members.filter(of_it).map(|node| node.node.addr).collect();
        for addr in members {
            if version.is_none() {
                self.put_out(addr, OutReason::Refused(refusal.clone()), now, changes);
            } else {
                self.take_version(addr, refusal.clone(), changes);
            }
        }
        let Some(version) = version else {
            return self.forget_pool(&pool);
        };
        if let Some(state) = self.pools.get_mut(&pool) {
            state.forget(&version);
        }
        self.snapshots.changed(&pool);
    }

    /// Lets a member be in its pool without a version pool; the version is to be forgotten.
    fn take_version(&mut self, addr: NodeAddr, refusal: JoinDenied, changes: &mut Vec<Change>) {
        let Some(node) = self.nodes.get_mut(addr) else {
            return;
        };
        if let State::Member { place, .. } = &mut node.state {
            let from = place.clone();
            place.version = None;
            node.word = Some(Word::Serves(place.clone()));
            self.snapshots.words_changed();
            changes.push(Change::Moved(node.node.clone(), from, place.clone()));
        }
        self.set_unversioned(addr, Some(refusal), changes);
    }

    /// Of undeclared pools that are not in use as many are still ours as may be in use.
    pub(super) fn forget_pools(&mut self, now: Instant) {
        let grace = self.rules.grace;
        let undeclared = self.pools.iter();
        let undeclared = undeclared.filter(|(pool, _)| !self.rules.declared.contains_key(*pool));
        let idle = undeclared.filter(|(_, state)| !state.is_in_use(grace, now));
        let mut idle: Vec<_> = idle
            .map(|(pool, state)| (Reverse(state.tenure.first), pool.clone()))
            .collect();
        if idle.len() <= self.rules.max_undeclared {
            return;
        }
        idle.sort();
        for (_, pool) in idle.split_off(self.rules.max_undeclared) {
            self.forget_pool(&pool);
        }
    }

    fn forget_pool(&mut self, pool: &PoolName) {
        self.pool_health_changed = true;
        self.pools.remove(pool);
        self.names.holders.retain(|_, place| place.pool != *pool);
        self.snapshots.all_changed();
    }

    fn drop_name(&mut self, place: &Assignment) {
        let name = self.rules.naming.of(place);
        if self.names.holders.get(&name) == Some(place) {
            self.names.holders.remove(&name);
        }
    }

    /// Gives each name to whom it is by the rules of now; who has none goes out.
    pub(super) fn share_names(&mut self, now: Instant, changes: &mut Vec<Change>) {
        let grace = self.rules.grace;
        let mut places = Vec::new();
        let declared = self.rules.declared.keys();
        places.extend(declared.map(|pool| (pool.clone(), None, true, 0)));
        for (pool, state) in &self.pools {
            let is_in_use = state.is_in_use(grace, now);
            if !self.rules.declared.contains_key(pool) {
                places.push((pool.clone(), None, is_in_use, state.tenure.first));
            }
            let versions = state.tenures(grace, now);
            places.extend(versions.map(|(version, tenure, is_in_use)| {
                (pool.clone(), Some(version.clone()), is_in_use, tenure.first)
            }));
        }
        let places = places.into_iter();
        let places = places.map(|(pool, version, is_in_use, first)| {
            let place = Assignment { pool, version };
            (Reverse((self.rank(&place), is_in_use)), first, place)
        });
        let mut places: Vec<_> = places.collect();
        places.sort_by_key(|(rank, first, _)| (*rank, *first));
        self.names.holders.clear();
        let mut losers = Vec::new();
        for (_, _, place) in places {
            let name = self.rules.naming.of(&place);
            match self.names.holders.get(&name) {
                Some(by) => losers.push(self.name_taken(&place, by, name)),
                None => _ = self.names.holders.insert(name, place),
            }
        }
        for taken in losers {
            self.evict(taken, now, changes);
        }
    }

    /// Takes a pool, and versions of it, of an earlier run for pollbal's, unless the rules no longer
    /// allow it or another has the name. Whether the pool is pollbal's.
    pub fn own(&mut self, pool: &PoolName, versions: impl IntoIterator<Item = Version>) -> bool {
        let whole = Assignment {
            pool: pool.clone(),
            version: None,
        };
        if !self.bring_earlier(&whole) {
            return false;
        }
        self.mark_served(&whole);
        for version in versions {
            let place = Assignment {
                pool: pool.clone(),
                version: Some(version),
            };
            if self.bring_earlier(&place) {
                self.mark_served(&place);
            }
        }
        self.snapshots.changed(pool);
        true
    }

    fn mark_served(&mut self, place: &Assignment) {
        if let Some(state) = self.pools.get_mut(&place.pool) {
            state.has_served(place.version.as_ref());
        }
    }

    /// Takes over a pool of an earlier run, so that a restart changes nothing by itself: pollbal
    /// owns the pool, and the nodes count as its members until they are heard. Declared pools come
    /// first: of two with one name it is the first that is taken over. A declared pool without members
    /// need never have had any: it has a file from the start.
    pub fn adopt_previous(
        &mut self,
        pool: &PoolName,
        members: impl IntoIterator<Item = (NodeAddr, Assignment)>,
    ) {
        let whole = Assignment {
            pool: pool.clone(),
            version: None,
        };
        if !self.bring_earlier(&whole) {
            return;
        }
        self.snapshots.changed(pool);
        let rules = self.rules.clone();
        // It may be a node of another pool, but stood here as a sorry server.
        let is_member = |(addr, _): &(NodeAddr, Assignment)| !rules.of(pool).is_sorry(*addr);
        let mut members = members.into_iter().filter(is_member).peekable();
        if members.peek().is_some() || !rules.declared.contains_key(pool) {
            self.mark_served(&whole);
        }
        for (addr, mut place) in members {
            let node = self.nodes.get_mut(addr);
            let unknown = node.is_some_and(|node| matches!(node.state, State::Out(None)));
            if unknown
                && !self.overrides.excludes(addr)
                && self.refusal(&place.pool, addr).is_none()
            {
                if !self.bring_earlier(&place) {
                    place.version = None;
                }
                self.enter(addr, place);
            }
        }
    }

    /// Remembers in which pools of ours nodes were last in an earlier run: while they are out and have not
    /// spoken yet, they count there.
    pub fn remember_pools(&mut self, last_in: &LastIn) {
        for (pool, addrs) in last_in {
            let Some((pool, _)) = self.pools.get_key_value(pool) else {
                continue;
            };
            for addr in addrs {
                if let Some(node) = self.nodes.get_mut(*addr) {
                    node.last_in = Some(pool.clone());
                }
            }
        }
        self.pool_health_changed = true;
    }

    /// Brings a name of an earlier run into use, if nobody has it and there is room.
    fn bring_earlier(&mut self, place: &Assignment) -> bool {
        let name = self.rules.naming.of(place);
        let holder = self.names.holders.get(&name);
        if holder.is_some_and(|holder| holder != place) {
            return false;
        }
        let state = self.pools.get(&place.pool);
        let (is_known, known, max) = match &place.version {
            None if self.rules.declared.contains_key(&place.pool) => (true, 0, 0),
            None if !self.rules.accept_undeclared => return false,
            None => {
                let known = self.pools.keys();
                let known = known.filter(|pool| !self.rules.declared.contains_key(*pool));
                // In use, and not any more.
                let max = 2 * self.rules.max_undeclared;
                (state.is_some(), known.count(), max)
            }
            Some(_) => {
                let known = state.map_or(0, PoolState::version_count);
                let max = match self.rules.of(&place.pool).max_versions {
                    0 => 0,
                    max => max.max(Pool::MAX_VERSIONS),
                };
                (holder.is_some(), known, max)
            }
        };
        if is_known && state.is_some() {
            return true;
        }
        if !is_known && known >= max {
            return false;
        }
        // Nobody has the name, so that nobody goes out.
        self.names.holders.insert(name, place.clone());
        self.names.introduced += 1;
        let tenure = Tenure {
            first: self.names.introduced,
            ..Tenure::default()
        };
        self.pool_health_changed = true;
        let state = self.pools.entry(place.pool.clone()).or_default();
        match &place.version {
            Some(version) => state.remember(version, tenure),
            None => state.tenure = tenure,
        }
        true
    }
}
