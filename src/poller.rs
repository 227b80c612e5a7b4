//! Pollers: one task per node that sends it `GET /pool` at regular intervals.
//!
//! A new node is polled at once, [`MAX_UNSCHEDULED`] at a time, and then every `poll_interval`; the nodes are spread
//! evenly over the interval. Observations go to the daemon over a bounded channel. The daemon can trigger polls outside
//! the schedule: see [`Pollers::nudge`] and [`Pollers::retry_soon`].

mod connection;
mod exchange;
pub(crate) mod once;
mod outcome;
mod permits;
mod request;
mod response;
mod schedule;
mod trigger;
mod unknown_keys;

use std::collections::HashMap;
use std::future::pending;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, trace, warn};

use self::connection::{Connection, PollError, PollRequest};
use self::outcome::{failure, observation};
use self::permits::Permits;
use self::schedule::{PollPlan, Schedule};
use self::trigger::{Early, Trigger};
use self::unknown_keys::UnknownKeys;
use crate::awake::Budget;
use crate::config::poll::PollSettings;
use crate::fd_limits::FdShares;
use crate::log_throttle::OncePerWindow;
use crate::logging::count;
use crate::model::bucket::{Bucket, Rate};
use crate::model::node::{Node, NodeAddr};
use crate::model::observation::{Observation, Poll};

/// Maximum number of simultaneous polls outside the schedule, when many nodes are new or triggered at once.
const MAX_UNSCHEDULED: usize = 512;

/// Maximum rate of nudges that lead to an immediate poll of a node; further ones are delayed.
const NUDGES: Rate = Rate {
    burst: 10,
    every: Duration::from_millis(200),
};

/// Maximum number of retries of a poll that failed while this process was suspended: on a machine that stalls all the
/// time, failures count eventually.
const MAX_RETRIES: u32 = 5;

/// The result of a poll, on its way to the daemon.
pub type Observed = (NodeAddr, Poll);

/// All pollers.
pub struct Pollers {
    shared: Arc<Shared>,
    /// One task per node; dropping the set ends them.
    tasks: JoinSet<()>,
    /// The handle of each node's task.
    handles: HashMap<NodeAddr, Handle>,
    /// Maximum number of kept connections.
    max_kept: usize,
    /// It was logged that this is fewer than there are nodes.
    logged_too_few: bool,
}

/// Controls a poller from outside.
struct Handle {
    abort: AbortHandle,
    trigger: Arc<Trigger>,
}

/// Shared by all pollers.
struct Shared {
    plan: watch::Sender<PollPlan>,
    observed: mpsc::Sender<Observed>,
    unscheduled: Arc<Semaphore>,
    permits: Permits,
    /// The start of the first interval.
    epoch: Instant,
    /// Limits the log lines about a lack of descriptors.
    no_descriptors: Mutex<OncePerWindow>,
    unknown_keys: UnknownKeys,
}

impl Pollers {
    /// Polls no nodes yet. `open_files` is the limit of open files.
    #[must_use]
    pub fn new(observed: mpsc::Sender<Observed>, open_files: usize) -> Self {
        let fds = FdShares::of(open_files);
        let shared = Shared {
            plan: watch::Sender::default(),
            observed,
            unscheduled: Arc::new(Semaphore::new(MAX_UNSCHEDULED)),
            permits: Permits::new(fds.kept_connections, fds.poll_connections),
            epoch: Instant::now(),
            no_descriptors: Mutex::default(),
            unknown_keys: UnknownKeys::default(),
        };
        Self {
            shared: Arc::new(shared),
            tasks: JoinSet::new(),
            handles: HashMap::new(),
            max_kept: fds.kept_connections,
            logged_too_few: false,
        }
    }

    /// Polls exactly these nodes from now on; known ones keep their poller and connection.
    pub fn set(&mut self, nodes: &[Node], settings: &PollSettings) {
        self.log_too_few_connections(nodes.len());
        self.shared
            .plan
            .send_replace(PollPlan::new(nodes, settings));
        let mut before = mem::take(&mut self.handles);
        for node in nodes {
            let handle = before
                .remove(&node.addr)
                .unwrap_or_else(|| self.start(node.addr));
            handle.trigger.replan();
            self.handles.insert(node.addr, handle);
        }
        // Aborted at once: their results must not mix with those of a later poller of the same node.
        for removed in before.into_values() {
            removed.abort.abort();
        }
    }

