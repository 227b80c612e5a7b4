//! Whom pollbal tells: hooks that were run, what stands that a person must know, and the log.

use std::collections::BTreeMap;
use std::fmt;

use super::families::Families;
use crate::control::Summary;
use crate::hooks::HookCounts;
use crate::http::view::health::Judgement;
use crate::logging;

/// Hooks and alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outside {
    /// How the runs of hooks went, by the hook's key.
    pub(super) hooks: BTreeMap<&'static str, HookCounts>,
    /// How well all is, as a number.
    pub(super) health: u64,
    /// How much stands, by kind.
    pub(super) alerts: BTreeMap<&'static str, u64>,
    /// Log lines that nobody read.
    pub(super) dropped_lines: u64,
}

impl Outside {
    pub(super) fn of(whole: &Summary) -> Self {
        let mut alerts = BTreeMap::new();
        for stands in &whole.problems {
            *alerts.entry(stands.problem.kind.word()).or_default() += 1;
        }
        Self {
            hooks: whole.hooks.clone(),
            health: Judgement::of_site(whole).verdict.health.number().into(),
            alerts,
            dropped_lines: logging::dropped_lines(),
        }
    }

    pub(super) fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let runs = self.hooks.iter().flat_map(|(hook, counts)| {
            let results = [
                ("well", counts.succeeded),
                ("failed", counts.failed),
                ("left_out", counts.dropped),
            ];
            results.map(|(result, runs)| ([("hook", *hook), ("result", result)], runs))
        });
        families.counters(
            "pollbal_hook_runs_total",
            "Runs of hooks, by what became of them.",
            runs,
        )?;
        families.gauge(
            "pollbal_health",
            "How well all is: 0 OK, 1 DEGRADED, 2 CRITICAL, as pollbal status says.",
            self.health,
        )?;
        let alerts = self.alerts.iter();
        families.gauges(
            "pollbal_alerts",
            "What stands that a person must know, by kind; none of a kind is no sample.",
            alerts.map(|(kind, count)| ([("kind", *kind)], *count)),
        )?;
        families.counter(
            "pollbal_log_lines_dropped_total",
            "Log lines that were dropped because nobody read the log.",
            self.dropped_lines,
        )
    }
}
