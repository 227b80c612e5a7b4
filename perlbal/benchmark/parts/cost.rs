//! What a steady state costs: processor time per 1,000 polls and memory, beside `HAProxy`'s and the floor's; and whether the
//! polls come, and evenly.
//!
//! In each window falls one comparison with all that Perlbal has (`resync_interval`), where an ordinary run has one in 30 s.

use std::time::Duration;

use super::{Plan, thousands};
use crate::Outcome;
use crate::measure::{Window, asked, watch};
use crate::process::Process;
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

/// One poll per node and second.
const INTERVAL: Duration = Duration::from_secs(1);

/// A subject's window and its memory.
type Seen = (Window, f64);

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let sizes: &[usize] = if plan.quick {
        &[100, 1000]
    } else {
        &[100, 1000, 10_000]
    };
    for &nodes in sizes {
        if !plan.can_keep(nodes) {
            report.note(format!(
                "{} nodes left out: with {} open files a process cannot keep a connection to each",
                thousands(nodes),
                plan.descriptors
            ));
            continue;
        }
        measure(plan, report, nodes)?;
    }
    Ok(())
}

fn measure(plan: &Plan, report: &mut Report, nodes: usize) -> Outcome<()> {
    let mut site = Site::new()?;
    let see = |site: &mut Site, mut process: Process| -> Outcome<Seen> {
        let window = watch(&mut site.nodes, &mut process, INTERVAL, plan.window)?;
        Ok((window, process.resident()?))
    };

    let floor = site.floor(nodes, INTERVAL)?;
    let floor = see(&mut site, floor)?;
    let haproxy = site.haproxy(nodes, INTERVAL)?;
    let haproxy = see(&mut site, haproxy)?;
    let mut settings = Settings::new(nodes, INTERVAL);
    settings.resync = plan.window;
    let mut perlbal = site.perlbal()?;
    let pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;
    let pollbal = see(&mut site, pollbal)?;

    tell(report, nodes, &pollbal, &haproxy, &floor);
    Ok(())
}

fn tell(report: &mut Report, nodes: usize, pollbal: &Seen, haproxy: &Seen, floor: &Seen) {
    let many = thousands(nodes);
    let mut add = |id: &str, what: &str, unit, value: fn(&Seen) -> f64, goals: &[Goal]| {
        let figure = Figure::new(
            format!("cost.{id}.{nodes}"),
            format!("{many} nodes: {what}"),
            unit,
            value(pollbal),
        )
        .beside(Some(value(haproxy)), Some(value(floor)));
        if goals.is_empty() {
            report.add(figure.clone());
        }
        for goal in goals {
            report.add(figure.clone().goal(*goal));
        }
    };
    let cost = [Goal::OfHaproxy(0.8), Goal::AtMost(18.0)];
    let goals = if nodes == 10_000 { 2 } else { 1 };
    let title = "processor time per 1,000 polls";
    add(
        "cpu",
        title,
        "ms",
        |(window, _)| window.cost,
        &cost[..goals],
    );
    let memory = [Goal::AtMost(60.0)];
    let goals = usize::from(nodes == 10_000);
    add(
        "memory",
        "resident memory",
        "MB",
        |(_, memory)| *memory,
        &memory[..goals],
    );

    add(
        "missed",
        "polls that did not come",
        "",
        |(window, _)| window.rhythm.missed as f64,
        &[Goal::AtMost(0.0)],
    );
    let p99 = |(window, _): &Seen| window.rhythm.p99;
    // A hundredth of the interval.
    add(
        "rhythm_p99",
        "off the interval, 99th percentile",
        "ms",
        p99,
        &[Goal::AtMost(10.0)],
    );
    add(
        "rhythm_max",
        "off the interval, at most",
        "ms",
        |(window, _)| window.rhythm.max,
        &[],
    );
    add(
        "connections",
        "connections open at the end",
        "",
        |(window, _)| window.connections as f64,
        &[],
    );
    // More by no more than one poll of each node at the edges of the window.
    let reached =
        |(window, _): &Seen, nodes| 100.0 * window.polls as f64 / asked(nodes, INTERVAL, window);
    report.add(
        Figure::new(
            format!("cost.reached.{nodes}"),
            format!("{many} nodes: polls that reached them"),
            "% of those due",
            reached(pollbal, nodes),
        )
        .beside(Some(reached(haproxy, nodes)), Some(reached(floor, nodes)))
        .goal(Goal::AtLeast(99.5)),
    );
}
