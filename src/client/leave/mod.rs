//! `pollbal leave`: on a node, out of all pools at all load balancers, then perhaps a command.
//!
//! Every node asks the load balancers in the same order and keeps what it was granted while it asks
//! the next one, so that of two nodes one always comes first everywhere. What it was granted it
//! takes back unless it is gone from all.

mod back;
mod balancer;
mod command;
mod patience;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::time::sleep;

use super::output::Output;
use super::signals::Interrupts;
use super::words::now;
use super::{ClientError, DONE, program, terminal, within};
use crate::api::{LeaveAnswer, LeaveStep};
use crate::awake;
use crate::cli;
use crate::model::text::printable;
use balancer::{Balancers, Said};
use command::Ended;
use patience::{Patience, Silence};

/// How long a load balancer holds its answer.
const HOLD: Duration = Duration::from_secs(30);

/// Before a load balancer is asked again that is dead, or that did not hold its answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn run(args: &cli::Leave, json: bool) -> Result<u8, ClientError> {
    let urls = in_order(&args.urls)?;
    // Nobody is asked for the sake of a command that cannot be run.
    if let Some(program) = args.command.first()
        && let Err(error) = program::look_for(program)
    {
        let (code, why) = command::not_run(&args.command, &error);
        terminal::warn(&why);
        return Ok(code);
    }
    let given: Vec<_> = args.urls.iter().map(|url| plain(url)).collect();
    let asked: Vec<_> = urls.iter().map(|url| plain(url.as_str())).collect();
    if given != asked {
        terminal::warn(&format!(
            "asked in this order, which has to be the same on every node: {}",
            asked.join(" ")
        ));
    }
    within(leave(urls, args, json))
}

/// The load balancers in the one order that every node keeps, each once.
fn in_order(urls: &[String]) -> Result<Vec<Url>, ClientError> {
    let mut known = Vec::new();
    for text in urls {
        let wrong = |why: &str| ClientError::Usage(format!("{text}: {why}"));
        let url = if text.contains("://") {
            Url::parse(text)
        } else {
            Url::parse(&format!("http://{text}"))
        };
        let url = url.map_err(|error| wrong(&error.to_string()))?;
        if url.scheme() != "http" {
            return Err(wrong(
                "only http is spoken there, such as http://lb1.example:8099",
            ));
        }
        known.push(url);
    }
    known.sort();
    known.dedup();
    Ok(known)
}

/// A URL without what may be left out.
fn plain(url: &str) -> &str {
    let url = url.strip_prefix("http://").unwrap_or(url);
    url.strip_suffix('/').unwrap_or(url)
}

/// One way out of the pools.
struct Leaving {
    balancers: Balancers,
    /// The address that the node speaks from, if one was given.
    from: Option<Ipv4Addr>,
    /// One that does not answer for so long is passed over.
    skip_dead: Option<Duration>,
    patience: Cell<Patience>,
    /// Answers are told as JSON.
    json: bool,
    /// A log that nobody reads keeps no node from going.
    output: Output,
    urls: Vec<Url>,
    /// Those that were asked, and so may have granted something.
    asked: RefCell<Vec<Url>>,
    passed_over: RefCell<Vec<Url>>,
    /// What each said last.
    told: RefCell<BTreeMap<Url, (LeaveAnswer, String)>>,
}

async fn leave(urls: Vec<Url>, args: &cli::Leave, json: bool) -> Result<u8, ClientError> {
    let interrupts = Interrupts::listen().map_err(ClientError::signals)?;
    // A pause of this program is no silence of load balancers.
    tokio::spawn(awake::beat());
    let output = Output::start(None);
    let output = output.map_err(|error| ClientError::System("start a thread", error))?;
    let leaving = Leaving {
        balancers: Balancers::new(args.from, args.port).map_err(ClientError::Failed)?,
        from: args.from,
        skip_dead: args.skip_dead,
        patience: Cell::new(Patience::new(args.timeout, Instant::now())),
        json,
        output,
        urls,
        asked: RefCell::default(),
        passed_over: RefCell::default(),
        told: RefCell::default(),
    };
    let code = leaving.through(args, &interrupts).await;
    leaving.output.last_words().await;
    code
}

