//! Who may come into which pool, and into which version pool: names, how many of them, and how
//! often.
//!
//! A node that announces what is not free is refused; if only its version is not, the node is a member
//! of the pool, and of no version pool. What is free: see `names`.
//!
//! Going out is never limited: over a limit a node is where its last announcement does not say, and so
//! nowhere.

use std::mem::{self, discriminant};
use std::time::Instant;

use super::Membership;
use super::names::Rank;
use super::nodes::{State, TrackedNode};
use super::pool_state::Tenure;
use crate::model::announcement::{Announcement, Status};
use crate::model::bucket::{Bucket, Rate};
use crate::model::change::{Assignment, Change, OutReason};
use crate::model::names::{PoolName, Version};
use crate::model::node::NodeAddr;
use crate::model::observation::Observation;
use crate::model::rules::{CHANGES, JoinDenied, NameLimits};

/// Number of addresses from which on those that announced nothing new recently are forgotten.
const ADDRESSES: usize = 1_024;

/// What came lately from a node, or from an address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NewNames {
    pools: Bucket,
    versions: Bucket,
}

/// Where an announcement leads.
pub(super) struct Admitted {
    pub(super) place: Assignment,
    /// Why the version that the node announced is not that of its place.
    pub(super) unversioned: Option<JoinDenied>,
    /// The pool's name is not in use yet.
    new_pool: bool,
    /// The version's name is not in use yet.
    new_version: bool,
    /// It is one of the changes of which a node may make a limited number.
    pub(super) is_swing: bool,
}

impl NewNames {
    fn of(&mut self, place: &Assignment) -> &mut Bucket {
        match place.version {
            Some(_) => &mut self.versions,
            None => &mut self.pools,
        }
    }

    fn is_empty(mut self, place: &Assignment, rate: Rate, now: Instant) -> bool {
        self.of(place).is_empty(rate, now)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.pools.is_full(now) && self.versions.is_full(now)
    }
}

impl Membership {
    /// Where a serving node's announcement leads, if the node may go there.
    pub(super) fn admit(
        &self,
        addr: NodeAddr,
        Announcement { pool, version, .. }: Announcement,
        now: Instant,
    ) -> Result<Admitted, JoinDenied> {
        if let Some(refusal) = self.refusal(&pool, addr) {
            return Err(refusal);
        }
        let mut admitted = Admitted {
            place: Assignment { pool, version },
            unversioned: None,
            new_pool: false,
            new_version: false,
            is_swing: false,
        };
        let Some(node) = self.nodes.get(addr) else {
            return Ok(admitted);
        };
        let place = &admitted.place;
        let at = match &node.state {
            State::Member { place, .. } => Some(place),
            State::Out(_) => None,
        };
        if at == Some(place) {
            return Ok(admitted);
        }
        let joins = at.is_none_or(|at| at.pool != place.pool);
        if joins {
            let pool = Assignment {
                pool: place.pool.clone(),
                version: None,
            };
            admitted.new_pool = self.is_new(&pool, node, now)?;
        }
        if place.version.is_some() {
            match self.is_new(place, node, now) {
                Ok(is_new) => admitted.new_version = is_new,
                Err(refusal) => admitted.unversioned = Some(refusal),
            }
        }
        let enters_version = place.version.is_some() && admitted.unversioned.is_none();
        admitted.is_swing = is_swing(node, place) && (joins || enters_version);
        if admitted.is_swing && node.limits().changes.is_empty(CHANGES, now) {
            let refusal = JoinDenied::TooOften(place.clone());
            if joins {
                return Err(refusal);
            }
            (admitted.is_swing, admitted.new_version) = (false, false);
            admitted.unversioned = Some(refusal);
        }
        if admitted.unversioned.is_some() {
            admitted.place.version = None;
        }
        Ok(admitted)
    }

    /// What the configuration has against it.
    pub(super) fn refusal(&self, pool: &PoolName, addr: NodeAddr) -> Option<JoinDenied> {
        self.rules.refusal(pool, addr)
    }

    /// Whether a place's name would come into use by a node, if it may.
    fn is_new(
        &self,
        place: &Assignment,
        node: &TrackedNode,
        now: Instant,
    ) -> Result<bool, JoinDenied> {
        if self.is_in_use(place, now) {
            return Ok(false);
        }
        if let Some(taken) = self.taken(place, now) {
            return Err(JoinDenied::NameTaken(Box::new(taken)));
        }
        if self.rank(place) == Rank::Declared {
            return Ok(true);
        }
        let address = node.node.addr.ip();
        let (max, used) = self.used(place, now);
        if used.len() >= max {
            return Err(JoinDenied::TooMany(place.clone()));
        }
        let of_address = used.iter().filter(|tenure| tenure.by == Some(address));
        if of_address.count() >= max.div_ceil(2) {
            return Err(JoinDenied::TooManyOfAddress(place.clone()));
        }
        let limits = NameLimits::of(place);
        let at_address = self.names.addresses.get(&address);
        let of_node = node.limits().new_names;
        if of_node.is_empty(place, limits.of_node, now)
            || at_address.is_some_and(|names| names.is_empty(place, limits.of_address, now))
        {
            return Err(JoinDenied::TooManyNew(place.clone()));
        }
        Ok(true)
    }

