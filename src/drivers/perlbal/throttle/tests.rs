//! When commands may be sent, and how much of the time was work.

use super::Kind::{Change, Ping, Read, SlowChange};
use super::*;

const MS: Duration = Duration::from_millis(1);

/// A pace that knows a round trip, and a moment at which nothing is owed.
fn with_trip(trip: Duration) -> (Throttle, Instant) {
    let (mut pace, began) = (Throttle::default(), Instant::now());
    pace.sent(Ping, began);
    pace.received(began + trip);
    pace.answered();
    (pace, began + trip + Duration::from_secs(1))
}

/// A local pace after one command that took so long, and when that ended.
fn after(kind: Kind, took: Duration) -> (Throttle, Instant) {
    let (mut pace, began) = with_trip(Duration::ZERO);
    pace.sent(kind, began);
    pace.received(began + took);
    pace.answered();
    (pace, began + took)
}

#[test]
fn short_work_is_followed_at_once() {
    let (pace, ended) = after(Change, SHORT / 2);
    assert!(pace.may_send(Change, ended) && pace.may_send(Read, ended));
}

#[test]
fn after_long_work_perlbal_is_left_alone_as_long_but_not_for_ever() {
    for (kind, took, pause) in [
        (Change, 7 * MS, 7 * MS),
        (SlowChange, 500 * MS, LONGEST_PAUSE),
        (Read, 4 * MS, 4 * MS),
        (Read, 100 * MS, LONGEST_PAUSE_READING),
    ] {
        let (pace, ended) = after(kind, took);
        assert!(!pace.may_send(Change, ended + pause * 9 / 10), "{kind:?}");
        assert!(pace.may_send(Change, ended + pause), "{kind:?}");
        assert_eq!(pace.opens_at(Change, ended), Some(ended + pause));
    }
}

#[test]
fn work_that_comes_in_pieces_adds_up() {
    let (mut pace, mut now) = with_trip(Duration::ZERO);
    for _ in 0..2 {
        pace.sent(Change, now);
        now += MS;
        pace.received(now);
        pace.answered();
    }
    assert!(!pace.may_send(Change, now));
    assert!(pace.may_send(Change, now + 2 * MS));
}

#[test]
fn behind_a_change_that_takes_long_nothing_is_sent_before_its_answer() {
    let (mut pace, began) = with_trip(Duration::ZERO);
    pace.sent(SlowChange, began);
    assert!(pace.may_send(Change, began + MS));
    for after in [SHORT, 15 * MS, 300 * MS] {
        assert_eq!(pace.opens_at(Change, began + after), None, "{after:?}");
    }
}

#[test]
fn a_change_waits_for_a_reading_no_longer_than_a_moment_and_a_reading_for_its_end() {
    let (mut pace, began) = with_trip(Duration::ZERO);
    pace.sent(Read, began);
    let now = began + 3 * MS;
    assert_eq!(pace.opens_at(Change, now), Some(began + HELD));
    assert!(pace.may_send(Change, began + HELD));
    assert_eq!(pace.opens_at(Read, now), None);
}

#[test]
fn what_the_network_holds_back_in_the_middle_is_no_work() {
    let (mut pace, began) = with_trip(MS / 2);
    pace.sent(Read, began);
    // The first line comes at once, the others when a relay has acknowledged it.
    pace.received(began + MS);
    assert_eq!(pace.opens_at(Change, began + 2 * MS), Some(began + 2 * MS));
    assert!(pace.may_send(Change, began + 10 * MS));
    let worked = pace.worked();
    pace.received(began + 41 * MS);
    pace.answered();
    assert_eq!(pace.worked(), worked);
    assert!(pace.may_send(Read, began + 41 * MS));
}

#[test]
fn silence_between_changes_is_work_where_changes_take_long() {
    let (mut pace, mut now) = with_trip(Duration::ZERO);
    // As in a pool of 30,000.
    for _ in 0..2 {
        pace.sent(Change, now);
        now += 5 * MS;
        pace.received(now);
        pace.answered();
        now += Duration::from_secs(1);
    }
    pace.sent(Change, now);
    pace.sent(Change, now);
    pace.received(now + 5 * MS);
    pace.answered();
    assert!(!pace.may_send(Change, now + 9 * MS));
    pace.received(now + 10 * MS);
    pace.answered();
    assert_eq!(pace.opens_at(Change, now + 10 * MS), Some(now + 20 * MS));
}

#[test]
fn over_a_long_way_changes_follow_each_other_while_answers_are_on_theirs() {
    let trip = 40 * MS;
    let (mut pace, began) = with_trip(trip);
    let (mut sent, mut received) = (0, 0);
    for tick in 0..100 {
        let now = began + 5 * tick * MS;
        if tick >= 8 {
            pace.received(now);
            pace.answered();
            received += 1;
        }
        assert!(pace.may_send(Change, now), "{tick}");
        pace.sent(Change, now);
        sent += 1;
    }
    assert_eq!((sent, received), (100, 92));
    assert!(pace.worked() < SHORT, "{:?}", pace.worked());
}

#[test]
fn work_is_paid_for_while_answers_are_on_a_long_way() {
    let trip = 60 * MS;
    let (mut pace, began) = with_trip(trip);
    pace.sent(Change, began);
    pace.sent(Read, began + 58 * MS);
    pace.received(began + trip + 5 * MS);
    pace.answered();
    let received = began + trip + 5 * MS;
    assert_eq!(pace.opens_at(Change, received), Some(received + 5 * MS));
    assert!(pace.may_send(Change, received + 5 * MS));
}

#[test]
fn a_round_trip_that_took_too_long_hides_no_work_once_an_answer_came_sooner() {
    // The first of a connection, on a machine that is busy.
    let (mut pace, mut now) = with_trip(12 * MS);
    pace.sent(Change, now);
    pace.received(now + 7 * MS);
    pace.answered();
    // All of that may have been the way.
    assert!(pace.may_send(Change, now + 7 * MS));
    now += Duration::from_secs(1);
    pace.sent(Read, now);
    pace.received(now + MS);
    pace.answered();
    now += Duration::from_secs(1);
    pace.sent(Change, now);
    pace.received(now + 7 * MS);
    pace.answered();
    let rested = now + 7 * MS + 6 * MS;
    assert_eq!(pace.opens_at(Change, now + 7 * MS), Some(rested));
}

#[test]
fn the_first_round_trips_are_measured_quickly() {
    let (mut pace, mut now) = with_trip(MS);
    for _ in 1..TRIPS {
        assert_eq!(pace.ping_every(), FIRST_PING_EVERY);
        pace.sent(Ping, now);
        pace.received(now + 2 * MS);
        pace.answered();
        now += Duration::from_secs(1);
    }
    assert_eq!(pace.ping_every(), PING_EVERY);
}

#[test]
fn a_way_that_becomes_longer_is_learned() {
    let (mut pace, mut now) = with_trip(MS);
    for _ in 0..TRIPS {
        pace.sent(Ping, now);
        now += 30 * MS;
        pace.received(now);
        pace.answered();
        now += Duration::from_secs(1);
    }
    pace.sent(Change, now);
    assert!(pace.may_send(Change, now + 30 * MS));
}

#[test]
fn a_perlbal_that_stands_still_is_not_sent_change_after_change() {
    let (mut pace, began) = with_trip(Duration::ZERO);
    pace.sent(Change, began);
    assert!(!pace.may_send(Change, began + LONGEST_PAUSE / 2));
    assert!(pace.may_send(Change, began + LONGEST_PAUSE));
}
