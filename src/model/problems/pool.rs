//! The problems of a pool.

use super::{AlertPolicy, Kind, Problem};
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::node_counts::Counts;
use crate::model::node_view::NodeStatus;

/// Describes a pool in which no node has served yet: only nodes that are known to be out are removed from it.
const UNSERVED: &str =
    "no node has served in it yet; members that a load balancer had before stay until one does";

/// The state of a pool, as far as problems depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolHealth {
    /// The pool.
    pub pool: PoolName,
    /// Whether the configuration declares it.
    pub declared: bool,
    /// Whether a node has ever served in it, as far as known.
    pub served: bool,
    /// Number of members, without sorry servers.
    pub members: usize,
    /// Number of members that serve, as far as known: failed members that only `min_members` or a freeze keeps in do
    /// not count.
    pub serving: usize,
    /// Its `min_members`.
    pub min_members: usize,
    /// The sorry servers that serve at present.
    pub sorry: Vec<NodeAddr>,
}

impl PoolHealth {
    pub(super) fn problems(&self, nodes: Option<&Counts>) -> impl Iterator<Item = Problem> {
        let empty = self.is_empty(nodes).then(|| self.empty(nodes));
        let short = (self.serving < self.min_members).then(|| {
            let Self {
                pool,
                serving,
                min_members,
                ..
            } = self;
            let text =
                format!("pool {pool} below minimum: {serving} serving, min_members {min_members}");
            let brief = format!("pool {pool} has {serving} of its min_members of {min_members}");
            let short = Problem::of_pool(Kind::PoolShort, pool, &text, &brief);
            match empty {
                Some(_) => Problem {
                    alert: AlertPolicy::Covered,
                    ..short
                },
                None => short,
            }
        });
        empty.into_iter().chain(short)
    }

    /// Whether clients may use it although it has no member: it is declared, or has served and a node belongs to it. A
    /// pool that its nodes left for another no longer matters; one in which none has served yet does not matter yet.
    fn is_empty(&self, nodes: Option<&Counts>) -> bool {
        let has_nodes = nodes.is_some_and(|nodes| nodes.nodes() > 0);
        let needs_members = self.declared || (self.served && has_nodes);
        self.members == 0 && (needs_members || !self.sorry.is_empty())
    }

    fn empty(&self, nodes: Option<&Counts>) -> Problem {
        let pool = &self.pool;
        // The counts may be slightly older, with nodes that still were members.
        let nodes = nodes.copied().unwrap_or_default();
        let counted = Some(nodes).filter(|nodes| nodes.at(NodeStatus::Member) == 0);
        let why = match counted {
            None => String::new(),
            Some(nodes) if nodes.nodes() > 0 => {
                format!(" (of its nodes: {})", nodes.describe_out())
            }
            Some(_) => " (no node announces it)".to_owned(),
        };
        if self.sorry.is_empty() {
            let brief = format!("pool {pool} has no members");
            let text = if self.served {
                format!("{brief}, requests to it wait{why}")
            } else {
                format!("{brief}{why}: {UNSERVED}, and without any, requests to it wait")
            };
            return Problem::of_pool(Kind::PoolEmpty, pool, &text, &brief);
        }
        let addrs: Vec<_> = self.sorry.iter().map(ToString::to_string).collect();
        let addrs = addrs.join(", ");
        let text = if self.served {
            format!("pool {pool} has no member, and its sorry server is active: {addrs}{why}")
        } else {
            format!(
                "pool {pool} has no member{why}: {UNSERVED}, and without any, its sorry server is active: {addrs}"
            )
        };
        let brief = format!("pool {pool} has no members, its sorry server is active");
        Problem::of_pool(Kind::SorryServer, pool, &text, &brief)
    }
}
