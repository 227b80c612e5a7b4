//! Events, as the API shows them.

use super::time;
use crate::api;
use crate::model::event::{Event, Severity};

/// An event, as the API shows it.
pub(crate) fn event(event: &Event) -> api::Event {
    let level = match event.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    api::Event {
        id: event.id,
        time: time(event.at),
        level: level.to_owned(),
        kind: event.kind.to_owned(),
        node: event.node.as_ref().map(|node| node.addr.to_string()),
        name: event.node.as_ref().map(|node| node.name.clone()),
        pool: event.pool.as_ref().map(ToString::to_string),
        text: event.text.clone(),
    }
}
