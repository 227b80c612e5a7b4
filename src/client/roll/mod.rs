//! `pollbal roll`: runs a command for each node of a pool, while the node is out.
//!
//! The daemon decides which nodes may be taken out and which are drained; this module only orders the steps. As many
//! workers as nodes may be out at a time take nodes from one [`Queue`], on a single thread.

mod command;
mod labels;
mod queue;
mod report;
mod select;
mod steps;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::sync::Mutex;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::http::{AdminClient, ApiResponse};
use super::signals::Interrupts;
use super::{CommandError, DONE, FAILED, connect, format, program};
use crate::api::{Status, Step};
use crate::cli;
use crate::logging::count;
use crate::model::names::PoolName;
use crate::model::overrides::ReasonName;
use labels::RecoveryHint;
use queue::{FinalState, Outcome, Queue, Target};
use report::Report;
use select::AlreadyOut;

/// Maximum time for the daemon's response after a second signal.
const FINAL_TIMEOUT: Duration = Duration::from_secs(2);

/// What all workers share.
struct Rollout {
    client: AdminClient,
    pool: PoolName,
    reason: ReasonName,
    timeout: Duration,
    pause: Duration,
    ramp: Option<Duration>,
    command: Vec<OsString>,
    /// Whether several nodes are rolled at a time.
    parallel: bool,
    recovery: RecoveryHint,
    queue: RefCell<Queue>,
    out: AlreadyOut,
    /// Locked by the worker that starts the next node. It is fair: workers get it in the order in which they requested
    /// it.
    turn: Mutex<()>,
    report: Report,
    /// Cancelled when no other node is to be started.
    cancel: CancellationToken,
    /// The process groups of running commands.
    running: RefCell<Vec<(Pid, Target)>>,
}

/// Rolls a pool; `config` is the configuration file, if the command line names one.
pub(super) async fn run(
    config: Option<&Path>,
    args: cli::Roll,
    flags: &cli::SocketArgs,
) -> Result<u8, CommandError> {
    let client = connect(config, flags)?;
    let program = &args.command[0];
    program::find(program).map_err(|error| {
        let why = command::cannot_be_run(program, &error);
        CommandError::Failed(format!("nothing changed: {why}"))
    })?;
    let recovery = RecoveryHint::new(&args, flags, config);
    let interrupts = Interrupts::listen().map_err(CommandError::signals)?;
    let selection = tokio::select! {
        selection = select::select(&client, &args, &recovery) => selection?,
        () = interrupts.finish.cancelled() => {
            return interrupts.code().ok_or(CommandError::Interrupted);
        }
    };
    let queue = Queue::new(selection.targets);
    let report = Report::new(client.json, &queue);
    let report = report.map_err(|error| CommandError::System("start a thread", error))?;
    if let Some(note) = selection.out.note() {
        report.note(Step::Note, &note);
    }
    let workers = args.parallel.get();
    let rollout = Rc::new(Rollout {
        client,
        pool: args.pool,
        reason: args.reason,
        timeout: args.timeout,
        pause: args.pause,
        ramp: args.ramp,
        command: args.command,
        parallel: workers > 1,
        recovery,
        queue: RefCell::new(queue),
        out: selection.out,
        turn: Mutex::default(),
        report,
        cancel: CancellationToken::new(),
        running: RefCell::default(),
    });
    let start = Instant::now();
    let all = rollout.clone().run(workers, &interrupts);
    let disabled = LocalSet::new().run_until(all).await;
    rollout.report.clear();
    rollout.print_summary(start.elapsed(), &disabled);
    rollout.report.finish(&interrupts).await;
    if rollout.queue.borrow().is_complete() {
        return Ok(DONE);
    }
    Ok(interrupts.code().unwrap_or(FAILED))
}

impl Rollout {
    /// Runs the workers to their end, or until the second signal. Returns the nodes that are left disabled, or may be.
    async fn run(
        self: Rc<Self>,
        workers: usize,
        interrupts: &Interrupts,
    ) -> Vec<(Target, FinalState)> {
        let mut all = JoinSet::new();
        for _ in 0..workers.min(self.queue.borrow().total()) {
            all.spawn_local(self.clone().work());
        }
        let mut finishing = false;
        loop {
            tokio::select! {
                ended = all.join_next() => {
                    if ended.is_none() {
                        return self.disabled();
                    }
                }
                () = interrupts.finish.cancelled(), if !finishing => {
                    finishing = true;
                    self.finish();
                }
                () = interrupts.stop.cancelled() => {
                    all.abort_all();
                    return self.stop().await;
                }
            }
        }
    }

    /// A worker: rolls node after node.
    async fn work(self: Rc<Self>) {
        loop {
            let Some((target, taken_out)) = self.start_next().await else {
                return;
            };
            let outcome = match taken_out {
                Ok(started) => steps::finish(&self, &target, started).await,
                Err(outcome) => outcome,
            };
            self.finish_node(&target, outcome);
            if self.queue.borrow().has_next() {
                tokio::select! {
                    () = sleep(self.pause) => {}
                    () = self.cancel.cancelled() => return,
                }
            }
        }
    }

    /// Takes the next node out, one worker at a time: the node that has waited longest goes first. Returns the node and
    /// when it was started; `None` if no other is to be started.
    async fn start_next(self: &Rc<Self>) -> Option<(Target, Result<Instant, Outcome>)> {
        let _turn = self.turn.lock().await;
        let target = self.queue.borrow_mut().start_next()?;
        let started = Instant::now();
        let taken_out = steps::take_out(self, &target).await;
        Some((target, taken_out.map(|()| started)))
    }

