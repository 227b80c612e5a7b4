//! Everything that the driver knows of its Perlbal: what is desired, sent and observed. Pure.
//!
//! *Desired* is what the latest snapshot says; *sent* is what Perlbal has once it has run every command
//! that was sent; *observed* is what the last read showed. Each is represented by its difference from the
//! one before, which is small, so that a view is cheap whatever the size of the site.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::desired::{Desired, DesiredPool};
use super::plan::{Actual, ActualPool, PoolChange, Problem};
use super::protocol::Endpoint;
use super::spare::address_of;
use super::statistics::Statistics;
use crate::drivers::StatisticsError;
use crate::drivers::details::Counters;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;
use crate::model::ownership::Known;

/// A query to the driver, with a channel for the reply. It is answered in every state; a driver that
/// ends drops it.
#[derive(Debug)]
pub enum Query {
    /// Everything that it knows of its Perlbal.
    View(oneshot::Sender<PerlbalView>),
    /// What pollbal owns there, for the state file.
    Owned(oneshot::Sender<Known>),
    /// Perlbal's own statistics.
    Statistics {
        /// Also per node, which costs Perlbal more.
        per_node: bool,
        /// Where the reply goes.
        reply: oneshot::Sender<Result<Arc<Statistics>, StatisticsError>>,
    },
}

/// Everything that the driver knows of its Perlbal.
#[derive(Clone, Debug)]
pub struct PerlbalView {
    /// Its management socket, as the configuration has it.
    pub address: String,
    /// Whether it is connected.
    pub connection: Connection,
    /// Its version, as reported over the last connection.
    pub version: Option<String>,
    /// When it was started, as reported over the last connection, in seconds since 1970.
    pub start: Option<u64>,
    /// The serial of the latest snapshot; `None` before the first round is done.
    pub desired: Option<u64>,
    /// The serial of the last snapshot whose every change Perlbal has answered with `OK`; 0 before
    /// there is one.
    pub sent: u64,
    /// The latest snapshot that was read back is applied completely, and there is a connection.
    pub in_sync: bool,
    /// Since when it is in sync, or is not.
    pub in_sync_since: Instant,
    /// The pools that pollbal keeps there, or would if it could, by name.
    pub pools: Vec<PoolView>,
    /// Removed members that are not drained, by pool and node.
    pub leavers: Vec<LeaverView>,
    /// What a person should know although everything is as desired.
    pub remarks: Vec<String>,
    /// What the driver has done since it was started.
    pub counters: Counters,
}

/// Whether a Perlbal is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// The actual state was read and reconciled.
    Connected {
        /// Since when.
        since: Instant,
    },
    /// There is no connection, or not yet.
    NotConnected {
        /// Since the last connection ended, or the driver was started.
        since: Instant,
        /// The cause, as text.
        why: String,
    },
}

/// A pool in a Perlbal.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolView {
    /// Its name there.
    pub name: PerlbalName,
    /// The services that use it.
    pub services: Vec<PerlbalName>,
    /// The desired members, in order.
    pub desired: Arc<[NodeAddr]>,
    /// How the sent members differ from the desired ones; `None` if there is no such pool.
    pub sent: Option<Difference>,
    /// How the observed members differ from the sent ones; `None` if no read showed the pool.
    pub observed: Option<ObservedView>,
    /// What cannot be corrected, as texts.
    pub problems: Vec<String>,
}

/// How one set of members differs from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In the other, not in this.
    pub missing: Vec<NodeAddr>,
    /// In this, not in the other.
    pub extra: Vec<Endpoint>,
}

/// What the last read showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedView {
    /// When that was.
    pub at: Instant,
    /// How it differs from what was sent.
    pub difference: Difference,
}

/// A removed member that is not drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaverView {
    /// The pool that it left.
    pub pool: PerlbalName,
    /// Its address.
    pub node: NodeAddr,
    /// When it was removed, or when that was noticed.
    pub since: Instant,
    /// The last check showed it busy; otherwise it has not been checked since, or not for long enough.
    pub busy: bool,
}

/// What the last read of a pool showed, represented by what was sent since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// When it was read.
    pub at: Instant,
    /// What was sent and has not been observed yet.
    pub since: PoolChange,
}

/// What views of pools are made from.
pub(super) struct Sources<'a> {
    pub(super) desired: Option<&'a Desired>,
    pub(super) sent: &'a Actual,
    pub(super) observed: &'a BTreeMap<PerlbalName, Observed>,
    pub(super) problems: &'a BTreeSet<Problem>,
    pub(super) distrusted: &'a BTreeSet<PerlbalName>,
    pub(super) rejected: &'a BTreeSet<PerlbalName>,
}

