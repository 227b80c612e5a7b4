//! What the doors ask of the daemon, and what it answers.
//!
//! Doors run on a thread of their own. They hold a [`Desk`], put an [`Ask`] into a bounded queue and
//! wait for its answer, a copy; the daemon takes asks between observations. When the queue is full
//! the doors wait, and nobody else.

mod perlbals;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::perlbals::{Perlbals, Place};
use crate::drivers::perlbal::wanted::Translation;
use crate::drivers::pool_files::FileCounts;
use crate::drivers::{PerlbalHandle, Snapshot};
use crate::hooks::HookCounts;
use crate::model::alerts::StandingCondition;
use crate::model::conditions::Circumstances;
use crate::model::event::Event;
use crate::model::event_log::Part;
use crate::model::membership::obedience::Wait;
use crate::model::membership::shortage::Shortage;
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::node_view::NodeView;
use crate::model::orders::{Note, Orders, Reason, ReasonWord};
use crate::model::poll_stats::PollStats;
use crate::model::pools::Pool;
use crate::model::rules::Rules;
use crate::model::site_counts::SiteCounts;
use crate::model::time::Timestamp;

/// Asks that may wait: as many as there may be requests at the doors at a time that wait for the
/// daemon; each is answered within a millisecond or so.
const WAITING: usize = 256;

/// So long an order may take to stand in the state file; then it is answered with a warning.
const WRITTEN: Duration = Duration::from_secs(2);

/// A question or an order.
#[derive(Debug)]
pub enum Ask {
    /// Nothing but an answer.
    Alive(oneshot::Sender<()>),
    /// All that is known.
    View(oneshot::Sender<View>),
    /// The same without each single node.
    Overview(oneshot::Sender<Overview>),
    /// These nodes.
    Nodes(Vec<NodeAddr>, oneshot::Sender<Nodes>),
    /// What happened to a node of late, the oldest first.
    History(NodeAddr, oneshot::Sender<Vec<Arc<Event>>>),
    /// What happened after the event of this number; the last so many of it.
    Events(u64, Part, oneshot::Sender<Vec<Arc<Event>>>),
    /// Something to do.
    Order(Order, oneshot::Sender<Result<Done, Refused>>),
    /// Read configuration and services again, and remove what they do not name any more, if that is
    /// accepted, however much it is; gives what is in force, or what is wrong.
    Reload(bool, oneshot::Sender<Result<Reloaded, String>>),
}

/// What a reload put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// How many nodes there are.
    pub nodes: usize,
    /// All that was read is in force.
    pub applied: bool,
    /// The nodes that stay although the services file does not name them.
    pub withheld: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Put nodes out for a reason.
    Disable {
        /// Which.
        nodes: Vec<NodeAddr>,
        /// Its name.
        word: ReasonWord,
        /// Who, why, until when.
        reason: Reason,
        /// Also when that takes a pool below its `min_members`, or its last member.
        force: bool,
    },
    /// Take a reason away from nodes.
    Enable {
        /// Which.
        nodes: Vec<NodeAddr>,
        /// The reason's name.
        word: ReasonWord,
        /// Who does.
        by: Note,
    },
    /// Let failures put nobody out.
    Freeze(ReasonWord, Reason),
    /// Take a freeze back; and who does.
    Thaw(ReasonWord, Note),
    /// Poll nodes now.
    Nudge(Vec<NodeAddr>),
    /// A node asks to leave.
    Leave(NodeAddr),
    /// Nodes stay: their leaves are taken back; and who does.
    Stay(Vec<NodeAddr>, Note),
}

/// An order was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The snapshot that shows it; 0 before there is one.
    pub serial: u64,
    /// The revision of the orders that holds it, for the state file.
    pub revision: u64,
    /// The pools that it left with too few members, since it was forced.
    pub shortages: Vec<Shortage>,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The services file does not list the node.
    #[error("{0} is not in the services file")]
    Unknown(NodeAddr),
    /// Pools would have too few members.
    #[error("{}", shortages(.0))]
    Short(Vec<Shortage>),
    /// Nobody knows yet whether pools would.
    #[error("not every node was heard yet, so nobody knows whether its pool can do without it")]
    FirstRound,
    /// Someone else disabled the node by that word: it is his to change.
    #[error("{0} is disabled already: {1}{details}; take another word", details = .2.details())]
    Given(String, ReasonWord, Reason),
    /// Someone else froze all by that word.
    #[error("it is frozen already: {0}{details}; take another word", details = .1.details())]
    Frozen(ReasonWord, Reason),
    /// Nobody gave that reason.
    #[error("nothing is frozen by {0}")]
    NotFrozen(ReasonWord),
    /// The node is out for other reasons, but not for this one.
    #[error("{0} is not disabled by {1}; it is by: {2}")]
    OtherReasons(String, ReasonWord, String),
    /// The node may not leave yet.
    #[error("{0}")]
    Wait(Wait),
}

