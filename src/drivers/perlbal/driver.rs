//! The Perlbal driver as the rest of pollbal knows it: starts a [`PerlbalDriver`], and answers neutral
//! queries from what that knows.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{BoxFuture, pending};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::desired::NameMap;
use super::settings::PerlbalSettings;
use super::{MAX_WAITING_QUERIES, PerlbalDriver, State, metrics, summary, view};
use crate::drivers::{Deps, Driver, DriverIo, Mode, Query, StatisticsError};

/// Maximum number of queries that are being answered; further ones wait. Only statistics take longer
/// than a moment: as long as Perlbal needs to print them.
const MAX_ANSWERING: usize = 64;

/// The driver of one Perlbal.
pub(super) struct Perlbal {
    settings: PerlbalSettings,
    deps: Deps,
}

impl Perlbal {
    pub(super) fn new(settings: PerlbalSettings, deps: Deps) -> Self {
        Self { settings, deps }
    }

    async fn drive(self, io: DriverIo, mode: Mode) {
        let Self { settings, deps } = self;
        let names = NameMap {
            names: settings.names.clone(),
            create_pools: settings.create_pools,
        };
        let (sender, queries) = mpsc::channel(MAX_WAITING_QUERIES);
        let answering = answer(io.queries, sender, names.clone());
        let driver = PerlbalDriver {
            settings,
            name_map: names,
            pool_directory: deps.pool_directory,
            snapshots: io.desired,
            status: io.status,
            last_owned: io.last_owned,
            queries,
            steps: io.steps,
            stop: io.stop,
            state: State::after(deps.owned, Instant::now()),
        };
        // In one task: an answer is ready sooner than another task wakes.
        tokio::select! {
            biased;
            () = driver.run(mode) => {}
            () = answering => {}
        }
    }
}

impl Driver for Perlbal {
    fn run(self: Box<Self>, io: DriverIo, mode: Mode) -> BoxFuture<'static, ()> {
        Box::pin(self.drive(io, mode))
    }
}

/// Answers queries until it is dropped.
async fn answer(
    mut queries: mpsc::Receiver<Query>,
    perlbal: mpsc::Sender<view::Query>,
    names: NameMap,
) {
    let mut answering = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(query) = queries.recv(), if answering.len() < MAX_ANSWERING => {
                answering.push(answer_one(query, &perlbal, &names));
            }
            Some(()) = answering.next() => {}
            else => pending().await,
        }
    }
}

// The requester may have given up by the time of the reply, and a driver that ends drops its queries:
// then the query is dropped unanswered, too.
async fn answer_one(query: Query, perlbal: &mpsc::Sender<view::Query>, names: &NameMap) {
    match query {
        Query::Details(pools, reply) => {
            let (sender, view) = oneshot::channel();
            if perlbal.send(view::Query::View(sender)).await.is_ok()
                && let Ok(view) = view.await
            {
                _ = reply.send(summary::details(&view, &pools, names));
            }
        }
        Query::Owned(reply) => _ = perlbal.send(view::Query::Owned(reply)).await,
        Query::Statistics { per_node, reply } => {
            let (sender, statistics) = oneshot::channel();
            let query = view::Query::Statistics {
                per_node,
                reply: sender,
            };
            let answered = match perlbal.send(query).await {
                Ok(()) => statistics.await.ok(),
                Err(_) => None,
            };
            let statistics = answered.unwrap_or(Err(StatisticsError::NotConnected));
            _ = reply.send(statistics.map(|statistics| Arc::from(metrics::families(&statistics))));
        }
    }
}
