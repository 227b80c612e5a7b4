//! Decisions in words: one line per change of a node or a pool.
//!
//! A node that changes at each poll, by a fault or by malice, does not flood the log: of one node
//! only so many changes are told in a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::model::change::{Change, Out};
use crate::model::node::{Node, NodeAddr};
use crate::model::rules::Refusal;

/// So many changes of one node are told within [`WINDOW`].
const TOLD: u32 = 20;

/// From the first change that is told.
const WINDOW: Duration = Duration::from_secs(60);

/// Tells changes.
#[derive(Debug, Default)]
pub struct ChangeLog {
    windows: BTreeMap<NodeAddr, Window>,
}

/// What was told of a node of late.
#[derive(Debug)]
struct Window {
    begins: Instant,
    changes: u32,
}

impl ChangeLog {
    /// Logs changes that came at `now`.
    pub fn write(&mut self, changes: &[Change], now: Instant) {
        for change in changes {
            let told = match node(change) {
                Some(node) => self.admit(node.addr, now),
                None => 0,
            };
            match told {
                0..TOLD => write(change),
                TOLD => {
                    let name = node(change).map_or("", |node| &node.name);
                    let wait = humantime::format_duration(WINDOW);
                    warn!("{name} changes too often: no more is told of it within {wait}");
                }
                _ => {}
            }
        }
    }

    /// How many changes of the node came before this one within the window.
    fn admit(&mut self, addr: NodeAddr, now: Instant) -> u32 {
        let window = self.windows.entry(addr).or_insert(Window {
            begins: now,
            changes: 0,
        });
        if now.duration_since(window.begins) >= WINDOW {
            *window = Window {
                begins: now,
                changes: 0,
            };
        }
        window.changes = window.changes.saturating_add(1);
        window.changes - 1
    }
}

fn node(change: &Change) -> Option<&Node> {
    match change {
        Change::Joined(node, _)
        | Change::Moved(node, ..)
        | Change::Left(node, ..)
        | Change::StaysOut(node, _)
        | Change::Removed(node, _) => Some(node),
        Change::Held(..) | Change::Released(_) => None,
    }
}

fn write(change: &Change) {
    match change {
        Change::Joined(node, place) => {
            info!(node = %node.addr, pool = %place.pool, "{} joins {place}", node.name);
        }
        Change::Moved(node, from, to) => {
            info!(node = %node.addr, pool = %to.pool, "{} moves from {from} to {to}", node.name);
        }
        Change::Left(node, from, why) => match why {
            Out::Leaving | Out::Idle => {
                info!(node = %node.addr, pool = %from.pool, "{} leaves {from}: {why}", node.name);
            }
            Out::Failed(_) => {
                warn!(node = %node.addr, pool = %from.pool, "{} is put out of {from}: {why}", node.name);
            }
            Out::Refused(_) => {
                error!(node = %node.addr, pool = %from.pool, "{} is put out of {from}: {why}", node.name);
            }
        },
        Change::StaysOut(node, why) => match why {
            Out::Leaving | Out::Idle => {
                info!(node = %node.addr, "{} is in no pool: {why}", node.name);
            }
            Out::Failed(_) => warn!(node = %node.addr, "{} is in no pool: {why}", node.name),
            Out::Refused(refusal) => {
                let (Refusal::Undeclared(pool) | Refusal::TooMany(pool) | Refusal::NotListed(pool)) =
                    refusal;
                error!(node = %node.addr, %pool, "{} is in no pool: {why}", node.name);
            }
        },
        Change::Removed(node, from) => {
            info!(node = %node.addr, pool = %from.pool, "{} leaves {from}: gone from the services file", node.name);
        }
        Change::Held(pool, min_members) => warn!(
            %pool,
            "failures would take pool {pool} below its min_members of {min_members}: \
             the members that it last had stay in"
        ),
        Change::Released(pool) => info!(%pool, "pool {pool} holds no failed member any more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_of_so_often_and_then_again_after_the_window() {
        let mut log = ChangeLog::default();
        let (one, other) = (
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:80".parse().unwrap(),
        );
        let start = Instant::now();
        let counts: Vec<_> = (0..TOLD + 5).map(|_| log.admit(one, start)).collect();
        assert_eq!(counts, (0..TOLD + 5).collect::<Vec<_>>());
        assert_eq!(
            log.admit(other, start),
            0,
            "each node has a window of its own"
        );
        assert_eq!(log.admit(one, start + WINDOW), 0);
    }
}