impl Refused {
    /// Whether an order that is forced is not refused for this.
    #[must_use]
    pub fn can_be_forced(&self) -> bool {
        matches!(self, Self::Short(_) | Self::FirstRound)
    }
}

/// `disabling web-1 would leave web with 0 of 1 members (min_members 1)`, of each pool.
fn shortages(shortages: &[Shortage]) -> String {
    let each: Vec<_> = shortages
        .iter()
        .map(|short| format!("disabling {} would leave {short}", short.who()))
        .collect();
    each.join("; ")
}

/// The same moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The clock that never goes back.
    pub now: Instant,
    /// The time of day.
    pub today: Timestamp,
}

impl Moment {
    /// This moment.
    #[must_use]
    pub fn present() -> Self {
        Self {
            now: Instant::now(),
            today: SystemTime::now().into(),
        }
    }

    /// The time of day of another moment.
    #[must_use]
    pub fn of(&self, other: Instant) -> Timestamp {
        match other.checked_duration_since(self.now) {
            Some(later) => self.today.after(later),
            None => self.today.before(self.now - other),
        }
    }
}

/// Nodes, and how far their last change has come.
#[derive(Debug)]
pub struct Nodes {
    /// When this was so.
    pub moment: Moment,
    /// Those that were asked for, in that order; `None` for one that the services file does not list.
    pub nodes: Vec<Option<Seen>>,
    /// How the Perlbals stand.
    pub perlbals: Perlbals,
    /// Whether every node was heard once.
    pub first_round_done: bool,
    /// What the configuration says of pools.
    pub rules: Arc<Rules>,
    /// How often a node is polled.
    pub poll_interval: Duration,
}

/// A node, and the snapshot that shows its last change.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The node.
    pub view: NodeView,
    /// The serial of the first snapshot that shows where it is now.
    pub serial: u64,
}

/// All that is known.
#[derive(Debug)]
pub struct View {
    /// Of the whole.
    pub overview: Overview,
    /// Of each node, in the order of the services file.
    pub nodes: Vec<Seen>,
}

/// What is known of the whole; at a big site a hundredth of what is known of each node.
#[derive(Debug)]
pub struct Overview {
    /// When this was so.
    pub moment: Moment,
    /// When the program started, once and for all: told anew by the clocks of each answer, its last
    /// digit would waver.
    pub started: Moment,
    /// Number of nodes, by status, pool and reason.
    pub counts: SiteCounts,
    /// Whether each was heard once.
    pub first_round_done: bool,
    /// The wanted state; none before the first round is done.
    pub snapshot: Option<Snapshot>,
    /// What the configuration says of pools.
    pub rules: Arc<Rules>,
    /// All orders in force.
    pub orders: Orders,
    /// Those of their addresses that the services file does not list.
    pub gone: BTreeSet<NodeAddr>,
    /// How the Perlbals and the pool files stand.
    pub perlbals: Perlbals,
    /// The way to ask each Perlbal's manager, in the order of the configuration.
    pub managers: Vec<PerlbalHandle>,
    /// From names of pools to those in Perlbal.
    pub translation: Translation,
    /// What became of the changes of pool files, counted.
    pub file_counts: FileCounts,
    /// Statistics of all polls.
    pub poll_stats: PollStats,
    /// The number of the last event.
    pub last_event: u64,
    /// What a person must know, the worst first. Only what has held for some seconds
    /// ([`Kind::settles`](crate::model::conditions::Kind::settles)) and has not been away as long.
    pub conditions: Vec<StandingCondition>,
    /// How all stands at this moment: what is judged.
    pub circumstances: Circumstances,
    /// How the runs of hooks went, by the hook's key.
    pub hooks: BTreeMap<&'static str, HookCounts>,
    /// Whether metrics have series for each node.
    pub metrics_per_node: bool,
}

