//! Lists of nodes, each way that one can come: what it adds counts at once, and what it would remove
//! only as far as [`judge`] allows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tracing::{error, info};

use super::Daemon;
use crate::disk::{no_answer, on_disk};
use crate::drivers::pool_files::earlier::{Earlier, earlier};
use crate::logging::count;
use crate::model::node::{Node, NodeAddr};
use crate::model::problems::FileFault;
use crate::model::removals::{Standing, Withheld, judge};
use crate::model::services::List;
use crate::services_file::Look;

/// While removals are withheld, pools are looked at so often: they may come to do without those.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The list of nodes in force.
#[derive(Default)]
pub(super) struct Listing {
    /// How many nodes the last list named that was taken as a whole.
    listed: usize,
    withheld: Option<Pending>,
}

/// A list that is not obeyed in its removals.
struct Pending {
    list: List,
    /// Those that stay.
    nodes: BTreeSet<NodeAddr>,
    look_at: Instant,
}

impl Listing {
    /// When to look whether what is withheld may be removed; never when nothing is.
    pub(super) async fn look(&self) {
        match &self.withheld {
            Some(pending) => sleep_until(pending.look_at.into()).await,
            None => std::future::pending().await,
        }
    }
}

impl Daemon {
    /// Takes the first list, beside what the run before left in the pool directory: a file that was cut
    /// off meanwhile must not empty pools either.
    pub(super) async fn take_first_list(&mut self, list: List, look: Look) {
        let accept = self.options.accept_removals;
        let earlier = self.read_earlier().await;
        self.listing.listed = earlier.nodes.len().max(1);
        let named: BTreeSet<_> = list.nodes.iter().map(|node| node.addr).collect();
        let gone = earlier.nodes.into_values();
        let gone = gone.filter(|node| !named.contains(&node.addr));
        let all: Vec<Node> = list.nodes.iter().cloned().chain(gone).collect();
        let now = self.present().now;
        // Nobody was heard yet, so nothing changes by this.
        _ = self.membership.set_nodes(all, now);
        let owned = self.owned.borrow().clone();
        for (pool, versions) in &owned.pools {
            self.membership.own(pool, versions.iter().cloned());
        }
        self.membership.remember_pools(&owned.last_in);
        let declared = &self.config.rules.declared;
        // Of two that have one name the first is taken over.
        let pools = earlier.pools.into_iter();
        let (declared, others): (Vec<_>, Vec<_>) =
            pools.partition(|(pool, _)| declared.contains_key(pool));
        for (pool, earlier) in declared.into_iter().chain(others) {
            // A version has a file only when a node has served at it.
            if !earlier.versions.is_empty() {
                self.membership.own(&pool, earlier.versions);
            }
            self.membership.adopt_previous(&pool, earlier.members);
        }
        self.take_list(list, accept);
        self.start_drivers().await;
        self.watch_services(look);
    }

    /// What the run before left in the pool directory. Nothing is decided before that is known.
    async fn read_earlier(&self) -> Earlier {
        let directory = self.config.pool_directory.clone();
        let rules = self.config.rules.clone();
        let name = format!("the pool directory {}", directory.display());
        let late = || error!("{}; pollbal starts as soon as it does", no_answer(&name));
        let read = on_disk("earlier files", move || earlier(&directory, &rules), late);
        read.await.unwrap_or_default()
    }

    /// Takes a list; gives what of it is withheld, unless removals are accepted by a person.
    pub(super) fn take_list(&mut self, list: List, accept: bool) -> Option<Withheld> {
        match self.judge(&list).filter(|_| !accept) {
            None => {
                self.take_whole(list);
                None
            }
            Some(withheld) => {
                let in_force = withheld.in_force(&list);
                self.withhold(list, &withheld, true);
                self.set_nodes(in_force);
                Some(withheld)
            }
        }
    }

    /// Looks whether pools can do by now without the nodes whose removal is withheld.
    pub(super) fn look_at_removals(&mut self) {
        let Some(pending) = self.listing.withheld.take() else {
            return;
        };
        match self.judge(&pending.list) {
            None => {
                let nodes = count(pending.nodes.len(), "node");
                info!("{nodes} are removed now: every pool can do without them");
                self.take_whole(pending.list);
            }
            Some(withheld) => {
                let is_new = !withheld
                    .nodes
                    .iter()
                    .all(|node| pending.nodes.contains(&node.addr));
                self.withhold(pending.list, &withheld, is_new);
            }
        }
    }

    /// What there is to lose.
    pub(super) fn standing(&self) -> Standing {
        self.membership.standing(self.listing.listed)
    }

    fn judge(&self, list: &List) -> Option<Withheld> {
        judge(list, &self.standing(), self.config.max_removed).err()
    }

    fn take_whole(&mut self, list: List) {
        self.listing = Listing {
            listed: list.nodes.len(),
            withheld: None,
        };
        let status_reporter = &self.watchfulness.status_reporter;
        status_reporter.set(|now| &mut now.removals, None);
        self.set_nodes(list.nodes);
    }

    fn withhold(&mut self, list: List, withheld: &Withheld, say: bool) {
        let path = self.config.services_file.display().to_string();
        let text = format!("{path}: {withheld}");
        if say {
            error!("{text}");
        }
        let status_reporter = &self.watchfulness.status_reporter;
        status_reporter.set(|now| &mut now.removals, Some(FileFault { path, text }));
        self.listing.withheld = Some(Pending {
            list,
            nodes: withheld.nodes.iter().map(|node| node.addr).collect(),
            look_at: Instant::now() + LOOK_EVERY,
        });
    }
}
