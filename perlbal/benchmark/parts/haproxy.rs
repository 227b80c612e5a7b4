//! pollbal driving `HAProxy`: how long a change takes from a node's changed answer to HAProxy's answer to the commands
//! that follow from it, one by one and many at once; a start with 10,000 nodes; and what a steady state says.
//!
//! A relay stamps HAProxy's answers, as for Perlbal (`parts/reaction.rs`), which is the reference in the same run; what it
//! adds to an exchange is taken off here too. Pool files are in memory where that is possible.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::change::tmpfs;
use super::{Plan, thousands};
use crate::Outcome;
use crate::clock::{milliseconds, now};
use crate::driven::Haproxy;
use crate::measure::watch;
use crate::process::Process;
use crate::quantile::{median, quantile};
use crate::relay::{Command, End, Relay};
use crate::report::{Figure, Goal, Report};
use crate::site::{PATIENCE, Settings, Site};

/// Between two polls of a node where changes come one by one.
const INTERVAL: Duration = Duration::from_millis(100);

/// One in this many slots is free.
const SPARE: usize = 10;

/// Nothing more follows from a change after this long without a command.
const QUIET: Duration = Duration::from_millis(60);

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    one_by_one(plan, report)?;
    at_once(plan, report)?;
    start(plan, report)?;
    quiet(plan, report)
}

/// A site with a relay before `HAProxy`, and pollbal once that has all nodes.
struct Driven {
    site: Site,
    relay: Relay,
    pollbal: Process,
    haproxy: Haproxy,
}

impl Driven {
    fn start(plan: &Plan, settings: &Settings) -> Outcome<Self> {
        let mut site = Site::with_pools(tmpfs())?;
        let haproxy = site.haproxy_with_slots(settings.nodes + settings.nodes / SPARE)?;
        let relay = Relay::before(haproxy.management, End::Prompt)?;
        let balancer = balancer(relay.address, settings);
        let mut pollbal = site.pollbal_with(&plan.pollbal, settings, balancer)?;
        haproxy.wait_members(&mut pollbal, site.pools(), settings.nodes)?;
        site.settle(settings.nodes, settings.interval)?;
        Ok(Self {
            site,
            relay,
            pollbal,
            haproxy,
        })
    }

    /// Waits until nothing follows any more from what was changed.
    fn settle(&self) {
        let mut observed = None;
        while observed != Some(self.changes()) {
            observed = Some(self.changes());
            sleep(QUIET);
        }
    }

    fn changes(&self) -> usize {
        let commands = self.relay.since(0);
        commands.iter().filter(|command| command.changes()).count()
    }
}

fn balancer(management: SocketAddrV4, settings: &Settings) -> (&'static str, Value) {
    let resync = settings.resync.as_millis();
    let socket = format!("ipv4@{management}");
    (
        "haproxy",
        json!({ "socket": socket, "resync_interval": format!("{resync}ms") }),
    )
}

fn one_by_one(plan: &Plan, report: &mut Report) -> Outcome<()> {
    const NODES: usize = 100;
    let settings = Settings::new(NODES, INTERVAL);
    let mut driven = Driven::start(plan, &settings)?;
    let added = exchange(driven.relay.address)? - exchange(driven.haproxy.management)?;
    let changes = if plan.quick { 10 } else { 400 };
    let mut took = [Vec::new(), Vec::new()];
    for change in 0..changes {
        driven.pollbal.check()?;
        driven.settle();
        // Each node leaves and comes back; 37 and 100 have no divisor in common.
        let node = change / 2 * 37 % NODES;
        let (status, word) = [("leaving", "state drain"), ("serving", "state ready")][change % 2];
        let mark = driven.relay.len();
        driven.site.nodes.set(node..node + 1, 1, status)?;
        let (_, stamp) = driven.site.nodes.changed()?;
        let done = driven
            .relay
            .wait(mark, PATIENCE, |commands| applied(commands, word, 1));
        let done = done.ok_or("HAProxy was not told of a change")?;
        let with_relay = milliseconds(done.saturating_sub(stamp));
        took[change % 2].push(with_relay - added);
    }
    let alone = alone(driven.haproxy.management, changes / 4)?;
    for (kind, took) in ["leaving", "joining"].into_iter().zip(&took) {
        for (name, about, part, goal) in [
            ("p50", "median", 0.5, Some(0.5)),
            ("p99", "p99", 0.99, Some(2.0)),
            ("max", "longest", 1.0, None),
        ] {
            let figure = Figure::new(
                format!("haproxy.{kind}.{name}"),
                format!("HAProxy: {kind}, answer to applied, {about}"),
                "ms",
                quantile(took, part),
            );
            let floor = (name == "p50").then_some(alone);
            let figure = figure.beside(None, floor);
            report.add(match goal {
                Some(limit) => figure.goal(Goal::AtMost(limit)),
                None => figure,
            });
        }
    }
    report.add(Figure::new(
        "haproxy.relay".to_owned(),
        "HAProxy: what the relay adds to an exchange, taken off".to_owned(),
        "ms",
        added,
    ));
    Ok(())
}

/// How long a command and its answer take there, in milliseconds: the median of many, one right after the other.
fn exchange(management: SocketAddrV4) -> Outcome<f64> {
    let mut client = Bare::connect(management)?;
    let took = (0..200).map(|_| client.ask("set server api/pb1 state ready"));
    Ok(median(&took.collect::<Outcome<Vec<_>>>()?))
}

