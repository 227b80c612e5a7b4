//! Decisions in words: one line per change of a node or a pool.

use tracing::{error, info, warn};

use crate::model::change::{Change, Out};
use crate::model::rules::Refusal;

/// Logs one change.
pub fn write(change: &Change) {
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
