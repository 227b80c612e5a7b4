//! Checks of each service when something of it is set again. Pure.
//!
//! A seal gives a service the pool that it has, and a wake its `connect_ahead`, as far as is known: by the
//! last read of everything, which may be half a minute old. Perlbal sets both whatever the service
//! has by then, so what an operator has set meanwhile would be undone. Perlbal has no command that sets
//! something only if it is as expected. But commands that reach Perlbal in one piece run before
//! anything else: so a check is sent in the same piece, which costs no round trip, and
//! where its response shows something else, that is set again.
//!
//! There are two kinds of checks. `SHOW SERVICE` before the command shows everything, and prints a line per member. In
//! large pools a seal is sent between two `SHOW POOL` instead, which print how many services use each pool, two lines
//! per pool: the pool that has one less after the seal is the one from which the seal took the service.
//!
//! A check costs Perlbal about 60 µs, and 3 to 7 µs per line; with the change it must take less than a millisecond. So
//! two things go unnoticed: a `connect_ahead` that was set on a service of a large pool, and a switch of such a service
//! where Perlbal has many pools too.

#![warn(clippy::disallowed_methods)]

use std::collections::BTreeSet;

use super::plan::{Actual, GROUP_BYTES, Group, bytes};
use super::protocol::{Command, Service, Users};
use crate::drivers::perlbal::name::PerlbalName;

/// Maximum number of members for which `SHOW SERVICE` is sent although `SHOW POOL` prints less: it shows more.
const FEW_MEMBERS: usize = 50;

/// Maximum number of lines that are printed for one seal: one per member, or two per pool, twice.
const MAX_LINES: usize = 100;

/// Puts a check of each service before the first command of a group that sets something of it, or around its seal. In
/// each group: between two of them Perlbal serves others.
#[must_use]
pub(super) fn with_checks(groups: Vec<Group>, actual: &Actual) -> Vec<Group> {
    let mut all = Vec::with_capacity(groups.len());
    for mut group in groups {
        let mut checked = BTreeSet::new();
        let services = group.iter().filter_map(service);
        let first = services.filter(|service| checked.insert((*service).clone()));
        let checks: Vec<_> = first.filter_map(|service| check(service, actual)).collect();
        if let Some(pool) = sealed_pool(&group) {
            // A plan seals one pool per group, so that its size decides for all of the group's services.
            let is_large = !is_shown_by_service(pool, actual);
            // Behind the removals, so that these and the seals stay in one piece: a check's line is no longer than the
            // seal's, and seals have at most half of a group.
            let seal = group.iter().position(is_seal).unwrap_or_default();
            group.splice(seal..seal, checks);
            if is_large {
                group = with_counts(group, actual);
            }
        } else if bytes(&checks) + bytes(&group) <= GROUP_BYTES {
            group.splice(0..0, checks);
        } else if !checks.is_empty() {
            all.push(checks);
        }
        all.push(group);
    }
    all
}

/// The pool that a group seals, if it seals one.
fn sealed_pool(group: &[Command]) -> Option<&PerlbalName> {
    let mut pools = group.iter().filter_map(|command| match command {
        Command::Seal { pool, .. } => Some(pool),
        _ => None,
    });
    let pool = pools.next();
    debug_assert!(
        pools.all(|other| Some(other) == pool),
        "a group seals one pool"
    );
    pool
}

/// Number of lines that two `SHOW POOL` print.
fn lines_of_counts(actual: &Actual) -> usize {
    2 * 2 * actual.pools.len()
}

/// Puts a `SHOW POOL` before the first and behind each of the seals, unless that prints too many lines.
#[must_use]
pub(super) fn with_counts(group: Group, actual: &Actual) -> Group {
    if lines_of_counts(actual) > MAX_LINES {
        return group;
    }
    let mut all = Group::with_capacity(2 * group.len() + 1);
    for command in group {
        let sealed = sealed(&command, actual);
        let is_counted = matches!(all.last(), Some(Command::ShowPools { .. }));
        if sealed.is_some() && !is_counted {
            all.push(Command::ShowPools { sealed: None });
        }
        all.push(command);
        if sealed.is_some() {
            all.push(Command::ShowPools { sealed });
        }
    }
    all
}

/// The pool from which a seal took a service, by the number of users of each pool before and after it; `None` where the
/// service had the pool that it was given. A service that had none at all cannot be set so again.
#[must_use]
pub(super) fn taken_from(before: &Users, after: &Users) -> Option<PerlbalName> {
    let mut fewer = before
        .iter()
        .filter(|(pool, count)| after.get(*pool).is_some_and(|now| now < *count));
    fewer.next().map(|(pool, _)| pool.clone())
}

fn is_seal(command: &Command) -> bool {
    matches!(command, Command::Seal { .. })
}

/// For a seal: the service, and how it is known to be set.
fn sealed(command: &Command, actual: &Actual) -> Option<(PerlbalName, Service)> {
    let service = service(command).filter(|_| is_seal(command))?;
    let known = actual.services.get(service)?;
    Some((service.clone(), known.clone()))
}