/// How long `HAProxy` alone takes for a change of a server's state, for a client that does nothing else: the median, in
/// milliseconds.
fn alone(management: SocketAddrV4, changes: usize) -> Outcome<f64> {
    let mut client = Bare::connect(management)?;
    let mut took = Vec::new();
    for change in 0..changes {
        let state = ["drain", "ready"][change % 2];
        // As long as it rests between a node's polls: an idle one has to wake.
        sleep(INTERVAL);
        took.push(client.ask(&format!("set server api/pb1 state {state}"))?);
    }
    Ok(median(&took))
}

/// A client of `HAProxy`'s stats socket that does nothing but ask.
struct Bare(TcpStream);

impl Bare {
    fn connect(management: SocketAddrV4) -> Outcome<Self> {
        let stream = TcpStream::connect(management)?;
        stream.set_nodelay(true)?;
        let mut client = Self(stream);
        client.ask("prompt")?;
        Ok(client)
    }

    /// How long it takes until this is answered, in milliseconds.
    fn ask(&mut self, command: &str) -> Outcome<f64> {
        let begin = now();
        self.0.write_all(format!("{command}\n").as_bytes())?;
        let mut answer = [0; 4096];
        let read = self.0.read(&mut answer)?;
        if !answer[..read].ends_with(b"> ") {
            return Err("HAProxy's answer does not end in a prompt".into());
        }
        Ok(milliseconds(now() - begin))
    }
}

/// When the last of this many servers got that state; `None` while that is to come.
fn applied(commands: &[Command], word: &str, count: usize) -> Option<u64> {
    let states = commands
        .iter()
        .filter(|command| command.text.contains(word));
    let stamps = states.map(|command| command.answered.map(|(stamp, _)| stamp));
    let stamps: Option<Vec<u64>> = stamps.collect();
    let stamps = stamps?;
    let told: usize = commands
        .iter()
        .map(|command| command.text.matches(word).count())
        .sum();
    (told >= count).then(|| stamps.into_iter().max())?
}

fn at_once(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let nodes = if plan.quick { 200 } else { 2000 };
    let changed = nodes / 2;
    let mut settings = Settings::new(nodes, plan.interval());
    settings.resync = Duration::from_secs(3600);
    let mut driven = Driven::start(plan, &settings)?;
    let mut late = 0.0_f64;
    for _ in 0..if plan.quick { 1 } else { 3 } {
        for (status, word) in [("leaving", "state drain"), ("serving", "state ready")] {
            driven.settle();
            let mark = driven.relay.len();
            driven.site.nodes.set(0..nodes, 2, status)?;
            let mut last = 0;
            for _ in 0..changed {
                last = last.max(driven.site.nodes.changed()?.1);
            }
            let done = driven
                .relay
                .wait(mark, PATIENCE, |commands| applied(commands, word, changed));
            let done = done.ok_or("HAProxy was not told of every change")?;
            late = late.max(milliseconds(done.saturating_sub(last)));
        }
    }
    let many = thousands(changed);
    let about = format!(
        "HAProxy: {many} changes in {:?}: last answer to all applied",
        plan.interval()
    );
    report.add(Figure::new("haproxy.churn.late", about, "ms", late).goal(Goal::AtMost(50.0)));
    Ok(())
}

fn start(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let nodes = if plan.quick { 500 } else { 10_000 };
    if !plan.can_keep(nodes) {
        report.note("haproxy: start skipped: too few open files are allowed");
        return Ok(());
    }
    let rounds = if plan.quick { 1 } else { 3 };
    let mut worst = 0.0_f64;
    for _ in 0..rounds {
        let mut site = Site::new()?;
        site.spread(10)?;
        let haproxy = site.haproxy_with_slots(nodes / 10)?;
        let settings = Settings::new(nodes, Duration::from_secs(1));
        let balancer = balancer(haproxy.management, &settings);
        let begin = Instant::now();
        let mut pollbal = site.pollbal_with(&plan.pollbal, &settings, balancer)?;
        haproxy.wait_members(&mut pollbal, site.pools(), nodes)?;
        worst = worst.max(begin.elapsed().as_secs_f64());
    }
    let many = thousands(nodes);
    let about =
        format!("HAProxy: {many} nodes in 10 backends: from exec to all (worst of {rounds})");
    report.add(
        Figure::new(format!("haproxy.start.{nodes}"), about, "s", worst).goal(Goal::AtMost(3.0)),
    );
    Ok(())
}

fn quiet(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let interval = Duration::from_millis(200);
    let mut settings = Settings::new(if plan.quick { 50 } else { 500 }, interval);
    settings.resync = Duration::from_secs(3600);
    let mut driven = Driven::start(plan, &settings)?;
    driven.settle();
    let (mark, begin) = (driven.relay.len(), now());
    watch(
        &mut driven.site.nodes,
        &mut driven.pollbal,
        interval,
        plan.window,
    )?;
    let seconds = milliseconds(now() - begin) / 1_000.0;
    let commands = driven.relay.since(mark);
    let asks = commands
        .iter()
        .filter(|command| command.text == "show info")
        .count();
    let others = commands.len() - asks;
    let each_second = asks as f64 / seconds;
    for (id, what, value, limit) in [
        ("asked", "`show info` a second", each_second, 1.2),
        ("others", "other commands", others as f64, 0.0),
    ] {
        let figure = Figure::new(
            format!("haproxy.quiet.{id}"),
            format!("HAProxy, quiet: {what}"),
            "",
            value,
        );
        report.add(figure.goal(Goal::AtMost(limit)));
    }
    Ok(())
}