    /// Polls a node at once, or as soon as its current poll is done; a little later if it is nudged often ([`NUDGES`]).
    /// A response that is outstanding from an earlier poll is abandoned, and the node is polled on a new connection: a
    /// node's own nudge is the best sign that it is alive.
    pub fn nudge(&self, addr: NodeAddr) {
        if let Some(handle) = self.handles.get(&addr) {
            handle.trigger.request(Early::Nudge);
        }
    }

    /// Polls a node again after `retry_interval`, or after as long as its last poll took if that is longer.
    pub fn retry_soon(&self, addr: NodeAddr) {
        if let Some(handle) = self.handles.get(&addr) {
            handle.trigger.request(Early::Retry);
        }
    }

    fn start(&mut self, addr: NodeAddr) -> Handle {
        let trigger = Arc::<Trigger>::default();
        let mut poller = Poller {
            connection: Connection::new(addr),
            shared: self.shared.clone(),
            trigger: trigger.clone(),
            unscheduled: None,
            took: Duration::ZERO,
        };
        // By reference: as an argument it would be stored in the task twice.
        let abort = self.tasks.spawn(async move { poller.run().await });
        Handle { abort, trigger }
    }

    /// Resolves if a poller ends by itself, which none should.
    pub async fn ended(&mut self) {
        loop {
            match self.tasks.join_next().await {
                // Its node is no longer polled.
                Some(Err(error)) if error.is_cancelled() => {}
                Some(_) => return,
                None => return pending().await,
            }
        }
    }

    /// Stops all polls.
    pub fn stop(&mut self) {
        self.tasks.abort_all();
    }

    /// Logs once that not every node can have a kept connection.
    fn log_too_few_connections(&mut self, nodes: usize) {
        let too_few = nodes > self.max_kept;
        if too_few && !self.logged_too_few {
            warn!(
                "only {} can be kept: the limit of open files is too low for {}; the others are \
                 polled with a new connection each time, which costs more; raise it (LimitNOFILE= \
                 of the service, or ulimit -Hn) to {} or more",
                count(self.max_kept, "connection"),
                count(nodes, "node"),
                FdShares::required_limit(nodes)
            );
        }
        self.logged_too_few = too_few;
    }
}

/// Polls one node.
struct Poller {
    connection: Connection,
    shared: Arc<Shared>,
    trigger: Arc<Trigger>,
    /// Polls outside the schedule, once any was triggered. Boxed, since most nodes need none.
    unscheduled: Option<Box<Unscheduled>>,
    /// How long the last poll took.
    took: Duration,
}

/// Polls of a node outside the schedule.
#[derive(Default)]
struct Unscheduled {
    /// Limits those that nudges lead to.
    nudges: Bucket,
    /// When to poll, if that was triggered.
    at: Option<Instant>,
    /// Whether a nudge waits for that poll.
    nudged: bool,
}

impl Poller {
    /// Polls until it is aborted, or the node is no longer in the plan.
    async fn run(&mut self) {
        let first = self.shared.unscheduled.clone().acquire_owned().await;
        let Some(mut schedule) = self.schedule() else {
            return;
        };
        // Boxed to keep the task small: most of the time there is no poll.
        Box::pin(self.poll(&schedule)).await;
        drop(first);
        loop {
            if self.trigger.take_replan() {
                match self.schedule() {
                    Some(new) => schedule = new,
                    None => return,
                }
            }
            let scheduled = schedule.next_poll(self.shared.epoch, Instant::now());
            let early = self.unscheduled.as_ref().and_then(|polls| polls.at);
            let due = early.map_or(scheduled, |early| early.min(scheduled));
            let triggered = tokio::select! {
                () = sleep_until(due) => None,
                woken = self.trigger.woken() => match woken {
                    Some(early) => Some(early),
                    // Woken for a new plan.
                    None => continue,
                },
            };
            if !self.is_turn(triggered, &schedule) {
                continue;
            }
            let permit = match triggered {
                Some(_) => Some(self.shared.unscheduled.clone().acquire_owned().await),
                None => None,
            };
            Box::pin(self.poll(&schedule)).await;
            drop(permit);
        }
    }

