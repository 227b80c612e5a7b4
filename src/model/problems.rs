//! Problems: what an operator must know while it lasts. Computed from the present status, never from events.

mod kind;
mod node;
mod pool;
mod resolution;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use self::kind::Kind;
pub use self::node::well;
pub use self::pool::PoolHealth;
pub use self::resolution::Resolution;
use super::driver_status::DriverId;
use super::health::Severity;
use super::names::PoolName;
use super::node_counts::{Counts, NodeCounts};
use super::node_view::NodeStatus;
use super::skipped::SkippedNodes;
use super::text::{printable, shortened};

/// Maximum characters of a problem's text.
const MAX_TEXT: usize = 1_000;

/// All that problems are computed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemStatus {
    /// Every node has been polled once, so the desired state is known.
    pub first_round_done: bool,
    /// The pools that are declared or were announced; none before the first round is done.
    pub pools: Vec<PoolHealth>,
    /// Numbers of nodes by pool and status.
    pub nodes: NodeCounts,
    /// When nodes that are down are a reason for an alert.
    pub nodes_down: NodesDown,
    /// The names of the active freezes.
    pub frozen: Vec<String>,
    /// Number of active overrides that no state file keeps.
    pub orders_not_kept: usize,
    /// The load balancers.
    pub drivers: BTreeMap<DriverId, DriverHealth>,
    /// Pool files do not have the desired content.
    pub files: Option<FileFault>,
    /// Nodes that the pool files' format cannot have.
    pub files_skipped: Option<FileFault>,
    /// The state file cannot be written.
    pub state: Option<FileFault>,
    /// A state file was rejected at the start.
    pub state_refused: Option<FileFault>,
    /// The services file was rejected.
    pub services: Option<FileFault>,
    /// Host names of the services file cannot be resolved.
    pub hosts_unresolved: Option<FileFault>,
    /// Serf's agent has no list of members that can be used.
    pub serf: Option<FileFault>,
    /// Members of Serf's cluster should be nodes and cannot be.
    pub members_rejected: Option<FileFault>,
    /// Removals from the list of nodes are withheld.
    pub removals: Option<FileFault>,
    /// The services file was replaced where it is mounted from, so that pollbal still sees the old one.
    pub services_replaced: Option<FileFault>,
    /// The same for the configuration.
    pub config_replaced: Option<FileFault>,
    /// The last reload was rejected.
    pub reload: Option<FileFault>,
}

/// When nodes that are down are a reason for an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodesDown {
    /// Minimum percentage of all nodes, or of one pool's, that are down; 0: never.
    pub percent: u32,
    /// Minimum time for which they are.
    pub after: Duration,
}

/// How well a load balancer is driven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverHealth {
    /// There is a connection, over which it was read.
    pub connected: bool,
    /// Why there is none, and which changes are pending, in words that follow "it is".
    pub outage: Option<Arc<str>>,
    /// Everything there is as desired.
    pub in_sync: bool,
    /// What differs while it is not, pool by pool, as far as known.
    pub differences: Option<Arc<str>>,
    /// Nodes that it cannot have.
    pub skipped: Arc<SkippedNodes>,
    /// It is required, and what it carries is not as desired: pollbal is not ready.
    pub blocks_ready: bool,
}

/// A problem with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// The path of the file or directory.
    pub path: String,
    /// A description, possibly of several lines.
    pub text: String,
}

/// Something that is not well and that an operator must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub kind: Kind,
    /// What it concerns: a pool, a load balancer's address, a file.
    pub subject: String,
    /// The pool, if it concerns one.
    pub pool: Option<PoolName>,
    /// A description: one printable line of bounded length.
    pub text: String,
    /// The same in a few words, for a verdict.
    pub brief: String,
    /// Whether it is a reason for an alert.
    pub alert: AlertPolicy,
    /// Whether pollbal is not ready while it lasts (`/readyz`).
    pub blocks_ready: bool,
}

/// Whether a problem is a reason for an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertPolicy {
    /// Once it has lasted this long.
    After(Duration),
    /// A more severe problem implies it. If this one was reported before, its end is reported.
    Covered,
    /// Never: it is only shown.
    Never,
}