impl Sources<'_> {
    /// The pools, by name.
    pub(super) fn pools(&self) -> Vec<PoolView> {
        let Some(desired) = self.desired else {
            return Vec::new();
        };
        let mut services: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, service) in &self.sent.services {
            services
                .entry(&service.pool)
                .or_default()
                .push(name.clone());
        }
        let view = |(name, pool): (&PerlbalName, &DesiredPool)| {
            let members: Arc<[NodeAddr]> = pool.members.iter().copied().collect();
            let sent = self.sent.pools.get(name);
            PoolView {
                services: services.remove(&Some(name.clone())).unwrap_or_default(),
                sent: sent.map(|sent| Difference::of_sent(sent, &members)),
                observed: self.observed.get(name).map(ObservedView::new),
                problems: self.problems_of(name),
                name: name.clone(),
                desired: members,
            }
        };
        desired.pools.iter().map(view).collect()
    }

    fn problems_of(&self, name: &PerlbalName) -> Vec<String> {
        let concerns = |problem: &&Problem| match problem {
            Problem::TakenByService(pool) | Problem::MissingPool(pool) => pool == name,
        };
        let problems = self.problems.iter().filter(concerns);
        let mut words: Vec<_> = problems.map(ToString::to_string).collect();
        if self.rejected.contains(name) {
            words.push(format!(
                "Perlbal rejected a command for pool {name}; everything is read again soon"
            ));
        }
        if self.distrusted.contains(name) {
            words.push(format!(
                "Perlbal did not read pool {name}'s members from its nodefile; they are sent one by one"
            ));
        }
        words
    }
}

impl PoolView {
    /// Number of members that were sent; `None` if there is no such pool.
    #[must_use]
    pub fn sent_count(&self) -> Option<usize> {
        let sent = self.sent.as_ref()?;
        Some(sent.count(self.desired.len()))
    }

    /// Number of members that were observed; `None` if no read showed the pool.
    #[must_use]
    pub fn observed_count(&self) -> Option<usize> {
        let observed = self.observed.as_ref()?;
        Some(observed.difference.count(self.sent_count().unwrap_or(0)))
    }

    /// The members that were sent.
    #[must_use]
    pub fn sent_members(&self) -> BTreeSet<Endpoint> {
        let desired = self.desired.iter().copied().map(Endpoint::Node).collect();
        match &self.sent {
            Some(sent) => sent.apply(desired),
            None => BTreeSet::new(),
        }
    }

    /// The members that were observed.
    #[must_use]
    pub fn observed_members(&self) -> BTreeSet<Endpoint> {
        match &self.observed {
            Some(observed) => observed.difference.apply(self.sent_members()),
            None => BTreeSet::new(),
        }
    }
}

impl Difference {
    /// Whether both are the same.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty()
    }

    fn of_sent(sent: &ActualPool, desired: &[NodeAddr]) -> Self {
        let mut difference = Self::default();
        let mut sent = sent.members.iter().peekable();
        // Both are sorted alike.
        for addr in desired {
            let desired = Endpoint::Node(*addr);
            while let Some(extra) = sent.next_if(|sent| **sent < desired) {
                difference.extra.push(extra.clone());
            }
            if sent.next_if(|sent| **sent == desired).is_none() {
                difference.missing.push(*addr);
            }
        }
        difference.extra.extend(sent.cloned());
        // A member that is listed again, under another spelling, is not another one.
        difference.extra.retain(|extra| match extra {
            Endpoint::Unparsed(text) => {
                address_of(text).is_none_or(|addr| desired.binary_search(&addr).is_err())
            }
            Endpoint::Node(_) => true,
        });
        difference
    }

    fn count(&self, of_other: usize) -> usize {
        (of_other + self.extra.len()).saturating_sub(self.missing.len())
    }

    fn apply(&self, mut other: BTreeSet<Endpoint>) -> BTreeSet<Endpoint> {
        for addr in &self.missing {
            other.remove(&Endpoint::Node(*addr));
        }
        other.extend(self.extra.iter().cloned());
        other
    }
}

impl ObservedView {
    /// Whether something was sent since, which is on its way and no difference.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        !self.difference.is_none()
    }

    fn new(observed: &Observed) -> Self {
        Self {
            at: observed.at,
            difference: Difference {
                missing: observed.since.added.iter().copied().collect(),
                extra: observed.since.removed.iter().cloned().collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(number: u8) -> NodeAddr {
        format!("10.0.0.{number}:80").parse().unwrap()
    }

    fn endpoints(numbers: &[u8]) -> BTreeSet<Endpoint> {
        let node = |number: &u8| Endpoint::Node(addr(*number));
        numbers.iter().map(node).collect()
    }

    #[test]
    fn what_was_sent_and_observed_follows_from_how_it_differs() {
        let desired = [1, 2, 3].map(addr);
        let odd = Endpoint::Unparsed("999.1.1.1:99999".to_owned());
        let mut sent = endpoints(&[2, 3, 4]);
        sent.insert(odd.clone());
        let there = ActualPool {
            members: sent.clone(),
            ..ActualPool::default()
        };
        let since = PoolChange {
            added: [addr(3)].into(),
            removed: endpoints(&[1]),
        };
        let at = Instant::now();
        let pool = PoolView {
            name: "api".parse().unwrap(),
            services: Vec::new(),
            sent: Some(Difference::of_sent(&there, &desired)),
            observed: Some(ObservedView::new(&Observed { at, since })),
            desired: desired.into(),
            problems: Vec::new(),
        };
        let mut observed = endpoints(&[1, 2, 4]);
        observed.insert(odd);
        assert_eq!(
            (pool.sent_members(), pool.observed_members()),
            (sent, observed)
        );
        assert_eq!(pool.sent_count(), Some(4));
        assert_eq!(pool.observed_count(), Some(4));
        let sent = pool.sent.unwrap();
        assert_eq!((sent.missing, sent.extra.len()), (vec![addr(1)], 2));
    }
}
