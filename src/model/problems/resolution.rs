//! What is the case once a problem is over, for those who were alerted of it.

use super::{DriverHealth, Kind, PoolHealth, SystemStatus};
use crate::model::node_counts::Counts;

/// What is the case instead of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Whether all is well in that respect. Otherwise another problem took its place.
    pub resolved: bool,
    /// A description.
    pub text: String,
}

impl SystemStatus {
    /// What is the case now instead of a problem of that kind and subject.
    #[must_use]
    pub fn resolution(&self, kind: Kind, subject: &str) -> Resolution {
        match kind {
            Kind::PoolEmpty | Kind::SorryServer | Kind::PoolShort => self.of_pool_now(subject),
            Kind::LoadBalancerLost | Kind::LoadBalancerNotInSync => {
                self.of_load_balancer_now(subject)
            }
            Kind::FilesNotWritten => now(format!("the pool files in {subject} are in sync")),
            Kind::NodesDown => now(self.nodes.share(Counts::down, "down")),
            Kind::NodesRefused => now("no node is refused".to_owned()),
            Kind::NodesSkipped => now(format!("{subject} no longer skips any node")),
            Kind::MembersKept => now("no failing member is kept in".to_owned()),
            Kind::StateRefused => now(format!("{subject} is valid; no quarantined file is left")),
            Kind::ReloadRefused => now(format!("{subject} is valid and active")),
            Kind::FileReplaced => now(format!("{subject} is the file that is mounted there again")),
            Kind::ServicesRefused | Kind::RemovalsWithheld => {
                let nodes = self.nodes.total().nodes();
                now(format!("{subject} is valid and active: {nodes} nodes"))
            }
            Kind::HostsUnresolved => now(format!("all host names in {subject} are resolved")),
            Kind::SourceLost => now(format!("{subject} lists its members")),
            Kind::MembersRejected => now(format!(
                "every member of {subject} that should be a node is one"
            )),
            Kind::StateNotWritten => now(format!("{subject} is written")),
            Kind::OrdersNotKept => now("no order is lost by a restart".to_owned()),
            Kind::Frozen => now("nothing is frozen".to_owned()),
            Kind::Starting => now("every node has been polled".to_owned()),
        }
    }

    fn of_pool_now(&self, subject: &str) -> Resolution {
        let level = self
            .pools
            .iter()
            .find(|level| level.pool.as_str() == subject);
        let Some(PoolHealth {
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
        Resolution {
            resolved: *serving > 0 || (*min_members == 0 && !has_nodes),
            text,
        }
    }

    /// Describes a pool without serving members while nodes are down whose pool is unknown: they have not responded
    /// since pollbal was started, so the problem is not known to be resolved.
    fn where_nodes_are_unknown(&self, pool: &str) -> Option<Resolution> {
        let down = match self.nodes.without_pool.down() {
            0 => return None,
            1 => "1 node is".to_owned(),
            down => format!("{down} nodes are"),
        };
        Some(Resolution {
            resolved: false,
            text: format!(
                "pool {pool} has no serving members, and {down} down of which it is not known in which pool they serve"
            ),
        })
    }

    fn of_load_balancer_now(&self, address: &str) -> Resolution {
        let mut drivers = self.drivers.iter();
        match drivers.find(|(id, _)| *id.address == *address) {
            None => now(format!(
                "load balancer {address} is not configured any more"
            )),
            Some((
                id,
                DriverHealth {
                    connected: true,
                    in_sync,
                    ..
                },
            )) => {
                let sync = if *in_sync {
                    "in sync"
                } else {
                    "not in sync yet"
                };
                now(format!("{id} is connected and {sync}"))
            }
            Some((id, _)) => Resolution {
                resolved: false,
                text: format!("{id} is not connected"),
            },
        }
    }
}

fn now(text: String) -> Resolution {
    Resolution {
        resolved: true,
        text,
    }
}
