//! What a person must know, as long as it holds: computed from how things stand, never from events.

mod instead;
mod kind;
mod node;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use self::instead::Instead;
pub use self::kind::Kind;
pub use self::node::well;
pub use self::pool::PoolLevel;
use super::health::Severity;
use super::names::PoolName;
use super::node_counts::{Counts, NodeCounts};
use super::node_view::NodeStatus;
use super::text::{printable, shortened};

/// No text of a condition is longer, in characters.
const MAX_TEXT: usize = 1_000;

/// How things stand, as far as a person may have to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Each node was heard once, so that it is known what is wanted.
    pub first_round_done: bool,
    /// The pools that are declared or were announced; none before the first round is done.
    pub pools: Vec<PoolLevel>,
    /// How many nodes are where.
    pub nodes: NodeCounts,
    /// When it is told that nodes are down.
    pub nodes_down: NodesDown,
    /// Why failures put nobody out: the names of the freezes.
    pub frozen: Vec<String>,
    /// Orders in force that no state file keeps.
    pub orders_not_kept: usize,
    /// The Perlbals, by their management address.
    pub perlbals: BTreeMap<String, PerlbalLevel>,
    /// Pool files that are not as they should be.
    pub files: Option<Fault>,
    /// A state file that cannot be written.
    pub state: Option<Fault>,
    /// A state file that was refused at the start.
    pub state_refused: Option<Fault>,
    /// A services file that was refused.
    pub services: Option<Fault>,
    /// A list whose removals are withheld.
    pub removals: Option<Fault>,
    /// A services file that was replaced where it is mounted from.
    pub services_replaced: Option<Fault>,
    /// The configuration, likewise.
    pub config_replaced: Option<Fault>,
    /// A reload that was refused.
    pub reload: Option<Fault>,
}

/// When a person is told that nodes are down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodesDown {
    /// When so many percent of all nodes, or of one pool's, are down; 0: never.
    pub percent: u32,
    /// For so long.
    pub after: Duration,
}

/// How a Perlbal stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerlbalLevel {
    /// There is a connection, by which it could be read.
    pub connected: bool,
    /// Why there is none, and what waits to be applied, in words that go behind "it is".
    pub away: Option<Arc<str>>,
    /// All is there as it is wanted.
    pub in_sync: bool,
    /// What differs while it is not, pool by pool, as far as that is known.
    pub differs: Option<Arc<str>>,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its path, or a directory's.
    pub path: String,
    /// What is wrong; may have several lines.
    pub text: String,
}

/// Something that holds and that a person must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What kind of thing it is.
    pub kind: Kind,
    /// What it is about: a pool, a Perlbal's address, a file.
    pub subject: String,
    /// The pool, if it is about one.
    pub pool: Option<PoolName>,
    /// What it is, for people: one printable line of bounded length.
    pub text: String,
    /// The same in a few words, for a verdict.
    pub brief: String,
    /// Whether a person is told.
    pub alert: Alert,
}

/// Whether a person is told of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// When it has held for so long.
    After(Duration),
    /// Another condition says it too, and worse. Who was told of this one before is told when it is over.
    Covered,
    /// It is only shown.
    Never,
}

impl Circumstances {
    /// The same as far as it concerns these pools: of pools and nodes no others, and all that concerns
    /// every pool.
    #[must_use]
    pub fn only(self, pools: &BTreeSet<PoolName>) -> Self {
        let nodes = self.nodes.only(pools);
        // Why nothing is decided yet is a matter of all nodes.
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

    /// What a person must know now, the worst first.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        let pools = self.pools.iter();
        let pools = pools.flat_map(|level| level.conditions(self.nodes.pools.get(&level.pool)));
        let perlbals = self.perlbals.iter();
        let perlbals =
            perlbals.filter_map(|(address, level)| level.condition(address, self.first_round_done));
        let mut conditions: Vec<_> = pools
            .chain(perlbals)
            .chain(self.of_nodes())
            .chain(self.of_files())
            .chain(self.of_orders())
            .chain(self.starting())
            .collect();
        conditions.sort_by_key(|condition| condition.kind);
        conditions
    }

