//! Whether clients of Perlbal feel that it is asked for its numbers: their requests with a scrape each 5 s, as often as
//! pollbal asks Perlbal at most, and without, by turns.
//!
//! There are some hundred members and series for each, so that Perlbal has as much to tell as it ever has.

use std::net::SocketAddrV4;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::{Plan, thousands};
use crate::Outcome;
use crate::clients::{Clients, Span};
use crate::clock::milliseconds;
use crate::listeners::{Listeners, free_address, scrape};
use crate::quantile::median;
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

/// Between two scrapes; pollbal asks Perlbal no more often.
const SCRAPES: Duration = Duration::from_secs(5);

/// This many scrapes there are in a turn.
const A_TURN: u32 = 3;

/// So often each is watched; of an odd number one is the middle.
const TURNS: usize = 5;

const CLIENTS: usize = 4;

/// 99 % of the requests keep to a time that is no more longer than this, in milliseconds.
const FELT: f64 = 0.5;

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let (nodes, turns, between) = if plan.quick {
        (50, 1, plan.window / A_TURN)
    } else {
        (500, TURNS, SCRAPES)
    };
    let mut site = Site::new()?;
    let mut perlbal = site.perlbal()?;
    let listener = free_address()?;
    let mut settings = Settings::new(nodes, plan.interval());
    settings.resync = Duration::from_secs(3600);
    settings.listeners = Listeners {
        status: Some(listener),
        ..Listeners::usual()
    };
    settings.metrics_per_node = true;
    let mut pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;

    let (mut with, mut without) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        for scraped in [turn % 2 == 0, turn % 2 == 1] {
            let clients = Clients::start(perlbal.service, CLIENTS);
            watch(scraped.then_some(listener), between)?;
            let spans = Spans(clients.finish()?);
            if scraped { &mut with } else { &mut without }.push(spans);
        }
    }
    pollbal.check()?;

    let many = thousands(nodes);
    let figure = |id: &str, what: &str, unit, value| {
        let what = format!("{many} members, {what}");
        Figure::new(format!("scrapes.{id}"), what, unit, value)
    };
    let middle = |turns: &[Spans], per_mille| {
        let each = turns.iter().map(|spans| spans.within(per_mille));
        median(&each.collect::<Vec<_>>())
    };
    let reported = "a scrape each 5 s: 99 % of requests within";
    report.add(figure("p99", reported, "ms", middle(&with, 990)));
    let reported = "the same without scrapes";
    report.add(figure("p99_without", reported, "ms", middle(&without, 990)));
    let pairs = with.iter().zip(&without);
    let more: Vec<f64> = pairs
        .map(|(with, without)| with.within(990) - without.within(990))
        .collect();
    let reported = figure("p99_more", "the difference", "ms", median(&more));
    report.add(reported.goal(Goal::AtMost(FELT)));
    let reported = "a scrape each 5 s: the longest of all requests";
    report.add(figure("longest", reported, "ms", middle(&with, 1000)));
    let reported = "the same without scrapes";
    report.add(figure(
        "longest_without",
        reported,
        "ms",
        middle(&without, 1000),
    ));
    let requests: usize = with.iter().chain(&without).map(|spans| spans.0.len()).sum();
    report.add(figure(
        "requests",
        "requests of clients",
        "",
        requests as f64,
    ));
    Ok(())
}

/// The requests of a turn, in the order of their length.
struct Spans(Vec<Span>);

impl Spans {
    /// What this many of a thousand did not take longer than, in milliseconds.
    fn within(&self, per_mille: usize) -> f64 {
        let rank = (self.0.len() * per_mille).div_ceil(1000).max(1);
        let span = self.0.get(rank - 1);
        span.map_or(f64::NAN, |(begin, end)| milliseconds(end - begin))
    }
}

/// Lets the time of a turn pass, with its scrapes.
fn watch(listener: Option<SocketAddrV4>, between: Duration) -> Outcome<()> {
    let begin = Instant::now();
    thread::scope(|scope| {
        let mut scrapes = Vec::new();
        for number in 0..A_TURN {
            // In the middle of its part, so that what it causes falls into the turn.
            let at = between * number + between / 2;
            sleep(at.saturating_sub(begin.elapsed()));
            if let Some(listener) = listener {
                scrapes
                    .push(scope.spawn(move || scrape(listener, "/metrics").map(|text| text.len())));
            }
        }
        sleep((between * A_TURN).saturating_sub(begin.elapsed()));
        for scrape in scrapes {
            scrape.join().map_err(|_| "a scrape has panicked")??;
        }
        Ok(())
    })
}
