//! How much a listener takes on: times and sizes that are the same everywhere, and [`Limits`], which
//! each listener has of its own.

use std::sync::Arc;
use std::time::Duration;

use super::connection_limit::{ConnectionLimit, PerAddress};

/// Maximum size of a request's head, in bytes: more than any browser or script sends.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Time for the head of a request, from its first byte to its last; and for the first byte on a new
/// connection.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the body of a request, from the end of the head to the last byte.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two requests on a connection: longer than the usual interval of Prometheus.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Time for the client to accept what was written. A stream of events may last forever, provided that
/// each event is read.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Responses up to this size, in bytes, do not count against the budget: even one on every connection
/// of a listener needs little memory.
pub(crate) const SMALL_RESPONSE: usize = 64 * 1024;

/// Maximum size of a listener's larger responses that have not been read yet, in bytes. The largest
/// single one, for 10,000 nodes, has 3 MB.
pub(crate) const RESPONSE_BUDGET: usize = 32 * 1024 * 1024;

/// Maximum size of these for one address, in bytes, so that an address that reads nothing does not use
/// up the whole budget.
pub(crate) const RESPONSE_BUDGET_PER_ADDRESS: usize = RESPONSE_BUDGET / 4;

/// Delay after which a client that was rejected for lack of room may try again (`Retry-After`).
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What one listener takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Maximum number of open connections.
    pub(crate) connections: usize,
    /// Share of these that one address may have; none where addresses mean nothing.
    pub(crate) per_address: Option<PerAddress>,
    /// Maximum size of a request's body, in bytes.
    pub(crate) body_bytes: usize,
    /// Maximum rate of requests from one address.
    pub(crate) rate: Option<Rate>,
}

/// A rate of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Requests per second in the long run.
    pub(crate) per_second: u32,
    /// Requests at once.
    pub(crate) burst: u32,
}

impl Limits {
    /// For responses that are delayed until something changes: half of the connections, so that
    /// ordinary requests still get in, and for one address a quarter of its share.
    pub(crate) fn long_polls(self) -> Arc<ConnectionLimit> {
        let per_address = self.per_address.map(|per_address| PerAddress {
            max: per_address.max.div_ceil(4),
            ..per_address
        });
        ConnectionLimit::new(self.connections.div_ceil(2), per_address)
    }
}
