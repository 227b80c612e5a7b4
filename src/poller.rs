//! Pollers: a task per node that asks it `GET /pool`, again and again.
//!
//! Each new node is polled at once, [`OUT_OF_TURN`] at a time, and then every `poll_interval`, the
//! nodes spread evenly over it. Observations go to the daemon by one bounded channel. The daemon may
//! call a poller out of its turn: see [`Pollers::nudge`] and [`Pollers::ask_again`].

mod answer;
mod connection;
mod exchange;
mod schedule;

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, trace, warn};

use self::answer::{Answer, MAX_BODY_BYTES};
use self::connection::{Connection, Permits, Trouble};
use self::exchange::Broken;
use self::schedule::{Rota, Schedule};
use crate::config::PollSettings;
use crate::logging::count;
use crate::model::announcement::Announcement;
use crate::model::node::{Node, NodeAddr};
use crate::model::observation::{Failure, Observation, Poll};
use crate::quota::Rarely;

/// So many nodes are polled at a time out of their turn: when many are new, or are called at once.
const OUT_OF_TURN: usize = 512;

/// One in so many open files is left for others than kept connections: half for the polls of
/// nodes that have none, the rest for Perlbals, files, hooks and the doors.
const OTHERS_SHARE: usize = 4;

/// And so many at least.
const OTHERS: usize = 64;

/// How many of so many open files are left for others than kept connections.
fn others(open_files: usize) -> usize {
    (open_files / OTHERS_SHARE).max(OTHERS)
}

/// How many of so many open files polls leave to everything else.
#[must_use]
pub fn left_to_others(open_files: usize) -> usize {
    others(open_files) / 2
}

/// A poll on its way to the daemon.
pub type Observed = (NodeAddr, Poll);

/// All pollers.
pub struct Pollers {
    shared: Arc<Shared>,
    rota: watch::Sender<Rota>,
    /// A task for each node, ended when this is dropped.
    tasks: JoinSet<()>,
    /// What reaches the task of a node.
    handles: HashMap<NodeAddr, Handle>,
    /// So many connections may be kept.
    kept: usize,
    /// The log was told that this is fewer than there are nodes.
    told_few: bool,
}

/// A poller, as the others see it.
struct Handle {
    end: AbortHandle,
    call: Arc<Call>,
}

/// A word to a poller.
#[derive(Default)]
struct Call {
    came: Notify,
    /// Poll now; else soon.
    at_once: AtomicBool,
}

/// What all pollers use.
struct Shared {
    observed: mpsc::Sender<Observed>,
    out_of_turn: Semaphore,
    permits: Arc<Permits>,
    /// Slots of an interval are counted from here.
    epoch: Instant,
    /// How often the log is told that there are no more descriptors.
    no_descriptors: Mutex<Rarely>,
}

impl Call {
    /// Comes when the node is to be polled at once. A poll is under way meanwhile, so that whoever
    /// wants it to be polled soon has that.
    async fn at_once(&self) {
        loop {
            self.came.notified().await;
            if self.is_at_once() {
                return;
            }
        }
    }

    /// Whether that was said, once.
    fn is_at_once(&self) -> bool {
        self.at_once.swap(false, Ordering::Relaxed)
    }
}

impl Pollers {
    /// No nodes yet. `open_files` is the limit of open files.
    #[must_use]
    pub fn new(observed: mpsc::Sender<Observed>, open_files: usize) -> Self {
        let others = others(open_files);
        let kept = open_files.saturating_sub(others);
        let shared = Shared {
            observed,
            out_of_turn: Semaphore::new(OUT_OF_TURN),
            permits: Arc::new(Permits::new(kept, others / 2)),
            epoch: Instant::now(),
            no_descriptors: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            rota: watch::Sender::default(),
            tasks: JoinSet::new(),
            handles: HashMap::new(),
            kept,
            told_few: false,
        }
    }

