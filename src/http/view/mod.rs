//! Converts the daemon's state to the types of [`api`]. Pure.

pub(super) mod explain;
pub(super) mod health;
pub(super) mod load_balancer;
pub(super) mod node;
pub(super) mod progress;
pub(super) mod status;

use std::time::Instant;

use crate::api::{self, time};
use crate::model::overrides::{self, Note, ReasonName};
use crate::model::time::Clock;

/// An earlier moment as the API writes it.
pub(super) fn earlier(clock: &Clock, earlier: Instant) -> String {
    time(clock.of(earlier))
}

pub(super) fn reason((word, reason): (&ReasonName, &overrides::Reason)) -> api::Reason {
    let text = |note: &Note| Some(note.as_str().to_owned()).filter(|text| !text.is_empty());
    api::Reason {
        reason: word.to_string(),
        note: text(&reason.note),
        by: text(&reason.by),
        since: time(reason.since),
        until: reason.until.map(time),
    }
}
