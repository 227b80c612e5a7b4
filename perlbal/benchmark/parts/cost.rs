//! What a steady state costs: processor time per 1,000 polls and memory, beside `HAProxy`'s and the floor's; and
//! whether the polls come, and evenly.
//!
//! In each window falls one comparison with all that Perlbal has (`resync_interval`), where an ordinary run has one in
//! 30 s.

use std::time::Duration;

use super::{Plan, thousands};
use crate::Outcome;
use crate::measure::{Window, asked, watch};
use crate::process::Process;
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

/// A subject's window and its memory.
type Seen = (Window, f64);

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let sizes: &[usize] = if plan.quick {
        &[100]
    } else {
        &[100, 1000, 10_000]
    };
    for &nodes in sizes {
        if !plan.can_keep(nodes) {
            report.note(format!(
                "{} nodes skipped: with {} open files a process cannot keep a connection to each",
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
    let interval = plan.interval();
    let mut site = Site::new()?;
    let see = |site: &mut Site, mut process: Process| -> Outcome<Seen> {
        let window = watch(&mut site.nodes, &mut process, interval, plan.window)?;
        Ok((window, process.resident()?))
    };

    let floor = site.floor(nodes, interval)?;
    let floor = see(&mut site, floor)?;
    let haproxy = site.haproxy(nodes, interval)?;
    let haproxy = see(&mut site, haproxy)?;
    let mut settings = Settings::new(nodes, interval);
    settings.resync = plan.window;
    let mut perlbal = site.perlbal()?;
    let pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;
    let pollbal = see(&mut site, pollbal)?;

    tell(report, nodes, interval, &pollbal, &haproxy, &floor);
    Ok(())
}

fn tell(
    report: &mut Report,
    nodes: usize,
    interval: Duration,
    pollbal: &Seen,
    haproxy: &Seen,
    floor: &Seen,
) {
    let figure = |id: &str, what: &str, unit, value: &dyn Fn(&Seen) -> f64| {
        let id = format!("cost.{id}.{nodes}");
        let what = format!("{} nodes: {what}", thousands(nodes));
        Figure::new(id, what, unit, value(pollbal)).beside(Some(value(haproxy)), Some(value(floor)))
    };
    let cost = figure("cpu", "processor time per 1,000 polls", "ms", &|observed| {
        observed.0.cost
    });
    report.add(cost.clone().goal(Goal::OfHaproxy(0.8)));
    let memory = figure("memory", "resident memory", "MB", &|observed| observed.1);
    if nodes == 10_000 {
        report.add(cost.also("limit", Goal::AtMost(18.0)));
        report.add(cost.also("floor", Goal::OfFloor(3.0)));
        report.add(memory.goal(Goal::AtMost(60.0)));
    } else {
        report.add(memory);
    }

    let missed = figure("missed", "polls that did not come", "", &|observed| {
        observed.0.rhythm.missed as f64
    });
    report.add(missed.goal(Goal::AtMost(0.0)));
    // More or less by no more than what falls on the edges of the window.
    let reached = figure(
        "reached",
        "polls that reached them",
        "% of those due",
        &|(window, _)| 100.0 * window.polls as f64 / asked(nodes, interval, window),
    );
    report.add(reached.goal(Goal::AtLeast(99.5)));
    let hundredth = interval.as_secs_f64() * 10.0;
    let p99 = figure("rhythm_p99", "off the interval, p99", "ms", &|observed| {
        observed.0.rhythm.p99
    });
    report.add(p99.goal(Goal::AtMost(hundredth)));
    report.add(figure(
        "rhythm_max",
        "off the interval, at most",
        "ms",
        &|observed| observed.0.rhythm.max,
    ));
    report.add(figure(
        "nodes_cpu",
        "the mock nodes' own time per 1,000 polls",
        "ms",
        &|observed| observed.0.nodes_cost,
    ));
    report.add(figure(
        "connections",
        "connections open at the end",
        "",
        &|observed| observed.0.connections as f64,
    ));
}
