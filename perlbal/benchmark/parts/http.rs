//! What listeners cost: pollbal with all listeners on and a scrape every 15 s, beside pollbal without listeners.
//!
//! Both run all the time and are watched by turns, for a scrape's interval each, as a machine's speed may change from
//! one half minute to the next; now the one is first, now the other. There is a scrape in the middle of each turn of
//! the one with listeners.

use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant};

use super::{Plan, thousands};
use crate::Outcome;
use crate::driven::Perlbal;
use crate::listeners::{Listeners, free_address, scrape};
use crate::measure::{Window, watch};
use crate::process::Process;
use crate::quantile::median;
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

/// Between two scrapes, as Prometheus is commonly configured.
const SCRAPES: Duration = Duration::from_secs(15);

/// What is scraped.
const PATH: &str = "/metrics";

/// So often each is watched; of an odd number one is the middle.
const TURNS: usize = 5;

/// Processor time with listeners is at most this many times that without.
const TIMES: f64 = 1.05;

/// And memory at most so much more, in MB.
const MORE: f64 = 3.0;

/// No comparison with Perlbal falls into one window and not into another.
const NO_RESYNC: Duration = Duration::from_secs(3600);

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let (nodes, turns, length) = if plan.quick {
        (100, 1, plan.window)
    } else {
        (10_000, TURNS, SCRAPES)
    };
    if !plan.can_keep(nodes) {
        report.note("http skipped: too few open files are allowed");
        return Ok(());
    }
    let open = Listeners {
        admin: true,
        status: Some(free_address()?),
        node: Some(free_address()?),
    };
    let mut none = Watched::start(plan, nodes, Listeners::none())?;
    let mut open = Watched::start(plan, nodes, open)?;
    for turn in 0..turns {
        let mut pair = [&mut none, &mut open];
        pair.rotate_left(turn % 2);
        for site in pair {
            site.watch(plan.interval(), length)?;
        }
    }
    tell(plan, report, nodes, &none, &open);
    Ok(())
}

/// A site, and what was observed of it.
struct Watched {
    site: Site,
    _perlbal: Perlbal,
    pollbal: Process,
    /// Where it is scraped.
    listener: Option<SocketAddrV4>,
    windows: Vec<Window>,
    /// Resident after each window, in MB.
    memory: Vec<f64>,
    scrapes: Vec<Scrape>,
}

struct Scrape {
    /// In milliseconds.
    took: f64,
    /// Of its answer, in bytes.
    size: usize,
}

impl Watched {
    fn start(plan: &Plan, nodes: usize, listeners: Listeners) -> Outcome<Self> {
        let mut site = Site::new()?;
        let mut perlbal = site.perlbal()?;
        let mut settings = Settings::new(nodes, plan.interval());
        settings.resync = NO_RESYNC;
        settings.listeners = listeners;
        let pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;
        Ok(Self {
            site,
            _perlbal: perlbal,
            pollbal,
            listener: listeners.status,
            windows: Vec::new(),
            memory: Vec::new(),
            scrapes: Vec::new(),
        })
    }

    fn watch(&mut self, interval: Duration, length: Duration) -> Outcome<()> {
        let listener = self.listener;
        let (nodes, pollbal) = (&mut self.site.nodes, &mut self.pollbal);
        let (window, scraped) = thread::scope(|scope| {
            let scraping =
                listener.map(|listener| scope.spawn(move || scrape_after(length / 2, listener)));
            let window = watch(nodes, pollbal, interval, length);
            (window, scraping.map(thread::ScopedJoinHandle::join))
        });
        self.windows.push(window?);
        self.memory.push(self.pollbal.resident()?);
        if let Some(scraped) = scraped {
            let scrape = scraped.map_err(|_| "a scrape has panicked")?;
            self.scrapes.push(scrape?);
        }
        Ok(())
    }

    /// The middle one of what was observed in each window.
    fn median(&self, of: impl Fn(&Window) -> f64) -> f64 {
        median(&self.windows.iter().map(of).collect::<Vec<_>>())
    }
}

fn scrape_after(pause: Duration, listener: SocketAddrV4) -> Outcome<Scrape> {
    thread::sleep(pause);
    let begin = Instant::now();
    let size = scrape(listener, PATH)?.len();
    Ok(Scrape {
        took: begin.elapsed().as_secs_f64() * 1000.0,
        size,
    })
}

fn tell(plan: &Plan, report: &mut Report, nodes: usize, none: &Watched, open: &Watched) {
    let many = thousands(nodes);
    let figure = |id: &str, what: &str, unit, value| {
        let id = format!("http.{id}.{nodes}");
        Figure::new(id, format!("{many} nodes, {what}"), unit, value)
    };
    let goal = Goal::AtMost;

    let pairs = none.windows.iter().zip(&open.windows);
    let ratios: Vec<f64> = pairs.map(|(none, open)| open.cost / none.cost).collect();
    let cost = "all listeners on: processor time per 1,000 polls";
    let value = open.median(|window| window.cost);
    report.add(figure("cpu.open", cost, "ms", value));
    let value = none.median(|window| window.cost);
    report.add(figure(
        "cpu.none",
        "the same without listeners",
        "ms",
        value,
    ));
    let times = figure("cpu.times", "times as much", "", median(&ratios));
    report.add(times.goal(goal(TIMES)));
    let turns: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
    report.note(format!("http: that in each turn: {}", turns.join(" ")));

    let (with, without) = (median(&open.memory), median(&none.memory));
    let memory = "all listeners on: resident memory";
    report.add(figure("memory.open", memory, "MB", with));
    report.add(figure(
        "memory.none",
        "the same without listeners",
        "MB",
        without,
    ));
    let more = figure("memory.more", "the difference", "MB", with - without);
    report.add(more.goal(goal(MORE)));

    let rhythm = "all listeners on: off the interval, p99";
    let p99 = |window: &Window| window.rhythm.p99;
    let value = figure("rhythm_p99.open", rhythm, "ms", open.median(p99));
    let hundredth = plan.interval().as_secs_f64() * 10.0;
    report.add(value.goal(goal(hundredth)));
    let value = none.median(p99);
    report.add(figure(
        "rhythm_p99.none",
        "the same without listeners",
        "ms",
        value,
    ));

    let took: Vec<f64> = open.scrapes.iter().map(|scrape| scrape.took).collect();
    report.add(figure("scrape", "a scrape, median", "ms", median(&took)));
    let size = open.scrapes.iter().map(|scrape| scrape.size).max();
    let size = size.unwrap_or_default() as f64 / 1000.0;
    report.add(figure("scrape_size", "the answer to a scrape", "KB", size));
}
