//! Which nodes are drained, and when that is checked.

use super::super::protocol::{Endpoint, Service};
use super::*;

const MILLI: Duration = Duration::from_millis(1);

fn name(text: &str) -> PerlbalName {
    text.parse().unwrap()
}

fn who(number: u8) -> PoolMember {
    let addr = format!("10.0.0.{number}:80");
    (name("api"), addr.parse().unwrap())
}

fn remove(number: u8) -> Command {
    let (pool, addr) = who(number);
    Command::Remove(pool, Endpoint::Node(addr))
}

fn seal(service: &str) -> Command {
    Command::Seal {
        service: name(service),
        pool: name("api"),
    }
}

fn there() -> Actual {
    let uses = |service, pool| {
        let pool = Some(name(pool));
        (
            name(service),
            Service {
                pool,
                ..Service::default()
            },
        )
    };
    Actual {
        services: [uses("one", "api"), uses("two", "api"), uses("other", "web")].into(),
        ..Actual::default()
    }
}

/// Removes a member and seals it for good.
fn leave(draining: &mut DrainTracker, number: u8, now: Instant) {
    assert!(draining.removed(who(number), now));
    let group = [remove(number), seal("one"), seal("two")];
    draining.record_group(&group, &there());
}

/// A complete check that takes no time.
fn check(
    draining: &mut DrainTracker,
    busy: &[u8],
    requests: &[(u8, u64)],
    now: Instant,
) -> DrainCheck {
    let asked = draining.begin_check(now).unwrap_or_default();
    for (number, count) in requests
        .iter()
        .filter(|(number, _)| asked.contains(&who(*number).1))
    {
        draining.count(who(*number).1, *count);
    }
    let busy = busy.iter().map(|number| who(*number).1).collect();
    draining.end_check(&busy, now, Duration::ZERO)
}

fn still_draining(draining: &DrainTracker) -> Vec<u8> {
    let last = |addr: &NodeAddr| addr.ipv4().unwrap().octets()[3];
    draining.per_node().keys().map(last).collect()
}

#[test]
fn who_is_sealed_for_good_is_drained_at_the_first_look_that_shows_no_busy_connection() {
    let (mut draining, start) = (DrainTracker::default(), Instant::now());
    leave(&mut draining, 1, start);
    draining.count(who(1).1, 7);
    assert_eq!(draining.check_at(), Some(start), "checked after the seal");
    assert_eq!(
        still_draining(&draining),
        [1],
        "until then it is not drained"
    );
    let result = check(&mut draining, &[2], &[(1, 7)], start + MILLI);
    assert_eq!(result.drained, [(who(1), Some(MILLI))]);
    assert!(still_draining(&draining).is_empty());
    assert_eq!(draining.check_at(), None, "nobody is left to check");
}

#[test]
fn who_is_not_sealed_for_good_is_drained_only_when_it_has_settled() {
    let half = [remove(1), seal("one")];
    for group in [&half[..], &[]] {
        let (mut draining, start) = (DrainTracker::default(), Instant::now());
        assert!(draining.removed(who(1), start));
        draining.record_group(group, &there());
        assert_eq!(
            check(&mut draining, &[], &[(1, 7)], start),
            DrainCheck::default()
        );
        assert_eq!(draining.check_at(), Some(start + SETTLE_TIME));
        let grown = check(&mut draining, &[], &[(1, 8)], start + SETTLE_TIME);
        assert_eq!(grown.busy, [who(1)], "a request came in between");
        let result = check(&mut draining, &[], &[(1, 8)], start + 3 * SETTLE_TIME);
        assert_eq!(result.drained.len(), 1);
    }
}

#[test]
fn an_answer_that_lay_there_while_pollbal_stood_still_does_not_show_that_it_has_settled() {
    let (mut draining, start) = (DrainTracker::default(), Instant::now());
    assert!(draining.removed(who(1), start));
    draining.begin_check(start + MILLI).unwrap();
    let read = start + 100 * SETTLE_TIME;
    let result = draining.end_check(&BTreeSet::new(), read, Duration::ZERO);
    assert_eq!(result, DrainCheck::default());
    let result = check(&mut draining, &[], &[], read);
    assert_eq!(result.drained, [(who(1), Some(100 * SETTLE_TIME))]);
}

#[test]
fn a_pool_file_that_is_read_again_with_all_seals_seals_who_is_not_in_it() {
    let (mut draining, start) = (DrainTracker::default(), Instant::now());
    assert!(draining.removed(who(1), start) && draining.removed(who(2), start));
    let reload = Command::Reload {
        pool: name("api"),
        path: String::new(),
        members: [who(2).1].into(),
    };
    draining.record_group(&[reload, seal("one"), seal("two")], &there());
    let result = check(&mut draining, &[], &[], start);
    assert_eq!(result.drained, [(who(1), Some(Duration::ZERO))]);
}

