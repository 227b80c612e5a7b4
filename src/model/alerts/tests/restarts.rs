//! What is reported after a restart.

use super::*;

#[test]
fn after_a_restart_nothing_is_reported_as_still_so_before_that_is_known() {
    let mut site = Site::new();
    site.at(0, &pools(0..1), NOON);
    assert_eq!(site.reported(2, &pools(0..1)), ["begin p0"]);
    let moment = (site.start, Timestamp::from_millis(0));
    site.alerts = Alerts::resume(&site.alerts.save(moment), moment);
    assert_eq!(site.reported(10 * MINUTE, &well()), [""; 0]);
    let status = site.alerts.active().into_iter();
    let status: Vec<_> = status.map(|active| active.is_present).collect();
    assert_eq!(status, [false]);
    assert_eq!(site.reported(11 * MINUTE, &pools(0..1)), ["still p0"]);
}

#[test]
fn a_restart_begins_nothing_again_keeps_the_limit_and_reports_what_is_over_when_that_is_known() {
    let mut site = Site::new();
    site.settings.limit = 3;
    site.at(0, &pools(0..2), NOON);
    assert_eq!(site.reported(2, &pools(0..2)), ["begin p0", "begin p1"]);
    let restart = |site: &mut Site, second| {
        let moment = (
            site.start + Duration::from_secs(second),
            Timestamp::from_millis(1_000 * second),
        );
        let text = serde_json::to_string(&site.alerts.save(moment)).unwrap();
        site.alerts = Alerts::resume(&serde_json::from_str(&text).unwrap(), moment);
    };
    restart(&mut site, 10);
    // Nothing is known yet.
    assert_eq!(site.reported(11, &well()), [""; 0]);
    assert_eq!(site.reported(40, &well()), [""; 0]);
    let known = |status| SystemStatus {
        first_round_done: true,
        ..status
    };
    let (one, none) = (known(pools(0..1)), known(well()));
    assert_eq!(site.at(41, &one, NOON).transitions, []);
    let over = site.at(43, &one, NOON);
    assert_eq!(words(&over), ["over p1"]);
    assert_eq!(over.notices[0].since, Timestamp::from_millis(0));
    // That was the third.
    site.at(50, &none, NOON);
    assert_eq!(site.reported(52, &none), [""; 0]);
    restart(&mut site, 100);
    site.at(101, &one, NOON);
    assert_eq!(site.reported(110, &one), [""; 0]);
    restart(&mut site, 200);
    assert_eq!(site.reported(303, &one), ["still p0"]);
    site.at(310, &none, NOON);
    assert_eq!(site.reported(312, &none), ["over p0"]);
    restart(&mut site, 1_000);
    assert_eq!(site.at(1_001, &none, NOON).next, None);
    assert!(site.alerts.entries.is_empty());
}

#[test]
fn without_a_hook_problems_are_logged_and_notices_come_as_soon_as_there_is_one() {
    let mut site = Site::new();
    site.settings.on = false;
    let api = short(&["api"]);
    site.at(0, &api, NOON);
    let outcome = site.at(2, &api, NOON);
    assert_eq!((outcome.transitions.len(), outcome.notices.len()), (1, 0));
    assert_eq!(outcome.next, None);
    site.settings.on = true;
    assert_eq!(site.reported(1_000, &api), ["begin api"]);
}
