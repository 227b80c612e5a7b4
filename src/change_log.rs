//! Decisions in the log: one line per change of a node or a pool.
//!
//! Of one node or pool only so many changes are told in a while (see [`quota`](crate::quota)). What
//! a person ordered is always told.

use std::time::Instant;

use tracing::field::display;
use tracing::{error, info, warn};

use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::telling::{Telling, Weight};
use crate::quota::{Quota, Word, last_word};

/// Tells changes.
#[derive(Debug, Default)]
pub struct ChangeLog {
    nodes: Quota<NodeAddr>,
    pools: Quota<PoolName>,
}

impl ChangeLog {
    /// Logs a change that came at `now`.
    pub fn write(&mut self, telling: &Telling, now: Instant) {
        if telling.quiet {
            return;
        }
        match self.ask(telling, now) {
            Word::Tell => write(telling),
            Word::Last => warn!("{}", last_word(&format!("{} changes", telling.who()))),
            Word::Silent => {}
        }
    }

    fn ask(&mut self, telling: &Telling, now: Instant) -> Word {
        match (telling.node, telling.pool) {
            _ if telling.ordered => Word::Tell,
            (Some(node), _) => self.nodes.ask(node.addr, now),
            (None, Some(pool)) => self.pools.ask(pool.clone(), now),
            (None, None) => Word::Tell,
        }
    }
}

fn write(telling: &Telling) {
    let node = telling.node.map(|node| display(node.addr));
    let (pool, text) = (telling.pool.map(display), &telling.text);
    match telling.weight {
        Weight::Info => info!(node, pool, "{text}"),
        Weight::Warning => warn!(node, pool, "{text}"),
        Weight::Error => error!(node, pool, "{text}"),
    }
}
