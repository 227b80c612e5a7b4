//! How long `pollbal status --json` takes, from exec to exit, and the request alone that it makes: while all nodes
//! serve, where none need have a row in the answer, and while all are out, where each has one. pollbal polls all the
//! while.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Plan, thousands};
use crate::Outcome;
use crate::listeners::query_admin;
use crate::quantile::{median, quantile};
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

/// What the command may take, in milliseconds.
const GOAL: f64 = 50.0;

/// As much of an answer as tells whether it is the right one.
#[derive(Deserialize)]
struct Status {
    counts: Counts,
    nodes: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Counts {
    nodes: usize,
}

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let nodes = if plan.quick { 500 } else { 10_000 };
    if !plan.can_keep(nodes) {
        report.note("status skipped: too few open files are allowed");
        return Ok(());
    }
    let mut site = Site::new()?;
    let mut perlbal = site.perlbal()?;
    let settings = Settings::new(nodes, plan.interval());
    let mut pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;
    measure(plan, report, &site.admin_socket(), nodes, ("serving", 0))?;

    site.nodes.set(0..nodes, 1, "leaving")?;
    for _ in 0..nodes {
        site.nodes.changed()?;
    }
    site.wait_file(&mut pollbal, 0)?;
    perlbal.wait_members(0)?;
    measure(plan, report, &site.admin_socket(), nodes, ("out", nodes))?;
    pollbal.check()
}

/// Measures it while all nodes are in that state and at least this many have a row in the answer.
fn measure(
    plan: &Plan,
    report: &mut Report,
    socket: &Path,
    nodes: usize,
    (state, rows): (&str, usize),
) -> Outcome<()> {
    let samples = if plan.quick { 3 } else { 40 };
    let (mut commands, mut requests) = (Vec::new(), Vec::new());
    let mut size = 0;
    for _ in 0..samples {
        let begin = Instant::now();
        let answer = query_admin(socket, "/v1/status")?;
        requests.push(begin.elapsed().as_secs_f64() * 1000.0);
        size = answer.len();
        check(&answer, nodes, rows)?;

        let mut command = Command::new(&plan.pollbal);
        command.args(["status", "--json", "--socket"]).arg(socket);
        let begin = Instant::now();
        let said = command.output()?;
        commands.push(begin.elapsed().as_secs_f64() * 1000.0);
        // Its exit code says whether all is right, which is not asked here.
        check(&said.stdout, nodes, rows).map_err(|why| {
            let error = String::from_utf8_lossy(&said.stderr);
            format!("pollbal status ended with {}, {why}: {error}", said.status)
        })?;
    }
    let many = format!("{} nodes, all {state}", thousands(nodes));
    let figure = |id: &str, what: &str, unit, value| {
        let id = format!("status.{state}.{id}");
        Figure::new(id, format!("{many}: {what}"), unit, value)
    };
    let goal = Goal::AtMost(GOAL);
    let p50 = figure("p50", "status --json, median", "ms", median(&commands));
    report.add(p50.goal(goal));
    let most = quantile(&commands, 1.0);
    let most = figure("max", &format!("longest of {samples}"), "ms", most);
    report.add(most.goal(goal));
    let (p50, most) = (median(&requests), quantile(&requests, 1.0));
    report.add(figure(
        "request.p50",
        "the request alone, median",
        "ms",
        p50,
    ));
    let longest = format!("the request alone, longest of {samples}");
    report.add(figure("request.max", &longest, "ms", most));
    let size = size as f64 / 1000.0;
    report.add(figure("size", "the answer", "KB", size));
    Ok(())
}

/// An error unless that is the status of this many nodes, and at least this many of them have a row.
fn check(answer: &[u8], nodes: usize, rows: usize) -> Outcome<()> {
    let status: Status = serde_json::from_slice(answer)?;
    let (reported, of) = (status.nodes.len(), status.counts.nodes);
    if of != nodes || reported < rows {
        let why = format!("{reported} nodes of {of} are reported rather than {rows} of {nodes}");
        return Err(why.into());
    }
    Ok(())
}