impl SystemStatus {
    /// The status restricted to these pools and their nodes, with all that concerns every pool.
    #[must_use]
    pub fn only(self, pools: &BTreeSet<PoolName>) -> Self {
        let nodes = self.nodes.only(pools);
        // The first round involves all nodes.
        let nodes = if self.first_round_done {
            nodes
        } else {
            self.nodes
        };
        let levels = self.pools.into_iter();
        let levels = levels.filter(|level| pools.contains(&level.pool));
        Self {
            pools: levels.collect(),
            nodes,
            ..self
        }
    }

    /// The present problems, the most severe first.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let pools = self.pools.iter();
        let pools = pools.flat_map(|level| level.problems(self.nodes.pools.get(&level.pool)));
        let drivers = self.drivers.iter();
        let drivers = drivers.flat_map(|(id, health)| {
            let problem = health.problem(id, self.first_round_done);
            problem.into_iter().chain(health.skips(id))
        });
        let mut problems: Vec<_> = pools
            .chain(drivers)
            .chain(self.of_nodes())
            .chain(self.of_files())
            .chain(self.of_orders())
            .chain(self.starting())
            .collect();
        problems.sort_by_key(|problem| problem.kind);
        problems
    }

    fn of_files(&self) -> impl Iterator<Item = Problem> {
        let files = [
            // Before the first round only the files of declared pools are desired.
            (Kind::FilesNotWritten, &self.files, "pool files not written"),
            (
                Kind::NodesSkipped,
                &self.files_skipped,
                "nodes skipped in pool files",
            ),
            (
                Kind::StateRefused,
                &self.state_refused,
                "state file rejected",
            ),
            (Kind::ReloadRefused, &self.reload, "reload rejected"),
            (
                Kind::ServicesRefused,
                &self.services,
                "services file rejected",
            ),
            (
                Kind::HostsUnresolved,
                &self.hosts_unresolved,
                "host names not resolved",
            ),
            (Kind::SourceLost, &self.serf, "Serf has no usable list"),
            (
                Kind::MembersRejected,
                &self.members_rejected,
                "members of Serf not taken as nodes",
            ),
            (
                Kind::RemovalsWithheld,
                &self.removals,
                "removals from the list of nodes withheld",
            ),
            (
                Kind::FileReplaced,
                &self.services_replaced,
                "the mounted services file was replaced",
            ),
            (
                Kind::FileReplaced,
                &self.config_replaced,
                "the mounted configuration was replaced",
            ),
            (Kind::StateNotWritten, &self.state, "state file not written"),
        ];
        files.into_iter().filter_map(|(kind, fault, brief)| {
            let FileFault { path, text } = fault.as_ref()?;
            Some(Problem::new(kind, path, text, brief))
        })
    }

    fn of_nodes(&self) -> impl Iterator<Item = Problem> {
        let whole = self.nodes.total();
        let of = |kind: Kind, part: fn(&Counts) -> usize, what: &str| {
            let text = (part(&whole) > 0).then(|| self.nodes.share(part, what))?;
            Some(Problem::new(kind, "nodes", &text, &text))
        };
        let refused = |counts: &Counts| counts.at(NodeStatus::Refused);
        let down = of(Kind::NodesDown, Counts::down, "down").map(|down| Problem {
            alert: match self.nodes_down {
                reached if reached.is_reached(&self.nodes) => AlertPolicy::After(reached.after),
                _ => AlertPolicy::Never,
            },
            ..down
        });
        let refused = of(Kind::NodesRefused, refused, "refused");
        let kept = of(
            Kind::MembersKept,
            |counts| counts.kept,
            "kept in though failing",
        );
        [down, refused, kept].into_iter().flatten()
    }

    fn of_orders(&self) -> impl Iterator<Item = Problem> {
        let frozen = (!self.frozen.is_empty()).then(|| {
            let by = self.frozen.join(", ");
            let text = format!("frozen, failed nodes stay in: {by}");
            Problem::new(Kind::Frozen, "orders", &text, &format!("frozen ({by})"))
        });
        let orders = match self.orders_not_kept {
            1 => "1 order".to_owned(),
            many => format!("{many} orders"),
        };
        let lost = (self.orders_not_kept > 0).then(|| {
            let brief = format!("{orders} would not survive a restart");
            let text = format!("{brief}: there is no state_file");
            Problem::new(Kind::OrdersNotKept, "orders", &text, &brief)
        });
        frozen.into_iter().chain(lost)
    }

    fn starting(&self) -> Option<Problem> {
        let whole = self.nodes.total();
        let (text, brief) = match (self.first_round_done, whole.nodes()) {
            (true, _) => return None,
            (false, 0) => {
                let brief = "starting, no nodes are listed".to_owned();
                (format!("{brief}: nothing is done until it does"), brief)
            }
            (false, all) => {
                let awaited = whole.awaited;
                let brief = format!("starting, {awaited} of {all} nodes not polled yet");
                (format!("{brief}: nothing changes before"), brief)
            }
        };
        Some(Problem {
            blocks_ready: true,
            ..Problem::new(Kind::Starting, "nodes", &text, &brief)
        })
    }
}

