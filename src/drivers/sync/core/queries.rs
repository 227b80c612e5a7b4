//! What others query of a driver, in every state.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::Backend;
use super::Core;
use crate::drivers::family::Family;
use crate::drivers::{Query, StatisticsError};
use crate::model::ownership::{Known, OwnedThere};

/// Maximum number of requests for statistics that may wait at a time.
const MAX_WAITERS: usize = 64;

type Waiter = oneshot::Sender<Result<Arc<[Family]>, StatisticsError>>;

/// Requests for statistics.
#[derive(Default)]
pub(super) struct Waiters {
    /// Each with whether it wants statistics by node, too.
    waiting: Vec<(bool, Waiter)>,
    /// Those whose statistics are being read.
    served: Vec<Waiter>,
}

// A requester may be gone by the time of a reply.
impl Waiters {
    /// Begins to serve all that wait: whether one of them wants statistics by node.
    pub(super) fn begin(&mut self) -> Option<bool> {
        if self.waiting.is_empty() {
            return None;
        }
        let waiting = mem::take(&mut self.waiting);
        let per_node = waiting.iter().any(|(per_node, _)| *per_node);
        self.served = waiting.into_iter().map(|(_, waiter)| waiter).collect();
        Some(per_node)
    }

    /// There is no connection: there will be no statistics.
    pub(super) fn fail(&mut self) {
        let waiting = mem::take(&mut self.waiting).into_iter();
        let waiting = waiting.map(|(_, waiter)| waiter);
        for waiter in waiting.chain(mem::take(&mut self.served)) {
            _ = waiter.send(Err(StatisticsError::NotConnected));
        }
    }
}

impl<B: Backend> Core<B> {
    /// Answers a query, or has it answered later.
    pub(in super::super) fn on_query(&mut self, query: Query) {
        match query {
            Query::Details(filter, reply) => _ = reply.send(self.details(&filter)),
            Query::Owned(reply) => _ = reply.send(self.known()),
            Query::Statistics { reply, .. } if !self.is_read() => {
                _ = reply.send(Err(StatisticsError::NotConnected));
            }
            Query::Statistics { reply, .. } if self.waiters.waiting.len() >= MAX_WAITERS => {
                _ = reply.send(Err(StatisticsError::TooMany));
            }
            Query::Statistics { per_node, reply } => self.waiters.waiting.push((per_node, reply)),
        }
    }

    /// The load balancer's statistics were read.
    pub(in super::super) fn on_statistics(&mut self, families: Vec<Family>) {
        let families: Arc<[Family]> = families.into();
        for waiter in mem::take(&mut self.waiters.served) {
            _ = waiter.send(Ok(Arc::clone(&families)));
        }
    }

    /// What pollbal owns there.
    pub(in super::super) fn known(&self) -> Known {
        if let Some(earlier) = &self.earlier {
            return Known {
                is_read: false,
                there: earlier.clone(),
            };
        }
        let nothing = BTreeSet::new();
        let mut pools = BTreeMap::new();
        for (pool, members) in &self.expected_members {
            let desired = self.desired.as_ref();
            let desired = desired.and_then(|desired| desired.members.get(pool));
            if members.is_empty() || (desired.is_none() && !self.owned.contains(pool)) {
                continue;
            }
            let unwanted = members.difference(desired.unwrap_or(&nothing));
            pools.insert(pool.to_string(), unwanted.copied().collect());
        }
        for (pool, node) in self.draining.all() {
            let left: &mut BTreeSet<_> = pools.entry(pool.to_string()).or_default();
            left.insert(node);
        }
        Known {
            is_read: self.connected.is,
            there: OwnedThere {
                started: None,
                pools,
            },
        }
    }
}
