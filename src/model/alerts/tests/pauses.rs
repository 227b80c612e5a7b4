//! Only time counts in which pollbal ran.

use super::*;

impl Site {
    /// pollbal was paused for this many seconds.
    fn add_pause(&mut self, seconds: u64) {
        self.alerts.add_pause(Duration::from_secs(seconds));
    }
}

#[test]
fn what_is_active_for_a_moment_and_a_pause_is_not_reported() {
    let mut site = Site::new();
    let short = short(&["api"]);
    assert_eq!(site.reported(0, &short), [""; 0]);
    // It hold_time after 2 s: a pause from the first second on.
    site.add_pause(100);
    assert_eq!(site.reported(101, &short), [""; 0]);
    assert_eq!(site.next(101, &short, NOON), Some(102));
    assert_eq!(site.reported(102, &short), ["begin api"]);
}

#[test]
fn what_is_away_for_a_moment_and_a_pause_is_not_over() {
    let mut site = Site::new();
    let short = short(&["api"]);
    site.at(0, &short, NOON);
    assert_eq!(site.reported(2, &short), ["begin api"]);
    assert_eq!(site.reported(10, &well()), [""; 0]);
    site.add_pause(100);
    assert_eq!(site.reported(111, &well()), [""; 0]);
    assert_eq!(site.reported(112, &well()), ["over api"]);
    // One that came before it held is none of it.
    site.add_pause(50);
    site.at(200, &short, NOON);
    site.at(202, &short, NOON);
    assert_eq!(site.active().len(), 1);
}

#[test]
fn how_long_it_has_been_active_is_reported_with_the_pause_and_that_it_still_is_only_later() {
    let mut site = Site::new();
    let short = short(&["api"]);
    site.at(0, &short, NOON);
    assert_eq!(site.reported(2, &short), ["begin api"]);
    let interval = 5 * MINUTE;
    site.add_pause(interval);
    assert_eq!(site.reported(2 + interval, &short), [""; 0]);
    let still = site.at(2 + 2 * interval, &short, NOON);
    assert_eq!(words(&still), ["still api"]);
    let lasted = Duration::from_secs(2 + 2 * interval);
    assert_eq!(still.notices[0].lasted, lasted);
}