    /// Whether to poll now, when a poll was triggered or is due; otherwise determines when to poll early.
    fn is_turn(&mut self, triggered: Option<Early>, schedule: &Schedule) -> bool {
        if triggered.is_none() && self.unscheduled.is_none() {
            return true;
        }
        let now = Instant::now();
        let polls = self.unscheduled.get_or_insert_default();
        if triggered == Some(Early::Retry) {
            let soon = now + schedule.retry_delay(self.took);
            let sooner = polls.at.filter(|at| polls.nudged && *at < soon);
            polls.at = Some(sooner.unwrap_or(soon));
            return false;
        }
        polls.nudged |= triggered == Some(Early::Nudge);
        let limited = polls.nudges.is_empty(NUDGES, now.into_std());
        if polls.nudged && limited && triggered.is_some() {
            let next = Instant::from_std(polls.nudges.next(NUDGES, now.into_std()));
            polls.at = Some(polls.at.map_or(next, |at| at.min(next)));
            return false;
        }
        if polls.nudged && !limited {
            polls.nudges.take(NUDGES, now.into_std());
            self.connection.abandon();
        }
        (polls.at, polls.nudged) = (None, false);
        true
    }

    /// When a nudge may lead to a poll.
    fn next_nudge(&self, now: Instant) -> Instant {
        let polls = self.unscheduled.as_ref();
        let next = polls.map(|polls| polls.nudges.next(NUDGES, now.into_std()));
        next.map_or(now, Instant::from_std)
    }

    fn schedule(&self) -> Option<Schedule> {
        let plan = self.shared.plan.borrow();
        plan.schedule_of(self.connection.addr())
    }

    /// Polls once, and sends the observation to the daemon.
    async fn poll(&mut self, schedule: &Schedule) {
        let poll = self.observe(schedule).await;
        self.took = poll.took;
        let Some(observation) = poll.observation else {
            self.shared.log_no_descriptors();
            return;
        };
        trace!(node = %self.connection.addr(), ?observation, "polled");
        let poll = Poll {
            observation,
            asked_at: poll.asked_at.into(),
            took: self.took,
        };
        // Fails only when the daemon is shutting down. While the channel is full, this poller waits.
        _ = self
            .shared
            .observed
            .send((self.connection.addr(), poll))
            .await;
    }

    /// Polls until there is an observation. A failure while this process was suspended is not the node's fault, since
    /// we were not there to read its response, and is retried.
    async fn observe(&mut self, schedule: &Schedule) -> Polled {
        let settings = &schedule.settings;
        let shared = self.shared.clone();
        let request = PollRequest {
            template: schedule.template(),
            reconnect: settings.reconnect,
            permits: &shared.permits,
        };
        let mut retries = 0;
        loop {
            self.connection.acquire_permit(&shared.permits).await;
            let asked_at = Instant::now();
            let mut budget = Budget::new(settings.timeout);
            let next = self.next_nudge(asked_at);
            let trigger = &self.trigger;
            // By reference too.
            let nudged = pin!(async {
                sleep_until(next).await;
                trigger.nudged().await;
            });
            let result = self.connection.poll(request, &mut budget, nudged).await;
            let observation = match result {
                // The request has not been sent yet.
                Err(PollError::Nudged) => {
                    let polls = self.unscheduled.get_or_insert_default();
                    polls.nudges.take(NUDGES, Instant::now().into_std());
                    continue;
                }
                Ok(response) => {
                    let body = response.body.as_deref().unwrap_or_default();
                    shared.unknown_keys.log(self.connection.addr(), body);
                    Some(observation(response))
                }
                Err(error) => failure(error, settings.timeout).map(Observation::Failed),
            };
            let failed = matches!(observation, Some(Observation::Failed(_)));
            if failed && budget.paused() && retries < MAX_RETRIES {
                debug!(node = %self.connection.addr(), ?observation, "not counted: pollbal was paused meanwhile");
                retries += 1;
                continue;
            }
            return Polled {
                observation,
                asked_at,
                took: budget.spent(),
            };
        }
    }
}

/// The outcome of a poll.
struct Polled {
    /// `None` if there was no descriptor for a connection.
    observation: Option<Observation>,
    asked_at: Instant,
    /// Excludes the time during which this process was suspended.
    took: Duration,
}

impl Shared {
    /// Logs that descriptors ran out, at most once per window: all polls may fail at the same time.
    fn log_no_descriptors(&self) {
        let throttle = self.no_descriptors.lock();
        let mut throttle = throttle.unwrap_or_else(PoisonError::into_inner);
        if throttle.check(Instant::now().into_std()) {
            error!(
                "nodes cannot be polled: the limit of open files is reached; raise it \
                 (LimitNOFILE= of the service, or ulimit -n); their state stays as it was"
            );
        }
    }
}
