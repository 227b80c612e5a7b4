//! Events, from the journal.

use super::time;
use crate::api;
use crate::model::journal::Event;
use crate::model::telling::Weight;

/// An event as it is told.
pub(crate) fn event(event: &Event) -> api::Event {
    let level = match event.weight {
        Weight::Info => "info",
        Weight::Warning => "warning",
        Weight::Error => "error",
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
