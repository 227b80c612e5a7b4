//! The page of a site with many nodes.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::browser::{Browser, Reader};
use super::site::Site;
use crate::common::{SOON, becomes, clock, eventually};

#[test]
fn of_many_nodes_the_first_are_shown_and_the_rest_on_demand() {
    let site = Site::start_beside_dead(&["api serving v23"], 150);
    let browser = Browser::start(Reader::AT_A_DESK);
    // Rows out of sight are there, but count for no text that can be read.
    let rows = || {
        browser.run(
            "return [...document.querySelectorAll('#nodes tbody th a')].map((one) => one.text)",
        )
    };
    let dead = |count| -> Value { (1..=count).map(|number| format!("dead-{number}")).collect() };
    browser.open(&site.url("/"));
    browser.wait_text("#nodes .reasons", &["150 failed", "Connection refused"]);
    browser.wait_text("#nodes .more", &["50 more"]);
    assert_eq!(rows(), dead(100));
    browser.run("document.querySelector('#nodes .more a').click()");
    becomes(SOON, "the rows", &dead(150), rows);
    browser.assert_quiet();
}

/// This many members that are dead, and held by `min_members`.
const DEAD: usize = 3_000;

/// Until a page is loaded, or shows a change: what people do not wait for, and several times what it takes here.
const QUICK: Duration = Duration::from_secs(3);

/// Opens a page, and gives how long it took until it can be read.
fn open(browser: &Browser, site: &Site, path: &str) -> Duration {
    let begun = Instant::now();
    browser.open(&site.url(path));
    browser.wait_text("#nodes", &["3,000", "2,900 more"]);
    clock::counted_since(begun)
}

#[test]
fn with_thousands_of_nodes_it_is_there_and_follows_a_change_at_once() {
    let site = Site::start_beside_held(&["other serving v1"; 2], DEAD);
    let browser = Browser::start(Reader::AT_A_DESK);
    for path in ["/", "/?pool=api"] {
        let took = open(&browser, &site, path);
        assert!(took < QUICK, "{path} took {took:?}");
        let rows = browser.run("return document.querySelectorAll('#nodes tbody tr').length");
        assert_eq!(rows, 100, "{path}");
        let bytes =
            browser.run("return performance.getEntriesByType('navigation')[0].decodedBodySize");
        assert!(
            bytes.as_u64().expect("a number") < 150_000,
            "{path} has {bytes} bytes"
        );
    }
    // One change, from the moment on when it is an event, on each of both pages.
    for (number, path, shows) in [(0, "/", "#counts"), (1, "/?pool=api", "#verdict")] {
        open(&browser, &site, path);
        let before = browser.run("return document.getElementById('main').dataset.time");
        site.nodes[number].announce("other leaving v1");
        site.nudge(site.nodes[number].name());
        site.wait_event(&format!("node-{} leaves other", number + 1));
        let begun = Instant::now();
        eventually(SOON, "the page shows it", || {
            let now = browser.run("return document.getElementById('main').dataset.time");
            (now != before).then_some(())
        });
        let took = clock::counted_since(begun);
        assert!(took < QUICK, "{path} showed it after {took:?}");
        assert_ne!(browser.text(shows), "");
    }
    browser.assert_quiet();
}