    /// Polls just these nodes from now on; those that stay keep their poller and connection.
    pub fn set(&mut self, nodes: &[Node], settings: &PollSettings) {
        self.tell_few(nodes.len());
        self.rota.send_replace(Rota::new(nodes, settings));
        let mut before = mem::take(&mut self.handles);
        for node in nodes {
            let handle = before
                .remove(&node.addr)
                .unwrap_or_else(|| self.start(node.addr));
            self.handles.insert(node.addr, handle);
        }
        // At once, whatever they wait for: what they heard must not come beside what a later
        // poller of the same node hears.
        for gone in before.into_values() {
            gone.end.abort();
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// Polls a node at once, or when the poll of it that is under way is done. Whatever it owes to
    /// earlier polls is not waited for any more: it is asked on a new connection, since nothing says
    /// better than a node's own nudge that it lives.
    pub fn nudge(&self, addr: NodeAddr) {
        if let Some(handle) = self.handles.get(&addr) {
            handle.call.at_once.store(true, Ordering::Relaxed);
            handle.call.came.notify_one();
        }
    }

    /// Polls a node again after `retry_interval`, and not sooner than its last poll took.
    pub fn ask_again(&self, addr: NodeAddr) {
        if let Some(handle) = self.handles.get(&addr) {
            handle.call.came.notify_one();
        }
    }

    fn start(&mut self, addr: NodeAddr) -> Handle {
        let call = Arc::<Call>::default();
        let mut poller = Poller {
            addr,
            connection: Connection::new(addr, self.shared.permits.clone()),
            shared: self.shared.clone(),
            rota: self.rota.subscribe(),
            call: call.clone(),
        };
        // By reference: as an argument it would be in the task's memory twice.
        let end = self.tasks.spawn(async move { poller.run().await });
        Handle { end, call }
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
    call: Arc<Call>,
}

impl Poller {
    /// Polls until it is ended.
    async fn run(&mut self) {
        let shared = self.shared.clone();
        let call = self.call.clone();
        let first = shared.out_of_turn.acquire().await;
        let mut schedule = self.schedule();
        let mut took = Duration::ZERO;
        if let Some(now) = &schedule {
            took = Box::pin(self.poll(&now.settings)).await;
        }
        drop(first);
        // Out of turn, when what was heard is to be heard again soon.
        let mut again = None;
        while let Some(now) = &schedule {
            let turn = now.next(shared.epoch, Instant::now());
            let due = again.map_or(turn, |again: Instant| again.min(turn));
            let called = tokio::select! {
                () = sleep_until(due) => None,
                () = call.came.notified() => Some(call.is_at_once()),
                changed = self.rota.changed() => match changed {
                    Ok(()) => {
                        schedule = self.schedule();
                        continue;
                    }
                    Err(_) => return,
                },
            };
            if called == Some(false) {
                again = Some(Instant::now() + now.pause(took));
                continue;
            }
            again = None;
            if called == Some(true) {
                self.connection.give_up_owed();
            }
            let place = match called {
                Some(_) => Some(shared.out_of_turn.acquire().await),
                None => None,
            };
            // In memory of its own: most of the time there is no poll.
            took = Box::pin(self.poll(&now.settings)).await;
            drop(place);
        }
    }

    fn schedule(&mut self) -> Option<Schedule> {
        self.rota.borrow_and_update().of(self.addr)
    }

    /// Polls once, and gives how long it took.
    async fn poll(&mut self, settings: &PollSettings) -> Duration {
        let (asked_at, answer) = loop {
            self.connection.permitted().await;
            let asked_at = Instant::now();
            let nudged = self.call.at_once();
            let polled = self
                .connection
                .poll(&settings.path, settings.timeout, nudged);
            match polled.await {
                // Nothing was asked of the node yet, so nothing is heard.
                Err(Trouble::Nudged) => {}
                answer => break (asked_at, answer),
            }
        };
        let took = asked_at.elapsed();
        let observation = match answer.map_err(failure) {
            Ok(answer) => understood(answer),
            Err(Some(failure)) => Observation::Failed(failure),
            Err(None) => {
                self.shared.tell_no_descriptors();
                return took;
            }
        };
        trace!(node = %self.addr, ?observation, "polled");
        // Fails only when the daemon is ending. When the channel is full, this node waits.
        let poll = Poll {
            observation,
            asked_at: asked_at.into(),
            took,
        };
        _ = self.shared.observed.send((self.addr, poll)).await;
        took
    }
}

impl Shared {
    /// Every poll may come here at once: one of them tells, and again after a while.
    fn tell_no_descriptors(&self) {
        let rarely = self.no_descriptors.lock();
        let mut rarely = rarely.unwrap_or_else(PoisonError::into_inner);
        if rarely.ask(Instant::now().into_std()) {
            error!(
                "nodes cannot be polled: the limit of open files is reached; raise it \
                 (LimitNOFILE= of the service, or ulimit -n); their state stays as it was"
            );
        }
    }
}

/// What an answer says.
fn understood(answer: Answer) -> Observation {
    if answer.status != 200 {
        return Observation::Failed(Failure::Status(answer.status));
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
        Trouble::Nudged => None,
        Trouble::Connect(error) => {
            let ours = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
            let ours = ours.contains(&error.raw_os_error());
            (!ours).then(|| Failure::Connect(error.to_string()))
        }
        Trouble::Broken(Broken::BeforeAnswer(cause) | Broken::InBody(cause)) => {
            Some(Failure::Broken(cause.to_string()))
        }
    }
}
