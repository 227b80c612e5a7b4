//! Whether a reload may refuse members that serve now.
//!
//! A slip in `pools`, as of a letter's case, or in a `nodes` list refuses members at once, and may empty their pool.
//! What would be withheld were they missing from the services file is rejected here, as a whole: rules never become
//! active in part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{MaxRemoved, Standing, Why, first, judge};
use crate::model::names::PoolName;
use crate::model::node::{Node, NodeAddr};
use crate::model::rules::JoinDenied;
use crate::model::services::List;

/// A member that rules would refuse, its pool, and why.
pub type Refused = (Arc<Node>, PoolName, JoinDenied);

/// Why rules are not taken: the members that they would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooManyRefused {
    pools: BTreeMap<PoolName, (Vec<Arc<Node>>, JoinDenied)>,
    why: Vec<Why>,
}

/// Whether these members may be refused.
///
/// # Errors
/// What their pools would suffer.
pub fn judge_refused(
    refused: Vec<Refused>,
    standing: &Standing,
    max: MaxRemoved,
) -> Result<(), TooManyRefused> {
    let addrs: BTreeSet<NodeAddr> = refused.iter().map(|(node, ..)| node.addr).collect();
    let left = standing.nodes.iter();
    let left = left.filter(|node| !addrs.contains(&node.addr));
    let list = List {
        nodes: left.map(|node| Node::clone(node)).collect(),
        ..List::default()
    };
    let Err(withheld) = judge(&list, standing, max) else {
        return Ok(());
    };
    let mut pools = BTreeMap::new();
    for (node, pool, refusal) in refused {
        let (nodes, _) = pools.entry(pool).or_insert_with(|| (Vec::new(), refusal));
        nodes.push(node);
    }
    Err(TooManyRefused {
        pools,
        why: withheld.why,
    })
}

impl fmt::Display for TooManyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("members would be refused: ")?;
        first(f, self.why.iter(), "; ")?;
        f.write_str(". ")?;
        let pools = self.pools.iter();
        let pools = pools.map(|(pool, (nodes, refusal))| OfPool(pool, nodes, refusal));
        first(f, pools, "; ")?;
        f.write_str(". Mend it, or apply it all the same with `pollbal reload --accept-removals`")
    }
}

struct OfPool<'a>(&'a PoolName, &'a [Arc<Node>], &'a JoinDenied);

impl fmt::Display for OfPool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(pool, nodes, refusal) = self;
        write!(f, "Of pool {pool} ")?;
        first(f, nodes.iter().map(|node| &node.name), ", ")?;
        write!(f, ": {refusal}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::removals::PoolStanding;

    fn node(host: u8) -> Arc<Node> {
        Arc::new(Node::new(
            format!("10.0.0.{host}:80").parse().unwrap(),
            format!("node-{host}"),
        ))
    }

    #[test]
    fn members_are_refused_as_far_as_their_pools_can_do_without_them() {
        let api: PoolName = "api".parse().unwrap();
        let nodes: Vec<_> = (1..=4).map(node).collect();
        let members = nodes.iter().map(|node| (node.addr, true)).collect();
        let standing = Standing {
            listed: nodes.len(),
            nodes,
            pools: [(
                api.clone(),
                PoolStanding {
                    min_members: 2,
                    members,
                },
            )]
            .into(),
        };
        let judged = |hosts: &[u8]| {
            let refused =
                |host: &u8| (node(*host), api.clone(), JoinDenied::NotListed(api.clone()));
            let max = MaxRemoved::Share { part: 1, of: 2 };
            judge_refused(hosts.iter().map(refused).collect(), &standing, max)
        };
        assert_eq!(judged(&[]), Ok(()));
        assert_eq!(judged(&[1, 2]), Ok(()));
        let text = judged(&[1, 2, 3]).unwrap_err().to_string();
        for part in [
            "3 of 4 at once",
            "min_members of 2",
            "Of pool api node-1, node-2, node-3: `pools.api.nodes`",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let text = judged(&[1, 2, 3, 4]).unwrap_err().to_string();
        assert!(text.contains("lose all its 4 members"), "{text}");
    }
}
