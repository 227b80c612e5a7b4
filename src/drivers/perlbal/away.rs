//! A Perlbal that cannot be driven now: why, since when, and what waits to be applied there. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use humantime::format_duration;

use super::desired::Desired;
use super::error::SessionError;
use super::plan::{Actual, PoolChange, plan};
use super::protocol::Endpoint;
use crate::drivers::perlbal::name::PerlbalName;
use crate::logging::chain;
use crate::model::node::NodeAddr;
use crate::model::pools::Pools;
use crate::model::text::printable;

/// Maximum number of changes that are named; the others are counted.
const NAMED: usize = 12;

/// A Perlbal that cannot be driven now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Since when: the first command that was not answered, or the end of the connection.
    pub since: Instant,
    /// Why, by the last attempt; `None` before the first one has ended.
    pub cause: Option<Cause>,
    /// What waits to be applied.
    pub waiting: Waiting,
}

/// Why a Perlbal cannot be driven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// In words that go before "for 18 s": "not answering".
    pub state: &'static str,
    /// What was seen: "accepts connections, no reply within 2s".
    pub detail: String,
}

/// Changes that wait to be applied: `-api-r1-1, +web-2 and 7 more`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The first of them: `+` and a node's name if it joins, `-` if it is removed, and the name with
    /// ` (moved)` if it goes from pool to pool or from version to version.
    pub named: Vec<String>,
    /// How many there are.
    pub count: usize,
}

impl Away {
    /// Away since `since`, and nothing else is known.
    #[must_use]
    pub fn new(since: Instant) -> Self {
        Self {
            since,
            cause: None,
            waiting: Waiting::default(),
        }
    }

    /// What is so, without a time that runs on:
    /// `not answering (accepts connections, no reply within 2s); not applied since: -api-r1-1`.
    #[must_use]
    pub fn steady_text(&self) -> String {
        self.text_with("")
    }

    /// The same at `now`: `not answering for 18s (…); not applied since: -api-r1-1`.
    #[must_use]
    pub fn text(&self, now: Instant) -> String {
        let passed = now.saturating_duration_since(self.since);
        let passed = format_duration(Duration::from_secs(passed.as_secs()));
        self.text_with(&format!(" for {passed}"))
    }

    fn text_with(&self, passed: &str) -> String {
        let Some(cause) = &self.cause else {
            return "not connected yet".to_owned();
        };
        let Cause { state, detail } = cause;
        let waiting = &self.waiting;
        if waiting.count == 0 {
            return format!("{state}{passed} ({detail})");
        }
        format!("{state}{passed} ({detail}); not applied since: {waiting}")
    }
}

impl Cause {
    /// What a failed attempt, or the end of a connection, tells.
    #[must_use]
    pub fn of(failure: &SessionError) -> Self {
        Self {
            state: failure.state(),
            detail: printable(&chain(failure)),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.state, self.detail)
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named.join(", "))?;
        match self.count - self.named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Waiting {
    /// What is wanted of a Perlbal that was last known as `told`. Changes that it was told and did
    /// not acknowledge, `unacknowledged`, may not have been applied. `pools` have the nodes' names.
    #[must_use]
    pub fn between(
        wanted: &Desired,
        told: &Actual,
        unacknowledged: &BTreeMap<PerlbalName, PoolChange>,
        pools: &Pools,
    ) -> Self {
        let acknowledged = without(told, unacknowledged);
        let changes = plan(wanted, &acknowledged).changes;
        // By node: a node's pool and its version pool change together.
        let mut nodes: BTreeMap<Endpoint, (bool, bool)> = BTreeMap::new();
        for change in changes.into_values() {
            for addr in change.added {
                nodes.entry(Endpoint::Node(addr)).or_default().0 = true;
            }
            for gone in change.removed {
                nodes.entry(gone).or_default().1 = true;
            }
        }
        let count = nodes.len();
        let first = nodes.into_iter().take(NAMED);
        let named = first.map(|(endpoint, (joins, leaves))| {
            let who = match endpoint {
                Endpoint::Node(addr) => name(pools, addr),
                Endpoint::Unparsed(text) => text,
            };
            match (joins, leaves) {
                (true, true) => format!("{who} (moved)"),
                (true, false) => format!("+{who}"),
                (false, _) => format!("-{who}"),
            }
        });
        Self {
            named: named.collect(),
            count,
        }
    }
}

/// The picture before these changes.
fn without<'a>(told: &'a Actual, changes: &BTreeMap<PerlbalName, PoolChange>) -> Cow<'a, Actual> {
    if changes.is_empty() {
        return Cow::Borrowed(told);
    }
    let mut before = told.clone();
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

