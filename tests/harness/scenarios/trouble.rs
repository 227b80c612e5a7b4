//! The machine itself gives trouble: its disk is full, its clock jumps, it is requested to stop.

use std::time::{Duration, Instant, SystemTime};

use crate::common::clock::counted_since;
use crate::harness::site::Site;
use crate::harness::world::{POOLS, Part};

use super::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("full_disk", full_disk).with_small_disk(),
    Scenario::new("clock_back_a_day_and_ahead_a_year", clock_jumps).with_clock(),
    Scenario::new("stop_of_every_part", stop_of_every_part),
    Scenario::new("stop_of_pollbal_while_others_hang", stop_while_others_hang),
];

/// From SIGTERM to the end.
const STOP: Duration = Duration::from_secs(2);

/// From an announcement to the load balancer: many times what it takes, and nothing beside a day.
const CHANGE: Duration = Duration::from_secs(5);

const DAY: i64 = 86_400;

/// The file before stays whole, and the load balancer is updated all the same, even when it is restarted from that file.
fn full_disk(site: &mut Site) {
    site.start();
    site.world.fill_disk();
    // Of a node without a version: a version pool that is emptied would free room for another file.
    site.announce(3, "status=leaving");
    site.wait_balancer("website", &[2]);
    site.answered_only_by("website", &[2]);
    site.accident(&POOLS, |site| {
        site.world.kill(Part::Balancer);
        site.world.start(Part::Balancer);
        site.wait_balancer("api", &[0, 1]);
        site.wait_balancer("website", &[2]);
    });
    site.answered_only_by("website", &[2]);
    let stale = site.pool_text(&[2, 3]);
    assert_eq!(site.file("website.pool"), Some(stale), "the file before");
    site.wait_log(0, &["ERROR", "failed to write", "website.pool"]);
    site.world.free_disk();
    site.wait_pool("website", &[2]);
    site.wait_disabled(&[3]);
}

/// Changes hold as fast as before.
fn clock_jumps(site: &mut Site) {
    site.start();
    changes_hold_at_once(site);
    for jump in [-DAY, 365 * DAY, 0] {
        site.world.set_clock(jump);
        changes_hold_at_once(site);
        let ahead = log_ahead(&site.log());
        assert!((ahead - jump).abs() < 60, "the log is {ahead} s ahead");
    }
}

#[track_caller]
fn changes_hold_at_once(site: &Site) {
    for (status, members) in [("leaving", &[1][..]), ("serving", &[0, 1])] {
        let begin = Instant::now();
        site.announce(0, &format!("status={status}"));
        site.wait_pool("api", members);
        let took = counted_since(begin);
        assert!(took < CHANGE, "{status}: held after {took:?}");
    }
}

/// By how many seconds the time of the log's last line is ahead of the true one.
fn log_ahead(log: &str) -> i64 {
    let line = log.lines().last().expect("a line in the log");
    let word = line.split(' ').next().unwrap_or_default();
    let time = humantime::parse_rfc3339(word);
    let time = time.unwrap_or_else(|why| panic!("no time in \"{line}\": {why}"));
    let since = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        i64::try_from(since.expect("a time of today").as_secs()).expect("a time of today")
    };
    since(time) - since(SystemTime::now())
}

fn stop_of_every_part(site: &mut Site) {
    site.start();
    site.vanish(&["api"], &[0], |site| {
        stops(site, Part::Node(0));
        site.wait_pool("api", &[1]);
    });
    // The load balancer goes on as it is.
    stops(site, Part::Pollbal);
    site.answered_only_by("api", &[1]);
    site.answered_only_by("website", &[2, 3]);
    // One that does not start from files has its members from pollbal.
    let alone = site.balancer().starts_from_files();
    site.accident(&POOLS, |site| {
        stops(site, Part::Balancer);
        // Each starts again where the other left it.
        site.world.start(Part::Balancer);
        if !alone {
            site.world.start(Part::Pollbal);
        }
        site.wait_balancer("api", &[1]);
        site.wait_balancer("website", &[2, 3]);
    });
    site.world.start(Part::Node(0));
    if alone {
        site.world.start(Part::Pollbal);
    }
    site.wait_pool("api", &[0, 1]);
    site.rush("api", &[0]);
}

fn stop_while_others_hang(site: &mut Site) {
    site.start();
    site.accident(&POOLS, |site| {
        let hung = [Part::Balancer, Part::Node(0), Part::Node(2)];
        for part in hung {
            site.world.pause(part);
        }
        site.announce(1, "version=v99");
        site.wait_file("api.v99.pool", &[1]);
        stops(site, Part::Pollbal);
        for part in hung {
            site.world.resume(part);
        }
        site.world.start(Part::Pollbal);
        site.wait_pool("api", &[0, 1]);
        site.wait_pool("website", &[2, 3]);
    });
    site.rush("api", &[0]);
    site.rush("website", &[2]);
}

#[track_caller]
fn stops(site: &mut Site, part: Part) {
    let took = site.world.stop(part);
    assert!(
        took.is_some_and(|took| took < STOP),
        "{part:?} after SIGTERM: {took:?}"
    );
}
