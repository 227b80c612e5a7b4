//! What is reported, and when, outside of the hours and beyond the limit.

use super::*;

#[test]
fn outside_of_the_hours_nothing_is_reported_until_they_begin() {
    let mut site = Site::new();
    let night =
        |site: &mut Site, second, status: &SystemStatus| words(&site.at(second, status, NIGHT));
    let (api, web) = (short(&["api"]), short(&["web"]));
    site.at(0, &api, NIGHT);
    assert_eq!(night(&mut site, 2, &api), [""; 0]);
    assert_eq!(site.active(), reportable(&api), "it is active all the same");
    // Passes before the hours begin: never reported, nor that it is over.
    site.at(100, &well(), NIGHT);
    assert_eq!(night(&mut site, 102, &well()), [""; 0]);
    assert_eq!(site.next(103, &well(), NIGHT), None);
    // Still there when they begin.
    site.at(200, &web, NIGHT);
    assert_eq!(night(&mut site, 202, &web), [""; 0]);
    assert_eq!(site.next(202, &web, NIGHT), Some(232), "looks at the clock");
    assert_eq!(site.reported(3_600, &web), ["begin web"]);
    // Reported, and over when they have ended: said when they begin again.
    site.at(3_700, &well(), NIGHT);
    assert_eq!(night(&mut site, 3_702, &well()), [""; 0]);
    assert_eq!(site.reported(36_000, &well()), ["over web"]);
}

#[test]
fn no_more_than_the_limit_is_reported_and_the_next_one_counts_the_skipped() {
    let mut site = Site::new();
    site.settings.limit = 3;
    let storm = pools(0..8);
    site.at(0, &storm, NOON);
    assert_eq!(
        site.reported(2, &storm),
        ["begin p0", "begin p1", "begin p2"]
    );
    assert_eq!(site.reported(100, &storm), [""; 0]);
    assert_eq!(site.next(100, &storm, NOON), Some(302));
    // One passes meanwhile: never reported, but counted.
    let less = pools(0..7);
    site.at(200, &less, NOON);
    assert_eq!(site.reported(202, &less), [""; 0]);
    assert_eq!(
        site.reported(302, &less),
        ["begin p3 (4 skipped)", "begin p4", "begin p5"]
    );
    // Only p6 is left, and what is over; reminders do not count.
    site.at(400, &well(), NOON);
    assert_eq!(site.reported(402, &well()), [""; 0]);
    assert_eq!(
        site.reported(602, &well()),
        ["over p0 (6 skipped)", "over p1", "over p2"]
    );
    assert_eq!(
        site.reported(902, &well()),
        ["over p3 (2 skipped)", "over p4", "over p5"]
    );
    assert_eq!(site.at(903, &well(), NOON).next, None);
}

#[test]
fn many_of_one_kind_do_not_hide_another_and_the_skipped_are_counted_by_kind() {
    let mut site = Site::new();
    site.settings.limit = 4;
    let lost = DriverHealth::default();
    let with_lost = |pools: SystemStatus| SystemStatus {
        drivers: ["a", "b"].map(|name| (balancer(name), lost.clone())).into(),
        ..pools
    };
    let storm = with_lost(pools(0..8));
    site.at(0, &pools(0..8), NOON);
    assert_eq!(
        site.reported(2, &pools(0..8)),
        ["begin p0", "begin p1", "begin p2", "begin p3"]
    );
    site.at(10, &storm, NOON);
    assert_eq!(
        site.reported(15, &storm),
        [""; 0],
        "the limit status for all"
    );
    let outcome = site.at(302, &storm, NOON);
    // In front of what is merely still so, too.
    assert_eq!(
        words(&outcome),
        ["begin p4 (5 skipped)", "begin a", "begin p5", "begin p6"]
    );
    let left_out = [(Kind::PoolShort, 3), (Kind::LoadBalancerLost, 2)];
    assert_eq!(outcome.notices[0].left_out, left_out.into());
    let rest = site.at(602, &storm, NOON);
    assert_eq!(words(&rest)[..2], ["begin p7 (1 skipped)", "begin b"]);
    assert_eq!(
        rest.notices[0].left_out,
        [(Kind::LoadBalancerLost, 1)].into()
    );
}
