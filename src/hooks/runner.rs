//! The task that starts runs of hooks, in their order and so many at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::run::Run;
use super::tally::Tally;
use super::{Lane, PRE_QUIT};
use crate::logging::count;

/// The task behind [`Hooks`](super::Hooks).
pub struct HookRunner {
    lanes: [Queue; Lane::ALL.len()],
    running: Running,
}

/// The runs of one lane.
struct Queue {
    runs: mpsc::Receiver<Run>,
    places: Arc<Semaphore>,
    /// At the end, what still waits.
    waiting: VecDeque<Run>,
}

/// The runs that are under way.
#[derive(Clone)]
struct Running {
    tasks: TaskTracker,
    /// Ends them all.
    kill: CancellationToken,
    tally: Tally,
}

impl HookRunner {
    /// Starts runs of these queues, of each so many at a time.
    pub(super) fn new(
        lanes: [(usize, mpsc::Receiver<Run>); Lane::ALL.len()],
        tally: Tally,
    ) -> Self {
        let running = Running {
            tasks: TaskTracker::new(),
            kill: CancellationToken::new(),
            tally,
        };
        let lanes = lanes.map(|(places, runs)| Queue {
            runs,
            places: Arc::new(Semaphore::new(places)),
            waiting: VecDeque::new(),
        });
        Self { lanes, running }
    }

    /// Runs what is queued until `stop`; then `pre_quit_hook` at once and what else still waits in
    /// order, and after `grace` ends all that is not done.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let running = &self.running;
        let [life, nodes, alerts] = &mut self.lanes;
        let start = async {
            tokio::join!(
                life.start_all(running),
                nodes.start_all(running),
                alerts.start_all(running)
            )
        };
        stop.run_until_cancelled(start).await;
        for lane in [&mut *life, nodes, alerts] {
            lane.close(running).await;
        }
        let rest = async {
            tokio::join!(
                life.start_rest(running),
                nodes.start_rest(running),
                alerts.start_rest(running)
            );
            running.tasks.close();
            running.tasks.wait().await;
        };
        if timeout(grace, rest).await.is_err() {
            running.kill.cancel();
            running.tasks.close();
            running.tasks.wait().await;
        }
        for lane in &self.lanes {
            lane.report();
        }
    }
}

impl Queue {
    async fn start_all(&mut self, running: &Running) {
        // The place is taken first, so that a run is not lost when this is dropped.
        while let Ok(place) = self.places.clone().acquire_owned().await {
            let Some(run) = self.runs.recv().await else {
                return;
            };
            running.start(run, Some(place));
        }
    }

    /// Takes no more runs.
    async fn close(&mut self, running: &Running) {
        self.runs.close();
        while let Some(run) = self.runs.recv().await {
            if run.hook == PRE_QUIT {
                running.start(run, None);
            } else {
                self.waiting.push_back(run);
            }
        }
    }

    async fn start_rest(&mut self, running: &Running) {
        while !self.waiting.is_empty() {
            // The place first here too, so that no run is lost between the two.
            let place = self.places.clone().acquire_owned().await.ok();
            if let Some(run) = self.waiting.pop_front() {
                running.start(run, place);
            }
        }
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

impl Running {
    fn start(&self, run: Run, place: Option<OwnedSemaphorePermit>) {
        let (kill, tally) = (self.kill.clone(), self.tally.clone());
        self.tasks.spawn(async move {
            let hook = run.hook;
            let well = run.run(kill).await;
            tally.count(hook, |counts| {
                if well {
                    counts.well += 1;
                } else {
                    counts.failed += 1;
                }
            });
            drop(place);
        });
    }
}
