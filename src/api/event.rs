//! Events: `GET /v1/events`.

use serde::{Deserialize, Serialize};

use super::time;
use crate::model::event::{self, Severity};

/// Recent events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Events {
    /// The oldest first.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// Counts from 1 since the start of pollbal.
    pub id: u64,
    /// When it happened.
    pub time: String,
    /// `info`, `warning` or `error`.
    pub level: String,
    /// What happened, in a word.
    pub kind: String,
    /// The node that it is about, `ip:port`.
    pub node: Option<String>,
    /// The name of that node.
    pub name: Option<String>,
    /// The pool that it is about.
    pub pool: Option<String>,
    /// Description, for people.
    pub text: String,
}

/// An event, as the API shows it.
pub(crate) fn event(event: &event::Event) -> Event {
    let level = match event.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    Event {
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
