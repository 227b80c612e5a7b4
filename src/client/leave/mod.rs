//! `pollbal leave`: runs on a node, leaves all pools of all load balancers, and may then run a command.
//!
//! Every node requests leave from the load balancers in the same order and keeps the leave that it was granted while it requests the next
//! one, so that of two nodes one is always first everywhere. Unless it becomes gone from all, it cancels the leaves that
//! it was granted.

mod command;
mod deadline;
mod node_client;
mod resume;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::time::sleep;

use super::format::now;
use super::output::Output;
use super::signals::Interrupts;
use super::{CommandError, DONE, block_on, program, terminal};
use crate::api::{LeaveAnswer, LeaveStep};
use crate::awake;
use crate::cli;
use crate::model::text::printable;
use command::Outcome;
use deadline::{Deadline, Silence};
use node_client::{NodeClient, Reply};

/// Maximum time for which a load balancer delays its response.
const LONG_POLL: Duration = Duration::from_secs(30);

/// Delay before another request to a load balancer that did not respond, or did not delay its response.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(args: &cli::Leave, json: bool) -> Result<u8, CommandError> {
    let urls = in_order(&args.urls)?;
    // Checked first: no leave for a command that cannot be run.
    if let Some(program) = args.command.first()
        && let Err(error) = program::find(program)
    {
        let (code, why) = command::not_run(&args.command, &error);
        terminal::warn(&why);
        return Ok(code);
    }
    let given: Vec<_> = args.urls.iter().map(|url| plain(url)).collect();
    let contacted: Vec<_> = urls.iter().map(|url| plain(url.as_str())).collect();
    if given != contacted {
        terminal::warn(&format!(
            "requesting leave in this order, which must be the same on every node: {}",
            contacted.join(" ")
        ));
    }
    block_on(leave(urls, args, json))
}

/// The load balancers in the order that is the same on every node, without duplicates.
fn in_order(urls: &[String]) -> Result<Vec<Url>, CommandError> {
    let mut known = Vec::new();
    for text in urls {
        let wrong = |why: &str| CommandError::Usage(format!("{text}: {why}"));
        let url = if text.contains("://") {
            Url::parse(text)
        } else {
            Url::parse(&format!("http://{text}"))
        };
        let url = url.map_err(|error| wrong(&error.to_string()))?;
        if url.scheme() != "http" {
            return Err(wrong(
                "only http is supported, such as http://lb1.example:8099",
            ));
        }
        known.push(url);
    }
    known.sort();
    known.dedup();
    Ok(known)
}

/// A URL without its optional parts.
fn plain(url: &str) -> &str {
    let url = url.strip_prefix("http://").unwrap_or(url);
    url.strip_suffix('/').unwrap_or(url)
}

/// A leave in progress.
struct Leaving {
    client: NodeClient,
    /// The address that requests are sent from, if one was given.
    from: Option<IpAddr>,
    /// A load balancer that does not respond for this long is skipped.
    skip_dead: Option<Duration>,
    deadline: Cell<Deadline>,
    /// Whether steps are printed as JSON.
    json: bool,
    /// Never blocks: output that nobody reads must not keep a node from leaving.
    output: Output,
    urls: Vec<Url>,
    /// Load balancers that were contacted, and so may have granted leave.
    contacted: RefCell<Vec<Url>>,
    skipped: RefCell<Vec<Url>>,
    /// The last printed answer of each load balancer.
    printed: RefCell<BTreeMap<Url, (LeaveAnswer, String)>>,
}

async fn leave(urls: Vec<Url>, args: &cli::Leave, json: bool) -> Result<u8, CommandError> {
    let interrupts = Interrupts::listen().map_err(CommandError::signals)?;
    // While this program is paused, load balancers do not count as unresponsive.
    tokio::spawn(awake::beat());
    let output = Output::start(None);
    let output = output.map_err(|error| CommandError::System("start a thread", error))?;
    let leaving = Leaving {
        client: NodeClient::new(args.from, args.port).map_err(CommandError::Failed)?,
        from: args.from,
        skip_dead: args.skip_dead,
        deadline: Cell::new(Deadline::new(args.timeout, Instant::now())),
        json,
        output,
        urls,
        contacted: RefCell::default(),
        skipped: RefCell::default(),
        printed: RefCell::default(),
    };
    let code = leaving.run(args, &interrupts).await;
    leaving.output.finish_briefly().await;
    code
}