#[test]
fn a_refused_seal_is_none() {
    let (mut draining, start) = (DrainTracker::default(), Instant::now());
    leave(&mut draining, 1, start);
    draining.on_rejected(&name("web"));
    draining.on_rejected(&name("api"));
    assert_eq!(check(&mut draining, &[], &[], start), DrainCheck::default());
}

#[test]
fn a_busy_connection_or_growing_requests_keep_it_from_rest() {
    let (mut draining, start) = (DrainTracker::default(), Instant::now());
    leave(&mut draining, 1, start);
    draining.count(who(1).1, 7);
    assert_eq!(check(&mut draining, &[1], &[(1, 7)], start).busy, [who(1)]);
    assert_eq!(draining.check_at(), Some(start + SETTLE_TIME));
    assert_eq!(check(&mut draining, &[], &[(1, 8)], start).busy, [who(1)]);
    assert_eq!(draining.check_at(), Some(start + 2 * SETTLE_TIME));
    assert_eq!(check(&mut draining, &[], &[(1, 8)], start).drained.len(), 1);
}

#[test]
fn who_leaves_or_is_sealed_while_a_look_is_under_way_is_for_the_next_one() {
    let (mut draining, start) = (DrainTracker::default(), Instant::now());
    leave(&mut draining, 1, start);
    assert!(draining.removed(who(3), start));
    // Back, and out again: its seal comes behind the check's query.
    leave(&mut draining, 4, start);
    draining.begin_check(start);
    leave(&mut draining, 2, start);
    draining.count(who(2).1, 3);
    draining.record_group(&[remove(3), seal("one"), seal("two")], &there());
    draining.forget(&who(4));
    leave(&mut draining, 4, start);
    assert_eq!(draining.begin_check(start), None, "one at a time");
    let result = draining.end_check(&[].into(), start, Duration::ZERO);
    assert_eq!(result.drained, [(who(1), Some(Duration::ZERO))]);
    assert_eq!(
        draining.check_at(),
        Some(start),
        "and that one comes at once"
    );
    let result = check(&mut draining, &[], &[(2, 4)], start);
    assert_eq!(result.busy, [who(2)]);
    assert_eq!(result.drained.len(), 2);
}

#[test]
fn where_a_look_takes_long_perlbal_is_spared_the_next_one_for_a_while() {
    let (mut draining, start) = (DrainTracker::default(), Instant::now());
    leave(&mut draining, 1, start);
    draining.begin_check(start);
    // Of the time that passed, a part was work.
    let ended = start + 90 * MILLI;
    let result = draining.end_check(&[who(1).1].into(), ended, 10 * MILLI);
    assert_eq!(result.busy.len(), 1);
    assert_eq!(draining.check_at(), Some(ended + 200 * MILLI));
    leave(&mut draining, 2, ended + MILLI);
    assert_eq!(draining.check_at(), Some(ended + 200 * MILLI));
    draining.forget(&who(1));
    draining.forget(&who(2));
    let later = ended + Duration::from_secs(1);
    leave(&mut draining, 3, later);
    assert_eq!(draining.check_at(), Some(later + 40 * MILLI));
}

#[test]
fn of_very_many_only_the_connections_are_looked_at() {
    let (mut draining, start) = (DrainTracker::default(), Instant::now());
    let counted = (0..=u8::MAX)
        .filter(|number| draining.removed(who(*number), start))
        .count();
    assert_eq!(counted, MAX_COUNTED);
    let settled = start + SETTLE_TIME;
    assert_eq!(draining.begin_check(settled), Some(BTreeSet::new()));
    let result = draining.end_check(&[who(7).1].into(), settled, Duration::ZERO);
    assert_eq!((result.busy.len(), result.drained.len()), (1, 255));
}

#[test]
fn a_member_that_is_back_is_forgotten() {
    let (mut draining, start) = (DrainTracker::default(), Instant::now());
    leave(&mut draining, 1, start);
    let version = draining.version();
    draining.forget(&who(1));
    assert_ne!(draining.version(), version);
    assert_eq!(draining.check_at(), None);
    assert_eq!(check(&mut draining, &[], &[], start), DrainCheck::default());
}

#[test]
fn of_one_that_was_found_nobody_knows_when_it_left() {
    let (mut draining, start) = (DrainTracker::default(), Instant::now());
    draining.adopt(who(1), start);
    draining.record_group(&[remove(1), seal("one"), seal("two")], &there());
    let result = check(&mut draining, &[], &[], start);
    assert_eq!(result.drained, [(who(1), None)]);
}