impl NodesDown {
    fn is_reached(self, nodes: &NodeCounts) -> bool {
        let reached = |counts: &Counts| {
            let (down, all) = (counts.down() as u64, counts.nodes() as u64);
            down > 0 && down * 100 >= all * u64::from(self.percent)
        };
        self.percent > 0 && (reached(&nodes.total()) || nodes.pools.values().any(reached))
    }
}

impl DriverHealth {
    fn skips(&self, id: &DriverId) -> Option<Problem> {
        let text = self
            .skipped
            .text(&format!("{id} cannot serve IPv6 nodes"))?;
        let brief = format!("{id} skips IPv6 nodes");
        Some(Problem::new(Kind::NodesSkipped, &id.address, &text, &brief))
    }

    fn problem(&self, id: &DriverId, first_round_done: bool) -> Option<Problem> {
        let (kind, text, brief) = match (self.connected, self.in_sync || !first_round_done) {
            (true, true) => return None,
            (false, _) => {
                let text = format!("{id} unreachable");
                let (text, state) = match self.outage.as_deref() {
                    Some(outage) => (format!("{text}: it is {outage}"), outage.split(" (").next()),
                    None => (text, None),
                };
                let state = state.unwrap_or("not connected");
                (Kind::LoadBalancerLost, text, format!("{id} {state}"))
            }
            (true, false) => {
                let differences = self.differences.as_deref();
                let differences = differences.unwrap_or("what was read there is being corrected");
                let text = format!("{id} is not in sync: {differences}");
                (
                    Kind::LoadBalancerNotInSync,
                    text,
                    format!("{id} not in sync"),
                )
            }
        };
        Some(Problem {
            blocks_ready: self.blocks_ready,
            ..Problem::new(kind, &id.address, &text, &brief)
        })
    }
}

/// Why pollbal is not ready, by the present problems; `None` if it is.
#[must_use]
pub fn why_not_ready(problems: &[Problem]) -> Option<String> {
    let blocking = problems.iter().filter(|problem| problem.blocks_ready);
    let briefs: Vec<_> = blocking.map(|problem| problem.brief.as_str()).collect();
    (!briefs.is_empty()).then(|| format!("not ready: {}", briefs.join("; ")))
}

impl Problem {
    fn new(kind: Kind, subject: &str, text: &str, brief: &str) -> Self {
        Self {
            kind,
            subject: printable(subject),
            pool: None,
            text: one_line(text),
            brief: one_line(brief),
            alert: kind
                .hold_time()
                .map_or(AlertPolicy::Never, AlertPolicy::After),
            blocks_ready: false,
        }
    }

    fn of_pool(kind: Kind, pool: &PoolName, text: &str, brief: &str) -> Self {
        Self {
            pool: Some(pool.clone()),
            ..Self::new(kind, pool.as_str(), text, brief)
        }
    }

    /// Its severity.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

fn one_line(text: &str) -> String {
    let one_line = text.lines().collect::<Vec<_>>().join("; ");
    shortened(&printable(&one_line), MAX_TEXT)
}
