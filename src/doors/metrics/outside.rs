//! Whom pollbal tells: hooks that were run, and what stands that a person must know.

use std::collections::BTreeMap;
use std::fmt;

use super::families::Families;
use crate::asks::Overview;
use crate::hooks::HookCounts;

/// Hooks and alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outside {
    /// How the runs of hooks went, by the hook's key.
    pub(super) hooks: BTreeMap<&'static str, HookCounts>,
    /// How much stands, by kind.
    pub(super) alerts: BTreeMap<&'static str, u64>,
}

impl Outside {
    pub(super) fn of(whole: &Overview) -> Self {
        let mut alerts = BTreeMap::new();
        for stands in &whole.conditions {
            *alerts.entry(stands.condition.kind.word()).or_default() += 1;
        }
        Self {
            hooks: whole.hooks.clone(),
            alerts,
        }
    }

    pub(super) fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let runs = self.hooks.iter().flat_map(|(hook, counts)| {
            let results = [
                ("well", counts.well),
                ("failed", counts.failed),
                ("left_out", counts.left_out),
            ];
            results.map(|(result, runs)| ([("hook", *hook), ("result", result)], runs))
        });
        families.counters(
            "pollbal_hook_runs_total",
            "Runs of hooks, by what became of them.",
            runs,
        )?;
        let alerts = self.alerts.iter();
        families.gauges(
            "pollbal_alerts",
            "What stands that a person must know, by kind; none of a kind is no sample.",
            alerts.map(|(kind, count)| ([("kind", *kind)], *count)),
        )
    }
}
