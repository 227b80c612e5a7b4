//! Who is at rest, and when that is looked at.

use super::super::wire::{Endpoint, Service};
use super::*;

const MILLI: Duration = Duration::from_millis(1);

fn name(text: &str) -> PerlbalName {
    text.parse().unwrap()
}

fn who(number: u8) -> Membered {
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
fn leave(leavers: &mut Leavers, number: u8, now: Instant) {
    assert!(leavers.removed(who(number), now));
    let group = [remove(number), seal("one"), seal("two")];
    leavers.take_group(&group, &there());
}

/// A whole look that takes no time.
fn look(leavers: &mut Leavers, busy: &[u8], requests: &[(u8, u64)], now: Instant) -> Look {
    let asked = leavers.begin_look(now).unwrap_or_default();
    for (number, count) in requests
        .iter()
        .filter(|(number, _)| asked.contains(&who(*number).1))
    {
        leavers.count(who(*number).1, *count);
    }
    let busy = busy.iter().map(|number| who(*number).1).collect();
    leavers.end_look(&busy, now, Duration::ZERO)
}

fn in_unrest(leavers: &Leavers) -> Vec<u8> {
    let last = |addr: &NodeAddr| addr.ip().octets()[3];
    leavers.unrest().keys().map(last).collect()
}

#[test]
fn who_is_sealed_for_good_is_at_rest_at_the_first_look_that_shows_no_busy_connection() {
    let (mut leavers, start) = (Leavers::default(), Instant::now());
    leave(&mut leavers, 1, start);
    leavers.count(who(1).1, 7);
    assert_eq!(leavers.look_at(), Some(start), "looked at behind the seal");
    assert_eq!(in_unrest(&leavers), [1], "until then it is not at rest");
    let seen = look(&mut leavers, &[2], &[(1, 7)], start + MILLI);
    assert_eq!(seen.at_rest, [(who(1), Some(MILLI))]);
    assert!(in_unrest(&leavers).is_empty());
    assert_eq!(leavers.look_at(), None, "nobody is left to look at");
}

#[test]
fn who_is_not_sealed_for_good_is_at_rest_only_when_it_has_settled() {
    let half = [remove(1), seal("one")];
    for group in [&half[..], &[]] {
        let (mut leavers, start) = (Leavers::default(), Instant::now());
        assert!(leavers.removed(who(1), start));
        leavers.take_group(group, &there());
        assert_eq!(look(&mut leavers, &[], &[(1, 7)], start), Look::default());
        assert_eq!(leavers.look_at(), Some(start + SETTLED));
        let grown = look(&mut leavers, &[], &[(1, 8)], start + SETTLED);
        assert_eq!(grown.busy, [who(1)], "a request came in between");
        let seen = look(&mut leavers, &[], &[(1, 8)], start + 3 * SETTLED);
        assert_eq!(seen.at_rest.len(), 1);
    }
}

#[test]
fn an_answer_that_lay_there_while_pollbal_stood_still_does_not_show_that_it_has_settled() {
    let (mut leavers, start) = (Leavers::default(), Instant::now());
    assert!(leavers.removed(who(1), start));
    leavers.begin_look(start + MILLI).unwrap();
    let read = start + 100 * SETTLED;
    let seen = leavers.end_look(&BTreeSet::new(), read, Duration::ZERO);
    assert_eq!(seen, Look::default());
    let seen = look(&mut leavers, &[], &[], read);
    assert_eq!(seen.at_rest, [(who(1), Some(100 * SETTLED))]);
}

#[test]
fn a_pool_file_that_is_read_anew_with_all_seals_seals_who_is_not_in_it() {
    let (mut leavers, start) = (Leavers::default(), Instant::now());
    assert!(leavers.removed(who(1), start) && leavers.removed(who(2), start));
    let reload = Command::Reload {
        pool: name("api"),
        path: String::new(),
        members: [who(2).1].into(),
    };
    leavers.take_group(&[reload, seal("one"), seal("two")], &there());
    let seen = look(&mut leavers, &[], &[], start);
    assert_eq!(seen.at_rest, [(who(1), Some(Duration::ZERO))]);
}

#[test]
fn a_refused_seal_is_none() {
    let (mut leavers, start) = (Leavers::default(), Instant::now());
    leave(&mut leavers, 1, start);
    leavers.refused(&name("web"));
    leavers.refused(&name("api"));
    assert_eq!(look(&mut leavers, &[], &[], start), Look::default());
}

#[test]
fn a_busy_connection_or_growing_requests_keep_it_from_rest() {
    let (mut leavers, start) = (Leavers::default(), Instant::now());
    leave(&mut leavers, 1, start);
    leavers.count(who(1).1, 7);
    assert_eq!(look(&mut leavers, &[1], &[(1, 7)], start).busy, [who(1)]);
    assert_eq!(leavers.look_at(), Some(start + SETTLED));
    assert_eq!(look(&mut leavers, &[], &[(1, 8)], start).busy, [who(1)]);
    assert_eq!(leavers.look_at(), Some(start + 2 * SETTLED));
    assert_eq!(look(&mut leavers, &[], &[(1, 8)], start).at_rest.len(), 1);
}

#[test]
fn who_leaves_or_is_sealed_while_a_look_is_under_way_is_for_the_next_one() {
    let (mut leavers, start) = (Leavers::default(), Instant::now());
    leave(&mut leavers, 1, start);
    assert!(leavers.removed(who(3), start));
    // Back, and out again: its seal comes behind the look's question.
    leave(&mut leavers, 4, start);
    leavers.begin_look(start);
    leave(&mut leavers, 2, start);
    leavers.count(who(2).1, 3);
    leavers.take_group(&[remove(3), seal("one"), seal("two")], &there());
    leavers.forget(&who(4));
    leave(&mut leavers, 4, start);
    assert_eq!(leavers.begin_look(start), None, "one at a time");
    let seen = leavers.end_look(&[].into(), start, Duration::ZERO);
    assert_eq!(seen.at_rest, [(who(1), Some(Duration::ZERO))]);
    assert_eq!(leavers.look_at(), Some(start), "and that one comes at once");
    let seen = look(&mut leavers, &[], &[(2, 4)], start);
    assert_eq!(seen.busy, [who(2)]);
    assert_eq!(seen.at_rest.len(), 2);
}

#[test]
fn where_a_look_takes_long_perlbal_is_spared_the_next_one_for_a_while() {
    let (mut leavers, start) = (Leavers::default(), Instant::now());
    leave(&mut leavers, 1, start);
    leavers.begin_look(start);
    // Of the time that passed, a part was work.
    let ended = start + 90 * MILLI;
    let seen = leavers.end_look(&[who(1).1].into(), ended, 10 * MILLI);
    assert_eq!(seen.busy.len(), 1);
    assert_eq!(leavers.look_at(), Some(ended + 200 * MILLI));
    leave(&mut leavers, 2, ended + MILLI);
    assert_eq!(leavers.look_at(), Some(ended + 200 * MILLI));
    leavers.forget(&who(1));
    leavers.forget(&who(2));
    let later = ended + Duration::from_secs(1);
    leave(&mut leavers, 3, later);
    assert_eq!(leavers.look_at(), Some(later + 40 * MILLI));
}

#[test]
fn of_very_many_only_the_connections_are_looked_at() {
    let (mut leavers, start) = (Leavers::default(), Instant::now());
    let counted = (0..=u8::MAX)
        .filter(|number| leavers.removed(who(*number), start))
        .count();
    assert_eq!(counted, COUNTED);
    let settled = start + SETTLED;
    assert_eq!(leavers.begin_look(settled), Some(BTreeSet::new()));
    let seen = leavers.end_look(&[who(7).1].into(), settled, Duration::ZERO);
    assert_eq!((seen.busy.len(), seen.at_rest.len()), (1, 255));
}

#[test]
fn a_member_that_is_back_is_forgotten() {
    let (mut leavers, start) = (Leavers::default(), Instant::now());
    leave(&mut leavers, 1, start);
    let version = leavers.version();
    leavers.forget(&who(1));
    assert_ne!(leavers.version(), version);
    assert_eq!(leavers.look_at(), None);
    assert_eq!(look(&mut leavers, &[], &[], start), Look::default());
}

#[test]
fn of_one_that_was_found_nobody_knows_when_it_left() {
    let (mut leavers, start) = (Leavers::default(), Instant::now());
    leavers.found(who(1), start);
    leavers.take_group(&[remove(1), seal("one"), seal("two")], &there());
    let seen = look(&mut leavers, &[], &[], start);
    assert_eq!(seen.at_rest, [(who(1), None)]);
}
