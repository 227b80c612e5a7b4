//! How memory grows with the nodes: a straight line, and how steep.

use std::thread::sleep;

use super::{Plan, thousands};
use crate::Outcome;
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let sizes: &[usize] = if plan.quick {
        &[200, 400]
    } else {
        &[1000, 2000, 5000, 10_000]
    };
    let mut points = Vec::new();
    for &nodes in sizes.iter().filter(|nodes| plan.can_keep(**nodes)) {
        let mut site = Site::new()?;
        let mut perlbal = site.perlbal()?;
        let settings = Settings::new(nodes, plan.interval());
        let pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;
        sleep(plan.window / 4);
        let resident = pollbal.resident()?;
        points.push((nodes as f64, resident));
        let many = thousands(nodes);
        report.add(Figure::new(
            format!("memory.resident.{nodes}"),
            format!("{many} nodes: resident memory"),
            "MB",
            resident,
        ));
        report.add(Figure::new(
            format!("memory.most.{nodes}"),
            format!("{many} nodes: most that was ever resident"),
            "MB",
            pollbal.most_resident()?,
        ));
    }
    if points.len() < 2 {
        report.note("memory: too few open files are allowed for a line");
        return Ok(());
    }
    let (slope, off) = line(&points);
    // MB a node, in bytes.
    let slope = Figure::new("memory.per_node", "memory per node", "KB", slope * 1000.0);
    report.add(slope.goal(Goal::AtMost(6.0)));
    let off = Figure::new(
        "memory.off_line",
        "farthest from the straight line",
        "MB",
        off,
    );
    report.add(off);
    Ok(())
}

/// The steepness of the straight line through these points, by least squares, and how far from it one is at most.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let over: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let slope = over
        / points
            .iter()
            .map(|point| (point.0 - x).powi(2))
            .sum::<f64>();
    let off = |point: &(f64, f64)| (point.1 - (y + slope * (point.0 - x))).abs();
    (slope, points.iter().map(off).fold(0.0, f64::max))
}
