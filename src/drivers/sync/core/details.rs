//! What the rest of pollbal is shown of a load balancer.

use std::collections::BTreeSet;

use super::super::{Backend, Members};
use super::Core;
use crate::drivers::PoolFilter;
use crate::drivers::change_list::still_needs;
use crate::drivers::details::{DriverDetails, PoolDetails};
use crate::model::change::Assignment;
use crate::model::driver_status::Outage;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;

/// Maximum number of pools whose differences are described.
const MAX_POOLS: usize = 5;

impl<B: Backend> Core<B> {
    /// What is known of the load balancer, with these pools.
    pub(super) fn details(&self, filter: &PoolFilter) -> DriverDetails {
        let only: Option<BTreeSet<_>> = match filter {
            PoolFilter::Differing => None,
            PoolFilter::Only(pools) => Some(pools.iter().map(|pool| self.name_of(pool)).collect()),
        };
        let is_listed = |pool: &PoolDetails| match &only {
            None => !pool.same,
            Some(names) => names.contains(&pool.name),
        };
        let desired = self.desired.as_ref().map(|desired| &desired.members);
        let pools = desired.into_iter().flatten();
        let pools = pools.map(|(pool, nodes)| self.pool(pool, nodes));
        let outage = self.outage.get().map(Outage::steady_text);
        DriverDetails {
            connection: outage.unwrap_or_else(|| self.connection.description.clone()),
            in_sync_since: self.in_sync.since,
            problems: self.all_problems().collect(),
            pools: pools.filter(is_listed).collect(),
            differences: self.differences(),
            counters: self.counters.clone(),
        }
    }

    fn name_of(&self, pool: &PoolName) -> String {
        let whole = Assignment {
            pool: pool.clone(),
            version: None,
        };
        self.settings.naming.of(&whole).to_string()
    }

    /// The problems, and the steps that were rejected.
    fn all_problems(&self) -> impl Iterator<Item = String> {
        let rejected = self.plan.rejected.iter();
        let rejected = rejected.map(|(step, error)| format!("\"{step}\" was rejected: {error}"));
        self.problems.iter().cloned().chain(rejected)
    }

    fn pool(&self, pool: &str, desired: &BTreeSet<NodeAddr>) -> PoolDetails {
        let in_sync = self.connected.is && self.in_sync.is;
        let sent = self.expected_members.get(pool);
        let read = self.reads.observed.as_ref();
        let observed = read.and_then(|(_, members)| members.get(pool));
        let sent_since = observed != sent;
        let is_sent = sent.map_or(desired.is_empty(), |sent| sent == desired);
        PoolDetails {
            name: pool.to_owned(),
            services: Vec::new(),
            desired: desired.len(),
            sent: sent.map(BTreeSet::len),
            observed: observed.map(BTreeSet::len),
            observed_at: read.map(|(at, _)| *at),
            sent_since,
            same: is_sent && read.is_some() && (in_sync || !sent_since),
        }
    }

    /// How pools still differ from the desired ones, and what cannot be corrected.
    fn differences(&self) -> String {
        let nothing = Members::new();
        let desired = self.desired.as_ref();
        let desired = desired.map_or(&nothing, |desired| &desired.members);
        let observed = self.reads.observed.as_ref();
        let observed = observed.map_or(&nothing, |(_, members)| members);
        let nobody = BTreeSet::new();
        let differing = desired.iter().filter_map(|(pool, desired)| {
            let observed = observed.get(pool).unwrap_or(&nobody);
            let (lacks, extra) = (desired.difference(observed), observed.difference(desired));
            still_needs(pool, lacks, extra)
        });
        let mut texts: Vec<_> = self.all_problems().chain(differing).collect();
        let more = texts.len().saturating_sub(MAX_POOLS);
        texts.truncate(MAX_POOLS);
        texts.extend((more > 0).then(|| format!("{more} more pools differ")));
        texts.join("; ")
    }
}