    fn of_files(&self) -> impl Iterator<Item = Condition> {
        let files = [
            // Before the first round nothing is wanted of them but that the declared pools' are there.
            (Kind::FilesNotWritten, &self.files, "pool files not written"),
            (
                Kind::StateRefused,
                &self.state_refused,
                "state file refused",
            ),
            (Kind::ReloadRefused, &self.reload, "reload refused"),
            (
                Kind::ServicesRefused,
                &self.services,
                "services file refused",
            ),
            (
                Kind::RemovalsWithheld,
                &self.removals,
                "removals from the services file withheld",
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
            let Fault { path, text } = fault.as_ref()?;
            Some(Condition::new(kind, path, text, brief))
        })
    }

    fn of_nodes(&self) -> impl Iterator<Item = Condition> {
        let whole = self.nodes.total();
        let of = |kind: Kind, part: fn(&Counts) -> usize, what: &str| {
            let told = (part(&whole) > 0).then(|| self.nodes.share(part, what))?;
            Some(Condition::new(kind, "nodes", &told, &told))
        };
        let refused = |counts: &Counts| counts.at(NodeStatus::Refused);
        let down = of(Kind::NodesDown, Counts::down, "down").map(|down| Condition {
            alert: match self.nodes_down {
                reached if reached.is_reached(&self.nodes) => Alert::After(reached.after),
                _ => Alert::Never,
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

    fn of_orders(&self) -> impl Iterator<Item = Condition> {
        let frozen = (!self.frozen.is_empty()).then(|| {
            let by = self.frozen.join(", ");
            let text = format!("frozen, failures put nobody out: {by}");
            Condition::new(Kind::Frozen, "orders", &text, &format!("frozen ({by})"))
        });
        let orders = match self.orders_not_kept {
            1 => "1 order".to_owned(),
            many => format!("{many} orders"),
        };
        let lost = (self.orders_not_kept > 0).then(|| {
            let brief = format!("{orders} would not survive a restart");
            let text = format!("{brief}: there is no state_file");
            Condition::new(Kind::OrdersNotKept, "orders", &text, &brief)
        });
        frozen.into_iter().chain(lost)
    }

    fn starting(&self) -> Option<Condition> {
        let whole = self.nodes.total();
        let (text, brief) = match (self.first_round_done, whole.nodes()) {
            (true, _) => return None,
            (false, 0) => {
                let brief = "starting, the services file names no node".to_owned();
                (format!("{brief}: nothing is done until it does"), brief)
            }
            (false, all) => {
                let unheard = whole.unheard;
                let brief = format!("starting, {unheard} of {all} nodes not heard yet");
                (format!("{brief}: nothing changes before"), brief)
            }
        };
        Some(Condition::new(Kind::Starting, "nodes", &text, &brief))
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

impl PerlbalLevel {
    fn condition(&self, address: &str, first_round_done: bool) -> Option<Condition> {
        let perlbal = format!("Perlbal {address}");
        let (kind, text, brief) = match (self.connected, self.in_sync || !first_round_done) {
            (true, true) => return None,
            (false, _) => {
                let text = format!("there is no connection to {perlbal}");
                let (text, state) = match self.away.as_deref() {
                    Some(away) => (format!("{text}: it is {away}"), away.split(" (").next()),
                    None => (text, None),
                };
                let state = state.unwrap_or("not connected");
                (Kind::PerlbalLost, text, format!("{perlbal} {state}"))
            }
            (true, false) => {
                let differs = self.differs.as_deref();
                let differs = differs.unwrap_or("what was read there is being put right");
                let text = format!("{perlbal} is not as it should be: {differs}");
                (
                    Kind::PerlbalNotInSync,
                    text,
                    format!("{perlbal} not in sync"),
                )
            }
        };
        Some(Condition::new(kind, address, &text, &brief))
    }
}

impl Condition {
    fn new(kind: Kind, subject: &str, text: &str, brief: &str) -> Self {
        Self {
            kind,
            subject: printable(subject),
            pool: None,
            text: one_line(text),
            brief: one_line(brief),
            alert: kind.settles().map_or(Alert::Never, Alert::After),
        }
    }

    fn of_pool(kind: Kind, pool: &PoolName, text: &str, brief: &str) -> Self {
        Self {
            pool: Some(pool.clone()),
            ..Self::new(kind, pool.as_str(), text, brief)
        }
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

fn one_line(text: &str) -> String {
    let one_line = text.lines().collect::<Vec<_>>().join("; ");
    shortened(&printable(&one_line), MAX_TEXT)
}