    /// Prints a node's step, unless it is the same as the previous one.
    fn step(&self, target: &Target, step: Step, text: &str) {
        if self.show(target, text) {
            self.report.step(target, step, text);
        }
    }

    /// Shows a node's step in the bar; whether it differs from the previous one.
    fn show(&self, target: &Target, text: &str) -> bool {
        let changed = self.queue.borrow_mut().set_step(target, text);
        if changed {
            self.report.show(&self.queue.borrow());
        }
        changed
    }

    fn finish_node(&self, target: &Target, outcome: Outcome) {
        match &outcome {
            Outcome::Skipped(why) => {
                let text = format!("skipped: {why}");
                self.report.step(target, Step::PassedOver, &text);
            }
            Outcome::Failed { why, state } => {
                let state = state.text().map(|text| format!("; it {text}"));
                let text = format!("failed: {why}{}", state.unwrap_or_default());
                self.report.step(target, Step::Failed, &text);
                self.cancel.cancel();
            }
            Outcome::Done | Outcome::NotStarted => {}
        }
        self.queue.borrow_mut().finish(target, outcome);
        self.report.show(&self.queue.borrow());
    }

    /// After the first signal: nodes in progress are finished, no other is started.
    fn finish(&self) {
        self.queue.borrow_mut().close();
        self.cancel.cancel();
        let queue = self.queue.borrow();
        let names: Vec<_> = queue
            .in_progress()
            .iter()
            .map(|(target, _)| target.shown.as_str())
            .collect();
        if !names.is_empty() {
            let text = format!(
                "finishing {}; another signal (Ctrl-C) stops immediately",
                names.join(", ")
            );
            self.report.note(Step::Note, &text);
        }
    }

    /// After the second signal: ends the commands and leaves the nodes as they are.
    async fn stop(&self) -> Vec<(Target, FinalState)> {
        let running = self.running.take();
        let groups: Vec<_> = running.iter().map(|(group, _)| *group).collect();
        command::end(&groups).await;
        for (_, target) in &running {
            self.show(target, "command terminated");
        }
        let mut nodes = self.disabled();
        // A request may have been in flight.
        nodes.extend(self.in_progress());
        if let Some(disabled) = self.query_disabled(&nodes).await {
            nodes.retain(|(target, _)| disabled.contains(&target.node));
            for (_, state) in &mut nodes {
                *state = FinalState::Disabled;
            }
        }
        nodes
    }

    /// The nodes in progress, whose state only the daemon knows.
    fn in_progress(&self) -> Vec<(Target, FinalState)> {
        let queue = self.queue.borrow();
        let under_way = queue.in_progress().iter();
        under_way
            .map(|(target, _)| (target.clone(), FinalState::Unknown))
            .collect()
    }

    /// Which of these nodes are disabled by this roll; `None` if the daemon does not respond.
    async fn query_disabled(&self, nodes: &[(Target, FinalState)]) -> Option<Vec<String>> {
        let query: Vec<_> = nodes
            .iter()
            .map(|(target, _)| ("node", target.node.clone()))
            .collect();
        if query.is_empty() {
            return None;
        }
        let response = self.client.get("/v1/status", &query, FINAL_TIMEOUT).await;
        let response: ApiResponse<Status> = response.ok()?;
        let nodes = response.value.nodes.into_iter();
        let disabled = nodes.filter(|node| steps::own_reason(self, node).is_some());
        Some(disabled.map(|node| node.node).collect())
    }

    /// The nodes that failed and that this roll leaves disabled, or may.
    fn disabled(&self) -> Vec<(Target, FinalState)> {
        let queue = self.queue.borrow();
        let failed = queue.failed().iter();
        let failed = failed.filter(|(_, _, left)| *left != FinalState::Untouched);
        failed
            .map(|(target, _, left)| (target.clone(), *left))
            .collect()
    }

    fn print_summary(&self, took: Duration, disabled: &[(Target, FinalState)]) {
        let queue = self.queue.borrow();
        let mut summary = format!(
            "rolled {} of {} of pool {} in {}",
            queue.done(),
            count(queue.total() + self.out.len(), "node"),
            self.pool,
            format::took(took)
        );
        if let Some(out) = self.out.summary() {
            _ = write!(summary, "; {out}");
        }
        if queue.is_complete() {
            return self.report.summary(&summary);
        }
        self.report.note(Step::Ended, &summary);
        for (target, why, _) in queue.failed() {
            let text = format!("{} failed: {why}", target.shown);
            self.report.final_state(target, &text);
        }
        for (target, what) in queue.in_progress() {
            let text = format!("{} was interrupted: {what}", target.shown);
            self.report.final_state(target, &text);
        }
        for (target, why) in queue.skipped() {
            let text = format!("{} was skipped, it is out: {why}", target.shown);
            self.report.final_state(target, &text);
        }
        let pending: Vec<_> = queue
            .pending()
            .map(|target| target.shown.as_str())
            .collect();
        if !pending.is_empty() {
            let text = format!("not started: {}", pending.join(", "));
            self.report.note(Step::Ended, &text);
        }
        for (target, state) in disabled {
            let recovery = self.recovery.command(&target.argument);
            let state = state.text().unwrap_or_default();
            let text = format!("{} {state}; bring it back: {recovery}", target.shown);
            self.report.final_state(target, &text);
        }
    }
}

/// The note of the reason: it shows people why a node is out, and a later roll which pool it belongs to.
fn note(pool: &PoolName) -> String {
    format!("rolling pool {pool}")
}
