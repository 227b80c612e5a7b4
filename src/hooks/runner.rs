//! The task that starts runs of hooks, in their order and so many at a time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::run::Run;
use super::tally::Tally;
use super::{Lane, PRE_QUIT, WAITING};
use crate::logging::count;

/// So many runs at most wait beside a queue because an earlier one of the same subject is under way: as
/// many as in it, so that one subject whose runs hang does not hold up the others.
const HELD: usize = WAITING;

/// The task behind [`Hooks`](super::Hooks).
pub struct HookRunner {
    lanes: [Queue; Lane::ALL.len()],
    /// Nothing is tried again any more.
    ending: CancellationToken,
    /// Ends all runs.
    kill: CancellationToken,
}

/// The runs of one lane.
struct Queue {
    lane: Lane,
    runs: mpsc::Receiver<Run>,
    /// Taken out of the queue, and not begun.
    waiting: VecDeque<Run>,
    under_way: JoinSet<()>,
    /// The subjects of those that have one.
    subjects: HashMap<Id, String>,
    ending: CancellationToken,
    kill: CancellationToken,
    tally: Tally,
}

impl HookRunner {
    /// Starts runs of these queues, of each so many at a time.
    pub(super) fn new(
        lanes: [(Lane, mpsc::Receiver<Run>); Lane::ALL.len()],
        tally: &Tally,
    ) -> Self {
        let (ending, kill) = (CancellationToken::new(), CancellationToken::new());
        let lanes = lanes.map(|(lane, runs)| Queue {
            lane,
            runs,
            waiting: VecDeque::new(),
            under_way: JoinSet::new(),
            subjects: HashMap::new(),
            ending: ending.clone(),
            kill: kill.clone(),
            tally: tally.clone(),
        });
        Self {
            lanes,
            ending,
            kill,
        }
    }

    /// Runs what is queued until `stop`; then `pre_quit_hook` at once and what else still waits in
    /// order, and after `grace` ends all that is not done.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let [life, nodes, alerts] = &mut self.lanes;
        let start = async { tokio::join!(life.run(), nodes.run(), alerts.run()) };
        stop.run_until_cancelled(start).await;
        self.ending.cancel();
        for lane in [&mut *life, nodes, alerts] {
            lane.close().await;
        }
        let rest = async { tokio::join!(life.finish(), nodes.finish(), alerts.finish()) };
        if timeout(grace, rest).await.is_err() {
            self.kill.cancel();
        }
        for lane in &mut self.lanes {
            lane.report();
            while lane.under_way.join_next().await.is_some() {}
        }
    }
}

impl Queue {
    /// Begins runs as they come. May be dropped at any time: none is lost.
    async fn run(&mut self) {
        loop {
            self.begin_all();
            let has_room = self.under_way.len() < self.lane.places() && self.waiting.len() < HELD;
            tokio::select! {
                Some(ended) = self.under_way.join_next_with_id() => self.ended(&ended),
                run = self.runs.recv(), if has_room => match run {
                    Some(run) => self.waiting.push_back(run),
                    None => return,
                },
            }
        }
    }

    /// Takes no more runs.
    async fn close(&mut self) {
        self.runs.close();
        while let Some(run) = self.runs.recv().await {
            if run.hook == PRE_QUIT {
                self.begin(run);
            } else {
                self.waiting.push_back(run);
            }
        }
    }

    /// Runs all that waits, to its end.
    async fn finish(&mut self) {
        self.begin_all();
        while let Some(ended) = self.under_way.join_next_with_id().await {
            self.ended(&ended);
            self.begin_all();
        }
    }

    /// Begins those for which there is a place and that follow none of the same subject.
    fn begin_all(&mut self) {
        while self.under_way.len() < self.lane.places() {
            let is_free = |run: &Run| {
                let mut busy = self.subjects.values();
                !busy.any(|subject| run.subject.as_ref() == Some(subject))
            };
            let next = self.waiting.iter().position(is_free);
            let Some(run) = next.and_then(|next| self.waiting.remove(next)) else {
                return;
            };
            self.begin(run);
        }
    }

    fn begin(&mut self, mut run: Run) {
        let subject = run.subject.take();
        let (ending, kill) = (self.ending.clone(), self.kill.clone());
        let (tally, mut pauses) = (self.tally.clone(), self.lane.pauses().iter());
        let task = self.under_way.spawn(async move {
            loop {
                let (hook, well) = (run.hook, run.run(&kill).await);
                tally.ended(hook, well);
                let Some(pause) = pauses.next().filter(|_| !well) else {
                    return;
                };
                if ending.run_until_cancelled(sleep(*pause)).await.is_none() {
                    return;
                }
                info!(hook, "{hook} is tried again");
            }
        });
        self.subjects
            .extend(subject.map(|subject| (task.id(), subject)));
    }

    fn ended(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            // Only a bug makes it panic.
            Err(panicked) => panicked.id(),
        };
        self.subjects.remove(&id);
    }

    /// Says what is never run.
    fn report(&self) {
        let mut waiting: Vec<_> = self.waiting.iter().map(|run| run.hook).collect();
        waiting.sort_unstable();
        for runs in waiting.chunk_by(|a, b| a == b) {
            let (hook, number) = (runs[0], count(runs.len(), "run"));
            error!(hook, "{number} of {hook} are left out: pollbal ends");
        }
    }
}
