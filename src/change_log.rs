//! Logs decisions: one line per change of a node or a pool.
//!
//! The lines about one node or pool are limited (see [`log_throttle`](crate::log_throttle)), and when many nodes change
//! in the same way at once, only the first are named (see [`bursts`](crate::bursts)). The effects of an operator's
//! order are always logged.

use std::time::Instant;

use tracing::field::display;
use tracing::{error, info, warn};

use crate::bursts::Bursts;
use crate::log_throttle::{Decision, LogThrottle, suppression_notice};
use crate::logging::count;
use crate::model::event::{Event, Severity, describe_many};
use crate::model::names::PoolName;
use crate::model::node::{Node, NodeAddr};

/// Logs changes, within limits.
#[derive(Debug, Default)]
pub struct ChangeLog {
    nodes: LogThrottle<NodeAddr>,
    pools: LogThrottle<PoolName>,
    bursts: Bursts,
}

impl ChangeLog {
    /// Logs a change that came at `now`.
    pub fn write(&mut self, event: &Event, now: Instant) {
        if event.quiet {
            return;
        }
        match self.decide(event, now) {
            Decision::Log => {
                let node = event.node.as_ref().map(|node| node.addr);
                log(event.severity, (node, event.pool.as_ref()), &event.text);
            }
            Decision::LogLast => warn!(
                "{}",
                suppression_notice(&format!("{} changes", event.subject()))
            ),
            Decision::Suppress => {}
        }
    }

    /// Logs how many more nodes changed without being named, if such a line is due. Returns when the next one is.
    pub fn write_counts(&mut self, now: Instant) -> Option<Instant> {
        self.log_counts(now, false);
        self.bursts.due()
    }

    /// Logs all outstanding counts now, before pollbal exits.
    pub fn finish(&mut self) {
        self.log_counts(Instant::now(), true);
    }

    fn log_counts(&mut self, now: Instant, end: bool) {
        for (kind, severity, nodes) in self.bursts.take_counts(now, end) {
            let text = format!(
                "{} {}; `pollbal status` and `pollbal members` show where all are",
                count(nodes, "more node"),
                describe_many(kind)
            );
            log(severity, (None, None), &text);
        }
    }

    fn is_named(&mut self, event: &Event, node: &Node, now: Instant) -> bool {
        let reason = event.text.replacen(&node.name, "", 1);
        let kind = (event.kind, event.severity);
        self.bursts.is_named(kind, (node.addr, reason), now)
    }

    fn decide(&mut self, event: &Event, now: Instant) -> Decision {
        match (&event.node, &event.pool) {
            _ if event.requested => Decision::Log,
            (Some(node), _) if !self.is_named(event, node, now) => Decision::Suppress,
            (Some(node), _) => self.nodes.check(node.addr, now),
            (None, Some(pool)) => self.pools.check(pool.clone(), now),
            (None, None) => Decision::Log,
        }
    }
}

fn log(severity: Severity, (node, pool): (Option<NodeAddr>, Option<&PoolName>), text: &str) {
    let (node, pool) = (node.map(display), pool.map(display));
    match severity {
        Severity::Info => info!(node, pool, "{text}"),
        Severity::Warning => warn!(node, pool, "{text}"),
        Severity::Error => error!(node, pool, "{text}"),
    }
}
