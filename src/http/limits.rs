//! The limits of each listener.
//!
//! How many connections there may be follows from the limit of open files: connections to nodes take
//! most of it (see [`FdShares`]), and half of the rest is for polls without a kept connection. Of the
//! other half, the listeners leave [`RESERVED_FDS`] or a half to load balancers, files and hooks. So
//! connections to a listener never take a descriptor that a poll or a load balancer needs.

use super::Listener;
use super::server::connection_limit::PerAddress;
use super::server::limits::{Limits, Rate};
use crate::fd_limits::FdShares;

/// Descriptors reserved for load balancers, files and hooks, where there are enough.
const RESERVED_FDS: usize = 64;

/// The limits of a listener with this limit of open files.
pub(super) fn limits(listener: Listener, open_files: usize) -> Limits {
    let rest = FdShares::of(open_files).others;
    let fds = (rest / 2).max(rest.saturating_sub(RESERVED_FDS));
    match listener {
        // People, and the scripts of a big deploy that wait for nodes. They are trusted, and no
        // address distinguishes them.
        Listener::Admin => Limits {
            connections: (fds / 4).min(128),
            per_address: None,
            body_bytes: 1024 * 1024,
            rate: None,
        },
        // A page in a browser keeps a connection open. All may come through one proxy, so one address
        // may have half of them; the next one half of the rest.
        Listener::Status => {
            let connections = (fds / 4).min(256);
            Limits {
                connections,
                per_address: Some(PerAddress {
                    max: (connections / 2).max(1),
                    share: 1,
                    by_network: true,
                }),
                body_bytes: 0,
                rate: None,
            }
        }
        // A node keeps a connection open while it waits to leave. Many nodes may have one address.
        Listener::Node => {
            let connections = (fds / 2).min(1_024);
            Limits {
                connections,
                per_address: Some(PerAddress {
                    max: (connections / 4).clamp(1, 64),
                    share: 4,
                    // Only nodes connect, which may all be in one network.
                    by_network: false,
                }),
                body_bytes: 1024,
                rate: Some(Rate {
                    per_second: 20,
                    burst: 40,
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(open_files: usize) -> [usize; 3] {
        Listener::ALL.map(|listener| limits(listener, open_files).connections)
    }

    #[test]
    fn with_enough_files_each_listener_has_all_its_connections() {
        assert_eq!(connections(20_000), [128, 256, 1_024]);
        assert_eq!(connections(usize::MAX), [128, 256, 1_024]);
    }

    #[test]
    fn with_few_files_the_listeners_leave_half_of_the_rest_and_each_still_opens() {
        assert_eq!(connections(256), [4, 4, 8]);
        assert_eq!(connections(1_024), [16, 16, 32]);
        assert_eq!(connections(4_096), [112, 112, 224]);
        for open_files in 64..10_000 {
            let rest = FdShares::of(open_files).others;
            let sum: usize = connections(open_files).iter().sum();
            assert!(sum <= rest.saturating_sub(RESERVED_FDS).max(rest / 2));
            for listener in Listener::ALL {
                let limits = limits(listener, open_files);
                assert!(limits.connections >= 1, "{listener:?}, {open_files} files");
                let max = limits.per_address.map_or(1, |per_address| per_address.max);
                assert!((1..=limits.connections).contains(&max));
            }
        }
    }
}
