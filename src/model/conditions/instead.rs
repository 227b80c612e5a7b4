//! What is so where a condition does not hold any more: for who was told that it did.

use super::{Circumstances, Kind, PerlbalLevel, PoolLevel};
use crate::model::node_counts::Counts;

/// What is so instead of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instead {
    /// What was wrong is right. Otherwise something else came in its place.
    pub resolved: bool,
    /// What is so, for people.
    pub text: String,
}

impl Circumstances {
    /// What is so now instead of a condition of that kind and subject.
    #[must_use]
    pub fn instead(&self, kind: Kind, subject: &str) -> Instead {
        match kind {
            Kind::PoolEmpty | Kind::SorryServer | Kind::PoolShort => self.of_pool_now(subject),
            Kind::PerlbalLost | Kind::PerlbalNotInSync => self.of_perlbal_now(subject),
            Kind::FilesNotWritten => {
                now(format!("the pool files in {subject} are as they should be"))
            }
            Kind::NodesDown => now(self.nodes.share(Counts::down, "down")),
            Kind::NodesRefused => now("no node is refused".to_owned()),
            Kind::MembersKept => now("no failing member is kept in".to_owned()),
            Kind::StateRefused => now(format!("{subject} is in order, what was set aside is gone")),
            Kind::ReloadRefused => now(format!("{subject} is in order and in force")),
            Kind::FileReplaced => now(format!("{subject} is the file that is mounted there again")),
            Kind::ServicesRefused | Kind::RemovalsWithheld => {
                let nodes = self.nodes.total().nodes();
                now(format!("{subject} is in order and in force: {nodes} nodes"))
            }
            Kind::StateNotWritten => now(format!("{subject} is written")),
            Kind::OrdersNotKept => now("no order is lost by a restart".to_owned()),
            Kind::Frozen => now("nothing is frozen".to_owned()),
            Kind::Starting => now("each node was heard".to_owned()),
        }
    }

    fn of_pool_now(&self, subject: &str) -> Instead {
        let level = self
            .pools
            .iter()
            .find(|level| level.pool.as_str() == subject);
        let Some(PoolLevel {
            pool,
            serving,
            min_members,
            ..
        }) = level
        else {
            return self
                .where_nodes_are_unknown(subject)
                .unwrap_or_else(|| now(format!("pool {subject} is not declared any more")));
        };
        if let (0, Some(unknown)) = (*serving, self.where_nodes_are_unknown(subject)) {
            return unknown;
        }
        let members = if *serving == 1 { "member" } else { "members" };
        let nodes = self.nodes.pools.get(pool);
        let has_nodes = nodes.is_some_and(|nodes| nodes.nodes() > 0);
        let text = match (serving, min_members) {
            (0, 0) if has_nodes => format!("pool {pool} has no serving members"),
            (0, 0) => {
                format!("pool {pool} has no serving members, and no node announces it any more")
            }
            (_, 0) => format!("pool {pool} has {serving} serving {members}"),
            _ => format!("pool {pool} has {serving} serving {members} (min_members {min_members})"),
        };
        Instead {
            resolved: *serving > 0 || (*min_members == 0 && !has_nodes),
            text,
        }
    }

    /// What is so of a pool that nobody serves while nodes are down of which nobody knows where they
    /// belong: they have not answered since pollbal was started, so that nothing is known to be right.
    fn where_nodes_are_unknown(&self, pool: &str) -> Option<Instead> {
        let down = match self.nodes.without_pool.down() {
            0 => return None,
            1 => "1 node is".to_owned(),
            down => format!("{down} nodes are"),
        };
        Some(Instead {
            resolved: false,
            text: format!(
                "pool {pool} has no serving members, and {down} down of which it is not known in which pool they serve"
            ),
        })
    }

    fn of_perlbal_now(&self, address: &str) -> Instead {
        match self.perlbals.get(address) {
            None => now(format!("Perlbal {address} is not configured any more")),
            Some(PerlbalLevel {
                connected: true,
                in_sync,
                ..
            }) => {
                let sync = if *in_sync {
                    "in sync"
                } else {
                    "not in sync yet"
                };
                now(format!("Perlbal {address} is connected and {sync}"))
            }
            Some(PerlbalLevel {
                connected: false, ..
            }) => Instead {
                resolved: false,
                text: format!("Perlbal {address} is not connected"),
            },
        }
    }
}

fn now(text: String) -> Instead {
    Instead {
        resolved: true,
        text,
    }
}
