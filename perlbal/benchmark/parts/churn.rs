//! Many changes at once: 1,000 of 2,000 members leave within a second and come back, while clients' requests go through Perlbal.
//!
//! How long requests were held up is the longest one's time less that of a quiet stretch as long; such a difference of two maxima
//! is the machine's noise too, so both are shown, and the longest time that Perlbal took for commands that came together.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Plan, thousands};
use crate::Outcome;
use crate::clients::Clients;
use crate::clock::{milliseconds, nanoseconds};
use crate::relay::Relay;
use crate::remote::Nodes;
use crate::report::{Figure, Goal, Report};
use crate::site::{Perlbal, Settings, Site};

const CLIENTS: usize = 4;

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
    let held = longest_batch(&relay, mark);

    let clients = Clients::start(perlbal.service, CLIENTS);
    let begin = Instant::now();
    while begin.elapsed() < length {
        sleep(Duration::from_millis(20));
        // As while it was waited for members.
        look(&mut perlbal)?;
    }
    let quiet = clients.finish()?;

    let longest =
        |took: &[Duration]| milliseconds(nanoseconds(took.last().copied().unwrap_or_default()));
    let (busy_most, quiet_most) = (longest(&busy), longest(&quiet));
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
    report.add(figure("longest", "longest of all requests", busy_most));
    report.add(figure("longest_quiet", "without changes", quiet_most));
    let more = (busy_most - quiet_most).max(0.0);
    report.add(figure("held", "held up by as much more", more).goal(Goal::AtMost(20.0)));
    report.add(figure("batch", "longest batch of commands", held));
    let requests = (busy.len() + quiet.len()) as f64;
    report.add(Figure::new(
        "churn.requests",
        format!("{many}: requests of clients"),
        "",
        requests,
    ));
    Ok(())
}

/// When the last of so many changed answers was given.
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

/// The longest that Perlbal took from a batch's arrival to its last answer, in milliseconds.
fn longest_batch(relay: &Relay, mark: usize) -> f64 {
    let commands = relay.since(mark);
    let changes = commands.iter().filter(|command| command.changes());
    let took = changes.filter_map(|command| Some(command.answered?.0.saturating_sub(command.sent)));
    milliseconds(took.max().unwrap_or(0))
}

fn look(perlbal: &mut Perlbal) -> Outcome<()> {
    perlbal.members().map(|_| ())
}