impl Leaving {
    /// Leaves, runs the command, and reports that the node is back.
    async fn run(&self, args: &cli::Leave, interrupts: &Interrupts) -> Result<u8, CommandError> {
        let gone = tokio::select! {
            gone = self.leave_all() => gone,
            () = interrupts.finish.cancelled() => Err(CommandError::Interrupted),
        };
        let failed = match gone {
            Ok(()) if args.command.is_empty() => return Ok(DONE),
            Ok(()) => match self.run_command(args).await {
                Ok(Outcome::Exited(status)) => {
                    let program = args.command[0].to_string_lossy();
                    return self.resume(&program, status).await;
                }
                Ok(Outcome::NotRun(code, why)) => {
                    self.output.warn(&why);
                    Ok(code)
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        tokio::select! {
            () = self.cancel_all() => {}
            () = interrupts.stop.cancelled() => {}
        }
        match (failed, interrupts.code()) {
            (Err(CommandError::Interrupted), Some(code)) => Ok(code),
            (failed, _) => failed,
        }
    }

    /// Runs the command, as a child or in place of this program. Output so far is written first.
    async fn run_command(&self, args: &cli::Leave) -> Result<Outcome, CommandError> {
        self.output.flush_briefly().await;
        if args.back {
            command::run(&args.command, self.json).await
        } else {
            let (code, why) = command::exec(&args.command);
            Ok(Outcome::NotRun(code, why))
        }
    }

    /// Waits until the node is gone from all load balancers.
    async fn leave_all(&self) -> Result<(), CommandError> {
        // All of them must grant leave before any requests in progress are waited for.
        self.request_all(LeaveAnswer::Granted).await?;
        // While one is waited for, the leave at another may end, by a failed poll and a good one or by its time limit:
        // only a whole round without waiting shows that the node is gone from all.
        while !self.request_all(LeaveAnswer::Gone).await? {}
        Ok(())
    }

    /// Requests leave from all load balancers, one after the other; whether the first answer of each was the goal.
    async fn request_all(&self, goal: LeaveAnswer) -> Result<bool, CommandError> {
        let mut immediately = true;
        for url in &self.urls {
            if !self.skipped.borrow().contains(url) {
                immediately &= self.request_until(url, goal).await?;
            }
        }
        Ok(immediately)
    }

    /// Requests leave from one load balancer until it gives this answer; whether that was its first one.
    async fn request_until(&self, url: &Url, goal: LeaveAnswer) -> Result<bool, CommandError> {
        let mut silence = Silence::none();
        let mut first = true;
        let mut waited = false;
        // The first response is not delayed: it is printed immediately.
        let mut long_poll = Duration::ZERO;
        loop {
            let left = self.remaining();
            let sent_at = Instant::now();
            let new = self.mark_contacted(url);
            let (answer, text) = match self.client.leave(url, long_poll.min(left)).await {
                Reply::Answer(answer, text) => {
                    silence = Silence::none();
                    (answer, text)
                }
                Reply::Busy(why) => {
                    silence = Silence::none();
                    (LeaveAnswer::Busy, why)
                }
                Reply::Rejected(why) => {
                    self.contacted
                        .borrow_mut()
                        .retain(|contacted| contacted != url || !new);
                    return Err(CommandError::Failed(format!("{}: {why}", shown(url))));
                }
                Reply::NoResponse { why, reached } => {
                    silence.record();
                    if !reached && new {
                        self.contacted
                            .borrow_mut()
                            .retain(|contacted| contacted != url);
                    }
                    (LeaveAnswer::Dead, why)
                }
            };
            self.print_answer(url, answer, &text);
            let waits = answer == LeaveAnswer::Wait;
            if waits || waited {
                self.exclude_wait();
            }
            waited = waits;
            if answer == LeaveAnswer::Gone || answer == goal {
                return Ok(first);
            }
            first = false;
            if self
                .skip_dead
                .is_some_and(|limit| silence.has_lasted(limit))
            {
                self.skipped.borrow_mut().push(url.clone());
                self.print_answer(url, LeaveAnswer::PassedOver, &text);
                return Ok(false);
            }
            let left = self.remaining();
            if left.is_zero() {
                return Err(CommandError::TimedOut {
                    timeout: self.deadline.get().limit(),
                    missing: format!("{}: {}", shown(url), describe(answer, &text)),
                });
            }
            if waits {
                self.cancel_behind(url).await;
            }
            let is_well = waits || answer == LeaveAnswer::Granted;
            // Something may be listening there that delays no responses.
            if !is_well || (!long_poll.is_zero() && sent_at.elapsed() < RETRY_INTERVAL) {
                sleep(RETRY_INTERVAL.min(left)).await;
            }
            // A load balancer in trouble is only probed.
            long_poll = if is_well { LONG_POLL } else { Duration::ZERO };
        }
    }

    fn remaining(&self) -> Duration {
        self.deadline.get().remaining(Instant::now())
    }

    fn exclude_wait(&self) {
        let mut deadline = self.deadline.get();
        deadline.exclude_wait(Instant::now());
        self.deadline.set(deadline);
    }

    /// Cancels the leaves at the load balancers after this one, which makes the node wait: otherwise it and a node that is
    /// first here and waits there would wait for each other forever.
    async fn cancel_behind(&self, url: &Url) {
        let behind: Vec<_> = {
            let contacted = self.contacted.borrow();
            contacted.iter().filter(|one| *one > url).cloned().collect()
        };
        for one in behind.iter().rev() {
            let answer = self.end_leave(one, LeaveAnswer::TakenBack, "").await;
            if answer == LeaveAnswer::TakenBack {
                self.contacted
                    .borrow_mut()
                    .retain(|contacted| contacted != one);
            }
        }
    }

    /// Records that a load balancer is contacted, so may grant leave; whether it was not contacted before.
    fn mark_contacted(&self, url: &Url) -> bool {
        let mut contacted = self.contacted.borrow_mut();
        let new = !contacted.contains(url);
        if new {
            contacted.push(url.clone());
        }
        new
    }

    /// Cancels every leave that may have been granted, including those whose response was lost; the last one first.
    async fn cancel_all(&self) {
        let contacted = self.contacted.borrow().clone();
        for url in contacted.iter().rev() {
            let if_failed = "; its leave there expires by itself (leave_timeout)";
            self.end_leave(url, LeaveAnswer::TakenBack, if_failed).await;
        }
    }

    /// Ends the leave at one load balancer. Prints and returns `if_ended`, or what went wrong, with `if_failed` appended.
    async fn end_leave(&self, url: &Url, if_ended: LeaveAnswer, if_failed: &str) -> LeaveAnswer {
        let (answer, text) = match self.client.end_leave(url).await {
            Reply::Answer(..) => (if_ended, String::new()),
            Reply::Busy(why) => (LeaveAnswer::Busy, why + if_failed),
            Reply::Rejected(why) => (LeaveAnswer::Refused, why),
            Reply::NoResponse { why, .. } => (LeaveAnswer::Dead, why + if_failed),
        };
        self.print_answer(url, answer, &text);
        answer
    }

    /// Prints an answer, unless it is the same as the last one.
    fn print_answer(&self, url: &Url, answer: LeaveAnswer, text: &str) {
        let current = (answer, text.to_owned());
        let last = self
            .printed
            .borrow_mut()
            .insert(url.clone(), current.clone());
        if last == Some(current) {
            return;
        }
        let text = printable(&describe(answer, text));
        if self.json {
            let step = LeaveStep {
                time: now(),
                load_balancer: shown(url).to_owned(),
                answer,
                text,
            };
            self.output.json(&step);
        } else {
            self.output.warn(&format!("{}: {text}", shown(url)));
        }
    }
}

fn shown(url: &Url) -> &str {
    let text = url.as_str();
    text.strip_suffix('/').unwrap_or(text)
}

/// An answer, for people.
fn describe(answer: LeaveAnswer, text: &str) -> String {
    match answer {
        LeaveAnswer::Wait => format!("waiting: {text}"),
        LeaveAnswer::Granted if text.is_empty() => {
            "granted: out of its pools, still draining".to_owned()
        }
        LeaveAnswer::Granted => format!("granted: out of its pools, not gone yet: {text}"),
        LeaveAnswer::Gone => "gone: drained".to_owned(),
        LeaveAnswer::Busy => format!("busy: {text}"),
        LeaveAnswer::Dead => format!("no response: {text}"),
        LeaveAnswer::PassedOver => format!("skipped, no response: {text}"),
        LeaveAnswer::TakenBack => "cancelled: the node stays".to_owned(),
        LeaveAnswer::Back => {
            "reported that the node is back: it returns at its next successful polls".to_owned()
        }
        LeaveAnswer::Refused => format!("rejected: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(urls: &[&str]) -> Result<Vec<String>, CommandError> {
        let urls: Vec<_> = urls.iter().map(ToString::to_string).collect();
        let known = in_order(&urls)?;
        Ok(known.iter().map(|url| shown(url).to_owned()).collect())
    }

    #[test]
    fn load_balancers_are_asked_in_one_order_and_once() {
        let known = urls(&["http://lb2:8099/", "lb1:8099", "http://lb2:8099"]).unwrap();
        assert_eq!(known, ["http://lb1:8099", "http://lb2:8099"]);
    }

    #[test]
    fn what_is_no_http_url_is_a_wrong_command_line() {
        for wrong in ["https://lb1:8099", "http://", "ftp://lb1"] {
            let error = urls(&[wrong]).unwrap_err();
            assert_eq!(error.code(), super::super::USAGE, "{wrong}");
        }
    }
}
