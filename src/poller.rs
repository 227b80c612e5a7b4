//! Pollers: a task per node that asks it `GET /pool`, again and again.
//!
//! Each new node is polled at once, [`FIRST_POLLS`] at a time, and then every `poll_interval`, the
//! nodes spread evenly over it. Observations go to the daemon by one bounded channel.

mod connection;
mod exchange;
mod schedule;

use std::collections::HashMap;
use std::error::Error;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use rustix::io::Errno;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, trace, warn};

use self::connection::{Connection, Permits, Trouble};
use self::exchange::{Answer, Broken};
use self::schedule::{Rota, Schedule};
use crate::config::PollSettings;
use crate::logging::count;
use crate::model::announcement::Announcement;
use crate::model::node::{Node, NodeAddr};
use crate::model::observation::{Failure, Observation};
use crate::quota::WINDOW;

/// The longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 4_096;

/// So many nodes are polled at a time when many are new.
const FIRST_POLLS: usize = 512;

/// One in so many open files is left for others than kept connections: half for the polls of
/// nodes that have none, the rest for Perlbals, files and hooks.
const OTHERS_SHARE: usize = 4;

/// And so many at least.
const OTHERS: usize = 64;

/// An observation on its way to the daemon.
pub type Observed = (NodeAddr, Observation);

/// All pollers.
pub struct Pollers {
    shared: Arc<Shared>,
    rota: watch::Sender<Rota>,
    /// A task for each node, ended when this is dropped.
    tasks: JoinSet<()>,
    /// What ends the task of a node.
    ends: HashMap<NodeAddr, AbortHandle>,
    /// So many connections may be kept.
    kept: usize,
    /// The log was told that this is fewer than there are nodes.
    told_few: bool,
}

/// What all pollers use.
struct Shared {
    observed: mpsc::Sender<Observed>,
    first_polls: Semaphore,
    permits: Arc<Permits>,
    /// Slots of an interval are counted from here.
    epoch: Instant,
    /// When the log was last told that there are no more descriptors.
    told_no_descriptors: Mutex<Option<Instant>>,
}

impl Pollers {
    /// No nodes yet. `open_files` is the limit of open files.
    #[must_use]
    pub fn new(observed: mpsc::Sender<Observed>, open_files: usize) -> Self {
        let others = (open_files / OTHERS_SHARE).max(OTHERS);
        let kept = open_files.saturating_sub(others);
        let shared = Shared {
            observed,
            first_polls: Semaphore::new(FIRST_POLLS),
            permits: Arc::new(Permits::new(kept, others / 2)),
            epoch: Instant::now(),
            told_no_descriptors: Mutex::new(None),
        };
        Self {
            shared: Arc::new(shared),
            rota: watch::Sender::default(),
            tasks: JoinSet::new(),
            ends: HashMap::new(),
            kept,
            told_few: false,
        }
    }

    /// Polls just these nodes from now on; those that stay keep their poller and connection.
    pub fn set(&mut self, nodes: &[Node], settings: &PollSettings) {
        self.tell_few(nodes.len());
        self.rota.send_replace(Rota::new(nodes, settings));
        let mut before = mem::take(&mut self.ends);
        for node in nodes {
            let end = before
                .remove(&node.addr)
                .unwrap_or_else(|| self.start(node.addr));
            self.ends.insert(node.addr, end);
        }
        // At once, whatever they wait for: what they heard must not come beside what a later
        // poller of the same node hears.
        for gone in before.into_values() {
            gone.abort();
        }
        while self.tasks.try_join_next().is_some() {}
    }

    fn start(&mut self, addr: NodeAddr) -> AbortHandle {
        let poller = Poller {
            addr,
            connection: Connection::new(addr, self.shared.permits.clone()),
            shared: self.shared.clone(),
            rota: self.rota.subscribe(),
        };
        self.tasks.spawn(poller.run())
    }

    /// Polls no more.
    pub fn stop(&mut self) {
        self.tasks.abort_all();
    }

