//! How the page looks and reads: to anyone who likes it dark, has a phone, or hears it; and the picture of it.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::browser::{Browser, Reader};
use super::site::Site;

/// Texts whose colour is too near to that of their ground (WCAG 2, AA: a contrast of 4.5).
const FAINT: &str = r"
const channels = (text) => text.match(/[\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b]
  .map((c) => c / 255)
  .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = channels(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const faint = [];
let looked = 0;
for (const element of document.body.querySelectorAll('*')) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility() || element.closest('script, style')) continue;
  const [one, other] = [light(channels(getComputedStyle(element).color)), light(ground(element))];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (contrast < 4.5) faint.push(`${contrast.toFixed(2)}: ${element.outerHTML}`);
  looked += 1;
}
return [looked > 20, light(ground(document.body)) < 0.2, faint];";

#[test]
fn it_can_be_read_in_light_and_dark() {
    let site = Site::at_night();
    let browser = Browser::start(Reader::AT_A_DESK);
    for path in ["/", "/?pool=api", "/?node=api-10"] {
        browser.open(&site.url(path));
        for dark in [false, true] {
            browser.dark(dark);
            assert_eq!(browser.run(FAINT), json!([true, dark, []]), "{path}");
        }
    }
    browser.assert_quiet();
}

#[test]
fn on_a_phone_it_does_not_scroll_sideways() {
    let long = "n".repeat(150);
    let site = Site::start_named(&long, 3);
    let note = "w".repeat(190);
    site.disable(&site.nodes[0].addr().to_string(), "kernel", &note);
    site.freeze("network", &note);
    let addr = site.nodes[0].addr();
    let browser = Browser::start(Reader::WITH_A_PHONE);
    for path in [
        "/".to_owned(),
        "/?pool=api".to_owned(),
        format!("/?node={addr}"),
    ] {
        browser.open(&site.url(&path));
        browser.wait_text("main", &[&long, &note]);
        let width = browser.run("return [innerWidth, document.documentElement.scrollWidth]");
        assert_eq!(width, json!([360, 360]), "{path}");
        browser.assert_quiet();
    }
}

#[test]
fn tables_are_tables_for_those_who_hear_the_page_also_on_a_phone() {
    let site = Site::at_night();
    for reader in [Reader::AT_A_DESK, Reader::WITH_A_PHONE] {
        let browser = Browser::start(reader);
        browser.open(&site.url("/"));
        for (role, name) in [
            ("heading", "Pools 3"),
            ("columnheader", "Why"),
            ("rowheader", "api-10"),
            ("searchbox", "Show a node, by its name or address"),
        ] {
            let found = browser.heard(role);
            assert!(
                found.iter().any(|found| found.starts_with(name)),
                "{role} {name}: {found:?}"
            );
        }
    }
}

/// perlbal/screenshot copies it to where the README shows it; whether that was done since the page changed is for
/// people to see.
#[test]
fn a_picture_for_the_readme_can_be_taken() {
    let site = Site::at_night();
    let browser = Browser::start(Reader {
        width: 1280,
        height: 720,
        ..Reader::AT_A_DESK
    });
    browser.open(&site.url("/"));
    browser.wait_text("#verdict", &["CRITICAL: pool images has 2 of"]);
    // Not the name of the machine that tests.
    browser.run("document.querySelector('h1 span').textContent = 'lb1'");
    let picture = browser.screenshot();
    assert!(picture.len() < 150_000, "{} bytes", picture.len());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-page.png");
    fs::write(path, picture).expect("failed to write the picture");
}
