//! The HTTP listeners.

use std::fmt;

use super::families::Families;
use crate::http::{CLASSES, Counters, Listener, RejectReason};

/// One listener.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ListenerStats {
    pub(super) listener: &'static str,
    /// Open connections.
    pub(super) open: u64,
    /// Connections accepted so far.
    pub(super) accepted: u64,
    /// Responses, as [`CLASSES`].
    pub(super) responses: [u64; CLASSES.len()],
    /// Rejected connections and requests, as [`RejectReason::ALL`].
    pub(super) rejected: [u64; RejectReason::ALL.len()],
}

/// All listeners, including those that are off.
pub(super) fn all(counters: &Counters) -> Vec<ListenerStats> {
    let stats = |listener: Listener| {
        let counters = counters.of(listener);
        ListenerStats {
            listener: listener.label(),
            open: counters.open(),
            accepted: counters.accepted(),
            responses: counters.responses(),
            rejected: RejectReason::ALL.map(|reason| counters.rejected(reason)),
        }
    };
    Listener::ALL.map(stats).into()
}

pub(super) fn write(listeners: &[ListenerStats], families: &mut Families<'_>) -> fmt::Result {
    families.gauges(
        "pollbal_http_connections",
        "Open connections of a listener.",
        listeners
            .iter()
            .map(|stats| ([("listener", stats.listener)], stats.open)),
    )?;
    families.counters(
        "pollbal_http_accepted_total",
        "Connections that a listener accepted.",
        listeners
            .iter()
            .map(|stats| ([("listener", stats.listener)], stats.accepted)),
    )?;
    let responses = listeners.iter().flat_map(|stats| {
        let classes = CLASSES.iter().zip(stats.responses);
        classes.map(|(class, count)| ([("listener", stats.listener), ("code", *class)], count))
    });
    families.counters(
        "pollbal_http_requests_total",
        "Requests that a listener responded to, by class of status.",
        responses,
    )?;
    let rejected = listeners.iter().flat_map(|stats| {
        let reasons = RejectReason::ALL.iter().zip(stats.rejected);
        reasons.map(|(reason, count)| {
            let labels = [("listener", stats.listener), ("reason", reason.name())];
            (labels, count)
        })
    });
    families.counters(
        "pollbal_http_rejected_total",
        "Connections and requests that a listener rejected, by reason.",
        rejected,
    )
}