impl Overview {
    /// Whether there is that pool: declared, or announced.
    #[must_use]
    pub fn is_pool(&self, name: &PoolName) -> bool {
        self.rules.declared.contains_key(name) || self.pool(name).is_some()
    }

    /// That pool as it is wanted; nothing before the first round is done.
    #[must_use]
    pub fn pool(&self, name: &PoolName) -> Option<&Pool> {
        let pools = &self.snapshot.as_ref()?.pools.pools;
        pools.get(name).map(Arc::as_ref)
    }
}

/// The daemon does not answer any more: it is ending.
#[derive(Clone, Copy, Debug, Error)]
#[error("pollbal is ending")]
pub struct Gone;

/// The way to ask; clones share one queue.
#[derive(Clone, Debug)]
pub struct Desk {
    asks: mpsc::Sender<Ask>,
    /// Counts up whenever something may be otherwise than before.
    pulse: watch::Receiver<u64>,
    /// The revision of the orders that the state file holds.
    written: watch::Receiver<u64>,
}

impl Desk {
    /// A desk, and the queue that the daemon empties.
    #[must_use]
    pub fn new(
        pulse: watch::Receiver<u64>,
        written: watch::Receiver<u64>,
    ) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, queue) = mpsc::channel(WAITING);
        let desk = Self {
            asks,
            pulse,
            written,
        };
        (desk, queue)
    }

    /// Comes when the daemon has answered.
    pub async fn alive(&self) -> Result<(), Gone> {
        self.ask(Ask::Alive).await
    }

    /// All that is known.
    pub async fn view(&self) -> Result<View, Gone> {
        self.ask(Ask::View).await
    }

    /// The same without each single node.
    pub async fn overview(&self) -> Result<Overview, Gone> {
        self.ask(Ask::Overview).await
    }

    /// These nodes.
    pub async fn nodes(&self, addrs: Vec<NodeAddr>) -> Result<Nodes, Gone> {
        self.ask(|to| Ask::Nodes(addrs, to)).await
    }

    /// What happened to a node of late, the oldest first.
    pub async fn history(&self, addr: NodeAddr) -> Result<Vec<Arc<Event>>, Gone> {
        self.ask(|to| Ask::History(addr, to)).await
    }

    /// What happened after the event of this number; the last `limit` of it.
    pub async fn events(&self, after: u64, part: Part) -> Result<Vec<Arc<Event>>, Gone> {
        self.ask(|to| Ask::Events(after, part, to)).await
    }

    /// Has something done.
    pub async fn order(&self, order: Order) -> Result<Result<Done, Refused>, Gone> {
        self.ask(|to| Ask::Order(order, to)).await
    }

    /// Has configuration and services read again.
    pub async fn reload(&self, accept_removals: bool) -> Result<Result<Reloaded, String>, Gone> {
        self.ask(|to| Ask::Reload(accept_removals, to)).await
    }

    /// Wakes whenever something may be otherwise than before.
    #[must_use]
    pub fn pulse(&self) -> watch::Receiver<u64> {
        self.pulse.clone()
    }

    /// Waits until the state file holds this revision of the orders; at once when there is none.
    /// `false` when it takes longer than [`WRITTEN`].
    pub async fn is_written(&self, revision: u64) -> bool {
        let mut written = self.written.clone();
        let reached = written.wait_for(|written| *written >= revision);
        matches!(tokio::time::timeout(WRITTEN, reached).await, Ok(Ok(_)))
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Gone> {
        let (to, answer) = oneshot::channel();
        self.asks.send(ask(to)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}

/// The first snapshots that show the last changes of nodes.
#[derive(Debug, Default)]
pub struct Serials(HashMap<NodeAddr, u64>);

impl Serials {
    /// Changes of these nodes are shown from this snapshot on.
    pub fn set(&mut self, addrs: impl IntoIterator<Item = NodeAddr>, serial: u64) {
        self.0.extend(addrs.into_iter().map(|addr| (addr, serial)));
    }

    /// The first snapshot that shows where the node is now. That is the very first one where nothing
    /// changed since; before there is one, nobody was told anything.
    #[must_use]
    pub fn of(&self, addr: NodeAddr) -> u64 {
        self.0.get(&addr).copied().unwrap_or(1)
    }

    /// Forgets all others.
    pub fn retain(&mut self, listed: impl Fn(NodeAddr) -> bool) {
        self.0.retain(|addr, _| listed(*addr));
    }
}
