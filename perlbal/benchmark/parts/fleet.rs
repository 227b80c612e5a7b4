//! A fleet that one machine can just poll: 100,000 nodes, each every 10 s. Where fewer open files are allowed, most of these polls
//! need a connection each.

use std::time::Duration;

use super::{Plan, thousands};
use crate::Outcome;
use crate::measure::{asked, watch};
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let (nodes, interval) = if plan.quick {
        (1000, Duration::from_secs(1))
    } else {
        (100_000, Duration::from_secs(10))
    };
    let mut site = Site::new()?;
    let mut settings = Settings::new(nodes, interval);
    settings.resync = Duration::from_secs(3600);
    let mut perlbal = site.perlbal()?;
    let mut pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;
    // Three whole rounds, as a window of fewer has no two polls of most nodes.
    let window = watch(&mut site.nodes, &mut pollbal, interval, 3 * interval)?;
    let many = format!("{} nodes every {interval:?}", thousands(nodes));
    let figure = |id: &str, what: &str, unit, value| {
        Figure::new(
            format!("fleet.{id}.{nodes}"),
            format!("{many}: {what}"),
            unit,
            value,
        )
    };
    report.add(figure("cpu", "CPU per 1,000 polls", "ms", window.cost));
    report.add(figure(
        "memory",
        "resident memory",
        "MB",
        pollbal.resident()?,
    ));
    report.add(figure(
        "descriptors",
        "open files",
        "",
        pollbal.descriptors()? as f64,
    ));
    let reached = 100.0 * window.polls as f64 / asked(nodes, interval, &window);
    report.add(
        figure("reached", "polls that came", "% of those due", reached).goal(Goal::AtLeast(99.5)),
    );
    let missed = window.rhythm.missed as f64;
    report.add(figure("missed", "polls that did not come", "", missed).goal(Goal::AtMost(0.0)));
    let hundredth = interval.as_secs_f64() * 10.0;
    let p99 = figure(
        "rhythm_p99",
        "off the interval, p99",
        "ms",
        window.rhythm.p99,
    );
    report.add(p99.goal(Goal::AtMost(hundredth)));
    Ok(())
}