/// The service that the command sets.
fn service(command: &Command) -> Option<&PerlbalName> {
    match command {
        Command::Seal { service, .. } | Command::Wake { service, .. } => Some(service),
        _ => None,
    }
}

/// The check that shows everything of a service, unless its pool is large.
#[must_use]
pub(super) fn check(service: &PerlbalName, actual: &Actual) -> Option<Command> {
    let known = actual.services.get(service)?.clone();
    let is_shown = is_shown_by_service(known.pool.as_ref()?, actual);
    let service = service.clone();
    is_shown.then_some(Command::ShowService { service, known })
}

/// Whether `SHOW SERVICE` is sent for the services of a pool: it is not too large.
fn is_shown_by_service(pool: &PerlbalName, actual: &Actual) -> bool {
    let most = FEW_MEMBERS.max(MAX_LINES.min(lines_of_counts(actual)));
    let pool = actual.pools.get(pool);
    pool.is_some_and(|pool| pool.members.len() <= most)
}

/// Reads `SHOW SERVICE x`, as far as it matters here.
#[must_use]
pub(super) fn parse_service(lines: &[String]) -> Service {
    let value = |key: &str| {
        let mut values = lines.iter().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            (name.trim_start() == key).then_some(value)
        });
        values.next()
    };
    let connect_ahead = value("connect-ahead").and_then(|text| text.split_once('/'));
    Service {
        pool: value("pool").and_then(|name| name.parse().ok()),
        connect_ahead: connect_ahead.map_or(0, |(_, text)| text.parse().unwrap_or(u64::MAX)),
    }
}

/// The commands that set a service as it was shown to be, behind commands that set it as it was known to be.
#[must_use]
pub(super) fn set_again(service: &PerlbalName, shown: &Service, known: &Service) -> Group {
    let pool = shown.pool.as_ref().filter(|_| shown.pool != known.pool);
    let seal = pool.map(|pool| Command::Seal {
        service: service.clone(),
        pool: pool.clone(),
    });
    // Requests that came meanwhile may wait for connections to the wrong pool.
    let wake = (shown != known && shown.pool.is_some()).then(|| Command::Wake {
        service: service.clone(),
        connect_ahead: shown.connect_ahead,
    });
    seal.into_iter().chain(wake).collect()
}

#[cfg(test)]
mod tests {
    use super::super::desired::{Desired, DesiredPool};
    use super::super::plan::{ActualPool, plan};
    use super::super::protocol::Endpoint;
    use super::*;
    use crate::drivers::perlbal::pipe::READ_BYTES;

    fn name(text: &str) -> PerlbalName {
        text.parse().unwrap()
    }

    fn lines(group: &[Command]) -> Vec<String> {
        group.iter().map(ToString::to_string).collect()
    }

    fn on(pool: &str, connect_ahead: u64) -> Service {
        Service {
            pool: Some(name(pool)),
            connect_ahead,
        }
    }

    fn member(number: usize) -> Endpoint {
        Endpoint::Node(format!("10.0.0.{number}:80").parse().unwrap())
    }

    /// A pool `a` with these members, used by this number of services.
    fn actual(members: std::ops::Range<usize>, services: usize) -> Actual {
        let pool = ActualPool {
            members: members.map(member).collect(),
            ..ActualPool::default()
        };
        let services = (0..services).map(|number| (name(&format!("s{number}")), on("a", 0)));
        Actual {
            pools: [(name("a"), pool)].into(),
            services: services.collect(),
        }
    }

    /// What is sent when only these members of pool `a` stay.
    fn only_stay(actual: &Actual, stay: std::ops::Range<usize>) -> Vec<Group> {
        let stay = stay.filter_map(|number| member(number).reached());
        let pool = DesiredPool {
            members: stay.collect(),
            ..DesiredPool::default()
        };
        let desired = Desired {
            pools: [(name("a"), pool)].into(),
        };
        with_checks(plan(&desired, actual).groups, actual)
    }

    #[test]
    fn a_check_stands_between_the_removals_and_the_seals() {
        let actual = actual(1..3, 2);
        let groups = only_stay(&actual, 2..3);
        let expected = [
            "POOL a REMOVE 10.0.0.1:80",
            "SHOW SERVICE s0",
            "SHOW SERVICE s1",
            "SET s0 pool = a",
            "SET s1 pool = a",
        ];
        assert_eq!(groups.len(), 1);
        assert_eq!(lines(&groups[0]), expected);
    }

    #[test]
    fn each_group_that_seals_checks_each_service_once_and_is_read_in_one_piece() {
        let actual = actual(1..50, 60);
        let groups = only_stay(&actual, 50..51);
        for group in &groups {
            let seals = group.iter().filter(|one| is_seal(one));
            for service in seals.filter_map(service) {
                let is_check = |one: &&Command| matches!(one, Command::ShowService { service: of, .. } if of == service);
                assert_eq!(group.iter().filter(is_check).count(), 1);
                let at = |desired: &dyn Fn(&Command) -> bool| group.iter().position(desired);
                assert!(
                    at(&|one| is_check(&one)) < at(&|one| super::service(one) == Some(service))
                );
            }
            assert!(bytes(group) <= READ_BYTES, "{}", bytes(group));
        }
        assert!(groups.iter().any(|group| bytes(group) > GROUP_BYTES));
    }

