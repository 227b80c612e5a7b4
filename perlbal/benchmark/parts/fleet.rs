//! A fleet that one machine can just poll: 100,000 nodes, each every 10 s. Where fewer open files are allowed, most of
//! these polls need a connection each.

use std::time::Duration;

use super::{Plan, thousands};
use crate::Outcome;
use crate::measure::{Window, asked, watch};
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let (nodes, interval) = if plan.quick {
        (1000, Duration::from_secs(1))
    } else {
        (100_000, Duration::from_secs(10))
    };
    let many = format!("{} nodes every {interval:?}", thousands(nodes));
    let figure = |id: &str, what: &str, unit, value| {
        let id = format!("fleet.{id}.{nodes}");
        Figure::new(id, format!("{many}: {what}"), unit, value)
    };
    // Three whole rounds, as a window of fewer has no two polls of most nodes.
    let length = 3 * interval;
    let mut site = Site::new()?;
    let other = if plan.can_keep(nodes) {
        Some(haproxy(&mut site, nodes, interval)?)
    } else {
        report.note("fleet: without HAProxy, which wants a descriptor for each node and may not have this many");
        None
    };

    let mut settings = Settings::new(nodes, interval);
    settings.resync = Duration::from_secs(3600);
    let mut perlbal = site.perlbal()?;
    let mut pollbal = site.pollbal(&plan.pollbal, &settings, &perlbal)?;
    if let Err(why) = site.wait_file(&mut pollbal, nodes) {
        pollbal.check()?;
        report.note(format!("fleet: {why}; so nothing else is measured"));
        let reached = figure("reached", "polls that came", "% of those due", 0.0);
        report.add(reached.goal(Goal::AtLeast(99.5)));
        return Ok(());
    }
    site.settle(nodes, interval)?;
    let window = watch(&mut site.nodes, &mut pollbal, interval, length)?;

    let beside = |value: fn(&Window) -> f64| (value(&window), other.map(|other| value(&other.0)));
    let add =
        |report: &mut Report, id: &str, what: &str, unit, values: (f64, Option<f64>), goal| {
            let figure = figure(id, what, unit, values.0).beside(values.1, None);
            report.add(match goal {
                Some(goal) => figure.goal(goal),
                None => figure,
            });
        };
    add(
        report,
        "cpu",
        "CPU per 1,000 polls",
        "ms",
        beside(|window| window.cost),
        None,
    );
    let memory = (pollbal.resident()?, other.map(|other| other.1));
    add(report, "memory", "resident memory", "MB", memory, None);
    let files = (pollbal.descriptors()? as f64, None);
    add(report, "descriptors", "open files", "", files, None);
    let reached = |window: &Window| 100.0 * window.polls as f64 / asked(nodes, interval, window);
    let reached = (reached(&window), other.map(|other| reached(&other.0)));
    let goal = Some(Goal::AtLeast(99.5));
    add(
        report,
        "reached",
        "polls that came",
        "% of those due",
        reached,
        goal,
    );
    let missed = beside(|window| window.rhythm.missed as f64);
    add(
        report,
        "missed",
        "polls that did not come",
        "",
        missed,
        Some(Goal::AtMost(0.0)),
    );
    let goal = Some(Goal::AtMost(interval.as_secs_f64() * 10.0));
    let p99 = beside(|window| window.rhythm.p99);
    add(
        report,
        "rhythm_p99",
        "off the interval, p99",
        "ms",
        p99,
        goal,
    );
    // It may still be at work; then it does not answer soon.
    match perlbal.members() {
        Ok(members) => {
            let goal = Some(Goal::AtLeast(nodes as f64));
            add(
                report,
                "members",
                "members in Perlbal",
                "",
                (members as f64, None),
                goal,
            );
        }
        Err(why) => report.note(format!(
            "fleet: how many members Perlbal has is not known: {why}"
        )),
    }
    Ok(())
}

/// `HAProxy`'s window and memory.
fn haproxy(site: &mut Site, nodes: usize, interval: Duration) -> Outcome<(Window, f64)> {
    let mut haproxy = site.haproxy(nodes, interval)?;
    let window = watch(&mut site.nodes, &mut haproxy, interval, 3 * interval)?;
    Ok((window, haproxy.resident()?))
}
