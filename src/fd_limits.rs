//! The limit of open files: raising it, and how it is shared between the poller and everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// One in this many open files is reserved for anything but kept connections to nodes.
const RESERVED_SHARE: usize = 4;

/// Minimum number of reserved open files.
const MIN_RESERVED: usize = 64;

/// How many files each part of pollbal may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdShares {
    /// Connections to nodes that are kept from poll to poll.
    pub kept_connections: usize,
    /// Connections that are open for one poll only, to nodes that have no kept one.
    pub poll_connections: usize,
    /// All else: load balancers, files, hooks and HTTP listeners.
    pub others: usize,
}

impl FdShares {
    /// Divides a limit of `open_files`.
    #[must_use]
    pub fn of(open_files: usize) -> Self {
        let reserved = (open_files / RESERVED_SHARE).max(MIN_RESERVED);
        Self {
            kept_connections: open_files.saturating_sub(reserved),
            poll_connections: reserved / 2,
            others: reserved / 2,
        }
    }

    /// A limit of open files that is sufficient for this many kept connections.
    #[must_use]
    pub fn required_limit(kept_connections: usize) -> usize {
        let proportional = kept_connections.div_ceil(RESERVED_SHARE - 1) * RESERVED_SHARE;
        proportional.max(kept_connections + MIN_RESERVED)
    }
}

/// Raises the soft limit of open files to the hard limit, so that as many nodes as possible have a kept connection.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(
            "failed to raise the limit of open files: {error}; it stays at {:?}",
            limit.current
        );
    }
}

/// The limit of open files of this process.
#[must_use]
pub fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_required_limit_is_sufficient() {
        for connections in 1..10_000 {
            let limit = FdShares::required_limit(connections);
            let shares = FdShares::of(limit);
            assert!(shares.kept_connections >= connections, "{limit}");
        }
    }
}