/// A node's name, or its address where it has left the services file.
fn name(pools: &Pools, addr: NodeAddr) -> String {
    let members = pools.pools.values().flat_map(|pool| &pool.members);
    let nodes = members.map(|member| &member.node).chain(&*pools.disabled);
    let mut named = nodes.filter(|node| node.addr == addr);
    named
        .next()
        .map_or_else(|| addr.to_string(), |node| printable(&node.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;

    use super::*;
    use crate::drivers::perlbal::desired::DesiredPool;
    use crate::drivers::perlbal::plan::ActualPool;

    fn addr(number: usize) -> NodeAddr {
        format!("10.0.0.{number}:80").parse().unwrap()
    }

    fn addrs(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<NodeAddr> {
        numbers.into_iter().map(addr).collect()
    }

    fn wanted(pools: &[(&str, BTreeSet<NodeAddr>)]) -> Desired {
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
        wanted: &Desired,
        told: &Actual,
        unacknowledged: &BTreeMap<PerlbalName, PoolChange>,
    ) -> String {
        Waiting::between(wanted, told, unacknowledged, &Pools::default()).to_string()
    }

    #[test]
    fn what_waits_is_told_by_node_however_many_pools_it_concerns() {
        let wanted = wanted(&[
            ("api", addrs([1, 2])),
            ("api__v1", addrs([1])),
            ("web", addrs([3])),
        ]);
        let told = actual(&[
            ("api", addrs([1, 3, 4])),
            ("api__v1", addrs([4])),
            ("web", addrs([])),
        ]);
        let waiting = text(&wanted, &told, &BTreeMap::new());
        // The first is in its pool already, but not in that of its version.
        assert_eq!(
            waiting,
            "+10.0.0.1:80, +10.0.0.2:80, 10.0.0.3:80 (moved), -10.0.0.4:80"
        );
    }

    #[test]
    fn what_was_told_and_not_acknowledged_waits_too() {
        let wanted = wanted(&[("api", addrs([1, 3]))]);
        let told = actual(&[("api", addrs([1, 3]))]);
        let change = PoolChange {
            added: addrs([3]),
            removed: [Endpoint::Node(addr(2))].into(),
        };
        let unacknowledged = [("api".parse().unwrap(), change)].into();
        assert_eq!(text(&wanted, &told, &BTreeMap::new()), "");
        assert_eq!(
            text(&wanted, &told, &unacknowledged),
            "-10.0.0.2:80, +10.0.0.3:80"
        );
    }

    #[test]
    fn of_many_changes_the_first_are_named() {
        let wanted = wanted(&[("api", addrs([]))]);
        let told = actual(&[("api", addrs(1..=50))]);
        let waiting = text(&wanted, &told, &BTreeMap::new());
        assert!(
            waiting.ends_with(", -10.0.0.12:80 and 38 more"),
            "{waiting}"
        );
    }

    #[test]
    fn a_perlbal_that_is_away_is_told_with_cause_time_and_what_waits() {
        let since = Instant::now();
        let mut away = Away::new(since);
        assert_eq!(away.text(since), "not connected yet");
        away.cause = Some(Cause::of(&SessionError::Silent(Duration::from_secs(2))));
        let later = since + Duration::from_millis(18_400);
        assert_eq!(
            away.text(later),
            "not answering for 18s (accepts connections, no reply within 2s)"
        );
        away.waiting = Waiting {
            named: vec!["-api-r1-1".to_owned()],
            count: 1,
        };
        assert_eq!(
            away.text(later),
            "not answering for 18s (accepts connections, no reply within 2s); not applied since: -api-r1-1"
        );
        let refused = SessionError::Connect(io::ErrorKind::ConnectionRefused.into());
        away.cause = Some(Cause::of(&refused));
        assert_eq!(
            away.steady_text(),
            "not reachable (cannot connect: connection refused); not applied since: -api-r1-1"
        );
    }
}
