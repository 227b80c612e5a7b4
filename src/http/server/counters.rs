//! What a listener received and what became of it, counted since the start.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

/// Why a connection or a request was rejected before any handler saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// The address may not connect to this listener.
    UnknownSource,
    /// The listener has its maximum number of connections.
    ConnectionLimit,
    /// The address has its maximum number of connections.
    AddressLimit,
    /// The address sends too many requests.
    RateLimit,
    /// The head of the request is too long.
    HeadTooLong,
    /// The body of the request is too long.
    BodyTooLong,
    /// The head or the body of the request did not arrive in time.
    RequestTimeout,
    /// What arrived is not valid HTTP.
    Malformed,
    /// The client did not read the response in time.
    WriteTimeout,
    /// The response is large, and too many large ones have not been read yet.
    ResponseBudget,
    /// The request is for a host name that is not known as this machine's.
    UnknownHost,
    /// The request may come from a web page or a webhook, whose senders may not intend it.
    CrossSite,
}

impl RejectReason {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::UnknownSource,
        Self::ConnectionLimit,
        Self::AddressLimit,
        Self::RateLimit,
        Self::HeadTooLong,
        Self::BodyTooLong,
        Self::RequestTimeout,
        Self::Malformed,
        Self::WriteTimeout,
        Self::ResponseBudget,
        Self::UnknownHost,
        Self::CrossSite,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown_source",
            Self::ConnectionLimit => "connection_limit",
            Self::AddressLimit => "address_limit",
            Self::RateLimit => "rate_limit",
            Self::HeadTooLong => "head_too_long",
            Self::BodyTooLong => "body_too_long",
            Self::RequestTimeout => "request_timeout",
            Self::Malformed => "malformed",
            Self::WriteTimeout => "write_timeout",
            Self::ResponseBudget => "response_budget",
            Self::UnknownHost => "unknown_host",
            Self::CrossSite => "cross_site",
        }
    }
}

/// The classes of a response's status, from `1xx` to `5xx`.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// One listener's numbers.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    accepted: AtomicU64,
    closed: AtomicU64,
    responses: [AtomicU64; CLASSES.len()],
    rejected: [AtomicU64; RejectReason::ALL.len()],
}

impl ListenerCounters {
    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        // In this order, so that it is never below zero.
        let closed = self.closed.load(Ordering::Relaxed);
        self.accepted().saturating_sub(closed)
    }

    /// Responses so far, by class of status as in [`CLASSES`], including those of rejected requests.
    #[must_use]
    pub fn responses(&self) -> [u64; CLASSES.len()] {
        self.responses
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// Connections and requests rejected so far for this reason.
    #[must_use]
    pub fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejected[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_response(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.responses.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_rejected(&self, reason: RejectReason) {
        self.rejected[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_and_class_has_a_number_of_its_own() {
        let counters = ListenerCounters::default();
        for (index, reason) in RejectReason::ALL.into_iter().enumerate() {
            (0..=index).for_each(|_| counters.count_rejected(reason));
        }
        for (index, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(counters.rejected(reason), index as u64 + 1, "{reason:?}");
        }
        for status in [200, 204, 404, 503] {
            counters.count_response(StatusCode::from_u16(status).unwrap());
        }
        assert_eq!(counters.responses(), [0, 2, 0, 1, 1]);
    }
}