    #[test]
    fn in_a_large_pool_each_seal_stands_between_two_counts() {
        let actual = actual(1..60, 2);
        let groups = only_stay(&actual, 2..60);
        let expected = [
            "POOL a REMOVE 10.0.0.1:80",
            "SHOW POOL",
            "SET s0 pool = a",
            "SHOW POOL",
            "SET s1 pool = a",
            "SHOW POOL",
        ];
        assert_eq!(groups.len(), 1);
        assert_eq!(lines(&groups[0]), expected);
    }

    #[test]
    fn so_does_each_of_many_seals_and_each_group_is_read_in_one_piece() {
        // The shortest names give the most checks per byte.
        let mut actual = actual(1..120, 0);
        let services = ('a'..='z').map(|letter| (name(&letter.to_string()), on("a", 0)));
        actual.services = services.collect();
        let groups = only_stay(&actual, 100..120);
        assert!(groups.len() > 1);
        for group in &groups {
            assert!(bytes(group) <= READ_BYTES, "{}", bytes(group));
            for (at, seal) in group.iter().enumerate().filter(|(_, one)| is_seal(one)) {
                assert!(matches!(group[at - 1], Command::ShowPools { .. }));
                let sealed = sealed(seal, &actual);
                assert_eq!(group[at + 1], Command::ShowPools { sealed });
            }
        }
    }

    #[test]
    fn the_shorter_kind_of_check_is_used_and_none_where_both_are_long() {
        let checks = |members: usize, pools: usize| {
            let mut actual = actual(1..members + 1, 1);
            let others = (1..pools).map(|number| name(&format!("p{number}")));
            actual
                .pools
                .extend(others.map(|pool| (pool, ActualPool::default())));
            let groups = only_stay(&actual, 2..members + 1);
            let all = groups.iter().flatten();
            lines(
                &all.filter(|one| !one.is_change())
                    .cloned()
                    .collect::<Vec<_>>(),
            )
        };
        let service = ["SHOW SERVICE s0"];
        let pools = ["SHOW POOL"; 2];
        assert_eq!(checks(50, 1), service, "which shows more");
        assert_eq!(checks(51, 1), pools);
        assert_eq!(checks(97, 24), pools);
        assert_eq!(checks(96, 24), service);
        assert_eq!(checks(150, 25), pools);
        assert_eq!(checks(100, 26), service);
        assert_eq!(checks(101, 26), [""; 0]);
    }

    #[test]
    fn the_pool_from_which_a_seal_took_a_service_has_one_less_behind_it() {
        let users = |counts: [u64; 3]| -> Users {
            let pools = ["blue", "green", "red"].map(name);
            pools.into_iter().zip(counts).collect()
        };
        let taken = |before, behind| taken_from(&users(before), &users(behind));
        assert_eq!(taken([1, 2, 0], [2, 1, 0]), Some(name("green")));
        assert_eq!(taken([1, 2, 0], [1, 2, 0]), None);
        assert_eq!(taken([1, 2, 0], [2, 2, 0]), None, "it had no pool");
    }

    #[test]
    fn a_wake_without_a_seal_is_checked_too() {
        let actual = actual(1..2, 1);
        let wake = Command::Wake {
            service: name("s0"),
            connect_ahead: 0,
        };
        let groups = with_checks(vec![vec![wake]], &actual);
        let all: Vec<_> = groups.iter().flat_map(|group| lines(group)).collect();
        assert_eq!(all, ["SHOW SERVICE s0", "SET s0 connect_ahead = 0"]);
    }

    /// As Perlbal 1.80 prints it, with a connection that is being made.
    const SHOWN: &str = "SERVICE www\n     listening: 127.0.0.1:8080\n          role: reverse_proxy\n  pend clients: 0\n  \
                         pend backend: 1\n   10.0.0.1:80 - connecting - 2s\n connect-ahead: 1/4\n          pool: green\n         nodes:\n                \
                         10.0.0.1:80                 7";

    #[test]
    fn pool_and_connect_ahead_are_read() {
        let lines: Vec<_> = SHOWN.lines().map(str::to_owned).collect();
        assert_eq!(parse_service(&lines), on("green", 4));
        assert_eq!(parse_service(&lines[..3]), Service::default());
    }

    #[test]
    fn what_someone_else_has_set_is_set_again() {
        let again = |shown| lines(&set_again(&name("www"), &shown, &on("blue", 1)));
        assert_eq!(again(on("blue", 1)), [""; 0]);
        assert_eq!(again(on("blue", 2)), ["SET www connect_ahead = 2"]);
        let both = ["SET www pool = green", "SET www connect_ahead = 1"];
        assert_eq!(again(on("green", 1)), both);
        assert_eq!(again(Service::default()), [""; 0]);
    }
}