    /// Says once that not every node can have a connection that is kept.
    fn tell_few(&mut self, nodes: usize) {
        let few = nodes > self.kept;
        if few && !self.told_few {
            warn!(
                "only {} can be kept: the limit of open files is too low for {}; the others are \
                 polled with a new connection each time, which costs more; raise it (LimitNOFILE= \
                 of the service, or ulimit -Hn) to {} or more",
                count(self.kept, "connection"),
                count(nodes, "node"),
                (nodes.div_ceil(OTHERS_SHARE - 1) * OTHERS_SHARE).max(nodes + OTHERS)
            );
        }
        self.told_few = few;
    }
}

struct Poller {
    addr: NodeAddr,
    connection: Connection,
    shared: Arc<Shared>,
    rota: watch::Receiver<Rota>,
}

impl Poller {
    /// Polls until it is ended.
    async fn run(mut self) {
        let shared = self.shared.clone();
        let first = shared.first_polls.acquire().await;
        let mut schedule = self.schedule();
        if let Some(now) = &schedule {
            Box::pin(self.poll(&now.settings)).await;
        }
        drop(first);
        while let Some(now) = &schedule {
            let due = now.next(shared.epoch, Instant::now());
            tokio::select! {
                // In memory of its own: most of the time there is no poll.
                () = sleep_until(due) => Box::pin(self.poll(&now.settings)).await,
                changed = self.rota.changed() => match changed {
                    Ok(()) => schedule = self.schedule(),
                    Err(_) => return,
                },
            }
        }
    }

    fn schedule(&mut self) -> Option<Schedule> {
        self.rota.borrow_and_update().of(self.addr)
    }

    async fn poll(&mut self, settings: &PollSettings) {
        let polled = self.connection.poll(&settings.path, settings.timeout);
        let observation = match polled.await {
            Ok(answer) => understood(answer),
            Err(trouble) => match failure(trouble) {
                Some(failure) => Observation::Failed(failure),
                None => return self.shared.tell_no_descriptors(),
            },
        };
        trace!(node = %self.addr, ?observation, "polled");
        // Fails only when the daemon is ending. When the channel is full, this node waits.
        _ = self.shared.observed.send((self.addr, observation)).await;
    }
}

impl Shared {
    /// Every poll may come here at once: one of them tells, and again after a while.
    fn tell_no_descriptors(&self) {
        let mut told = self
            .told_no_descriptors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= WINDOW) {
            *told = Some(Instant::now());
            error!(
                "nodes cannot be polled: the limit of open files is reached; raise it \
                 (LimitNOFILE= of the service, or ulimit -n); their state stays as it was"
            );
        }
    }
}

/// What an answer says.
fn understood(answer: Answer) -> Observation {
    if answer.status != StatusCode::OK {
        return Observation::Failed(Failure::Status(answer.status.as_u16()));
    }
    let Some(body) = answer.body else {
        return Observation::Failed(Failure::TooLong(MAX_BODY_BYTES));
    };
    match Announcement::parse(&body) {
        Ok(Some(announcement)) => Observation::Announced(announcement),
        Ok(None) => Observation::Nothing,
        Err(error) => Observation::Failed(Failure::not_understood(error, &body)),
    }
}

/// What a trouble says of the node; nothing when it is our own.
fn failure(trouble: Trouble) -> Option<Failure> {
    match trouble {
        Trouble::Timeout => Some(Failure::Timeout),
        Trouble::Connect(error) => {
            let ours = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
            let ours = ours.contains(&error.raw_os_error());
            (!ours).then(|| Failure::Connect(error.to_string()))
        }
        Trouble::Broken(Broken::BeforeAnswer(error)) => Some(Failure::Broken(deepest(&error))),
        Trouble::Broken(Broken::InBody(error)) => Some(Failure::Broken(deepest(&*error))),
    }
}

/// The cause behind all causes, such as the system's own words.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
