//! The keys that determine when `alert_hook` runs.

use std::time::Duration;

use serde_json::Value;

use super::reader::ObjectReader;
use crate::model::alerts::AlertSettings;
use crate::model::problems::NodesDown;
use crate::model::time_window::TimeWindow;

/// Minimum of `alert_interval`; with less, a problem that comes and goes would be reported endlessly.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum of `alert_limit`; beyond it, a typo is more likely.
const MAX_LIMIT: u32 = 1_000;

pub(super) fn read_alerts(reader: &ObjectReader<'_>, on: bool) -> AlertSettings {
    let hours = |value: &Value| value.as_str()?.parse().ok();
    let expected = "hours of the day such as \"08:00-22:00\", or \"22:00-06:00\" over midnight; \
                    \"00:00-24:00\" is always";
    let limit = reader.integer("alert_limit", 10, 1..=MAX_LIMIT);
    AlertSettings {
        on,
        hours: reader
            .read("alert_hours", expected, hours)
            .unwrap_or(TimeWindow::ALL),
        interval: reader.time("alert_interval", 300 * MIN_INTERVAL, MIN_INTERVAL),
        limit: limit as usize,
    }
}

/// Reads when nodes that are down are an alert.
pub(super) fn read_nodes_down(reader: &ObjectReader<'_>) -> NodesDown {
    let percent = |value: &Value| {
        let percent = match value {
            Value::String(text) => text.strip_suffix('%')?.trim().parse().ok()?,
            value => u32::try_from(value.as_u64()?).ok()?,
        };
        (0..=100).contains(&percent).then_some(percent)
    };
    let expected = "a share in percent from 0 (never) to 100, such as \"30%\" or 30";
    NodesDown {
        percent: reader
            .read("alert_nodes_down", expected, percent)
            .unwrap_or(30),
        after: reader.time(
            "alert_nodes_down_after",
            Duration::from_secs(60),
            Duration::ZERO,
        ),
    }
}
