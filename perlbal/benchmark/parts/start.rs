//! A start: from exec to right files and a right Perlbal.

use std::time::{Duration, Instant};

use super::{Plan, thousands};
use crate::Outcome;
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let nodes = if plan.quick { 500 } else { 10_000 };
    if !plan.can_keep(nodes) {
        report.note("start skipped: too few open files are allowed");
        return Ok(());
    }
    let rounds = if plan.quick { 1 } else { 3 };
    let mut worst = (0.0_f64, 0.0_f64);
    for _ in 0..rounds {
        let site = Site::new()?;
        let mut perlbal = site.perlbal()?;
        let settings = Settings::new(nodes, Duration::from_secs(1));
        let begin = Instant::now();
        let mut pollbal = site.pollbal(&plan.pollbal, &settings, &perlbal)?;
        site.wait_file(&mut pollbal, nodes)?;
        let file = begin.elapsed().as_secs_f64();
        perlbal.wait_members(nodes)?;
        let pool = begin.elapsed().as_secs_f64();
        worst = (worst.0.max(file), worst.1.max(pool));
    }
    let many = thousands(nodes);
    let of = format!("worst of {rounds}");
    report.add(Figure::new(
        format!("start.file.{nodes}"),
        format!("{many} nodes: from exec to the right file ({of})"),
        "s",
        worst.0,
    ));
    let pool = Figure::new(
        format!("start.perlbal.{nodes}"),
        format!("{many} nodes: to the right Perlbal too ({of})"),
        "s",
        worst.1,
    );
    report.add(pool.goal(Goal::AtMost(2.0)));
    Ok(())
}
