//! Hooks, problems that a person must know about, and the log.

use std::collections::BTreeMap;
use std::fmt;

use super::families::Families;
use crate::control::Summary;
use crate::hooks::HookCounts;
use crate::http::view::health::Judgement;
use crate::logging;

/// Hooks, health and alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct HookStats {
    /// Runs of hooks, by the hook's key.
    pub(super) hooks: BTreeMap<&'static str, HookCounts>,
    /// The overall health, as a number.
    pub(super) health: u64,
    /// Ongoing problems, by kind.
    pub(super) alerts: BTreeMap<&'static str, u64>,
    /// Log lines that were dropped because nobody read the log.
    pub(super) dropped_lines: u64,
}

impl HookStats {
    pub(super) fn of(whole: &Summary) -> Self {
        let mut alerts = BTreeMap::new();
        for active in &whole.problems {
            *alerts.entry(active.problem.kind.word()).or_default() += 1;
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
                ("success", counts.succeeded),
                ("failed", counts.failed),
                ("dropped", counts.dropped),
            ];
            results.map(|(result, runs)| ([("hook", *hook), ("result", result)], runs))
        });
        families.counters("pollbal_hook_runs_total", "Runs of hooks, by result.", runs)?;
        families.gauge(
            "pollbal_health",
            "Overall health as in `pollbal status`: 0 OK, 1 DEGRADED, 2 CRITICAL.",
            self.health,
        )?;
        let alerts = self.alerts.iter();
        families.gauges(
            "pollbal_alerts",
            "Ongoing problems that a person must know about, by kind; a kind without any has no sample.",
            alerts.map(|(kind, count)| ([("kind", *kind)], *count)),
        )?;
        families.counter(
            "pollbal_log_lines_dropped_total",
            "Log lines that were dropped because nobody read the log.",
            self.dropped_lines,
        )
    }
}
