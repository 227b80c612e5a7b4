//! `pollbal roll`: a command for each node of a pool, while the node is out.
//!
//! The daemon decides who may go and says who is at rest; here is only the order of steps. As many
//! workers as nodes may be out at a time take nodes from one [`Plan`], on one thread.

mod command;
mod names;
mod plan;
mod report;
mod start;
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

use super::http::{Answer, Door};
use super::signals::Interrupts;
use super::{ClientError, DONE, FAILED, open, program, words};
use crate::api::{Status, Step};
use crate::cli;
use crate::logging::count;
use crate::model::names::PoolName;
use crate::model::overrides::ReasonName;
use names::WayBack;
use plan::{Left, Outcome, Plan, Target};
use report::Report;
use start::Out;

/// How long the daemon is waited for when everything has to end at once.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// What all workers share.
struct Site {
    door: Door,
    pool: PoolName,
    word: ReasonName,
    timeout: Duration,
    pause: Duration,
    command: Vec<OsString>,
    /// Several nodes at a time.
    parallel: bool,
    way_back: WayBack,
    plan: RefCell<Plan>,
    out: Out,
    /// Whoever has it begins the next node; it goes round in the order in which it was asked for.
    turn: Mutex<()>,
    report: Report,
    /// No other node is begun.
    enough: CancellationToken,
    /// The commands that run, by their process groups.
    running: RefCell<Vec<(Pid, Target)>>,
}

/// Rolls a pool; `config` is the configuration file, if one was named.
pub(super) async fn run(
    config: Option<&Path>,
    args: cli::Roll,
    flags: &cli::Door,
) -> Result<u8, ClientError> {
    let door = open(config, flags)?;
    let program = &args.command[0];
    program::look_for(program).map_err(|error| {
        let why = command::cannot_be_run(program, &error);
        ClientError::Failed(format!("nothing changed: {why}"))
    })?;
    let way_back = WayBack::new(&args, flags, config);
    let interrupts = Interrupts::listen().map_err(ClientError::signals)?;
    let start = tokio::select! {
        start = start::start(&door, &args, &way_back) => start?,
        () = interrupts.finish.cancelled() => {
            return interrupts.code().ok_or(ClientError::Interrupted);
        }
    };
    let plan = Plan::new(start.targets);
    let report = Report::new(door.json, &plan);
    let report = report.map_err(|error| ClientError::System("start a thread", error))?;
    if let Some(note) = start.out.note() {
        report.note(Step::Note, &note);
    }
    let workers = args.parallel.get();
    let site = Rc::new(Site {
        door,
        pool: args.pool,
        word: args.reason,
        timeout: args.timeout,
        pause: args.pause,
        command: args.command,
        parallel: workers > 1,
        way_back,
        plan: RefCell::new(plan),
        out: start.out,
        turn: Mutex::default(),
        report,
        enough: CancellationToken::new(),
        running: RefCell::default(),
    });
    let began = Instant::now();
    let all = site.clone().run(workers, &interrupts);
    let out = LocalSet::new().run_until(all).await;
    site.report.clear();
    site.sum_up(began.elapsed(), &out);
    site.report.finish(&interrupts).await;
    if site.plan.borrow().is_complete() {
        return Ok(DONE);
    }
    Ok(interrupts.code().unwrap_or(FAILED))
}

