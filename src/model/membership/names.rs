//! Which pool and version pool has which name at each load balancer ([`Namings`]).
//!
//! No two that are in use have the same. Where two would, the rank decides: a declared pool, then
//! version pools of declared ones, then who was first.
//!
//! A name is in use while it has members, and for `empty_pool_grace` after that, as its file is. Then
//! it counts for no limit, and makes way for any other; until that comes, the pool is still ours.
//!
//! [`Namings`]: crate::model::naming::Namings

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use super::Membership;
use super::admission::NewNames;
use super::nodes::{State, TrackedNode};
use super::pool_state::Tenure;
use crate::model::change::{Assignment, Change, OutReason};
use crate::model::names::PoolName;
use crate::model::naming::HeldName;
use crate::model::node::NodeAddr;
use crate::model::rules::{JoinDenied, NameTaken, Rules};
use crate::model::words::Word;

/// The names in use.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Whose each name is, also of those that are not in use any more.
    holders: BTreeMap<HeldName, Assignment>,
    /// How many came into use.
    pub(super) introduced: u64,
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
        let mut names = Self::default();
        for pool in rules.declared.keys() {
            let whole = Assignment {
                pool: pool.clone(),
                version: None,
            };
            names.take(rules, &whole);
        }
        names
    }

    /// Gives a place its names.
    pub(super) fn take(&mut self, rules: &Rules, place: &Assignment) {
        let names = rules.namings.names_of(place);
        let held = names.map(|name| (name, place.clone()));
        self.holders.extend(held);
    }

    /// Whose each name is.
    #[cfg(test)]
    pub(super) fn holders(&self) -> &BTreeMap<HeldName, Assignment> {
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

    /// The place's names, each with who has it, in use or not.
    pub(super) fn holders_of(
        &self,
        place: &Assignment,
    ) -> impl Iterator<Item = (HeldName, &Assignment)> {
        let names = self.rules.namings.names_of(place);
        names.filter_map(|name| {
            let by = self.names.holders.get(&name)?;
            Some((name, by))
        })
    }

    /// Who has one of the place's names and keeps it.
    pub(super) fn taken(&self, place: &Assignment, now: Instant) -> Option<NameTaken> {
        let goes_before = |by: &Assignment| {
            self.rank(by) >= self.rank(place)
                && (self.rank(by) == Rank::Declared || self.is_in_use(by, now))
        };
        let mut others = self.holders_of(place);
        let (name, by) = others.find(|(_, by)| *by != place && goes_before(by))?;
        Some(self.rules.name_taken(place, by, name))
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
        let rules = self.rules.clone();
        for name in rules.namings.names_of(place) {
            let before = self.names.holders.insert(name.clone(), place.clone());
            if let Some(before) = before.filter(|before| before != place) {
                self.evict(rules.name_taken(&before, place, name), now, changes);
            }
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
            self.drop_names(&Assignment { pool, version });
        }
    }

    /// Puts the members of a pool out that has no name any more, or takes a version from them, and
    /// forgets it.
    fn evict(&mut self, taken: NameTaken, now: Instant, changes: &mut Vec<Change>) {
        let loser = taken.place.clone();
        let Assignment { pool, version } = loser.clone();
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
                self.remove_from_pool(addr, OutReason::Refused(refusal.clone()), now, changes);
            } else {
                self.remove_from_version_pool(addr, refusal.clone(), changes);
            }
        }
        let Some(version) = version else {
            return self.forget_pool(&pool);
        };
        if let Some(state) = self.pools.get_mut(&pool) {
            state.forget(&version);
        }
        // Those at other load balancers.
        self.drop_names(&loser);
        self.snapshots.changed(&pool);
    }

    /// Lets a member be in its pool without a version pool; the version is to be forgotten.
    fn remove_from_version_pool(
        &mut self,
        addr: NodeAddr,
        refusal: JoinDenied,
        changes: &mut Vec<Change>,
    ) {
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

    fn drop_names(&mut self, place: &Assignment) {
        for name in self.rules.namings.names_of(place) {
            if self.names.holders.get(&name) == Some(place) {
                self.names.holders.remove(&name);
            }
        }
    }

    /// Gives each name to whom it is by the rules of now; who lacks one goes out.
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
            let held = self.holders_of(&place).next();
            if let Some((name, by)) = held {
                losers.push(self.rules.name_taken(&place, by, name));
                continue;
            }
            self.names.take(&self.rules, &place);
        }
        for taken in losers {
            self.evict(taken, now, changes);
        }
    }
}