impl Leaving {
    /// All of it: the way out, the command, the way back.
    async fn through(&self, args: &cli::Leave, interrupts: &Interrupts) -> Result<u8, ClientError> {
        let gone = tokio::select! {
            gone = self.gone_from_all() => gone,
            () = interrupts.finish.cancelled() => Err(ClientError::Interrupted),
        };
        let ended = match gone {
            Ok(()) if args.command.is_empty() => return Ok(DONE),
            Ok(()) => match self.command(args).await {
                Ok(Ended::With(status)) => {
                    let program = args.command[0].to_string_lossy();
                    return self.after(&program, status).await;
                }
                Ok(Ended::NotRun(code, why)) => {
                    self.output.warn(&why);
                    Ok(code)
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        tokio::select! {
            () = self.take_back() => {}
            () = interrupts.stop.cancelled() => {}
        }
        match (ended, interrupts.code()) {
            (Err(ClientError::Interrupted), Some(code)) => Ok(code),
            (ended, _) => ended,
        }
    }

    /// The command, in the place of this program or as its child. What was told before it stands before what it says.
    async fn command(&self, args: &cli::Leave) -> Result<Ended, ClientError> {
        self.output.written_soon().await;
        if args.back {
            command::run(&args.command, self.json).await
        } else {
            let (code, why) = command::become_it(&args.command);
            Ok(Ended::NotRun(code, why))
        }
    }

    async fn gone_from_all(&self) -> Result<(), ClientError> {
        // All of them first agree, and only then it is waited for the requests under way.
        self.round(LeaveAnswer::Granted).await?;
        // While one was waited for, another may have taken the node in again: a leave ends by a
        // failed poll before a good one, and by its time.
        while !self.round(LeaveAnswer::Gone).await? {}
        Ok(())
    }

    /// Asks all of them, one after the other; whether each was there already when it was asked.
    async fn round(&self, goal: LeaveAnswer) -> Result<bool, ClientError> {
        let mut already = true;
        for url in &self.urls {
            if !self.passed_over.borrow().contains(url) {
                already &= self.reach(url, goal).await?;
            }
        }
        Ok(already)
    }

    /// Asks one load balancer until it has said so; whether that was its first answer.
    async fn reach(&self, url: &Url, goal: LeaveAnswer) -> Result<bool, ClientError> {
        let mut silence = Silence::none();
        let mut first = true;
        let mut waited = false;
        // The first answer is wanted at once: it is what is told.
        let mut hold = Duration::ZERO;
        loop {
            let left = self.left();
            let asked = Instant::now();
            let new = self.is_new(url);
            let (answer, text) = match self.balancers.leave(url, hold.min(left)).await {
                Said::Answer(answer, text) => {
                    silence = Silence::none();
                    (answer, text)
                }
                Said::Busy(why) => {
                    silence = Silence::none();
                    (LeaveAnswer::Busy, why)
                }
                Said::Refused(why) => {
                    self.asked.borrow_mut().retain(|asked| asked != url || !new);
                    return Err(ClientError::Failed(format!("{}: {why}", shown(url))));
                }
                Said::Nothing { why, reached } => {
                    silence.goes_on();
                    if !reached && new {
                        self.asked.borrow_mut().retain(|asked| asked != url);
                    }
                    (LeaveAnswer::Dead, why)
                }
            };
            self.tell(url, answer, &text);
            let waits = answer == LeaveAnswer::Wait;
            if waits || waited {
                self.has_waited();
            }
            waited = waits;
            if answer == LeaveAnswer::Gone || answer == goal {
                return Ok(first);
            }
            first = false;
            if self.skip_dead.is_some_and(|limit| silence.lasts(limit)) {
                self.passed_over.borrow_mut().push(url.clone());
                self.tell(url, LeaveAnswer::PassedOver, &text);
                return Ok(false);
            }
            let left = self.left();
            if left.is_zero() {
                return Err(ClientError::TimeOver {
                    timeout: self.patience.get().limit(),
                    missing: format!("{}: {}", shown(url), told(answer, &text)),
                });
            }
            if waits {
                self.let_go_behind(url).await;
            }
            let is_well = waits || answer == LeaveAnswer::Granted;
            // It may hold nothing, whatever it is asked.
            if !is_well || (!hold.is_zero() && asked.elapsed() < ASK_AGAIN) {
                sleep(ASK_AGAIN.min(left)).await;
            }
            // Who is not all right is not asked for more than a sign of life.
            hold = if is_well { HOLD } else { Duration::ZERO };
        }
    }

    fn left(&self) -> Duration {
        self.patience.get().left(Instant::now())
    }

    fn has_waited(&self) {
        let mut patience = self.patience.get();
        patience.has_waited(Instant::now());
        self.patience.set(patience);
    }

    /// A load balancer that took the node in again has it wait: those behind it are left, or another
    /// node that comes first here and waits there would wait for ever.
    async fn let_go_behind(&self, url: &Url) {
        let behind: Vec<_> = {
            let asked = self.asked.borrow();
            asked.iter().filter(|one| *one > url).cloned().collect()
        };
        for one in behind.iter().rev() {
            let ended = self.end_leave(one, LeaveAnswer::TakenBack, "").await;
            if ended == LeaveAnswer::TakenBack {
                self.asked.borrow_mut().retain(|asked| asked != one);
            }
        }
    }

    /// Whether it is asked for the first time: from now on it may grant something.
    fn is_new(&self, url: &Url) -> bool {
        let mut asked = self.asked.borrow_mut();
        let new = !asked.contains(url);
        if new {
            asked.push(url.clone());
        }
        new
    }

    /// Takes back whatever was granted, also by an answer that was not heard any more; the last one
    /// first.
    async fn take_back(&self) {
        let asked = self.asked.borrow().clone();
        for url in asked.iter().rev() {
            let unheard = "; what it granted ends there by itself (leave_timeout)";
            self.end_leave(url, LeaveAnswer::TakenBack, unheard).await;
        }
    }

    /// Ends the leave at one load balancer, which is told to mean `heard`; where it cannot be ended
    /// now, `unheard` is told. Gives what was told.
    async fn end_leave(&self, url: &Url, heard: LeaveAnswer, unheard: &str) -> LeaveAnswer {
        let (answer, text) = match self.balancers.stay(url).await {
            Said::Answer(..) => (heard, String::new()),
            Said::Busy(why) => (LeaveAnswer::Busy, why + unheard),
            Said::Refused(why) => (LeaveAnswer::Refused, why),
            Said::Nothing { why, .. } => (LeaveAnswer::Dead, why + unheard),
        };
        self.tell(url, answer, &text);
        answer
    }

    /// Tells an answer, if it is news.
    fn tell(&self, url: &Url, answer: LeaveAnswer, text: &str) {
        let news = (answer, text.to_owned());
        let before = self.told.borrow_mut().insert(url.clone(), news.clone());
        if before == Some(news) {
            return;
        }
        let text = printable(&told(answer, text));
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

/// An answer in words.
fn told(answer: LeaveAnswer, text: &str) -> String {
    match answer {
        LeaveAnswer::Wait => format!("waits: {text}"),
        LeaveAnswer::Granted if text.is_empty() => {
            "granted: out of its pools, not yet at rest".to_owned()
        }
        LeaveAnswer::Granted => format!("granted: out of its pools, not gone yet: {text}"),
        LeaveAnswer::Gone => "gone: at rest".to_owned(),
        LeaveAnswer::Busy => format!("cannot say now: {text}"),
        LeaveAnswer::Dead => format!("does not answer: {text}"),
        LeaveAnswer::PassedOver => format!("passed over, it does not answer: {text}"),
        LeaveAnswer::TakenBack => "taken back: the node stays".to_owned(),
        LeaveAnswer::Back => {
            "told that the node is back: its next good answers bring it in".to_owned()
        }
        LeaveAnswer::Refused => format!("refuses: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(urls: &[&str]) -> Result<Vec<String>, ClientError> {
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
