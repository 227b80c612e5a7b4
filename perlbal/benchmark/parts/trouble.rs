//! Nodes in trouble: whether they change what the others see, or what pollbal costs.

use std::net::SocketAddrV4;

use super::{Plan, thousands};
use crate::Outcome;
use crate::measure::{Window, watch};
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

fn measure(plan: &Plan, nodes: usize, trouble: Trouble) -> Outcome<Window> {
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
    watch(&mut site.nodes, &mut pollbal, interval, plan.window)
}

fn tell(report: &mut Report, id: &str, name: &str, window: &Window, healthy: Option<&Window>) {
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
    let p99 = figure(
        "rhythm_p99",
        "the others off the interval, p99",
        "ms",
        window.rhythm.p99,
    );
    let limit = |healthy: &Window| (healthy.rhythm.p99 * 1.1).max(healthy.rhythm.p99 + NOISE);
    report.add(goal(p99, healthy.map(limit)));
    let missed = figure(
        "missed",
        "polls of the others that did not come",
        "",
        window.rhythm.missed as f64,
    );
    report.add(missed.goal(Goal::AtMost(0.0)));
}
