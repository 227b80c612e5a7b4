//! Which pools of a snapshot a Perlbal carries: those that it knows, and those that pollbal creates there. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::desired::NameMap;
use super::drain::DrainTracker;
use super::plan::Actual;
use super::protocol::Endpoint;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::driver_status::Uncarried;
use crate::model::names::PoolName;
use crate::model::pools::Pools;

/// What a Perlbal does not carry.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// The pools of the snapshot that are not created if they are missing, by name there.
    not_created: BTreeMap<PerlbalName, PoolName>,
    /// As last published.
    uncarried: Arc<Uncarried>,
}

impl Carried {
    /// Takes the pools of a snapshot.
    pub(super) fn set_pools(&mut self, pools: &Pools, names: &NameMap) {
        self.not_created.clear();
        if !names.create_pools {
            let pools = pools.pools.keys();
            let keyed = pools.map(|pool| (names.name_of(pool), pool.clone()));
            self.not_created.extend(keyed);
        }
    }

    /// What is not carried, by what is expected there; without a connection, by what was when it ended.
    pub(super) fn uncarried(
        &mut self,
        expected: &Actual,
        draining: &DrainTracker,
        connected: bool,
    ) -> Arc<Uncarried> {
        let missing = self.not_created.iter();
        let missing = missing.filter(|(name, _)| !expected.pools.contains_key(*name));
        let pools: BTreeSet<_> = missing.map(|(_, pool)| pool.clone()).collect();
        let mut nodes = BTreeSet::new();
        // With a connection it is known of each snapshot whether it is acknowledged.
        if !connected && !pools.is_empty() {
            let members = expected.pools.values().flat_map(|pool| &pool.members);
            nodes.extend(members.filter_map(Endpoint::reached));
            nodes.extend(draining.all().map(|((_, addr), _)| *addr));
        }
        let now = Uncarried { pools, nodes };
        if *self.uncarried != now {
            self.uncarried = Arc::new(now);
        }
        Arc::clone(&self.uncarried)
    }
}
