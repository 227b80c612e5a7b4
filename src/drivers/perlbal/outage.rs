//! Why Perlbal cannot be driven, and which changes are pending. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::desired::Desired;
use super::error::SessionError;
use super::plan::{Actual, PoolChange, plan};
use super::protocol::Endpoint;
use crate::drivers::outage::{PlaceChange, node_name};
use crate::drivers::perlbal::name::PerlbalName;
use crate::logging::chain;
use crate::model::driver_status::{OutageCause, PendingChanges};
use crate::model::pools::Pools;
use crate::model::text::printable;

/// What a failed attempt, or the end of a connection, shows.
#[must_use]
pub fn cause_of(failure: &SessionError) -> OutageCause {
    OutageCause {
        state: failure.state(),
        detail: printable(&chain(failure)),
    }
}

/// The changes that a Perlbal needs whose state was last known as `sent`. Changes that were sent to it and
/// not acknowledged, `unacknowledged`, may not have been applied. `pools` have the nodes' names.
#[must_use]
pub fn pending_changes(
    desired: &Desired,
    sent: &Actual,
    unacknowledged: &BTreeMap<PerlbalName, PoolChange>,
    pools: &Pools,
) -> PendingChanges {
    let acknowledged = without(sent, unacknowledged);
    let changes = plan(desired, &acknowledged).changes;
    // By node: a node's pool and its version pool change together.
    let mut nodes: BTreeMap<Endpoint, PlaceChange> = BTreeMap::new();
    for change in changes.into_values() {
        for addr in change.added {
            nodes.entry(Endpoint::Node(addr)).or_default().joins = true;
        }
        for gone in change.removed {
            nodes.entry(gone).or_default().leaves = true;
        }
    }
    PendingChanges::of(nodes.into_iter().map(|(endpoint, change)| {
        let who = match endpoint {
            Endpoint::Node(addr) => node_name(pools, addr),
            Endpoint::Unparsed(text) => text,
        };
        (who, change)
    }))
}

/// The state before these changes.
fn without<'a>(sent: &'a Actual, changes: &BTreeMap<PerlbalName, PoolChange>) -> Cow<'a, Actual> {
    if changes.is_empty() {
        return Cow::Borrowed(sent);
    }
    let mut before = sent.clone();
    for (name, change) in changes {
        let Some(pool) = before.pools.get_mut(name) else {
            continue;
        };
        for addr in &change.added {
            pool.members.remove(&Endpoint::Node(*addr));
        }
        pool.members.extend(change.removed.iter().cloned());
    }
    Cow::Owned(before)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::drivers::perlbal::desired::DesiredPool;
    use crate::drivers::perlbal::plan::ActualPool;
    use crate::model::node::NodeAddr;

    fn addr(number: usize) -> NodeAddr {
        format!("10.0.0.{number}:80").parse().unwrap()
    }

    fn addrs(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<NodeAddr> {
        numbers.into_iter().map(addr).collect()
    }

    fn desired(pools: &[(&str, BTreeSet<NodeAddr>)]) -> Desired {
        let pool = |(name, members): &(&str, BTreeSet<NodeAddr>)| {
            let members = members.clone();
            let pool = DesiredPool {
                members,
                ..DesiredPool::default()
            };
            (name.parse().unwrap(), pool)
        };
        Desired {
            pools: pools.iter().map(pool).collect(),
        }
    }

    fn actual(pools: &[(&str, BTreeSet<NodeAddr>)]) -> Actual {
        let pool = |(name, members): &(&str, BTreeSet<NodeAddr>)| {
            let pool = ActualPool {
                members: members.iter().copied().map(Endpoint::Node).collect(),
                ..ActualPool::default()
            };
            (name.parse().unwrap(), pool)
        };
        Actual {
            pools: pools.iter().map(pool).collect(),
            ..Actual::default()
        }
    }

    fn text(
        desired: &Desired,
        sent: &Actual,
        unacknowledged: &BTreeMap<PerlbalName, PoolChange>,
    ) -> String {
        pending_changes(desired, sent, unacknowledged, &Pools::default()).to_string()
    }

    #[test]
    fn pending_changes_are_listed_by_node_in_however_many_pools() {
        let desired = desired(&[
            ("api", addrs([1, 2])),
            ("api__v1", addrs([1])),
            ("web", addrs([3])),
        ]);
        let sent = actual(&[
            ("api", addrs([1, 3, 4])),
            ("api__v1", addrs([4])),
            ("web", addrs([])),
        ]);
        let pending = text(&desired, &sent, &BTreeMap::new());
        // The first is in its pool already, but not in that of its version.
        assert_eq!(
            pending,
            "+10.0.0.1:80, +10.0.0.2:80, 10.0.0.3:80 (moved), -10.0.0.4:80"
        );
    }

    #[test]
    fn what_was_sent_and_not_acknowledged_is_pending_too() {
        let desired = desired(&[("api", addrs([1, 3]))]);
        let sent = actual(&[("api", addrs([1, 3]))]);
        let change = PoolChange {
            added: addrs([3]),
            removed: [Endpoint::Node(addr(2))].into(),
        };
        let unacknowledged = [("api".parse().unwrap(), change)].into();
        assert_eq!(text(&desired, &sent, &BTreeMap::new()), "");
        assert_eq!(
            text(&desired, &sent, &unacknowledged),
            "-10.0.0.2:80, +10.0.0.3:80"
        );
    }

    #[test]
    fn of_many_changes_the_first_are_named() {
        let desired = desired(&[("api", addrs([]))]);
        let sent = actual(&[("api", addrs(1..=50))]);
        let pending = text(&desired, &sent, &BTreeMap::new());
        assert!(
            pending.ends_with(", -10.0.0.12:80 and 38 more"),
            "{pending}"
        );
    }

    #[test]
    fn a_failed_attempt_gives_state_and_detail() {
        let refused = SessionError::Connect(io::ErrorKind::ConnectionRefused.into());
        let cause = cause_of(&refused);
        assert_eq!(
            cause.to_string(),
            "not reachable: cannot connect: connection refused"
        );
        let cause = cause_of(&SessionError::Silent(Duration::from_secs(2)));
        assert_eq!(cause.state, "not answering");
        assert_eq!(cause.detail, "accepts connections, no reply within 2s");
    }
}
