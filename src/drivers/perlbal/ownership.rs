//! Nodes that are where they should not be, and what pollbal owns in a Perlbal.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use super::desired::{Desired, DesiredPool};
use super::protocol::Endpoint;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::driver_status::{PoolOwner, Stray, Strays};
use crate::model::node::NodeAddr;
use crate::model::ownership::{Known, OwnedThere};

/// What pollbal owns in one Perlbal, by its names there.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnedPools {
    /// When that Perlbal was started, in seconds since 1970.
    pub(super) started: Option<u64>,
    /// Members that are no longer desired and may still get requests, by pool.
    pub(super) pools: BTreeMap<PerlbalName, BTreeSet<NodeAddr>>,
}

impl From<OwnedThere> for OwnedPools {
    fn from(OwnedThere { started, pools }: OwnedThere) -> Self {
        // Perlbal cannot have a pool whose name it would not accept.
        let pool = |(name, members): (String, _)| Some((name.parse().ok()?, members));
        Self {
            started,
            pools: pools.into_iter().filter_map(pool).collect(),
        }
    }
}

impl From<OwnedPools> for OwnedThere {
    fn from(OwnedPools { started, pools }: OwnedPools) -> Self {
        let pools = pools.into_iter();
        Self {
            started,
            pools: pools
                .map(|(name, members)| (name.to_string(), members))
                .collect(),
        }
    }
}

impl State {
    /// Nodes in pools that services use, although they are not desired there. To be called after a
    /// plan: then our pools have only desired members, once Perlbal has run what was sent. But
    /// removals count only when they were read back.
    pub(super) fn find_strays(&self) -> Strays {
        let Some((_, desired)) = &self.desired else {
            return Strays::new();
        };
        let mut strays = Strays::new();
        let used: BTreeSet<_> = self.expected.used_pools().collect();
        let (ours, others): (Vec<_>, Vec<_>) = used
            .into_iter()
            .partition(|name| desired.pools.contains_key(*name));
        for name in &ours {
            let kept: Vec<_> = desired
                .pools
                .get(*name)
                .into_iter()
                .flat_map(DesiredPool::kept)
                .collect();
            note(&mut strays, name, kept.iter(), PoolOwner::Unserved);
        }
        for name in ours {
            let observed = self.observed.get(name);
            let sent = observed.map(|observed| &observed.since.removed);
            note(
                &mut strays,
                name,
                sent.into_iter().flatten(),
                PoolOwner::Ours,
            );
        }
        // Pools that pollbal does not manage come last, and so take precedence.
        for name in others {
            let pool = self.expected.pools.get(name);
            let members = pool.into_iter().flat_map(|pool| &pool.members);
            note(&mut strays, name, members, PoolOwner::Other);
        }
        strays
    }

    /// What pollbal owns here.
    pub(super) fn known(&self) -> Known {
        if let Some(earlier) = &self.earlier {
            return Known {
                is_read: false,
                there: earlier.clone().into(),
            };
        }
        let Some((_, desired)) = &self.desired else {
            return Known::default();
        };
        let mut pools = BTreeMap::new();
        for (name, pool) in &self.expected.pools {
            let undesired: BTreeSet<_> = match desired.pools.get(name) {
                Some(desired) => {
                    let members = pool.members.iter().filter_map(Endpoint::reached);
                    let gone = members.filter(|addr| !desired.members.contains(addr));
                    gone.chain(self.sent_away(name)).collect()
                }
                None if self.former.contains(name) => self.sent_away(name).collect(),
                None => continue,
            };
            let unserved = desired
                .pools
                .get(name)
                .is_some_and(|pool| pool.unserved.is_some());
            if !undesired.is_empty() || !(pool.members.is_empty() || unserved) {
                pools.insert(name.clone(), undesired);
            }
        }
        Known {
            is_read: self.connected.is,
            there: OwnedPools {
                started: self.start,
                pools,
            }
            .into(),
        }
    }

    /// Desires a pool empty that is no longer desired, until it is known to be: the model forgets
    /// pools and versions, and their members must not stay because of that.
    pub(super) fn keep_emptied(&self, desired: &mut Desired) {
        let Some((_, before)) = &self.desired else {
            return;
        };
        let is_ours = |(_, pool): &(_, &DesiredPool)| pool.unserved.is_none();
        for (name, _) in before.pools.iter().filter(is_ours) {
            if !desired.pools.contains_key(name) && self.may_be_filled(name) {
                desired.pools.insert(name.clone(), DesiredPool::default());
            }
        }
    }

    /// Whether a pool has members, as far as is known.
    fn may_be_filled(&self, name: &PerlbalName) -> bool {
        let there = self.expected.pools.get(name);
        !self.connected.is
            || there.is_some_and(|pool| !pool.members.is_empty())
            || self.sent_away(name).next().is_some()
    }

    /// Nodes that were removed from the pool, but may still get requests.
    fn sent_away<'a>(&'a self, name: &'a PerlbalName) -> impl Iterator<Item = NodeAddr> + 'a {
        let unread = self
            .observed
            .get(name)
            .map(|observed| &observed.since.removed);
        let unacknowledged = self.unacknowledged.get(name).map(|change| &change.removed);
        let sent = unread.into_iter().chain(unacknowledged).flatten();
        let sent = sent.filter_map(Endpoint::reached);
        let draining = self
            .draining
            .all()
            .filter(move |((pool, _), _)| pool == name);
        sent.chain(draining.map(|((_, addr), _)| *addr))
    }
}

fn note<'a>(
    strays: &mut Strays,
    pool: &PerlbalName,
    members: impl Iterator<Item = &'a Endpoint>,
    owner: PoolOwner,
) {
    for addr in members.filter_map(Endpoint::reached) {
        let pool = pool.shared();
        strays.insert(addr, Stray { pool, owner });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::drivers::perlbal::plan::ActualPool;
    use crate::drivers::perlbal::unserved::Unserved;
    use crate::model::pools::{Pool, Pools};

    fn name() -> PerlbalName {
        "api__v1".parse().unwrap()
    }

    /// What is desired once a pool with these members, which was desired before, is forgotten.
    fn forgotten(members: &[&str], is_connected: bool, unserved: bool) -> Desired {
        let members = members
            .iter()
            .map(|addr| Endpoint::Node(addr.parse().unwrap()));
        let there = ActualPool {
            members: members.collect(),
            ..ActualPool::default()
        };
        let mut before = Desired::default();
        let pools = Pools::default();
        let pool = Pool {
            unserved: [None].into(),
            ..Pool::default()
        };
        let web = "web".parse().unwrap();
        let unserved = unserved.then(|| Unserved::of(&pools, &web, &pool, None));
        before.pools.insert(
            name(),
            DesiredPool {
                unserved: unserved.flatten(),
                ..DesiredPool::default()
            },
        );
        let mut state = State::new(Instant::now());
        state.desired = Some((1, before));
        state.expected.pools.insert(name(), there);
        state.connected.set(is_connected, Instant::now());
        let mut desired = Desired::default();
        state.keep_emptied(&mut desired);
        desired
    }

    #[test]
    fn a_pool_that_the_model_forgets_is_wanted_empty_until_it_is_known_to_be() {
        let empty: Desired = Desired {
            pools: [(name(), DesiredPool::default())].into(),
        };
        assert_eq!(forgotten(&["10.0.0.1:80"], true, false), empty);
        assert_eq!(forgotten(&[], false, false), empty);
        assert_eq!(forgotten(&[], true, false), Desired::default());
        // It never was pollbal's.
        assert_eq!(forgotten(&["10.0.0.1:80"], true, true), Desired::default());
    }
}
