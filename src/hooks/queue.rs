//! The task that runs the queued hooks in order, with limited concurrency.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::counts::SharedCounts;
use super::run::Run;
use super::{HookQueue, MAX_QUEUED, PRE_QUIT};
use crate::logging::count;

/// Maximum number of runs that are taken out of a queue but wait for an earlier run with the same subject: as many as
/// fit into the queue, so that a subject whose runs hang does not delay the others.
const MAX_WAITING: usize = MAX_QUEUED;

/// The task behind [`Hooks`](super::Hooks).
pub struct HookRunner {
    queues: [QueueRunner; HookQueue::ALL.len()],
    /// Cancelled at shutdown: failed runs are not retried any more.
    ending: CancellationToken,
    /// Cancelled at the end of the grace period: ends all runs.
    kill: CancellationToken,
}

/// Runs the hooks of one queue.
struct QueueRunner {
    queue: HookQueue,
    runs: mpsc::Receiver<Run>,
    /// Taken out of the queue, but not started.
    waiting: VecDeque<Run>,
    running: JoinSet<()>,
    /// The subjects of the running hooks that have one.
    subjects: HashMap<Id, String>,
    ending: CancellationToken,
    kill: CancellationToken,
    /// Limits how many may be in the middle of starting.
    starts: Arc<Semaphore>,
    counts: SharedCounts,
}

impl HookRunner {
    /// Runs what is in these queues.
    pub(super) fn new(
        queues: [(HookQueue, mpsc::Receiver<Run>); HookQueue::ALL.len()],
        counts: &SharedCounts,
    ) -> Self {
        let (ending, kill) = (CancellationToken::new(), CancellationToken::new());
        let queues = queues.map(|(queue, runs)| QueueRunner {
            queue,
            runs,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            subjects: HashMap::new(),
            ending: ending.clone(),
            kill: kill.clone(),
            starts: Arc::new(Semaphore::new(queue.concurrency())),
            counts: counts.clone(),
        });
        Self {
            queues,
            ending,
            kill,
        }
    }

    /// Runs queued hooks until `stop`. Then runs `pre_quit_hook` at once and all that still waits in order, and after
    /// `grace` ends those that are not done.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let [lifecycle, nodes, alerts] = &mut self.queues;
        let start = async { tokio::join!(lifecycle.run(), nodes.run(), alerts.run()) };
        stop.run_until_cancelled(start).await;
        self.ending.cancel();
        for queue in [&mut *lifecycle, nodes, alerts] {
            queue.close().await;
        }
        let rest = async { tokio::join!(lifecycle.finish(), nodes.finish(), alerts.finish()) };
        if timeout(grace, rest).await.is_err() {
            self.kill.cancel();
        }
        for queue in &mut self.queues {
            queue.log_dropped();
            while queue.running.join_next().await.is_some() {}
        }
    }
}

impl QueueRunner {
    /// Starts runs as they come. Cancellation-safe: no run is lost.
    async fn run(&mut self) {
        loop {
            self.start_ready();
            let has_room =
                self.running.len() < self.queue.concurrency() && self.waiting.len() < MAX_WAITING;
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.record_ended(&ended),
                run = self.runs.recv(), if has_room => match run {
                    Some(run) => self.waiting.push_back(run),
                    None => return,
                },
            }
        }
    }

    /// Accepts no more runs, and empties the queue.
    async fn close(&mut self) {
        self.runs.close();
        while let Some(run) = self.runs.recv().await {
            if run.hook == PRE_QUIT {
                self.start(run);
            } else {
                self.waiting.push_back(run);
            }
        }
    }

    /// Runs everything that waits to its end.
    async fn finish(&mut self) {
        self.start_ready();
        while let Some(ended) = self.running.join_next_with_id().await {
            self.record_ended(&ended);
            self.start_ready();
        }
    }

    /// Starts waiting runs, in order, up to the concurrency limit; those whose subject is busy are passed over.
    fn start_ready(&mut self) {
        while self.running.len() < self.queue.concurrency() {
            let is_free = |run: &Run| {
                let mut busy = self.subjects.values();
                !busy.any(|subject| run.subject.as_ref() == Some(subject))
            };
            let next = self.waiting.iter().position(is_free);
            let Some(run) = next.and_then(|next| self.waiting.remove(next)) else {
                return;
            };
            self.start(run);
        }
    }

    fn start(&mut self, mut run: Run) {
        let subject = run.subject.take();
        let (ending, kill, starts) = (self.ending.clone(), self.kill.clone(), self.starts.clone());
        let counts = self.counts.clone();
        let mut retry_delays = self.queue.retry_delays().iter();
        let task = self.running.spawn(async move {
            loop {
                let (hook, succeeded) = (run.hook, run.run(&kill, &starts).await);
                counts.record_ended(hook, succeeded);
                let Some(delay) = retry_delays.next().filter(|_| !succeeded) else {
                    return;
                };
                if ending.run_until_cancelled(sleep(*delay)).await.is_none() {
                    return;
                }
                info!(hook, "{hook} is tried again");
            }
        });
        self.subjects
            .extend(subject.map(|subject| (task.id(), subject)));
    }

    fn record_ended(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            // Only a bug can make it panic.
            Err(panicked) => panicked.id(),
        };
        self.subjects.remove(&id);
    }

    /// Logs the runs that are never started.
    fn log_dropped(&self) {
        let mut waiting: Vec<_> = self.waiting.iter().map(|run| run.hook).collect();
        waiting.sort_unstable();
        for runs in waiting.chunk_by(|a, b| a == b) {
            let (hook, number) = (runs[0], count(runs.len(), "run"));
            error!(hook, "{number} of {hook} are dropped: pollbal is ending");
        }
    }
}