    /// The names in use whose number is limited: undeclared pools, or the versions of a pool.
    fn used(&self, place: &Assignment, now: Instant) -> (usize, Vec<&Tenure>) {
        let grace = self.rules.grace;
        if place.version.is_some() {
            let versions = self.pools.get(&place.pool).into_iter();
            let versions = versions.flat_map(|state| state.tenures(grace, now));
            let used = versions.filter_map(|(_, tenure, is_in_use)| is_in_use.then_some(tenure));
            return (self.rules.of(&place.pool).max_versions, used.collect());
        }
        let pools = self.pools.iter();
        let used = pools.filter(|(pool, state)| {
            !self.rules.declared.contains_key(*pool) && state.is_in_use(grace, now)
        });
        let used = used.map(|(_, state)| &state.tenure);
        (self.rules.max_undeclared, used.collect())
    }

    /// Assigns the names that a node brings into use. Any other node that had one goes out.
    pub(super) fn introduce(
        &mut self,
        addr: NodeAddr,
        admitted: &Admitted,
        now: Instant,
        changes: &mut Vec<Change>,
    ) {
        if admitted.is_swing
            && let Some(node) = self.nodes.get_mut(addr)
        {
            node.limits_mut().changes.take(CHANGES, now);
        }
        let place = &admitted.place;
        if admitted.new_pool {
            let pool = Assignment {
                pool: place.pool.clone(),
                version: None,
            };
            self.count_new(addr, &pool, now);
            self.bring(&pool, Some(addr.ip()), now, changes);
            self.forget_pools(now);
        }
        if admitted.new_version {
            self.count_new(addr, place, now);
            self.bring(place, Some(addr.ip()), now, changes);
        }
    }

    /// A node that stays out claims the pool, and the version, that it speaks of, as one does that
    /// serves there: load balancers may have it in there by somebody's hand, and it is to be taken
    /// out. It takes the name from nobody else.
    ///
    /// One that is about to serve claims them when it joins; were that before, a pool might be empty
    /// in between.
    pub(super) fn claim(
        &mut self,
        addr: NodeAddr,
        observation: &Observation,
        now: Instant,
        changes: &mut Vec<Change>,
    ) {
        let Observation::Announced(said) = observation else {
            return;
        };
        let stays_out = said.status == Status::Leaving || self.overrides.excludes(addr);
        if !stays_out || self.refusal(&said.pool, addr).is_some() {
            return;
        }
        let place = |version: &Option<Version>| Assignment {
            pool: said.pool.clone(),
            version: version.clone(),
        };
        let state = self.pools.get(&said.pool);
        let knows = |version| state.is_some_and(|state| state.remembers(version));
        let new_pool = state.is_none();
        let new_version = said.version.as_ref().is_some_and(|version| !knows(version));
        let new_pool = new_pool && self.may_claim(&place(&None), addr, now);
        let new_version = new_version
            && (state.is_some() || new_pool)
            && self.may_claim(&place(&said.version), addr, now);
        if new_pool || new_version {
            let admitted = Admitted {
                place: place(&said.version),
                unversioned: None,
                new_pool,
                new_version,
                is_swing: false,
            };
            self.introduce(addr, &admitted, now, changes);
            self.snapshots.changed(&said.pool);
        }
    }

    /// Whether a node may bring a place's name into use without being a member there.
    fn may_claim(&self, place: &Assignment, addr: NodeAddr, now: Instant) -> bool {
        let is_free = self
            .holders_of(place)
            .all(|(_, by)| by == place || !self.is_in_use(by, now));
        let node = self.nodes.get(addr);
        is_free && node.is_some_and(|node| self.is_new(place, node, now) == Ok(true))
    }

    /// Counts a new name of the node and of its address.
    fn count_new(&mut self, addr: NodeAddr, place: &Assignment, now: Instant) {
        if self.rank(place) == Rank::Declared {
            return;
        }
        let limits = NameLimits::of(place);
        if let Some(node) = self.nodes.get_mut(addr) {
            let new_names = &mut node.limits_mut().new_names;
            new_names.of(place).take(limits.of_node, now);
        }
        let addresses = &mut self.names.addresses;
        if addresses.len() >= ADDRESSES {
            addresses.retain(|_, names| !names.is_full(now));
        }
        let names = addresses.entry(addr.ip()).or_default();
        names.of(place).take(limits.of_address, now);
    }

    /// Remembers why a member is in no version pool, and tells it when it is news.
    pub(super) fn set_unversioned(
        &mut self,
        addr: NodeAddr,
        refusal: Option<JoinDenied>,
        changes: &mut Vec<Change>,
    ) {
        let Some(node) = self.nodes.get_mut(addr) else {
            return;
        };
        let before = mem::replace(&mut node.unversioned, refusal.map(Box::new));
        if let (Some(refusal), State::Member { place, .. }) = (&node.unversioned, &node.state)
            && before.is_none_or(|before| discriminant(&*before) != discriminant(&**refusal))
        {
            let (node, place) = (node.node.clone(), place.clone());
            let refusal = JoinDenied::clone(refusal);
            changes.push(Change::Unversioned(node, place, refusal));
        }
    }
}

/// Whether coming in is one of the changes of which a node may make a limited number: it was elsewhere, or out
/// because it said so. Failures are the matter of `rise` and `fall`.
fn is_swing(node: &TrackedNode, place: &Assignment) -> bool {
    match &node.state {
        State::Member { .. } => true,
        State::Out(None | Some(OutReason::Disabled(_))) => false,
        State::Out(Some(OutReason::Failed(_))) => node.was_in().is_some_and(|was| was != place),
        State::Out(Some(_)) => node.was_in().is_some(),
    }
}
