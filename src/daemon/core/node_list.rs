//! The list of nodes: what it adds is applied at once, and what it would remove only as far as [`judge`] allows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Core, Effects};
use crate::drivers::pool_files::earlier::Earlier;
use crate::model::node::{Node, NodeAddr};
use crate::model::ownership::Owned;
use crate::model::removals::{Standing, Withheld, judge};
use crate::model::services::List;
use crate::model::time::Clock;

/// Interval at which withheld removals are reviewed: pools may be able to do without those nodes by now.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);

/// The list of nodes that is active.
#[derive(Debug, Default)]
pub(super) struct NodeList {
    /// Number of nodes in the last list that was applied as a whole.
    listed: usize,
    withheld: Option<Pending>,
}

/// A list whose removals are withheld.
#[derive(Debug)]
struct Pending {
    list: List,
    /// The nodes that stay.
    nodes: BTreeSet<NodeAddr>,
    review_at: Instant,
}

/// What became of a list of nodes.
#[derive(Debug)]
pub(in crate::daemon) enum ListOutcome {
    /// It is active as a whole.
    Applied {
        /// Number of nodes whose removal was withheld until now, because pools could not do without them.
        released: usize,
    },
    /// Its removals are withheld.
    Withheld {
        withheld: Withheld,
        /// Whether there are nodes among them that were not withheld before.
        is_new: bool,
    },
}

impl NodeList {
    /// When withheld removals are to be reviewed; `None` if there are none.
    pub(super) fn next_review(&self) -> Option<Instant> {
        self.withheld.as_ref().map(|pending| pending.review_at)
    }
}

impl Core {
    /// Adopts what the previous run left in the pool directory, beside the nodes of the first list: a file that was cut
    /// off meanwhile must not empty pools either.
    pub(super) fn adopt_previous(
        &mut self,
        list: &List,
        earlier: Earlier,
        owned: &Owned,
        clock: Clock,
    ) {
        self.node_list.listed = earlier.nodes.len().max(1);
        let named: BTreeSet<_> = list.nodes.iter().map(|node| node.addr).collect();
        let gone = earlier.nodes.into_values();
        let gone = gone.filter(|node| !named.contains(&node.addr));
        let gone = gone.map(|node| Node {
            origin: list.awaits.unwrap_or_default(),
            ..node
        });
        let all: Vec<Node> = list.nodes.iter().cloned().chain(gone).collect();
        // No node has been polled yet, so nothing changes by this.
        _ = self.membership.set_nodes(all, clock.now);
        for (pool, versions) in &owned.pools {
            self.membership.own(pool, versions.iter().cloned());
        }
        self.membership.remember_pools(&owned.last_in);
        let rules = self.membership.rules().clone();
        // Of two pools with one name, the first is adopted.
        let pools = earlier.pools.into_iter();
        let (declared, others): (Vec<_>, Vec<_>) =
            pools.partition(|(pool, _)| rules.declared.contains_key(pool));
        for (pool, earlier) in declared.into_iter().chain(others) {
            // A version has a file only once a node has served at it.
            if !earlier.versions.is_empty() {
                self.membership.own(&pool, earlier.versions);
            }
            self.membership.adopt_previous(&pool, earlier.members);
        }
    }

    /// Applies a list; its removals only if they are accepted, or harmless.
    pub(super) fn set_list(
        &mut self,
        list: List,
        accept_removals: bool,
        clock: Clock,
        effects: &mut Effects,
    ) {
        match self.judge(&list).filter(|_| !accept_removals) {
            None => self.apply_whole(list, 0, clock, effects),
            Some(withheld) => {
                let nodes = withheld.active(&list);
                let silent = if list.awaits.is_none() {
                    withheld.nodes.clone()
                } else {
                    Vec::new()
                };
                self.withhold(list, withheld, true, clock, effects);
                self.set_nodes(nodes, clock, effects);
                for node in silent {
                    let changes = self.membership.excuse(node.addr, clock.now);
                    self.record(changes, clock, effects);
                }
            }
        }
    }

    /// Applies withheld removals once the pools can do without those nodes.
    pub(super) fn review_removals(&mut self, clock: Clock, effects: &mut Effects) {
        let is_due = |pending: &mut Pending| pending.review_at <= clock.now;
        let Some(pending) = self.node_list.withheld.take_if(is_due) else {
            return;
        };
        match self.judge(&pending.list) {
            None => self.apply_whole(pending.list, pending.nodes.len(), clock, effects),
            Some(withheld) => {
                let is_known = |addr: NodeAddr| pending.nodes.contains(&addr);
                let is_new = !withheld.nodes.iter().all(|node| is_known(node.addr));
                self.withhold(pending.list, withheld, is_new, clock, effects);
            }
        }
    }

    /// The nodes and pools that a list could remove.
    pub(in crate::daemon) fn standing(&self) -> Standing {
        self.membership.standing(self.node_list.listed)
    }

    fn judge(&self, list: &List) -> Option<Withheld> {
        let mut standing = self.standing();
        // What a source knows to have left or failed may go from its list.
        standing
            .nodes
            .retain(|node| !self.membership.is_reported_out(node.addr));
        judge(list, &standing, self.settings.max_removed).err()
    }

    fn apply_whole(&mut self, list: List, released: usize, clock: Clock, effects: &mut Effects) {
        self.node_list = NodeList {
            listed: list.nodes.len(),
            withheld: None,
        };
        effects.list = Some(ListOutcome::Applied { released });
        self.set_nodes(list.nodes, clock, effects);
    }

    fn withhold(
        &mut self,
        list: List,
        withheld: Withheld,
        is_new: bool,
        clock: Clock,
        effects: &mut Effects,
    ) {
        self.node_list.withheld = Some(Pending {
            list,
            nodes: withheld.nodes.iter().map(|node| node.addr).collect(),
            review_at: clock.now + REVIEW_INTERVAL,
        });
        effects.list = Some(ListOutcome::Withheld { withheld, is_new });
    }

    fn set_nodes(&mut self, nodes: Vec<Node>, clock: Clock, effects: &mut Effects) {
        effects.nodes = Some(nodes.clone());
        let changes = self.membership.set_nodes(nodes, clock.now);
        let membership = &self.membership;
        self.serials.retain(|addr| membership.is_listed(addr));
        self.record(changes, clock, effects);
    }
}
