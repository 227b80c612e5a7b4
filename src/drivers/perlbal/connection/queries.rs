//! What others query of a connected Perlbal.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::protocol::{Command, Endpoint, Response};
use super::super::statistics::{Statistics, StatisticsQuery};
use super::super::view::Query;
use super::{Connection, QueryKind};
use crate::drivers::StatisticsError;
use crate::model::node::NodeAddr;

/// Maximum number of requests for statistics that may wait at a time.
const MAX_WAITERS: usize = 64;

type Waiter = oneshot::Sender<Result<Arc<Statistics>, StatisticsError>>;

/// Requests for statistics.
#[derive(Default)]
pub(super) struct StatisticsWaiters {
    /// Each with whether it requested statistics per node, too.
    waiting: Vec<(bool, Waiter)>,
    /// The query that is in progress.
    query: Option<StatisticsQuery>,
    /// Perlbal's work on our commands before that.
    worked_before: Duration,
}

// A requester may be gone by the time of a reply.
impl Connection<'_> {
    /// Answers a query, or has it answered later.
    pub(in crate::drivers::perlbal) fn on_query(&mut self, query: Query, now: Instant) {
        match query {
            Query::View(reply) => {
                _ = reply.send(self.state.view(&self.setup.settings.address));
            }
            Query::Owned(reply) => _ = reply.send(self.state.known()),
            Query::Statistics { reply, .. } if !self.is_read => {
                _ = reply.send(Err(StatisticsError::NotConnected));
            }
            Query::Statistics { reply, .. } if self.statistics.waiting.len() >= MAX_WAITERS => {
                _ = reply.send(Err(StatisticsError::TooMany));
            }
            Query::Statistics { per_node, reply } => {
                self.statistics.waiting.push((per_node, reply));
                self.reply_to_waiters(now);
            }
        }
    }

    /// Replies with the cached statistics where they are good enough, and queries others for the rest.
    fn reply_to_waiters(&mut self, now: Instant) {
        let cached = &mut self.state.statistics;
        cached.take_if(|cached| cached.until <= now);
        if let Some(cached) = cached {
            let serves = |(per_node, _): &mut (bool, Waiter)| cached.per_node || !*per_node;
            for (_, reply) in self.statistics.waiting.extract_if(.., serves) {
                _ = reply.send(Ok(Arc::clone(&cached.statistics)));
            }
        }
        if self.statistics.waiting.is_empty() || self.statistics.query.is_some() {
            return;
        }
        let per_node = self
            .statistics
            .waiting
            .iter()
            .any(|(per_node, _)| *per_node);
        let members = per_node.then(|| self.nodes().into_iter().collect());
        self.statistics.worked_before = self.pipeline.throttle().worked();
        self.statistics.query = Some(StatisticsQuery::begin(now, members));
        self.query_statistics(now);
    }

    /// The members of our pools, and removed members that are not drained.
    fn nodes(&self) -> BTreeSet<NodeAddr> {
        let state = &*self.state;
        let ours = state
            .desired
            .iter()
            .flat_map(|(_, desired)| desired.pools.keys());
        let pools = ours.filter_map(|name| state.expected.pools.get(name));
        let members = pools.flat_map(|pool| &pool.members);
        let members = members.filter_map(|member| match member {
            Endpoint::Node(addr) => Some(*addr),
            Endpoint::Unparsed(_) => None,
        });
        let draining = state.draining.all().map(|((_, addr), _)| *addr);
        members.chain(draining).collect()
    }

    /// Sends the next command; when there is none, replies.
    fn query_statistics(&mut self, now: Instant) {
        let Some(query) = &mut self.statistics.query else {
            return;
        };
        if let Some(command) = query.next_command() {
            return self.query(QueryKind::Statistics, [command]);
        }
        let worked = self.pipeline.throttle().worked();
        let worked = worked.saturating_sub(self.statistics.worked_before);
        let ended = self.statistics.query.take();
        self.state.statistics = ended.map(|query| query.end(now, worked));
        self.reply_to_waiters(now);
    }

    /// Records a response that belongs to statistics. A command that Perlbal does not know, as another
    /// version may not, shows nothing.
    pub(super) fn on_statistics(&mut self, command: &Command, response: Response, now: Instant) {
        if let (Some(query), Response::Ok(lines)) = (&mut self.statistics.query, response) {
            query.answer(command, &lines);
        }
        self.query_statistics(now);
    }

    /// The connection ends: there will be no statistics.
    pub(super) fn fail_waiters(&mut self) {
        for (_, reply) in mem::take(&mut self.statistics.waiting) {
            _ = reply.send(Err(StatisticsError::NotConnected));
        }
    }
}
