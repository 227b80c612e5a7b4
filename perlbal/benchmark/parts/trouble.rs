//! Nodes in trouble: whether they change what the others see, or what pollbal costs.
//!
//! The site without trouble and those with it run all the time and are watched in turns, a short while each: a machine
//! whose speed changes by a tenth from one half minute to the next is the same for all of them.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::{Plan, thousands};
use crate::Outcome;
use crate::driven::Perlbal;
use crate::measure::{Window, asked, watch};
use crate::nodes::{MOST, address};
use crate::process::Process;
use crate::quantile::median;
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site, free_port};

/// So often each site is watched; all of it takes as long as two of a plan's windows.
const ROUNDS: u32 = 5;

/// A rhythm that is worse by less than this, in milliseconds, is not worse: a thousandth of the interval.
const NOISE: f64 = 1.0;

/// No comparison with Perlbal falls into one window and not into another.
const NO_RESYNC: Duration = Duration::from_secs(3600);

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let nodes = if plan.quick { 100 } else { 2000 };
    let mut healthy = Watched::start(plan, nodes, Trouble::None)?;
    let mut few = Watched::start(plan, nodes, Trouble::SlowAndDead)?;
    let mut many = Watched::start(plan, nodes, Trouble::Hanging)?;
    for _ in 0..ROUNDS {
        for site in [&mut healthy, &mut few, &mut many] {
            site.watch(plan.window * 2 / ROUNDS)?;
        }
    }
    let name = format!("{} healthy nodes", thousands(nodes));
    tell(report, "healthy", &name, &healthy, None)?;
    tell(report, "one", "one slow, one dead", &few, Some(&healthy))?;
    tell(report, "hanging", "30 % hang", &many, Some(&healthy))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    SlowAndDead,
    /// Three of each ten nodes take the request and never answer.
    Hanging,
}

/// A site, and what was observed of it. Its processes end before its directory goes, or they would write there again.
struct Watched {
    pollbal: Process,
    _perlbal: Perlbal,
    site: Site,
    interval: Duration,
    nodes: usize,
    /// This many of them answer.
    healthy: usize,
    windows: Vec<Window>,
}

impl Watched {
    fn start(plan: &Plan, nodes: usize, trouble: Trouble) -> Outcome<Self> {
        let interval = plan.interval();
        let mut site = Site::new()?;
        let mut settings = Settings::new(nodes, interval);
        settings.resync = NO_RESYNC;
        let mut perlbal = site.perlbal()?;
        let mut healthy = nodes;
        match trouble {
            Trouble::None => {}
            Trouble::SlowAndDead => {
                // Within the time that a node has; and a port where nobody listens.
                site.nodes.slow(0, interval * 2 / 5)?;
                let dead = address(MOST - 1);
                settings
                    .more
                    .push(SocketAddrV4::new(dead, free_port(dead)?));
            }
            Trouble::Hanging => {
                site.nodes.hang(3)?;
                healthy = (0..nodes).filter(|node| node % 10 >= 3).count();
            }
        }
        let mut pollbal = site.pollbal(&plan.pollbal, &settings, &perlbal)?;
        site.wait_file(&mut pollbal, healthy)?;
        perlbal.wait_members(healthy)?;
        site.settle(nodes, interval)?;
        Ok(Self {
            pollbal,
            _perlbal: perlbal,
            site,
            interval,
            nodes: nodes + settings.more.len(),
            healthy,
            windows: Vec::new(),
        })
    }

    fn watch(&mut self, window: Duration) -> Outcome<()> {
        let nodes = &mut self.site.nodes;
        let observed = watch(nodes, &mut self.pollbal, self.interval, window)?;
        self.windows.push(observed);
        Ok(())
    }

    fn sum(&self, of: impl Fn(&Window) -> f64) -> f64 {
        self.windows.iter().map(of).sum()
    }

    /// Processor time per second, in milliseconds.
    fn load(&self) -> f64 {
        self.sum(|window| window.load * window.seconds) / self.sum(|window| window.seconds)
    }

    /// Polls that this many nodes should have observed.
    fn due(&self, nodes: usize) -> f64 {
        self.sum(|window| asked(nodes, self.interval, window))
    }

    /// How far from the interval all but a hundredth of the polls were, in milliseconds.
    fn p99(&self) -> f64 {
        let windows = self.windows.iter().map(|window| window.rhythm.p99);
        median(&windows.collect::<Vec<_>>())
    }

    /// Polls of healthy nodes that did not come, between others or all of a window's.
    fn missed(&self) -> f64 {
        self.sum(|window| {
            let never = self.healthy as f64 - window.rhythm.nodes as f64;
            let each = asked(1, self.interval, window);
            window.rhythm.missed as f64 + (never.max(0.0) * each).round()
        })
    }
}

fn tell(
    report: &mut Report,
    id: &str,
    name: &str,
    observed: &Watched,
    healthy: Option<&Watched>,
) -> Outcome<()> {
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
    // Not per poll: a node that hangs is not asked again each time.
    let load = figure("cpu", "processor time per second", "ms", observed.load());
    report.add(goal(load, healthy.map(|healthy| healthy.load() * 1.1)));
    let spent = observed.sum(|window| window.load * window.seconds);
    report.add(figure(
        "cpu_asked",
        "per 1,000 polls asked",
        "ms",
        spent * 1000.0 / observed.due(observed.nodes),
    ));
    let memory = observed.pollbal.resident()?;
    report.add(figure("memory", "resident memory", "MB", memory));
    let p99 = figure(
        "rhythm_p99",
        "the others off the interval, p99",
        "ms",
        observed.p99(),
    );
    let limit = |healthy: &Watched| (healthy.p99() * 1.1).max(healthy.p99() + NOISE);
    report.add(goal(p99, healthy.map(limit)));
    let missed = figure(
        "missed",
        "polls of the others that did not come",
        "",
        observed.missed(),
    );
    report.add(missed.goal(Goal::AtMost(0.0)));
    // More or less by no more than what falls on the edges of a window.
    let reached = figure(
        "reached",
        "polls that reached them",
        "% of those due",
        100.0 * observed.sum(|window| window.rhythm.polls() as f64)
            / observed.due(observed.healthy),
    );
    report.add(reached.goal(Goal::AtLeast(99.5)));
    Ok(())
}
