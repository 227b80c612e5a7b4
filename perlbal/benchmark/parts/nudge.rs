//! How soon a node that has changed is observed when it says so: from the first byte of its `POST /nudge` to Perlbal's
//! `OK` for all that was said because of it; where it leaves, with the seal.
//!
//! With a pool of 100 whose nodes are polled once a minute, and with such a pool among 10,000 nodes that are polled
//! every second. Beside it, without a goal, with all these in one pool, whose file has 10,000 lines.
//!
//! Where the interval is short, nodes change just after their own turn: the next would be most of an interval away, and
//! what is observed sooner is observed by the nudge. A change whose answer was given before the nudge was sent does not
//! count all the same.
//!
//! The relay of `reaction` is in between, and its own time is in the figures.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::change::{ChangeFigures, STATUSES, TMPFS, add_figures, tmpfs, wait_answered};
use super::{Plan, thousands};
use crate::clock::{milliseconds, nanoseconds, now};
use crate::listeners::{Listeners, Nudge, free_address};
use crate::nodes::address;
use crate::quantile::median;
use crate::relay::Relay;
use crate::remote::Nodes;
use crate::report::{Figure, Report};
use crate::site::{PATIENCE, Settings, Site};
use crate::{Outcome, eventually};

/// This many nodes nudge.
const NUDGING: usize = 100;

/// What the 99th percentile may be, in milliseconds.
const GOAL: f64 = 20.0;

/// In an interval of this length next to no change is observed by an ordinary poll.
const LONG: Duration = Duration::from_secs(60);

/// A site in which nodes nudge.
struct Trial {
    id: &'static str,
    place: String,
    nodes: usize,
    /// How many of them are in the pool of those that nudge.
    pool: usize,
    interval: Duration,
    goal: Option<f64>,
}

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    if tmpfs().is_none() {
        report.note(format!(
            "nudge: no {TMPFS} here, so a disk's syncs are in the figures"
        ));
    }
    let quiet = Trial {
        id: "quiet",
        place: format!("{NUDGING} quiet nodes"),
        nodes: NUDGING,
        pool: NUDGING,
        interval: LONG,
        goal: Some(GOAL),
    };
    measure(plan, report, &quiet)?;
    let many = if plan.quick { 500 } else { 10_000 };
    if !plan.can_keep(many) {
        report.note("nudge: only the quiet nodes, as too few open files are allowed");
        return Ok(());
    }
    let busy = Trial {
        id: "busy",
        place: format!("{NUDGING} of {} nodes", thousands(many)),
        nodes: many,
        interval: plan.interval(),
        ..quiet
    };
    measure(plan, report, &busy)?;
    let large = Trial {
        id: "large",
        place: format!("a pool of {}", thousands(many)),
        pool: many,
        goal: None,
        ..busy
    };
    measure(plan, report, &large)
}

fn measure(plan: &Plan, report: &mut Report, trial: &Trial) -> Outcome<()> {
    let Trial { nodes, pool, .. } = *trial;
    let mut site = Site::with_pools(tmpfs())?;
    if pool < nodes {
        site.split(nodes / pool)?;
    }
    let mut perlbal = site.perlbal()?;
    let relay = Relay::start(perlbal.management)?;
    let listener = free_address()?;
    let mut settings = Settings::new(nodes, trial.interval);
    settings.relay = Some(relay.address);
    settings.listeners = Listeners {
        node: Some(listener),
        ..Listeners::usual()
    };
    let mut pollbal = site.pollbal(&plan.pollbal, &settings, &perlbal)?;
    site.wait_file(&mut pollbal, pool)?;
    perlbal.wait_members(pool)?;
    if pool < nodes {
        perlbal.wait_members_of("web", nodes - pool)?;
    }

    let changes = if plan.quick { 10 } else { 400 };
    let (mut took, mut asked) = ([Vec::new(), Vec::new()], Vec::new());
    for change in 0..changes {
        pollbal.check()?;
        // In the order of their turns; each leaves and comes back.
        let node = change / 2 % NUDGING * (nodes / NUDGING);
        let leaves = change % 2 == 0;
        if leaves && trial.interval < LONG {
            wait_turn(&mut site.nodes, node, trial.interval)?;
        }
        let observed = nudge(&mut site.nodes, &relay, listener, node, leaves)?;
        if observed.answered > observed.sent {
            took[change % 2].push(milliseconds(observed.done - observed.sent));
            asked.push(milliseconds(observed.answered - observed.sent));
        }
    }
    perlbal.wait_members(pool)?;

    let place = &trial.place;
    let figures = ChangeFigures {
        id: &format!("nudge.{}", trial.id),
        place,
        since: "nudge",
        goals: [None, trial.goal],
        alone: [None; 2],
    };
    add_figures(report, figures, &took);
    report.add(Figure::new(
        format!("nudge.{}.answer", trial.id),
        format!("{place}: nudge to the node's answer, median"),
        "ms",
        median(&asked),
    ));
    if asked.len() < changes {
        report.note(format!(
            "nudge: {} of {changes} changes skipped, which were observed before the nudge was sent",
            changes - asked.len()
        ));
    }
    Ok(())
}

/// When the first byte of a nudge was sent, the node answered, and Perlbal said its last `OK`.
struct Seen {
    sent: u64,
    answered: u64,
    done: u64,
}

/// Changes a node, and lets it nudge.
fn nudge(
    nodes: &mut Nodes,
    relay: &Relay,
    listener: SocketAddrV4,
    node: usize,
    leaves: bool,
) -> Outcome<Seen> {
    let mark = relay.len();
    nodes.set(node..node + 1, 1, STATUSES[usize::from(!leaves)])?;
    let nudge = Nudge::send(listener, address(node))?;
    let sent = nudge.sent;
    let member = format!("{}:{}", address(node), nodes.port);
    let done = wait_answered(relay, mark, &member, leaves);
    // Why it was refused tells more.
    nudge.finish()?;
    let done = done?;
    let (answering, answered) = nodes.changed()?;
    if answering != node {
        return Err(format!("node {answering} changed rather than {node}").into());
    }
    Ok(Seen {
        sent,
        answered,
        done,
    })
}

/// Waits until a node's turn was just now, so that its next is most of an interval away.
fn wait_turn(nodes: &mut Nodes, node: usize, interval: Duration) -> Outcome<()> {
    let what = format!("a turn of node {node}");
    eventually(2 * interval + PATIENCE, &what, || {
        let polled = nodes.polled(node)?;
        Ok((now() - polled < nanoseconds(interval) / 4).then_some(()))
    })
}
