//! Whether memory grows over millions of polls.

use std::thread::sleep;
use std::time::Duration;

use super::{Plan, thousands};
use crate::quantile::median;
use crate::report::{Figure, Goal, Report};
use crate::site::{PATIENCE, Settings, Site};
use crate::{Outcome, eventually};

const INTERVAL: Duration = Duration::from_millis(50);
const SAMPLES: u64 = 20;

/// An allocator's caches and the kernel's counting (in steps of many pages) go up and down by this, in MB.
const NOISE: f64 = 0.5;

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let (nodes, polls) = if plan.quick {
        (100, 10_000)
    } else {
        (2000, plan.soak_polls)
    };
    let mut site = Site::new()?;
    let mut perlbal = site.perlbal()?;
    let settings = Settings::new(nodes, INTERVAL);
    let mut pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;
    // Warm: as many polls as a sample has.
    let step = (polls / SAMPLES).max(1);
    let (begin, _) = site.nodes.count()?;
    let rounds = u32::try_from(step.div_ceil(nodes as u64))?;
    let patience = PATIENCE + 4 * rounds * INTERVAL;
    let what = format!("{} more polls", thousands(usize::try_from(step)?));
    let mut samples = Vec::new();
    for sample in 1..=SAMPLES + 1 {
        eventually(patience, &what, || {
            pollbal.check()?;
            sleep(Duration::from_millis(50));
            Ok((site.nodes.count()?.0 >= begin + sample * step).then_some(()))
        })?;
        samples.push(pollbal.resident()?);
    }
    let many = thousands(usize::try_from(step * SAMPLES)?);
    let line: Vec<String> = samples
        .iter()
        .map(|sample| format!("{sample:.1}"))
        .collect();
    report.note(format!(
        "soak: resident MB over {many} polls: {}",
        line.join(" ")
    ));
    // The second half against the first: a leak grows on and on. Not by the highest, which a stall of the machine makes, when
    // all nodes' answers are under way at once.
    let (first, second) = samples.split_at(samples.len() / 2);
    let growth = Figure::new(
        "soak.growth",
        format!("growth of memory, 2nd half of {many} polls"),
        "MB",
        median(second) - median(first),
    );
    report.add(growth.goal(Goal::AtMost(NOISE)));
    Ok(())
}
