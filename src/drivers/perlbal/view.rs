//! Everything that the driver knows of its Perlbal: what is desired, sent and observed. Pure.
//!
//! *Desired* (`wanted`) is what the latest snapshot says; *sent* (`told`) is what Perlbal has once it has
//! run everything that was sent; *observed* (`seen`) is what the last read showed. Each is represented by
//! its difference from the one before, which is small, so that a view is cheap whatever the size of the
//! site.

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

/// A question to the driver, with a channel for the answer. It is answered in every state; a driver that
/// ends drops it.
#[derive(Debug)]
pub enum Question {
    /// Everything that it knows of its Perlbal.
    View(oneshot::Sender<PerlbalView>),
    /// What pollbal owns there, for the state file.
    Owned(oneshot::Sender<Known>),
    /// Perlbal's own statistics.
    Statistics {
        /// Also by node, which costs Perlbal more.
        by_node: bool,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Arc<Statistics>, StatisticsError>>,
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
    pub wanted: Option<u64>,
    /// The serial of the last snapshot whose every change Perlbal has answered with `OK`; 0 before
    /// there is one.
    pub told: u64,
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
        /// Why, in words.
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
    pub wanted: Arc<[NodeAddr]>,
    /// How the sent members differ from the desired ones; `None` if there is no such pool.
    pub told: Option<Difference>,
    /// How the observed members differ from the sent ones; `None` if no read showed the pool.
    pub seen: Option<SeenView>,
    /// What cannot be corrected, in words.
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
pub struct SeenView {
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
pub struct Seen {
    /// When it was read.
    pub at: Instant,
    /// What was sent and has not been observed yet.
    pub since: PoolChange,
}

/// What views of pools are made from.
pub(super) struct Sources<'a> {
    pub(super) wanted: Option<&'a Desired>,
    pub(super) told: &'a Actual,
    pub(super) seen: &'a BTreeMap<PerlbalName, Seen>,
    pub(super) problems: &'a BTreeSet<Problem>,
    pub(super) distrusted: &'a BTreeSet<PerlbalName>,
    pub(super) refused: &'a BTreeSet<PerlbalName>,
}

impl Sources<'_> {
    /// The pools, by name.
    pub(super) fn pools(&self) -> Vec<PoolView> {
        let Some(wanted) = self.wanted else {
            return Vec::new();
        };
        let mut services: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, service) in &self.told.services {
            services
                .entry(&service.pool)
                .or_default()
                .push(name.clone());
        }
        let view = |(name, pool): (&PerlbalName, &DesiredPool)| {
            let members: Arc<[NodeAddr]> = pool.members.iter().copied().collect();
            let told = self.told.pools.get(name);
            PoolView {
                services: services.remove(&Some(name.clone())).unwrap_or_default(),
                told: told.map(|told| Difference::of_told(told, &members)),
                seen: self.seen.get(name).map(SeenView::new),
                problems: self.problems_of(name),
                name: name.clone(),
                wanted: members,
            }
        };
        wanted.pools.iter().map(view).collect()
    }

    fn problems_of(&self, name: &PerlbalName) -> Vec<String> {
        let concerns = |problem: &&Problem| match problem {
            Problem::TakenByService(pool) | Problem::MissingPool(pool) => pool == name,
        };
        let problems = self.problems.iter().filter(concerns);
        let mut words: Vec<_> = problems.map(ToString::to_string).collect();
        if self.refused.contains(name) {
            words.push(format!(
                "Perlbal refused a command for pool {name}; everything is read again soon"
            ));
        }
        if self.distrusted.contains(name) {
            words.push(format!(
                "pool {name}'s nodefile did not give what the pool file holds; its members are \
                 told one by one"
            ));
        }
        words
    }
}

impl PoolView {
    /// Number of members that were sent; `None` if there is no such pool.
    #[must_use]
    pub fn told_count(&self) -> Option<usize> {
        let told = self.told.as_ref()?;
        Some(told.count(self.wanted.len()))
    }

    /// Number of members that were observed; `None` if no read showed the pool.
    #[must_use]
    pub fn seen_count(&self) -> Option<usize> {
        let seen = self.seen.as_ref()?;
        Some(seen.difference.count(self.told_count().unwrap_or(0)))
    }

    /// The members that were sent.
    #[must_use]
    pub fn told_members(&self) -> BTreeSet<Endpoint> {
        let wanted = self.wanted.iter().copied().map(Endpoint::Node).collect();
        match &self.told {
            Some(told) => told.apply(wanted),
            None => BTreeSet::new(),
        }
    }

    /// The members that were observed.
    #[must_use]
    pub fn seen_members(&self) -> BTreeSet<Endpoint> {
        match &self.seen {
            Some(seen) => seen.difference.apply(self.told_members()),
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

    fn of_told(told: &ActualPool, wanted: &[NodeAddr]) -> Self {
        let mut difference = Self::default();
        let mut told = told.members.iter().peekable();
        // Both are sorted alike.
        for addr in wanted {
            let wanted = Endpoint::Node(*addr);
            while let Some(extra) = told.next_if(|told| **told < wanted) {
                difference.extra.push(extra.clone());
            }
            if told.next_if(|told| **told == wanted).is_none() {
                difference.missing.push(*addr);
            }
        }
        difference.extra.extend(told.cloned());
        // A member that is listed again, under another spelling, is not another one.
        difference.extra.retain(|extra| match extra {
            Endpoint::Unparsed(text) => {
                address_of(text).is_none_or(|addr| wanted.binary_search(&addr).is_err())
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

impl SeenView {
    /// Whether something was sent since, which is on its way and no difference.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        !self.difference.is_none()
    }

    fn new(seen: &Seen) -> Self {
        Self {
            at: seen.at,
            difference: Difference {
                missing: seen.since.added.iter().copied().collect(),
                extra: seen.since.removed.iter().cloned().collect(),
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
    fn what_was_told_and_seen_follows_from_how_it_differs() {
        let wanted = [1, 2, 3].map(addr);
        let odd = Endpoint::Unparsed("999.1.1.1:99999".to_owned());
        let mut told = endpoints(&[2, 3, 4]);
        told.insert(odd.clone());
        let there = ActualPool {
            members: told.clone(),
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
            told: Some(Difference::of_told(&there, &wanted)),
            seen: Some(SeenView::new(&Seen { at, since })),
            wanted: wanted.into(),
            problems: Vec::new(),
        };
        let mut seen = endpoints(&[1, 2, 4]);
        seen.insert(odd);
        assert_eq!((pool.told_members(), pool.seen_members()), (told, seen));
        assert_eq!(pool.told_count(), Some(4));
        assert_eq!(pool.seen_count(), Some(4));
        let told = pool.told.unwrap();
        assert_eq!((told.missing, told.extra.len()), (vec![addr(1)], 2));
    }
}
