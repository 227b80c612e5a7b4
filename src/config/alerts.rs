//! The keys that decide when `alert_hook` is run.

use std::time::Duration;

use serde_json::Value;

use super::section::Section;
use crate::model::alerts::AlertSettings;
use crate::model::problems::NodesDown;
use crate::model::time_window::TimeWindow;

/// Shorter, what comes and goes would be told without end.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Beyond, a typo is more likely.
const MAX_LIMIT: u32 = 1_000;

pub(super) fn read_alerts(section: &Section<'_>, on: bool) -> AlertSettings {
    let hours = |value: &Value| value.as_str()?.parse().ok();
    let expected = "hours of the day such as \"08:00-22:00\", or \"22:00-06:00\" over midnight; \
                    \"00:00-24:00\" is always";
    let limit = section.integer("alert_limit", 10, 1..=MAX_LIMIT);
    AlertSettings {
        on,
        hours: section
            .read("alert_hours", expected, hours)
            .unwrap_or(TimeWindow::ALL),
        interval: section.time("alert_interval", 300 * SHORTEST_INTERVAL, SHORTEST_INTERVAL),
        limit: limit as usize,
    }
}

/// When it is told that nodes are down.
pub(super) fn read_nodes_down(section: &Section<'_>) -> NodesDown {
    let percent = |value: &Value| {
        let percent = match value {
            Value::String(text) => text.strip_suffix('%')?.trim().parse().ok()?,
            value => u32::try_from(value.as_u64()?).ok()?,
        };
        (0..=100).contains(&percent).then_some(percent)
    };
    let expected = "a share in percent from 0 (never) to 100, such as \"30%\" or 30";
    NodesDown {
        percent: section
            .read("alert_nodes_down", expected, percent)
            .unwrap_or(30),
        after: section.time(
            "alert_nodes_down_after",
            Duration::from_secs(60),
            Duration::ZERO,
        ),
    }
}