impl Site {
    /// Runs the workers to their end, or until two signals came; gives the nodes that stay disabled,
    /// or may.
    async fn run(self: Rc<Self>, workers: usize, interrupts: &Interrupts) -> Vec<(Target, Left)> {
        let mut all = JoinSet::new();
        for _ in 0..workers.min(self.plan.borrow().total()) {
            all.spawn_local(self.clone().work());
        }
        let mut finishing = false;
        loop {
            tokio::select! {
                ended = all.join_next() => {
                    if ended.is_none() {
                        return self.left_out();
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

    /// Takes node after node.
    async fn work(self: Rc<Self>) {
        loop {
            let Some((target, out)) = self.begin().await else {
                return;
            };
            let outcome = match out {
                Ok(began) => steps::through(&self, &target, began).await,
                Err(outcome) => outcome,
            };
            self.ended(&target, outcome);
            if self.plan.borrow().goes_on() {
                tokio::select! {
                    () = sleep(self.pause) => {}
                    () = self.enough.cancelled() => return,
                }
            }
        }
    }

    /// Takes the next node out, one worker after the other: what a pool can do without goes to the node
    /// that has waited for it longest. Gives when it was begun; none when no other is to be.
    async fn begin(self: &Rc<Self>) -> Option<(Target, Result<Instant, Outcome>)> {
        let _turn = self.turn.lock().await;
        let target = self.plan.borrow_mut().take()?;
        let began = Instant::now();
        let out = steps::take_out(self, &target).await;
        Some((target, out.map(|()| began)))
    }

    /// Tells a step, if that is news.
    fn step(&self, target: &Target, step: Step, text: &str) {
        if self.show(target, text) {
            self.report.step(target, step, text);
        }
    }

    /// Shows on a terminal what is done at a node; whether that is news.
    fn show(&self, target: &Target, text: &str) -> bool {
        let news = self.plan.borrow_mut().say(target, text);
        if news {
            self.report.show(&self.plan.borrow());
        }
        news
    }

    fn ended(&self, target: &Target, outcome: Outcome) {
        match &outcome {
            Outcome::PassedOver(why) => {
                let text = format!("passed over: {why}");
                self.report.step(target, Step::PassedOver, &text);
            }
            Outcome::Failed { why, left } => {
                let stays = left.words().map(|words| format!("; it {words}"));
                let text = format!("failed: {why}{}", stays.unwrap_or_default());
                self.report.step(target, Step::Failed, &text);
                self.enough.cancel();
            }
            Outcome::Done | Outcome::NotBegun => {}
        }
        self.plan.borrow_mut().end(target, outcome);
        self.report.show(&self.plan.borrow());
    }

    /// A signal came: those under way are finished.
    fn finish(&self) {
        self.plan.borrow_mut().close();
        self.enough.cancel();
        let plan = self.plan.borrow();
        let names: Vec<_> = plan
            .under_way()
            .iter()
            .map(|(target, _)| target.shown.as_str())
            .collect();
        if !names.is_empty() {
            let text = format!(
                "finishing {}; another signal (Ctrl-C) stops at once",
                names.join(", ")
            );
            self.report.note(Step::Note, &text);
        }
    }

    /// Another signal came: commands are ended, and nodes stay as they are.
    async fn stop(&self) -> Vec<(Target, Left)> {
        let running = self.running.take();
        let groups: Vec<_> = running.iter().map(|(group, _)| *group).collect();
        command::end(&groups).await;
        for (_, target) in &running {
            self.show(target, "its command was ended");
        }
        let mut nodes = self.left_out();
        // An order may have been on its way.
        nodes.extend(self.under_way());
        if let Some(disabled) = self.disabled(&nodes).await {
            nodes.retain(|(target, _)| disabled.contains(&target.node));
            for (_, left) in &mut nodes {
                *left = Left::Disabled;
            }
        }
        nodes
    }

    /// Those that were begun, of which only the daemon knows how they are left.
    fn under_way(&self) -> Vec<(Target, Left)> {
        let plan = self.plan.borrow();
        let under_way = plan.under_way().iter();
        under_way
            .map(|(target, _)| (target.clone(), Left::Unknown))
            .collect()
    }

    /// Which of these are disabled by this roll; none when nobody says so.
    async fn disabled(&self, nodes: &[(Target, Left)]) -> Option<Vec<String>> {
        let query: Vec<_> = nodes
            .iter()
            .map(|(target, _)| ("node", target.node.clone()))
            .collect();
        if query.is_empty() {
            return None;
        }
        let answer = self.door.get("/v1/status", &query, LAST_LOOK).await;
        let answer: Answer<Status> = answer.ok()?;
        let nodes = answer.value.nodes.into_iter();
        let disabled = nodes.filter(|node| steps::own_reason(self, node).is_some());
        Some(disabled.map(|node| node.node).collect())
    }

    /// Those that failed and are not as they were.
    fn left_out(&self) -> Vec<(Target, Left)> {
        let plan = self.plan.borrow();
        let failed = plan.failed().iter();
        let failed = failed.filter(|(_, _, left)| *left != Left::Untouched);
        failed
            .map(|(target, _, left)| (target.clone(), *left))
            .collect()
    }

    fn sum_up(&self, took: Duration, out: &[(Target, Left)]) {
        let plan = self.plan.borrow();
        let mut done = format!(
            "rolled {} of {} of pool {} in {}",
            plan.done(),
            count(plan.total() + self.out.len(), "node"),
            self.pool,
            words::took(took)
        );
        if let Some(sum) = self.out.sum() {
            _ = write!(done, "; {sum}");
        }
        if plan.is_complete() {
            return self.report.last(&done);
        }
        self.report.note(Step::Ended, &done);
        for (target, why, _) in plan.failed() {
            let text = format!("{} failed: {why}", target.shown);
            self.report.end_of(target, &text);
        }
        for (target, what) in plan.under_way() {
            let text = format!("{} was stopped: {what}", target.shown);
            self.report.end_of(target, &text);
        }
        for (target, why) in plan.passed_over() {
            let text = format!("{} was passed over, it is out: {why}", target.shown);
            self.report.end_of(target, &text);
        }
        let left: Vec<_> = plan.left().map(|target| target.shown.as_str()).collect();
        if !left.is_empty() {
            let text = format!("not begun: {}", left.join(", "));
            self.report.note(Step::Ended, &text);
        }
        for (target, left) in out {
            let way_back = self.way_back.of(&target.word);
            let words = left.words().unwrap_or_default();
            let text = format!("{} {words}; bring it back: {way_back}", target.shown);
            self.report.end_of(target, &text);
        }
    }
}

/// Tells others why a node is out, and a later roll of what it is a leftover.
fn note(pool: &PoolName) -> String {
    format!("rolling pool {pool}")
}
