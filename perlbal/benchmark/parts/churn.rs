//! Many changes at once: 1,000 of 2,000 members leave within a second and come back, while clients' requests go through
//! Perlbal.
//!
//! Perlbal serves nobody while it works on commands, and it works on them only between their sending and its last
//! answer to what came together, a batch. As much of a request's time as falls in batches, and is more than a request's
//! in a quiet stretch, is the most that our commands can have held it up; the goal is on that. The longest request with
//! changes and without is shown beside, which is the machine's noise too; the time that 99.9 % of requests keep to is
//! that hardly, and tells whether anything else about the changes holds requests up.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Plan, thousands};
use crate::Outcome;
use crate::clients::{Clients, Span};
use crate::clock::milliseconds;
use crate::driven::Perlbal;
use crate::relay::{Command, Relay};
use crate::remote::Nodes;
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

const CLIENTS: usize = 4;

/// No request is held up for longer, in milliseconds.
const HELD: f64 = 20.0;

/// What pollbal still says to Perlbal after this long belongs to something else.
const AFTERMATH: Duration = Duration::from_millis(500);

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let nodes = if plan.quick { 200 } else { 2000 };
    let changed = nodes / 2;
    let rounds = if plan.quick { 1 } else { 3 };
    // All changes come within it: each node is polled once.
    let interval = plan.interval();
    let mut site = Site::new()?;
    let mut perlbal = site.perlbal()?;
    let relay = Relay::start(perlbal.management)?;
    let mut settings = Settings::new(nodes, interval);
    settings.relay = Some(relay.address);
    // A comparison in one stretch and not in the other would be compared too.
    settings.resync = Duration::from_secs(3600);
    let mut pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;

    let mark = relay.len();
    let clients = Clients::start(perlbal.service, CLIENTS);
    let begin = Instant::now();
    let mut late = 0.0_f64;
    for _ in 0..rounds {
        for (status, members) in [("leaving", nodes - changed), ("serving", nodes)] {
            let mark = relay.len();
            site.nodes.set(0..nodes, 2, status)?;
            let last = last_change(&mut site.nodes, changed)?;
            perlbal.wait_members(members)?;
            sleep(AFTERMATH);
            late = late.max(last_answer(&relay, mark, last)?);
        }
    }
    let length = begin.elapsed();
    let busy = clients.finish()?;
    pollbal.check()?;
    let batches = batches(&relay.since(mark));

    let clients = Clients::start(perlbal.service, CLIENTS);
    let begin = Instant::now();
    while begin.elapsed() < length {
        sleep(Duration::from_millis(20));
        // As while it was waited for members.
        look(&mut perlbal)?;
    }
    let quiet = clients.finish()?;

    let longest = |spans: &[Span]| {
        let most = spans.iter().map(|(begin, end)| end - begin).max();
        milliseconds(most.unwrap_or(0))
    };
    // They are in the order of their length.
    let usual = |spans: &[Span]| longest(&spans[..spans.len() - spans.len() / 1000]);
    // What it takes anyway does not hold it up.
    let alone = quiet
        .get(quiet.len() / 2)
        .map_or(0, |(begin, end)| end - begin);
    let held = |request: &Span| {
        let more = (request.1 - request.0).saturating_sub(alone);
        within(*request, &batches).min(more)
    };
    let held = milliseconds(busy.iter().map(held).max().unwrap_or(0));
    let many = format!("{} changes in {interval:?}", thousands(changed));
    let figure = |id: &str, what: &str, value| {
        Figure::new(
            format!("churn.{id}"),
            format!("{many}: {what}"),
            "ms",
            value,
        )
    };
    report.add(figure("late", "last answer to last OK", late).goal(Goal::AtMost(100.0)));
    let held = figure("held", "commands held up a request, at most", held);
    report.add(held.goal(Goal::AtMost(HELD)));
    report.add(figure(
        "batch",
        "longest batch of commands",
        longest(&batches),
    ));
    report.add(figure("longest", "longest of all requests", longest(&busy)));
    report.add(figure("longest_quiet", "without changes", longest(&quiet)));
    let p999 = figure("p999", "99.9 % of requests within", usual(&busy));
    report.add(p999.goal(Goal::AtMost(usual(&quiet) + HELD)));
    report.add(figure("p999_quiet", "without changes", usual(&quiet)));
    let requests = (busy.len() + quiet.len()) as f64;
    report.add(Figure::new(
        "churn.requests",
        format!("{many}: requests of clients"),
        "",
        requests,
    ));
    Ok(())
}

/// When the last of this many changed answers was given.
fn last_change(nodes: &mut Nodes, changed: usize) -> Outcome<u64> {
    let mut last = 0;
    for _ in 0..changed {
        last = last.max(nodes.changed()?.1);
    }
    Ok(last)
}

/// How long after a stamp Perlbal's last answer came to a command that changes something, in milliseconds.
fn last_answer(relay: &Relay, mark: usize, stamp: u64) -> Outcome<f64> {
    let mut last = stamp;
    for command in relay.since(mark).iter().filter(|command| command.changes()) {
        match command.answered {
            Some((answered, false)) => last = last.max(answered),
            Some((_, true)) => return Err(format!("Perlbal has refused {}", command.text).into()),
            None => return Err(format!("Perlbal has not answered {}", command.text).into()),
        }
    }
    Ok(milliseconds(last - stamp))
}

/// From when to when Perlbal had each batch; one that it has not answered has no end.
fn batches(commands: &[Command]) -> Vec<Span> {
    let span = |batch: &[Command]| {
        let ends = batch
            .iter()
            .map(|command| command.answered.map_or(u64::MAX, |(stamp, _)| stamp));
        (batch[0].sent, ends.max().unwrap_or(u64::MAX))
    };
    commands
        .chunk_by(|one, next| one.batch == next.batch)
        .map(span)
        .collect()
}

/// How much of a request's time falls in batches; these are in the order of their beginnings.
fn within((begin, end): Span, batches: &[Span]) -> u64 {
    let (mut time, mut counted) = (0, begin);
    for &(sent, answered) in batches.iter().take_while(|(sent, _)| *sent < end) {
        // Time that is in two of them counts once.
        time += answered.min(end).saturating_sub(sent.max(counted));
        counted = counted.max(answered);
    }
    time
}

fn look(perlbal: &mut Perlbal) -> Outcome<()> {
    perlbal.members().map(|_| ())
}
