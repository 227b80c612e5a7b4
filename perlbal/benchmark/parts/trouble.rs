//! Nodes in trouble: whether they change what the others see, or what pollbal costs.

use std::net::SocketAddrV4;

use super::{Plan, thousands};
use crate::Outcome;
use crate::measure::{Window, asked, watch};
use crate::nodes::{MOST, address};
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

/// A rhythm that is worse by less than this, in milliseconds, is not worse: a thousandth of the interval.
const NOISE: f64 = 1.0;

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let nodes = if plan.quick { 100 } else { 2000 };
    let healthy = measure(plan, nodes, Trouble::None)?;
    tell(
        report,
        "healthy",
        &format!("{} healthy nodes", thousands(nodes)),
        &healthy,
        None,
    );
    let few = measure(plan, nodes, Trouble::SlowAndDead)?;
    tell(report, "one", "one slow, one dead", &few, Some(&healthy));
    let many = measure(plan, nodes, Trouble::Hanging)?;
    tell(report, "hanging", "30 % hang", &many, Some(&healthy));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    SlowAndDead,
    /// Three of each ten nodes take the request and never answer.
    Hanging,
}

/// What was seen of it.
struct Seen {
    window: Window,
    /// Resident, in MB.
    memory: f64,
    /// Polls that were due, of all and of the nodes that answer.
    due: f64,
    due_healthy: f64,
    /// Polls of a node that answers.
    due_each: f64,
    healthy: usize,
}

fn measure(plan: &Plan, nodes: usize, trouble: Trouble) -> Outcome<Seen> {
    let interval = plan.interval();
    let mut site = Site::new()?;
    let mut settings = Settings::new(nodes, interval);
    let mut perlbal = site.perlbal()?;
    let mut members = nodes;
    match trouble {
        Trouble::None => {}
        Trouble::SlowAndDead => {
            // Within the time that a node has; and a port where nobody listens.
            site.nodes.slow(0, interval * 2 / 5)?;
            let dead = SocketAddrV4::new(
                address(MOST - 1),
                crate::site::free_port(address(MOST - 1))?,
            );
            settings.more.push(dead);
        }
        Trouble::Hanging => {
            site.nodes.hang(3)?;
            members = (0..nodes).filter(|node| node % 10 >= 3).count();
        }
    }
    let mut pollbal = site.pollbal(&plan.pollbal, &settings, &perlbal)?;
    site.wait_file(&mut pollbal, members)?;
    perlbal.wait_members(members)?;
    site.settle(nodes, interval)?;
    let window = watch(&mut site.nodes, &mut pollbal, interval, plan.window)?;
    let due = |nodes| asked(nodes, interval, &window);
    Ok(Seen {
        window,
        memory: pollbal.resident()?,
        due: due(nodes + settings.more.len()),
        due_healthy: due(members),
        due_each: due(1),
        healthy: members,
    })
}

fn tell(report: &mut Report, id: &str, name: &str, seen: &Seen, healthy: Option<&Seen>) {
    let (window, healthy) = (&seen.window, healthy.map(|healthy| &healthy.window));
    let figure = |what: &str, about: &str, unit, value| {
        Figure::new(
            format!("trouble.{id}.{what}"),
            format!("{name}: {about}"),
            unit,
            value,
        )
    };
    // The machine's noise is not pollbal's.
    let goal = |figure: Figure, limit: Option<f64>| match limit {
        Some(limit) => figure.goal(Goal::AtMost(limit)),
        None => figure,
    };
    // Not per poll: a node that hangs is not asked anew each time.
    let load = figure("cpu", "processor time per second", "ms", window.load);
    report.add(goal(load, healthy.map(|healthy| healthy.load * 1.1)));
    report.add(figure(
        "cpu_asked",
        "per 1,000 polls asked",
        "ms",
        window.load * window.seconds * 1000.0 / seen.due,
    ));
    report.add(figure("memory", "resident memory", "MB", seen.memory));
    let p99 = figure(
        "rhythm_p99",
        "the others off the interval, p99",
        "ms",
        window.rhythm.p99,
    );
    let limit = |healthy: &Window| (healthy.rhythm.p99 * 1.1).max(healthy.rhythm.p99 + NOISE);
    report.add(goal(p99, healthy.map(limit)));
    let never = seen.healthy as f64 - window.rhythm.nodes as f64;
    let missed = figure(
        "missed",
        "polls of the others that did not come",
        "",
        window.rhythm.missed as f64 + (never.max(0.0) * seen.due_each).round(),
    );
    report.add(missed.goal(Goal::AtMost(0.0)));
    // More or less by no more than what falls on the edges of the window.
    let reached = figure(
        "reached",
        "polls that reached them",
        "% of those due",
        100.0 * window.rhythm.polls() as f64 / seen.due_healthy,
    );
    report.add(reached.goal(Goal::AtLeast(99.5)));
}
