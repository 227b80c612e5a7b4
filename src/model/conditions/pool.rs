//! What a person must know of a pool.

use super::{Alert, Condition, Kind};
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::node_counts::Counts;
use crate::model::node_view::NodeStatus;

/// What is so of a pool in which no node has served: nobody takes out of it who is not known to be out.
const UNSERVED: &str =
    "no node has served in it yet; members that a load balancer had before stay until one does";

/// How a pool stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLevel {
    /// Which.
    pub pool: PoolName,
    /// Whether the configuration declares it.
    pub declared: bool,
    /// Whether a node ever served in it, as far as is known.
    pub served: bool,
    /// How many members it has, sorry servers apart.
    pub members: usize,
    /// How many members serve, as far as is known: those that failed, and that only `min_members`
    /// or a freeze keeps in, do not count.
    pub serving: usize,
    /// Its `min_members`.
    pub min_members: usize,
    /// The sorry servers that stand in now; empty else.
    pub sorry: Vec<NodeAddr>,
}

impl PoolLevel {
    pub(super) fn conditions(&self, nodes: Option<&Counts>) -> impl Iterator<Item = Condition> {
        let empty = self.is_empty(nodes).then(|| self.empty(nodes));
        let short = (self.serving < self.min_members).then(|| {
            let Self { pool, serving, min_members, .. } = self;
            let text = format!(
                "pool {pool} is short of members: {serving} serving, and its min_members is {min_members}"
            );
            let brief = format!("pool {pool} has {serving} of its min_members of {min_members}");
            let short = Condition::of_pool(Kind::PoolShort, pool, &text, &brief);
            match empty {
                Some(_) => Condition {
                    alert: Alert::Covered,
                    ..short
                },
                None => short,
            }
        });
        empty.into_iter().chain(short)
    }

    /// Whether somebody may want to be served by it although nobody is there: it is declared, or it
    /// served once and a node belongs to it. One that its nodes left for another is no pool any more,
    /// and one in which none has served yet is none before.
    fn is_empty(&self, nodes: Option<&Counts>) -> bool {
        let has_nodes = nodes.is_some_and(|nodes| nodes.nodes() > 0);
        let wanted = self.declared || (self.served && has_nodes);
        self.members == 0 && (wanted || !self.sorry.is_empty())
    }

    fn empty(&self, nodes: Option<&Counts>) -> Condition {
        let pool = &self.pool;
        // Where they were counted a moment ago, some may still count as members.
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
            return Condition::of_pool(Kind::PoolEmpty, pool, &text, &brief);
        }
        let addrs: Vec<_> = self.sorry.iter().map(ToString::to_string).collect();
        let addrs = addrs.join(", ");
        let text = if self.served {
            format!("pool {pool} has no member, and its sorry server stands in: {addrs}{why}")
        } else {
            format!(
                "pool {pool} has no member{why}: {UNSERVED}, and without any, its sorry server stands in: {addrs}"
            )
        };
        let brief = format!("pool {pool} has no members, its sorry server stands in");
        Condition::of_pool(Kind::SorryServer, pool, &text, &brief)
    }
}
